package integration_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/testbed"
)

// serverProgram returns the path of a program that make test-servers provides. That target selects tests by name, so the name of the
// test must match SERVER_TESTS in the Makefile.
func serverProgram(t *testing.T, variable string) string {
	t.Helper()
	g := NewWithT(t)
	makefile, err := os.ReadFile(filepath.Join("..", "..", "Makefile"))
	g.Expect(err).NotTo(HaveOccurred())
	selected := regexp.MustCompile(`(?m)^SERVER_TESTS = (\S+)$`).FindSubmatch(makefile)
	g.Expect(selected).To(HaveLen(2))
	g.Expect(t.Name()).To(MatchRegexp(string(selected[1])), "make test-servers does not run a test of this name")
	return testbed.Program(t, variable)
}
