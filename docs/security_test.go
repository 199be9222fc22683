package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

var (
	testName = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	testFunc = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`)
	scenario = regexp.MustCompile("`make e2e`: \"([^\"]+)\"")
)

// tests returns the names of all tests in the repository.
func tests(g *WithT) map[string]bool {
	found := map[string]bool{}
	g.Expect(filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." {
			return filepath.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = true
		}
		return err
	})).To(Succeed())
	return found
}

func TestEachPromiseNamesAnExistingTest(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile("security.md")
	g.Expect(err).NotTo(HaveOccurred())
	_, table, found := strings.Cut(string(page), "\n## Promises, and what holds them\n")
	g.Expect(found).To(BeTrue())
	table, _, _ = strings.Cut(table, "\n## ")
	scenarios, err := os.ReadFile(filepath.Join("..", "hack", "e2e", "scenarios.go"))
	g.Expect(err).NotTo(HaveOccurred())
	known, promises := tests(g), 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| Promise ") {
			continue
		}
		promises++
		named := testName.FindAllStringSubmatch(line, -1)
		seen := scenario.FindStringSubmatch(line)
		g.Expect(len(named)+len(seen)).To(BeNumerically(">", 0), line)
		for _, name := range named {
			g.Expect(known).To(HaveKey(name[1]), line)
		}
		if seen != nil {
			g.Expect(string(scenarios)).To(ContainSubstring(`{name: "`+seen[1]+`"`), line)
		}
	}
	g.Expect(promises).To(BeNumerically(">", 15))
}
