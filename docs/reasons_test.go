package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	. "github.com/onsi/gomega"
)

var reason = regexp.MustCompile(`Reason\w+ += "(\w+)"`)

func TestEachReasonIsExplained(t *testing.T) {
	g := NewWithT(t)
	read := func(path ...string) string {
		text, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
		g.Expect(err).NotTo(HaveOccurred())
		return string(text)
	}
	explained := read("docs", "conditions.md") + read("docs", "rollout.md")
	reasons := reason.FindAllStringSubmatch(read("api", "v1alpha1", "conditions.go"), -1)
	g.Expect(len(reasons)).To(BeNumerically(">", 35))
	for _, r := range reasons {
		g.Expect(explained).To(ContainSubstring("`" + r[1] + "`"))
	}
}
