package docs_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// links are the targets of a page's links.
func (p page) links() (targets []string) {
	prose := inlineCode.ReplaceAllString(strings.Join(p.prose, "\n"), "")
	for _, match := range link.FindAllStringSubmatch(prose, -1) {
		targets = append(targets, match[1])
	}
	return targets
}

// It checks links within this repository, not those to other sites.
func TestLinkTargetsExist(t *testing.T) {
	g := NewWithT(t)
	all := pages(t)
	for _, p := range all {
		for _, target := range p.links() {
			if strings.HasPrefix(target, "https://") || strings.HasPrefix(target, "http://") {
				continue
			}
			file, anchor, _ := strings.Cut(target, "#")
			to := p.path
			if file != "" {
				to = path.Join(path.Dir(p.path), file)
			}
			_, err := os.Stat(filepath.Join(root, filepath.FromSlash(to)))
			g.Expect(err).NotTo(HaveOccurred(), "%s: %s", p.path, target)
			if at := slices.IndexFunc(all, func(other page) bool { return other.path == to }); at >= 0 && anchor != "" {
				g.Expect(all[at].anchors).To(ContainElement(anchor), "%s: %s", p.path, target)
			}
		}
	}
}

func TestEachPageIsLinkedFromAnother(t *testing.T) {
	g := NewWithT(t)
	all := pages(t)
	linked := map[string]bool{"README.md": true}
	for _, p := range all {
		for _, target := range p.links() {
			file, _, _ := strings.Cut(target, "#")
			if to := path.Join(path.Dir(p.path), file); file != "" && to != p.path {
				linked[to] = true
			}
		}
	}
	for _, p := range all {
		g.Expect(linked[p.path]).To(BeTrue(), "no page links to %s", p.path)
	}
}
