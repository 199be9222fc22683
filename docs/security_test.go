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

// tableRows returns the rows of the tables under a heading of a page, without the heads of the tables.
func tableRows(g *WithT, page, heading string) (rows []string) {
	text, err := os.ReadFile(page)
	g.Expect(err).NotTo(HaveOccurred())
	_, section, found := strings.Cut(string(text), "\n## "+heading+"\n")
	g.Expect(found).To(BeTrue(), heading)
	section, _, _ = strings.Cut(section, "\n##")
	inTable := false
	for line := range strings.Lines(section) {
		switch {
		case strings.HasPrefix(line, "|--"):
			inTable = true
		case !strings.HasPrefix(line, "| "):
			inTable = false
		case inTable:
			rows = append(rows, line)
		}
	}
	return rows
}

func TestEachPromiseNamesAnExistingTest(t *testing.T) {
	g := NewWithT(t)
	scenarios, err := os.ReadFile(filepath.Join("..", "hack", "e2e", "scenarios.go"))
	g.Expect(err).NotTo(HaveOccurred())
	known := tests(g)
	promises := tableRows(g, "security.md", "Promises, and what holds them")
	for _, line := range promises {
		named := testName.FindAllStringSubmatch(line, -1)
		inScenario := scenario.FindStringSubmatch(line)
		g.Expect(len(named)+len(inScenario)).To(BeNumerically(">", 0), line)
		for _, name := range named {
			g.Expect(known).To(HaveKey(name[1]), line)
		}
		if inScenario != nil {
			g.Expect(string(scenarios)).To(ContainSubstring(`{name: "`+inScenario[1]+`"`), line)
		}
	}
	g.Expect(len(promises)).To(BeNumerically(">", 15))
}

func TestEachCellOfServersNamesAnExistingTest(t *testing.T) {
	g := NewWithT(t)
	known := tests(g)
	rows := tableRows(g, "endpoints.md", "Servers that are not AWS")
	for _, line := range rows {
		seaweedFS := strings.Split(line, " | ")[1]
		g.Expect(seaweedFS).To(MatchRegexp(testName.String()), line)
		for _, name := range testName.FindAllStringSubmatch(line, -1) {
			g.Expect(known).To(HaveKey(name[1]), line)
		}
	}
	g.Expect(len(rows)).To(BeNumerically(">", 8))
}
