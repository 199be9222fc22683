package docs_test

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/controllers/testkit"
)

func TestEachReasonIsExplained(t *testing.T) {
	g := NewWithT(t)
	var explained string
	for _, page := range []string{"conditions.md", "rollout.md"} {
		text, err := os.ReadFile(filepath.Join(root, "docs", page))
		g.Expect(err).NotTo(HaveOccurred())
		explained += string(text)
	}
	for _, reason := range testkit.AllReasons(t, root) {
		g.Expect(explained).To(ContainSubstring("`" + reason + "`"))
	}
}
