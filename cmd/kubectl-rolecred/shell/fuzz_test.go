package shell_test

import (
	"os/exec"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/shell"
)

// FuzzQuote lets a shell read a variable and arguments with any text. The variable must be unchanged, and so must the printable form of
// each argument.
func FuzzQuote(f *testing.F) {
	f.Fuzz(func(t *testing.T, value, first, second string) {
		if strings.Contains(value+first+second, "\x00") {
			t.Skip("variables and arguments cannot contain NUL")
		}
		script := shell.Export(shell.POSIX, "VALUE", value) + "\n" + `printf '%s\0' "$VALUE" ` + shell.Command("--", first, second)
		read, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
		g := NewWithT(t)
		g.Expect(err).NotTo(HaveOccurred(), string(read))
		g.Expect(strings.Split(string(read), "\x00")).To(Equal([]string{value, "--", shell.Printable(first), shell.Printable(second), ""}))
	})
}
