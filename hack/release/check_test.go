package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// repository returns a git repository whose only commit has the tag v0.1.0.
func repository(t *testing.T) string {
	t.Helper()
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(dir, "file"), []byte("committed"), 0o600)).To(Succeed())
	for _, args := range [][]string{{"init", "--quiet"}, {"add", "file"}, {"commit", "--quiet", "--message=first"}, {"tag", "v0.1.0"}} {
		runGit(t, dir, args...)
	}
	return dir
}

func runGit(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), string(output))
}

func TestReleaseNeedsTheTaggedCommitWithoutChanges(t *testing.T) {
	for name, tc := range map[string]struct {
		version  string
		change   func(t *testing.T, dir string)
		anything bool
		want     string // in the error; empty for none
	}{
		"the tagged commit":        {version: "v0.1.0"},
		"another version":          {version: "v0.2.0", want: "HEAD has no tag v0.2.0"},
		"a version without a v":    {version: "0.1.0", want: "semantic version"},
		"a changed file":           {version: "v0.1.0", change: change("file"), want: "M file"},
		"a file that is not known": {version: "v0.1.0", change: change("other"), want: "?? other"},
		"a later commit": {version: "v0.1.0", want: "HEAD has no tag", change: func(t *testing.T, dir string) {
			t.Helper()
			runGit(t, dir, "commit", "--quiet", "--allow-empty", "--message=second")
		}},
		"a changed file and another version, to try": {version: "v0.2.0", change: change("file"), anything: true},
		"no version, to try":                         {version: "dev", anything: true, want: "semantic version"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			dir := repository(t)
			if tc.change != nil {
				tc.change(t, dir)
			}
			err := check(t.Context(), dir, tc.version, tc.anything)
			if tc.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(MatchError(ContainSubstring(tc.want)))
			}
		})
	}
}

func change(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		NewWithT(t).Expect(os.WriteFile(filepath.Join(dir, name), []byte("changed"), 0o600)).To(Succeed())
	}
}

func TestChecksumsCoverExactlyTheFilesOfARelease(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	for _, name := range releaseFiles("v0.1.0") {
		g.Expect(os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600)).To(Succeed())
	}
	g.Expect(writeChecksums(dir, "v0.1.0")).To(Succeed())
	text, err := os.ReadFile(filepath.Join(dir, "checksums.txt"))
	g.Expect(err).NotTo(HaveOccurred())
	var listed []string
	for line := range strings.Lines(string(text)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		g.Expect(sum).To(Equal(fmt.Sprintf("%x", sha256.Sum256([]byte(name)))))
		listed = append(listed, name)
	}
	g.Expect(listed).To(Equal(releaseFiles("v0.1.0")))

	g.Expect(writeChecksums(dir, "v0.1.0")).To(MatchError(ContainSubstring("checksums.txt is not a part of a release")))
	g.Expect(os.Remove(filepath.Join(dir, "checksums.txt"))).To(Succeed())
	g.Expect(os.Remove(filepath.Join(dir, "install.yaml"))).To(Succeed())
	g.Expect(writeChecksums(dir, "v0.1.0")).To(MatchError(ContainSubstring("install.yaml is missing")))
}

func TestDocumentedFilesAreTheFilesOfARelease(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "releasing.md"))
	g.Expect(err).NotTo(HaveOccurred())
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, expand(row[1])...)
	}
	g.Expect(documented).To(ConsistOf(append(releaseFiles("v0.1.0"), "checksums.txt", "checksums.txt.sigstore.json")))
}

// expand replaces the placeholders VERSION, OS and ARCH in a documented name.
func expand(name string) (names []string) {
	name = strings.NewReplacer("vVERSION", "v0.1.0", "VERSION", "0.1.0").Replace(name)
	if !strings.Contains(name, "OS_ARCH") {
		return []string{name}
	}
	for _, p := range platforms {
		names = append(names, strings.ReplaceAll(name, "OS_ARCH", p.OS+"_"+p.Arch))
	}
	return names
}
