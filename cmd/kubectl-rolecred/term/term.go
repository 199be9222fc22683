// Package term writes text for users, with colours on a terminal.
package term

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/shell"
)

// Colours reports whether to write colours: the writer is a terminal that supports them, and NO_COLOR is not set
// (no-color.org).
func Colours(w io.Writer, getenv func(string) string) bool {
	return printers.IsTerminal(w) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

// Printer writes text to one writer. The text comes from the cluster, so Printer makes control characters visible instead of
// sending them to the terminal.
type Printer struct {
	out     io.Writer
	colours bool
}

// New returns a printer.
func New(out io.Writer, colours bool) *Printer { return &Printer{out: out, colours: colours} }

// Text is a text with a colour.
type Text struct {
	Text   string
	Colour Colour
}

// Colour is an SGR parameter (ECMA-48).
type Colour string

// The colours, named by meaning.
const (
	None    Colour = ""
	Title   Colour = "1"
	Faint   Colour = "2"
	Bad     Colour = "31"
	Good    Colour = "32"
	Warning Colour = "33"
)

// Plain returns a text without a colour.
func Plain(text string) Text { return Text{Text: text} }

// StatusColour returns the colour of a condition's status.
func StatusColour(status metav1.ConditionStatus) Colour {
	switch status {
	case metav1.ConditionTrue:
		return Good
	case metav1.ConditionFalse:
		return Bad
	default:
		return Warning
	}
}

func (p *Printer) coloured(t Text) string {
	text := shell.Printable(t.Text)
	if !p.colours || t.Colour == None || text == "" {
		return text
	}
	return "\x1b[" + string(t.Colour) + "m" + text + "\x1b[0m"
}

// Linef writes a line.
func (p *Printer) Linef(format string, args ...any) {
	p.Texts(Plain(fmt.Sprintf(format, args...)))
}

// Texts writes a line of several texts.
func (p *Printer) Texts(texts ...Text) {
	var line strings.Builder
	for _, t := range texts {
		line.WriteString(p.coloured(t))
	}
	fmt.Fprintln(p.out, strings.TrimRight(line.String(), " "))
}

// Section writes an empty line and a title.
func (p *Printer) Section(title string) {
	fmt.Fprintln(p.out)
	p.Texts(Text{title, Title})
}

// Block writes a text of several lines, indented.
func (p *Printer) Block(indent, text string) {
	for line := range strings.Lines(text) {
		p.Linef("%s%s", indent, strings.TrimRight(line, "\n"))
	}
}

// gap is the number of spaces between columns, as in kubectl.
const gap = 3

// Table writes rows in columns, with an indent before each row.
func (p *Printer) Table(indent string, rows ...[]Text) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(shell.Printable(cell.Text)))
		}
	}
	for _, row := range rows {
		line := []Text{Plain(indent)}
		for i, cell := range row {
			line = append(line, cell)
			if i < len(row)-1 {
				line = append(line, Plain(strings.Repeat(" ", widths[i]+gap-utf8.RuneCountInString(shell.Printable(cell.Text)))))
			}
		}
		p.Texts(line...)
	}
}

// Row returns a row of plain texts.
func Row(cells ...string) []Text {
	row := make([]Text, len(cells))
	for i, cell := range cells {
		row[i] = Plain(cell)
	}
	return row
}

// Time formats a time in UTC, as AWS and the API server do.
func Time(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Relative formats a time relative to now, such as "in 5m" or "5m ago".
func Relative(t, now time.Time) string {
	if d := t.Sub(now); d >= 0 {
		return "in " + duration.HumanDuration(d)
	}
	return duration.HumanDuration(now.Sub(t)) + " ago"
}

// Age formats the time since t, as kubectl does.
func Age(t, now time.Time) string { return duration.HumanDuration(now.Sub(t)) }
