package shell_test

import (
	"os/exec"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/shell"
)

// hostile contains all characters that shells interpret.
const hostile = "a'b\"c$(touch x)`d`\\e\\'f;g&h|i>j<k*l?m~n!o#p%q^r\u2018s\u2019t u\tv\nw${HOME}=x"

func TestExportKeepsValue(t *testing.T) {
	for name, tc := range map[string]struct {
		dialect string
		program []string
		show    string
	}{
		"sh":         {shell.POSIX, []string{"sh", "-c"}, `printf %s "$VALUE"`},
		"bash":       {shell.POSIX, []string{"bash", "-c"}, `printf %s "$VALUE"`},
		"zsh":        {shell.POSIX, []string{"zsh", "-c"}, `printf %s "$VALUE"`},
		"fish":       {shell.Fish, []string{"fish", "-c"}, `printf %s "$VALUE"`},
		"PowerShell": {shell.PowerShell, []string{"pwsh", "-NoProfile", "-Command"}, `[Console]::Out.Write($Env:VALUE)`},
	} {
		t.Run(name, func(t *testing.T) {
			path, err := exec.LookPath(tc.program[0])
			if err != nil {
				t.Skip(tc.program[0] + " is not installed")
			}
			script := shell.Export(tc.dialect, "VALUE", hostile) + "\n" + tc.show
			read, err := exec.CommandContext(t.Context(), path, append(tc.program[1:], script)...).CombinedOutput()
			NewWithT(t).Expect(err).NotTo(HaveOccurred(), string(read))
			NewWithT(t).Expect(string(read)).To(Equal(hostile))
		})
	}
}

// Not every machine has these shells. Their quoting rules are in fish's documentation, 'Quotes', and in PowerShell's,
// 'about_Quoting_Rules'.
func TestExportQuotesForShell(t *testing.T) {
	for name, tc := range map[string]struct{ dialect, value, want string }{
		"sh: escape a quote outside of the quotes": {shell.POSIX, "it's", `export N='it'\''s'`},
		"fish: escape quotes and backslashes":      {shell.Fish, `it's a\b`, `set -gx N 'it\'s a\\b'`},
		"PowerShell: double quotes":                {shell.PowerShell, "it's $x", `$Env:N = 'it''s $x'`},
		"PowerShell: double typographic quotes":    {shell.PowerShell, "a\u2019; b", "$Env:N = 'a\u2019\u2019; b'"},
		"an unknown shell: as in POSIX":            {"tcsh", "x", "export N='x'"},
	} {
		t.Run(name, func(t *testing.T) { NewWithT(t).Expect(shell.Export(tc.dialect, "N", tc.value)).To(Equal(tc.want)) })
	}
}

func TestParseAcceptsNamesAndPaths(t *testing.T) {
	g := NewWithT(t)
	for name, want := range map[string]string{
		"/bin/bash": shell.POSIX, "/usr/bin/zsh": shell.POSIX, "sh": shell.POSIX, "/usr/local/bin/fish": shell.Fish,
		`C:\Program Files\PowerShell\7\pwsh.exe`: shell.PowerShell, "PowerShell": shell.PowerShell, "tcsh": "", "": "",
	} {
		got, known := shell.Parse(name)
		g.Expect(got).To(Equal(want), name)
		g.Expect(known).To(Equal(want != ""), name)
	}
}

func TestCommandQuotesSpecialCharacters(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"plain words and options stay as they are": {[]string{"aws", "--type=merge", "adopt=a/b", "x@y"}, `aws --type=merge adopt=a/b x@y`},
		"JSON, quotes and an empty argument":       {[]string{"aws", `{"a":"it's"}`, ""}, `aws '{"a":"it'\''s"}' ''`},
		"an assignment in place of a command":      {[]string{"a=b"}, `'a=b'`},
		"an argument that begins with =":           {[]string{"a", "=b"}, `a '=b'`},
		"a home directory":                         {[]string{"a", "~b", "b=~c"}, `a '~b' 'b=~c'`},
		"a command substitution and a second one":  {[]string{"a", "$(x);x", "`x`"}, "a '$(x);x' '`x`'"},
		"control characters":                       {[]string{"a", "b\nc", "\x1b[2J\r\u009b"}, `a 'b\nc' '\x1b[2J\r\u009b'`},
		"a text direction":                         {[]string{"a", "b\u202ec"}, `a 'b\u202ec'`},
	} {
		t.Run(name, func(t *testing.T) { NewWithT(t).Expect(shell.Command(tc.args...)).To(Equal(tc.want)) })
	}
}
