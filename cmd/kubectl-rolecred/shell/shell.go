// Package shell quotes values and commands for shells. It is pure.
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

// Names are the accepted names of shells.
var Names = []string{POSIX, "bash", "zsh", Fish, PowerShell, "pwsh"}

// Parse returns the shell for a name or for the path of a program. It returns false if the shell is not known.
func Parse(name string) (string, bool) {
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

// Export returns the line that exports an environment variable in a shell.
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

// powershell doubles each character that PowerShell reads as a single quote, including typographic quotes.
var powershell = strings.NewReplacer(`'`, `''`, "\u2018", "\u2018\u2018", "\u2019", "\u2019\u2019", "\u201a", "\u201a\u201a", "\u201b", "\u201b\u201b")

func quoted(value string) string { return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'" }

// plainWord and plainOperand match arguments that need no quotes. The first word of a command must not contain =, because the shell would
// set a variable. No other word must begin with =, because zsh would look up a command.
var (
	plainWord    = regexp.MustCompile(`^[\w@%+:,./-]+$`)
	plainOperand = regexp.MustCompile(`^[\w@%+:,./-][\w@%+:,./=-]*$`)
)

// Command returns a line that a POSIX shell reads as these arguments, for users to copy. Control characters are written as
// [Printable] writes them, so that the result is one line. AWS and Kubernetes accept no names with control characters.
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

// Printable replaces each character that may control a terminal (control characters, line breaks, text direction) by its
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
