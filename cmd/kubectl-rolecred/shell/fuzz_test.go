package shell_test

import (
	"os/exec"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/shell"
)

// FuzzQuote has a shell read a variable and arguments of any text. The variable is the same then, and so is the printable form of
// each argument.
func FuzzQuote(f *testing.F) {
	f.Fuzz(func(t *testing.T, value, first, second string) {
		if strings.Contains(value+first+second, "\x00") {
			t.Skip("no variable and no argument can hold it")
		}
		script := shell.Export(shell.POSIX, "VALUE", value) + "\n" + `printf '%s\0' "$VALUE" ` + shell.Command("--", first, second)
		read, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
		g := NewWithT(t)
		g.Expect(err).NotTo(HaveOccurred(), string(read))
		g.Expect(strings.Split(string(read), "\x00")).To(Equal([]string{value, "--", shell.Printable(first), shell.Printable(second), ""}))
	})
}
