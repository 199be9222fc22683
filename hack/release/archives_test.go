package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
)

var (
	manifestFile = filepath.Join("..", "..", "config", "krew", "rolecred.yaml")
	licenseFile  = filepath.Join("..", "..", "LICENSE")
)

// fakeBuild writes a program whose content names its package, version and platform.
func fakeBuild(_ context.Context, file, pkg, version string, p platform) error {
	return os.WriteFile(file, []byte(pkg+" "+version+" "+p.OS+" "+p.Arch), 0o600)
}

func written(t *testing.T) (string, manifest) {
	t.Helper()
	g := NewWithT(t)
	a := archives{version: "v1.2.3", url: "https://example.com/v1.2.3/", out: t.TempDir(), build: fakeBuild}
	g.Expect(a.write(t.Context(), manifestFile, licenseFile)).To(Succeed())
	m, err := readManifest(filepath.Join(a.out, "rolecred.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	return a.out, m
}

// The rules of the krew documentation, 'Writing Krew plugin manifests'.
func TestManifestFollowsTheRulesOfKrew(t *testing.T) {
	g := NewWithT(t)
	_, m := written(t)
	g.Expect(m.APIVersion).To(Equal("krew.googlecontainertools.github.com/v1alpha2"))
	g.Expect(m.Kind).To(Equal("Plugin"))
	g.Expect(m.Metadata.Name).To(Equal("rolecred"), "the file's name, and kubectl's verb")
	g.Expect(m.Spec.Version).To(MatchRegexp(`^v\d+\.\d+\.\d+$`))
	g.Expect(len(m.Spec.ShortDescription)).To(BeNumerically("<", 80))
	var named []platform
	for _, p := range m.Spec.Platforms {
		where := p.Selector.MatchLabels
		named = append(named, where)
		g.Expect(p.URI).To(Equal("https://example.com/v1.2.3/kubectl-rolecred_v1.2.3_" + where.OS + "_" + where.Arch + ".tar.gz"))
		g.Expect(p.Bin).To(Equal(where.file(plugin)))
		g.Expect(p.SHA256).To(HaveLen(64))
	}
	g.Expect(named).To(ConsistOf(platforms))
}

func TestArchiveHoldsTheProgramAndTheLicense(t *testing.T) {
	dir, m := written(t)
	for _, p := range m.Spec.Platforms {
		where := p.Selector.MatchLabels
		for _, program := range []string{plugin, credentialProcess} {
			t.Run(archiveName(program, "v1.2.3", where), func(t *testing.T) {
				g := NewWithT(t)
				packed, err := os.ReadFile(filepath.Join(dir, archiveName(program, "v1.2.3", where)))
				g.Expect(err).NotTo(HaveOccurred())
				if sum := sha256.Sum256(packed); program == plugin {
					g.Expect(hex.EncodeToString(sum[:])).To(Equal(p.SHA256))
				}
				files := unpacked(t, packed)
				g.Expect(files).To(HaveLen(2))
				g.Expect(files).To(HaveKeyWithValue(where.file(program), "./cmd/"+program+" v1.2.3 "+where.OS+" "+where.Arch))
				g.Expect(files["LICENSE"]).To(ContainSubstring("Apache License"))
			})
		}
	}
}

func unpacked(t *testing.T, packed []byte) map[string]string {
	t.Helper()
	g := NewWithT(t)
	compressed, err := gzip.NewReader(bytes.NewReader(packed))
	g.Expect(err).NotTo(HaveOccurred())
	files := map[string]string{}
	for tape := tar.NewReader(compressed); ; {
		header, err := tape.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		g.Expect(err).NotTo(HaveOccurred())
		content, err := io.ReadAll(tape)
		g.Expect(err).NotTo(HaveOccurred())
		files[header.Name] = string(content)
	}
}

func TestSameProgramsGiveTheSameArchives(t *testing.T) {
	g := NewWithT(t)
	_, first := written(t)
	_, second := written(t)
	g.Expect(first).To(Equal(second), "the manifest contains the checksums")
}

func TestUnsuitableArchivesAreRefused(t *testing.T) {
	failing := func(context.Context, string, string, string, platform) error { return errors.New("compiler") }
	for name, tc := range map[string]struct {
		archives archives
		want     string
	}{
		"a version without a v": {archives: archives{version: "1.2.3", url: "https://example.com"}, want: "semantic version"},
		"a commit":              {archives: archives{version: "0a33752-dirty", url: "https://example.com"}, want: "semantic version"},
		"no URL":                {archives: archives{version: "v1.2.3"}, want: "https://"},
		"a URL without TLS":     {archives: archives{version: "v1.2.3", url: "http://example.com"}, want: "https://"},
		"a build that fails":    {archives: archives{version: "v1.2.3", url: "https://example.com", out: t.TempDir(), build: failing}, want: "for linux/amd64: compiler"},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(tc.archives.write(t.Context(), manifestFile, licenseFile)).To(MatchError(ContainSubstring(tc.want)))
		})
	}
}
