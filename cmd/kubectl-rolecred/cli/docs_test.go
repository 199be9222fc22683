package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", name))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(text)
}

func TestEachExitCodeIsDocumented(t *testing.T) {
	g := NewWithT(t)
	file, err := parser.ParseFile(token.NewFileSet(), "exit.go", nil, 0)
	g.Expect(err).NotTo(HaveOccurred())
	codes := 0
	ast.Inspect(file, func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Exit") {
			codes++
			code := spec.Values[0].(*ast.BasicLit).Value
			g.Expect(page(t, "plugin.md")).To(MatchRegexp("\n\\|[^|]*`"+code+"`[^|]*\\|"), spec.Names[0].Name)
		}
		return true
	})
	g.Expect(codes).To(BeNumerically(">", 7))
}

func TestEachCommandIsDocumentedAndRecorded(t *testing.T) {
	g := NewWithT(t)
	for _, verb := range newPlugin(Options{}).root().Commands() {
		if slices.Contains([]string{"help", "completion"}, verb.Name()) {
			continue
		}
		g.Expect(page(t, "plugin.md")).To(ContainSubstring("\n| `" + verb.Name() + " "))
		g.Expect(page(t, "plugin-session.md")).To(ContainSubstring("\n$ kubectl rolecred " + verb.Name() + " "))
		g.Expect(verb.Example).To(ContainSubstring("kubectl rolecred " + verb.Name() + " "))
	}
}
