// Package term writes text for people: plain, or with colours on a terminal.
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

// Colours reports whether to write colours to a writer: to a terminal that has them, unless NO_COLOR asks for none
// (no-color.org).
func Colours(w io.Writer, getenv func(string) string) bool {
	return printers.IsTerminal(w) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

// Printer writes to one writer. What it is given comes from the cluster: control characters that a terminal would obey are
// written so that they are seen.
type Printer struct {
	out     io.Writer
	colours bool
}

// New returns a printer.
func New(out io.Writer, colours bool) *Printer { return &Printer{out: out, colours: colours} }

// Text is a piece of text in some colour.
type Text struct {
	Text   string
	Colour Colour
}

// Colour of a text, as an SGR parameter (ECMA-48); none if it is empty.
type Colour string

// The colours, by what they say.
const (
	None  Colour = ""
	Title Colour = "1"
	Faint Colour = "2"
	Bad   Colour = "31"
	Good  Colour = "32"
	Doubt Colour = "33"
)

// Plain is a text without a colour.
func Plain(text string) Text { return Text{Text: text} }

// Of is the colour of a condition's status.
func Of(status metav1.ConditionStatus) Colour {
	switch status {
	case metav1.ConditionTrue:
		return Good
	case metav1.ConditionFalse:
		return Bad
	default:
		return Doubt
	}
}

func (p *Printer) painted(t Text) string {
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
		line.WriteString(p.painted(t))
	}
	fmt.Fprintln(p.out, strings.TrimRight(line.String(), " "))
}

// Section writes the title of what follows.
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

// gap is between two columns, as kubectl leaves it.
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

// Row is a row of plain texts.
func Row(cells ...string) []Text {
	row := make([]Text, len(cells))
	for i, cell := range cells {
		row[i] = Plain(cell)
	}
	return row
}

// Time writes a moment as AWS and the API server do.
func Time(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Distance says how far a moment is from now.
func Distance(t, now time.Time) string {
	if d := t.Sub(now); d >= 0 {
		return "in " + duration.HumanDuration(d)
	}
	return duration.HumanDuration(now.Sub(t)) + " ago"
}

// Age says how long ago a moment was, as kubectl does.
func Age(t, now time.Time) string { return duration.HumanDuration(now.Sub(t)) }
