package controllers

import (
	"bytes"
	"encoding/json"
	"flag"
	"testing"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"rolecredential.dev/operator/controllers/testkit"
)

// loggerFor returns the manager's logger for command-line arguments, and its output.
func loggerFor(g *WithT, args ...string) (logr.Logger, *bytes.Buffer) {
	var options zap.Options
	set := flag.NewFlagSet("manager", flag.ContinueOnError)
	options.BindFlags(set)
	g.Expect(set.Parse(args)).To(Succeed())
	written := &bytes.Buffer{}
	options.DestWriter = written
	return NewLogger(options), written
}

func TestLoggerWritesEveryLineOfABurst(t *testing.T) {
	const lines = 10_000
	for name, args := range map[string][]string{
		"with default flags":     nil,
		"at debug level":         {"--zap-log-level=debug"},
		"in development mode":    {"--zap-devel"},
		"with a console encoder": {"--zap-encoder=console"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			logger, written := loggerFor(g, args...)
			for n := range lines {
				logger.Info("issued", "n", n)
			}
			g.Expect(bytes.Count(written.Bytes(), []byte("\n"))).To(Equal(lines))
		})
	}
}

func TestLoggerKeepsTheProductionFormat(t *testing.T) {
	g := NewWithT(t)
	logger, written := loggerFor(g)
	logger.Info("issued", "RoleCredential", testkit.Reader())
	logger.V(1).Info("debug")
	var line map[string]any
	g.Expect(json.Unmarshal(written.Bytes(), &line)).To(Succeed(), "one line of JSON: %s", written)
	g.Expect(line).To(And(HaveKeyWithValue("level", "info"), HaveKeyWithValue("msg", "issued"), HaveKey("ts")))
	g.Expect(line["RoleCredential"]).To(And(HaveKeyWithValue("namespace", "shop"), HaveKeyWithValue("name", "s3-reader"), Not(HaveKey("spec"))))
}

func TestLoggerNeverPrintsBodiesOfRequests(t *testing.T) {
	g := NewWithT(t)
	logger, written := loggerFor(g, "--zap-log-level=100")
	logger.V(7).Info("a request")
	logger.V(8).Info("the body of a request")
	g.Expect(written.String()).To(And(ContainSubstring(`"a request"`), Not(ContainSubstring("the body"))))
}
