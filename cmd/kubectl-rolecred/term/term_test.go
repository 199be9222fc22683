package term_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/term"
)

func TestColoursOnlyOnTerminals(t *testing.T) {
	g := NewWithT(t)
	nothing := func(string) string { return "" }
	g.Expect(term.Colours(&bytes.Buffer{}, nothing)).To(BeFalse(), "a buffer")
	read, write, err := os.Pipe()
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _, _ = read.Close(), write.Close() }()
	g.Expect(term.Colours(write, nothing)).To(BeFalse(), "a pipe")
}

func TestColoursCanBeDisabled(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("cannot open a terminal: ", err)
	}
	defer func() { _ = terminal.Close() }()
	for name, tc := range map[string]struct {
		environ map[string]string
		want    bool
	}{
		"by default":           {want: true},
		"NO_COLOR is set":      {environ: map[string]string{"NO_COLOR": "1"}},
		"the terminal is dumb": {environ: map[string]string{"TERM": "dumb"}},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(term.Colours(terminal, func(name string) string { return tc.environ[name] })).To(Equal(tc.want))
		})
	}
}

func TestPrinterOutput(t *testing.T) {
	for name, tc := range map[string]struct {
		colours bool
		write   func(*term.Printer)
		want    string
	}{
		"a colour":                      {colours: true, write: func(p *term.Printer) { p.Texts(term.Text{Text: "True", Colour: term.Good}, term.Plain(" x")) }, want: "\x1b[32mTrue\x1b[0m x\n"},
		"a colour, but colours are off": {write: func(p *term.Printer) { p.Texts(term.Text{Text: "True", Colour: term.Good}) }, want: "True\n"},
		"control characters":            {colours: true, write: func(p *term.Printer) { p.Linef("%s", "a\x1b]0;title\x07\rb") }, want: `a\x1b]0;title\a\rb` + "\n"},
		"columns with colours and wide characters": {colours: true, write: func(p *term.Printer) {
			p.Table("  ", term.Row("A", "B"), []term.Text{{Text: "└─ x", Colour: term.Bad}, term.Plain("y")})
		}, want: "  A      B\n  \x1b[31m└─ x\x1b[0m   y\n"},
		"a row with an empty last cell": {write: func(p *term.Printer) { p.Table("", term.Row("a", ""), term.Row("bb", "c")) }, want: "a\nbb   c\n"},
		"a block, indented":             {write: func(p *term.Printer) { p.Block("  ", "{\n  x\n}") }, want: "  {\n    x\n  }\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			tc.write(term.New(&out, tc.colours))
			NewWithT(t).Expect(out.String()).To(Equal(tc.want))
		})
	}
}

func TestRelativeTimes(t *testing.T) {
	g := NewWithT(t)
	now := time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)
	g.Expect(term.Relative(now.Add(38*time.Minute), now)).To(Equal("in 38m"))
	g.Expect(term.Relative(now.Add(-90*time.Second), now)).To(Equal("90s ago"))
	g.Expect(term.Relative(now, now)).To(Equal("in 0s"))
}
