package docs_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// waitLimit bounds a block of commands.
const waitLimit = 90 * time.Second

// TestShownCommandsWork runs the commands without a mark, one block of a page after the other, on a cluster with the operator
// only.
func TestShownCommandsWork(t *testing.T) {
	g := NewWithT(t)
	ran := 0
	for _, p := range pages(t) {
		if !slices.ContainsFunc(p.blocks, block.runs) {
			continue
		}
		ran++
		t.Run(p.path, func(t *testing.T) {
			t.Cleanup(func() { empty(t) })
			sh := newShell(t)
			for _, b := range p.blocks {
				switch {
				case b.language == "yaml":
					// The page refers to its last manifest by this name.
					sh.write("example.yaml", b.text)
				case b.runs():
					printed, err := sh.run(b.filled())
					NewWithT(t).Expect(err).NotTo(HaveOccurred(), "%s:%d:\n%s\nprints\n%s", p.path, b.line, b.filled(), printed)
				}
			}
		})
	}
	g.Expect(ran).To(BeNumerically(">", 8))
}

// shell runs commands in its own folder, like a user with the cluster's kubeconfig, a clone's manifests, the plugin, and the access key of
// an IAM user in two files. samples.sh is for the prerequisites of pages.
type shell struct {
	t           *testing.T
	folder      string
	environment []string
}

func newShell(t *testing.T) shell {
	t.Helper()
	g := NewWithT(t)
	s := shell{t: t, folder: t.TempDir()}
	home, bin := t.TempDir(), t.TempDir()
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	kubectl, err := filepath.Abs(filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.Symlink(self, filepath.Join(bin, pluginName))).To(Succeed())
	g.Expect(os.Symlink(kubectl, filepath.Join(bin, "kubectl"))).To(Succeed())
	clone, err := filepath.Abs(root)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.Symlink(filepath.Join(clone, "config"), filepath.Join(s.folder, "config"))).To(Succeed())
	g.Expect(os.Symlink(filepath.Join(clone, "docs", "testdata", "samples.sh"), filepath.Join(s.folder, "samples.sh"))).To(Succeed())
	key := sts.AccessKeys("arn:aws:iam::210987654321:user/operator")[0]
	for _, file := range []string{"bootstrap.env", "iam-user.env"} {
		s.write(file, fmt.Sprintf("AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n", key.ID, key.Secret))
	}
	kubeconfig := filepath.Join(home, "kubeconfig")
	admin, err := os.ReadFile(cluster.Kubeconfig)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(kubeconfig, admin, 0o600)).To(Succeed())
	g.Expect(os.MkdirAll(filepath.Join(home, ".local", "bin"), 0o700)).To(Succeed())
	s.environment = []string{"HOME=" + home, "KUBECONFIG=" + kubeconfig, "SHELL=/bin/bash", "PATH=" + bin + ":/usr/bin:/bin"}
	return s
}

func (s shell) write(file, text string) {
	s.t.Helper()
	NewWithT(s.t).Expect(os.WriteFile(filepath.Join(s.folder, file), []byte(text), 0o600)).To(Succeed())
}

// run runs commands until the first failure, and returns their output.
func (s shell) run(commands string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), waitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", commands)
	cmd.Dir, cmd.Env = s.folder, s.environment
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	printed, err := cmd.CombinedOutput()
	return string(printed), err
}

var (
	makeTarget = regexp.MustCompile(`(?m)^(?:[A-Z_0-9]+=\S+ )*make ([a-z0-9-]+(?: [a-z0-9-]+)*)`)
	goTest     = regexp.MustCompile(`go test .*-run '?(\w+)'? \./(\S+)`)
	ofClone    = regexp.MustCompile(`(?:^|\s)((?:config|hack|\.ci)/[\w./-]+)`)
)

// TestOtherCommandsParseAndNameExistingFiles checks the other commands: the shell must parse them, and what they name in this repository
// must exist.
func TestOtherCommandsParseAndNameExistingFiles(t *testing.T) {
	g := NewWithT(t)
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	g.Expect(err).NotTo(HaveOccurred())
	looked := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.language != "sh" || b.runs() {
				continue
			}
			looked++
			where := fmt.Sprintf("%s:%d", p.path, b.line)
			printed, err := exec.CommandContext(t.Context(), "bash", "-n", "-c", b.text).CombinedOutput()
			g.Expect(err).NotTo(HaveOccurred(), "%s: %s", where, printed)
			for _, targets := range makeTarget.FindAllStringSubmatch(b.text, -1) {
				for target := range strings.FieldsSeq(targets[1]) {
					g.Expect(strings.Contains(string(makefile), "\n"+target+":")).To(BeTrue(), "%s: make %s", where, target)
				}
			}
			for _, path := range ofClone.FindAllStringSubmatch(b.text, -1) {
				g.Expect(filepath.Join(root, path[1])).To(Or(BeAnExistingFile(), BeADirectory()), where)
			}
			for _, test := range goTest.FindAllStringSubmatch(b.text, -1) {
				listed, err := exec.CommandContext(t.Context(), "grep", "-r", "--include=*_test.go", "func "+test[1]+"(", filepath.Join(root, test[2])).CombinedOutput()
				g.Expect(err).NotTo(HaveOccurred(), "%s: %s%s", where, test[1], listed)
			}
		}
	}
	g.Expect(looked).To(BeNumerically(">", 8))
}

var prompt = regexp.MustCompile(`(?m)^\$ (.*)$`)

// TestShownOutputWasRecorded compares the examples of output with their recordings: the plugin's session page, and the demo's
// steps.
func TestShownOutputWasRecorded(t *testing.T) {
	g := NewWithT(t)
	recorded := map[string]string{}
	for name, file := range map[string]string{"plugin": "docs/plugin-session.md", "demo": "hack/demo/tour.go"} {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		g.Expect(err).NotTo(HaveOccurred())
		recorded[name] = string(text)
	}
	steps := len(regexp.MustCompile(`\{".*", \(\*demo\)\.\w+\},`).FindAllString(recorded["demo"], -1))
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.language != "console" || p.path == "docs/plugin-session.md" {
				continue
			}
			if b.has("plugin") {
				for _, command := range prompt.FindAllString(b.text, -1) {
					g.Expect(recorded["plugin"]).To(ContainSubstring("\n"+command+"\n"), "%s:%d", p.path, b.line)
				}
				continue
			}
			titles := regexp.MustCompile(`(?m)^== (\d+)/(\d+) (.*)$`).FindAllStringSubmatch(b.text, -1)
			g.Expect(titles).NotTo(BeEmpty(), "%s:%d", p.path, b.line)
			for _, title := range titles {
				g.Expect(title[2]).To(Equal(fmt.Sprint(steps)))
				g.Expect(recorded["demo"]).To(ContainSubstring(`{"`+title[3]+`", `), "%s:%d", p.path, b.line)
			}
		}
	}
}
