package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// semver is a semantic version after a v, which krew and Helm accept.
var semver = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

func validVersion(version string) error {
	if !semver.MatchString(version) {
		return fmt.Errorf("VERSION is %q: want a semantic version, such as v0.1.0", version)
	}
	return nil
}

// check refuses a release of something else than the commit with the version's tag. anything permits changed files and other commits.
func check(ctx context.Context, dir, version string, anything bool) error {
	if err := validVersion(version); err != nil || anything {
		return err
	}
	changed, err := git(ctx, dir, "status", "--porcelain")
	if err != nil {
		return err
	}
	if changed != "" {
		return fmt.Errorf("files differ from the commit; commit or remove them, or try a release with RELEASE_ANY=1:\n%s", changed)
	}
	tags, err := git(ctx, dir, "tag", "--points-at", "HEAD")
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(tags), version) {
		return fmt.Errorf("HEAD has no tag %s; check the tag out, or try a release with RELEASE_ANY=1", version)
	}
	return nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return string(output), nil
}

// platforms of the archives.
var platforms = []platform{
	{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}, {"windows", "arm64"},
}

// releaseFiles returns the names of all files of a release except the checksums and their signature.
func releaseFiles(version string) []string {
	files := []string{
		"image.tar", "install.yaml", chartFile(strings.TrimPrefix(version, "v")), "rolecred.yaml",
		"manager.cdx.json", plugin + ".cdx.json", credentialProcess + ".cdx.json",
	}
	for _, p := range platforms {
		files = append(files, archiveName(plugin, version, p), archiveName(credentialProcess, version, p))
	}
	slices.Sort(files)
	return files
}

// writeChecksums writes checksums.txt in the format of sha256sum. The folder must contain the files of the release and no others.
func writeChecksums(dir, version string) error {
	if err := validVersion(version); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	wrong := map[string]string{}
	for _, name := range releaseFiles(version) {
		wrong[name] = name + " is missing"
	}
	var text strings.Builder
	for _, entry := range entries {
		if _, ok := wrong[entry.Name()]; !ok {
			wrong[entry.Name()] = entry.Name() + " is not a part of a release"
			continue
		}
		delete(wrong, entry.Name())
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		fmt.Fprintf(&text, "%s  %s\n", hex.EncodeToString(sum[:]), entry.Name())
	}
	if len(wrong) > 0 {
		return fmt.Errorf("in %s: %s", dir, strings.Join(slices.Sorted(maps.Values(wrong)), ", "))
	}
	return os.WriteFile(filepath.Join(dir, "checksums.txt"), []byte(text.String()), 0o644)
}
