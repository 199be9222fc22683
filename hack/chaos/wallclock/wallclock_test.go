package wallclock_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/chaos/wallclock"
)

// program prints, for each line of its input, the minutes since the last one by its wall clock and by its monotonic clock.
const program = `package main

import (
	"bufio"
	"fmt"
	"os"
	"time"
)

func main() {
	last := time.Now()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		now := time.Now()
		fmt.Println(int(now.Round(0).Sub(last.Round(0)).Minutes()), int(now.Sub(last).Minutes()))
		last = now
	}
}
`

func TestSetOffsetShiftsOnlyTheWallClockOfOneProcess(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module program\n\ngo 1.26\n"), 0o600)).To(Succeed())
	binary := filepath.Join(dir, "program")
	g.Expect(wallclock.Build(dir, ".", binary)).To(Succeed())
	clock, err := wallclock.New(filepath.Join(dir, "clock"))
	g.Expect(err).NotTo(HaveOccurred())

	before := time.Now().Round(0)
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Env = []string{clock.Environment()}
	in, err := cmd.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	out, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Start()).To(Succeed())
	lines := bufio.NewScanner(out)
	passed := func() (wall, monotonic int) {
		_, err := io.WriteString(in, "\n")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(lines.Scan()).To(BeTrue())
		_, err = fmt.Sscan(lines.Text(), &wall, &monotonic)
		g.Expect(err).NotTo(HaveOccurred())
		return wall, monotonic
	}
	_, _ = passed()
	offset := 0
	for _, to := range []int{-10, 0, 10, 0} {
		g.Expect(clock.SetOffset(time.Duration(to) * time.Minute)).To(Succeed())
		wall, monotonic := passed()
		g.Expect(wall).To(BeNumerically("~", to-offset, 1))
		g.Expect(monotonic).To(BeNumerically("<", 5))
		offset = to
	}
	g.Expect(time.Since(before).Minutes()).To(BeNumerically("<", 5), "the machine's clock is unchanged")
	g.Expect(in.Close()).To(Succeed())
	g.Expect(cmd.Wait()).To(Succeed())
}
