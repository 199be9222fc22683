package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

func read(g *WithT, path ...string) string {
	text, err := os.ReadFile(filepath.Join(path...))
	g.Expect(err).NotTo(HaveOccurred())
	return string(text)
}

func TestGeneratedFilesAreCurrent(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "dashboard.json")
	g.Expect(writeDashboard(file)).To(Succeed())
	g.Expect(read(g, file)).To(Equal(read(g, "..", "..", "config", "grafana", "rolecredential.json")), "run make manifests")

	page := read(g, "..", "..", "docs", "metrics.md")
	before, rest, _ := strings.Cut(page, begin)
	_, after, _ := strings.Cut(rest, end)
	emptied := filepath.Join(t.TempDir(), "metrics.md")
	g.Expect(os.WriteFile(emptied, []byte(before+begin+end+after), 0o600)).To(Succeed())
	g.Expect(writeTable(emptied)).To(Succeed())
	g.Expect(read(g, emptied)).To(Equal(page), "run make manifests")
}

func TestWriteTableRequiresTheMarks(t *testing.T) {
	g := NewWithT(t)
	page := filepath.Join(t.TempDir(), "metrics.md")
	g.Expect(os.WriteFile(page, []byte("# Metrics\n"), 0o600)).To(Succeed())
	g.Expect(writeTable(page)).To(MatchError(ContainSubstring("lacks the marks")))
	g.Expect(read(g, page)).To(Equal("# Metrics\n"))
}

func TestPanelsDoNotOverlap(t *testing.T) {
	g := NewWithT(t)
	taken := map[[2]int]string{}
	for _, e := range dashboard(rows).Panels {
		g.Expect(e.Position.X + e.Position.W).To(BeNumerically("<=", gridWidth))
		for x := e.Position.X; x < e.Position.X+e.Position.W; x++ {
			for y := e.Position.Y; y < e.Position.Y+e.Position.H; y++ {
				g.Expect(taken).NotTo(HaveKey([2]int{x, y}), "%s and %s", e.Title, taken[[2]int{x, y}])
				taken[[2]int{x, y}] = e.Title
			}
		}
	}
}
