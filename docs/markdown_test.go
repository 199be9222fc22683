// Package docs_test tests the documentation. A block's fence says how it is tested, see development.md.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// root is the root of the repository.
const root = ".."

// page is a file of Markdown.
type page struct {
	// path is relative to the repository's root, with slashes.
	path   string
	blocks []block
	// prose is the text outside of blocks and comments.
	prose []string
	// anchors are the anchors of the headings.
	anchors []string
}

// block is a fenced block of code, or a comment `<!-- sh ... -->`, whose commands readers do not see.
type block struct {
	line     int
	language string
	marks    []string
	text     string
	hidden   bool
	// under is the anchor of the heading above it.
	under string
}

// runs returns whether the test runs a block's commands.
func (b block) runs() bool {
	return b.language == "sh" && !b.has("aws-only") && !b.has("cluster") && !b.has("clone")
}

// filled returns a block's text with the words that its fence replaces, as in NAME=s3-reader.
func (b block) filled() string {
	text := b.text
	for _, mark := range b.marks {
		if word, value, ok := strings.Cut(mark, "="); ok {
			text = regexp.MustCompile(`\b`+word+`\b`).ReplaceAllLiteralString(text, value)
		}
	}
	return text
}

func (b block) has(mark string) bool { return slices.Contains(b.marks, mark) }

// value returns the value of a mark of the form name=value.
func (b block) value(name string) string {
	for _, mark := range b.marks {
		if value, ok := strings.CutPrefix(mark, name+"="); ok {
			return value
		}
	}
	return ""
}

// pages are the README and all pages in docs.
func pages(t *testing.T) (all []page) {
	t.Helper()
	g := NewWithT(t)
	files := []string{filepath.Join(root, "README.md"), filepath.Join(root, "CHANGELOG.md")}
	g.Expect(filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ os.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	})).To(Succeed())
	for _, file := range files {
		text, err := os.ReadFile(file)
		g.Expect(err).NotTo(HaveOccurred())
		path, err := filepath.Rel(root, file)
		g.Expect(err).NotTo(HaveOccurred())
		all = append(all, parse(filepath.ToSlash(path), string(text)))
	}
	g.Expect(len(all)).To(BeNumerically(">", 15))
	return all
}

var (
	fence   = regexp.MustCompile("^ *```(.*)$")
	comment = regexp.MustCompile(`^<!-- (sh)$`)
	heading = regexp.MustCompile(`^#{1,6} (.*)$`)
)

// parse parses a page line by line.
func parse(path, text string) page {
	p := page{path: path}
	var open *block
	for i, line := range strings.Split(text, "\n") {
		switch {
		case open != nil && (open.hidden && line == "-->" || !open.hidden && fence.MatchString(line)):
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case fence.MatchString(line):
			language, marks, _ := strings.Cut(fence.FindStringSubmatch(line)[1], " ")
			open = &block{line: i + 1, language: language, marks: strings.Fields(marks), under: p.last()}
		case comment.MatchString(line):
			open = &block{line: i + 1, language: "sh", hidden: true, under: p.last()}
		default:
			if title := heading.FindStringSubmatch(line); title != nil {
				p.anchors = append(p.anchors, anchorOf(title[1], p.anchors))
			}
			p.prose = append(p.prose, line)
		}
	}
	if open != nil {
		p.blocks = append(p.blocks, *open)
	}
	return p
}

// last returns the anchor of the last heading so far.
func (p page) last() string {
	if len(p.anchors) == 0 {
		return ""
	}
	return p.anchors[len(p.anchors)-1]
}

var (
	linkText   = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)
	noAnchor   = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	inlineCode = regexp.MustCompile("`[^`]*`")
)

// anchorOf returns GitHub's anchor of a heading, after the anchors of earlier headings on the page.
func anchorOf(title string, before []string) string {
	title = linkText.ReplaceAllString(title, "$1")
	anchor := strings.ReplaceAll(noAnchor.ReplaceAllString(strings.ToLower(title), ""), " ", "-")
	if !slices.Contains(before, anchor) {
		return anchor
	}
	n := 1
	for slices.Contains(before, anchor+"-"+strconv.Itoa(n)) {
		n++
	}
	return anchor + "-" + strconv.Itoa(n)
}

var none = regexp.MustCompile(`^$`)

// marksOf are the languages of the blocks, and the marks allowed in their fences.
var marksOf = map[string]*regexp.Regexp{
	// Blocks of these languages are not tested.
	"": none, "hcl": none, "ini": none, "mermaid": none, "promql": none,

	"console": regexp.MustCompile(`^(demo|plugin)$`),
	"json":    regexp.MustCompile(`^(trust|permissions|session|log)$`),
	"sh":      regexp.MustCompile(`^(aws-only|cluster|clone|[A-Z]+=\S+)$`),
	"yaml":    regexp.MustCompile(`^(kustomization|config|helm|values|values=cert-manager|part=\w+|other=[a-z.-]+)$`),
}

func TestEachBlockHasAKnownLanguageAndMarks(t *testing.T) {
	g := NewWithT(t)
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			allowed, known := marksOf[b.language]
			g.Expect(known).To(BeTrue(), "%s:%d: %q is no language of a block here", p.path, b.line, b.language)
			for _, mark := range b.marks {
				g.Expect(allowed.MatchString(mark)).To(BeTrue(), "%s:%d: %q does not go with %s", p.path, b.line, mark, b.language)
			}
			if b.language == "json" || b.language == "console" {
				g.Expect(b.marks).To(HaveLen(1), "%s:%d: a block of %s says what it is of", p.path, b.line, b.language)
			}
			if b.language == "" {
				g.Expect(b.text).NotTo(MatchRegexp(`(?m)^\$ `), "%s:%d: commands with what they print are console", p.path, b.line)
			}
		}
	}
}

// TestParserAgreesWithGitHub checks that the parser agrees with GitHub.
func TestParserAgreesWithGitHub(t *testing.T) {
	g := NewWithT(t)
	p := parse("docs/page.md", strings.Join([]string{
		"# A page", "", "See [below](#what-it-does--when).", "## What `it` does, & when", "```sh aws-only", "aws s3 ls", "```",
		"<!-- sh", "kubectl get pods", "-->", "## A page",
	}, "\n"))
	g.Expect(p.anchors).To(Equal([]string{"a-page", "what-it-does--when", "a-page-1"}))
	g.Expect(p.blocks).To(Equal([]block{
		{line: 5, language: "sh", marks: []string{"aws-only"}, text: "aws s3 ls\n", under: "what-it-does--when"},
		{line: 8, language: "sh", text: "kubectl get pods\n", hidden: true, under: "what-it-does--when"},
	}))
	g.Expect((block{language: "sh", marks: []string{"NAME=s3-reader", "NAMESPACE=shop"}, text: "kubectl rolecred status NAME -n NAMESPACE\n"}).filled()).
		To(Equal("kubectl rolecred status s3-reader -n shop\n"))
	g.Expect(p.links()).To(Equal([]string{"#what-it-does--when"}))
}
