// Package shell writes commands that shells read as they were meant. It is pure.
package shell

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Names of shells.
const (
	POSIX      = "sh"
	Fish       = "fish"
	PowerShell = "powershell"
)

// Names are what may be given as a shell.
var Names = []string{POSIX, "bash", "zsh", Fish, PowerShell, "pwsh"}

// Of returns the shell by its name, or by the path of its program. It is false for one that is not known.
func Of(name string) (string, bool) {
	name = strings.ToLower(strings.TrimSuffix(path.Base(strings.ReplaceAll(name, `\`, "/")), ".exe"))
	switch {
	case !slices.Contains(Names, name) && name != "dash" && name != "ksh":
		return "", false
	case name == Fish:
		return Fish, true
	case name == PowerShell, name == "pwsh":
		return PowerShell, true
	default:
		return POSIX, true
	}
}

// Export is the line that sets an environment variable in a shell, and in what it starts.
func Export(shell, name, value string) string {
	switch shell {
	case Fish:
		return fmt.Sprintf("set -gx %s %s", name, "'"+strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value)+"'")
	case PowerShell:
		return fmt.Sprintf("$Env:%s = '%s'", name, powershell.Replace(value))
	default:
		return fmt.Sprintf("export %s=%s", name, quoted(value))
	}
}

// powershell doubles all that PowerShell takes for a single quote, the typographic ones too.
var powershell = strings.NewReplacer(`'`, `''`, "\u2018", "\u2018\u2018", "\u2019", "\u2019\u2019", "\u201a", "\u201a\u201a", "\u201b", "\u201b\u201b")

func quoted(value string) string { return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'" }

// plainWord and plainOperand match arguments that need no quotes. The first word of a command may hold no =, since the shell would
// set a variable. No other word may begin with one, since zsh would look up a command.
var (
	plainWord    = regexp.MustCompile(`^[\w@%+:,./-]+$`)
	plainOperand = regexp.MustCompile(`^[\w@%+:,./-][\w@%+:,./=-]*$`)
)

// Command returns a line that a POSIX shell reads as these arguments, for people to copy. Control characters are written as
// [Printable] writes them, so that the line stays one line. No name that AWS or Kubernetes accepts holds one.
func Command(args ...string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		plain := plainOperand
		if i == 0 {
			plain = plainWord
		}
		words[i] = Printable(arg)
		if !plain.MatchString(arg) {
			words[i] = quoted(words[i])
		}
	}
	return strings.Join(words, " ")
}

// Printable replaces each character that a terminal may obey (control characters, line breaks, directions of writing) by its
// escape in Go, such as \n or \x1b.
func Printable(text string) string {
	var printable strings.Builder
	for _, r := range text { // an invalid byte becomes U+FFFD
		if unicode.IsGraphic(r) {
			printable.WriteRune(r)
			continue
		}
		printable.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
	}
	return printable.String()
}
