package integration_test

import (
	"maps"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
	"go.uber.org/zap/zapcore"

	"rolecredential.dev/operator/hack/stsemulator"
)

const zapAll = zapcore.Level(-10)

func TestARoleCredentialBecomesASecret(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.start()
	namespace := h.namespace(nil)
	made := h.credential(namespace, "s3-reader", h.identity())
	h.eventually(made, "Ready", "True Issued")

	secret := h.secret(namespace, "s3-reader")
	h.Expect(slices.Sorted(maps.Keys(secret.Data))).To(Equal([]string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}))
	h.Expect(made.Status.AccessKeyID).To(Equal(string(secret.Data["AWS_ACCESS_KEY_ID"])))
}
