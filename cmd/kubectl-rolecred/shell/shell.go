// Package shell writes commands that shells read as they were meant. It is pure.
package shell

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
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

// plain is what no shell makes anything of. An = at the beginning is a command's path to zsh, and one in the first word a variable
// that is set.
var plain = regexp.MustCompile(`^[\w@%+:,./-]+$`)

// Quote writes arguments as a POSIX shell reads them.
func Quote(args []string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = arg
		if !plain.MatchString(arg) {
			words[i] = quoted(arg)
		}
	}
	return strings.Join(words, " ")
}
