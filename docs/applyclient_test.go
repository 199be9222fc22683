package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	applied "rolecredential.dev/operator/api/applyconfiguration/api/v1alpha1"
	"rolecredential.dev/operator/api/v1alpha1"
)

// The example of another module compiles, and applies its fields only. Fields of other managers stay.
func TestGoExampleAppliesARoleCredential(t *testing.T) {
	g := NewWithT(t)
	t.Cleanup(func() { empty(t) })
	ctx := t.Context()
	program := filepath.Join(t.TempDir(), "applyclient")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	build.Dir = filepath.Join(root, "hack", "applyclient")
	printed, err := build.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(printed))
	run := func() {
		cmd := exec.CommandContext(ctx, program)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig)
		printed, err := cmd.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(printed))
	}
	g.Expect(cluster.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})).To(Succeed())

	run()
	credential := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader"}}
	key := client.ObjectKeyFromObject(credential)
	g.Expect(cluster.Client.Get(ctx, key, credential)).To(Succeed())
	g.Expect(credential.Spec.Duration).To(HaveValue(Equal(metav1.Duration{Duration: time.Hour})))

	before := credential.DeepCopy()
	credential.Spec.Suspend = true
	g.Expect(cluster.Client.Patch(ctx, credential, client.MergeFrom(before), client.FieldOwner("another"))).To(Succeed())
	run()
	g.Expect(cluster.Client.Get(ctx, key, credential)).To(Succeed())
	g.Expect(credential.Spec.Suspend).To(BeTrue())

	own, err := applied.ExtractRoleCredential(credential, "applyclient")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(own.Spec).To(Equal(applied.RoleCredentialSpec().
		WithRoleARN("arn:aws:iam::123456789012:role/S3Reader").WithDuration(metav1.Duration{Duration: time.Hour})))
}
