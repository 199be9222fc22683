package testbed

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
)

// recorder records the end of a test in place of ending it.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (*recorder) Helper() {}

func (r *recorder) Skipf(format string, args ...any) { r.skipped = fmt.Sprintf(format, args...) }

func (r *recorder) Fatalf(format string, args ...any) { r.failed = fmt.Sprintf(format, args...) }

func TestMissingProgramSkipsATestUnlessServersAreRequired(t *testing.T) {
	for name, tc := range map[string]struct {
		path, required  string
		skipped, failed string
	}{
		"with the program":                       {path: "/bin/helm"},
		"with the program, which is required":    {path: "/bin/helm", required: "1"},
		"without the program":                    {skipped: "HELM is not set: run make test-servers for this test"},
		"without the program, which is required": {required: "1", failed: "HELM is not set, although TEST_SERVERS is: run make test-servers, which sets both"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			t.Setenv("HELM", tc.path)
			t.Setenv("TEST_SERVERS", tc.required)
			r := &recorder{TB: t}
			g.Expect(Program(r, "HELM")).To(Equal(tc.path))
			g.Expect([]string{r.skipped, r.failed}).To(Equal([]string{tc.skipped, tc.failed}))
		})
	}
}
