package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"
)

var (
	manifestFile = filepath.Join("..", "..", "config", "krew", "rolecred.yaml")
	licenseFile  = filepath.Join("..", "..", "LICENSE")
)

// fakeBuild builds a program with its platform as the content.
func fakeBuild(path, version string, p platform) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(version+" "+p.OS+" "+p.Arch), 0o600)
}

func written(t *testing.T) (string, manifest) {
	t.Helper()
	g := NewWithT(t)
	r := release{version: "v1.2.3", url: "https://example.com/v1.2.3/", out: t.TempDir(), build: fakeBuild}
	g.Expect(r.write(manifestFile, licenseFile)).To(Succeed())
	text, err := os.ReadFile(filepath.Join(r.out, "rolecred.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	var m manifest
	g.Expect(yaml.UnmarshalStrict(text, &m)).To(Succeed())
	return r.out, m
}

// What krew demands of a manifest (krew documentation, 'Writing Krew plugin manifests').
func TestManifestIsValid(t *testing.T) {
	g := NewWithT(t)
	_, m := written(t)
	g.Expect(m.APIVersion).To(Equal("krew.googlecontainertools.github.com/v1alpha2"))
	g.Expect(m.Kind).To(Equal("Plugin"))
	g.Expect(m.Metadata.Name).To(Equal("rolecred"), "the name of the file, and of the verb of kubectl")
	g.Expect(m.Spec.Version).To(MatchRegexp(`^v\d+\.\d+\.\d+$`))
	g.Expect(len(m.Spec.ShortDescription)).To(BeNumerically("<", 80))
	seen := map[platform]bool{}
	for _, p := range m.Spec.Platforms {
		where := p.Selector.MatchLabels
		g.Expect(seen[where]).To(BeFalse(), "each platform once")
		seen[where] = true
		g.Expect(p.URI).To(Equal("https://example.com/v1.2.3/kubectl-rolecred_v1.2.3_" + where.OS + "_" + where.Arch + ".tar.gz"))
		g.Expect(p.Bin).To(HavePrefix("kubectl-rolecred"))
		g.Expect(p.SHA256).To(HaveLen(64))
	}
	g.Expect(seen).To(HaveKey(platform{"linux", "amd64"}))
	g.Expect(seen).To(HaveKey(platform{"windows", "amd64"}))
}

func TestArchiveMatchesItsChecksumAndContainsThePlugin(t *testing.T) {
	g := NewWithT(t)
	dir, m := written(t)
	for _, p := range m.Spec.Platforms {
		packed, err := os.ReadFile(filepath.Join(dir, filepath.Base(p.URI)))
		g.Expect(err).NotTo(HaveOccurred())
		sum := sha256.Sum256(packed)
		g.Expect(hex.EncodeToString(sum[:])).To(Equal(p.SHA256))
		files := unpacked(t, packed)
		g.Expect(files).To(HaveKeyWithValue(p.Bin, "v1.2.3 "+p.Selector.MatchLabels.OS+" "+p.Selector.MatchLabels.Arch))
		g.Expect(files["LICENSE"]).To(ContainSubstring("Apache License"))
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

func TestSameFilesGiveTheSameArchive(t *testing.T) {
	g := NewWithT(t)
	_, first := written(t)
	_, second := written(t)
	g.Expect(first).To(Equal(second))
}

func TestInvalidReleasesAreRejected(t *testing.T) {
	for name, r := range map[string]release{
		"a version without a v": {version: "1.2.3", url: "https://example.com"},
		"a commit":              {version: "0a33752-dirty", url: "https://example.com"},
		"no URL":                {version: "v1.2.3"},
		"a URL without TLS":     {version: "v1.2.3", url: "http://example.com"},
		"a build that fails":    {version: "v1.2.3", url: "https://example.com", out: t.TempDir(), build: func(string, string, platform) error { return errors.New("no") }},
	} {
		t.Run(name, func(t *testing.T) { NewWithT(t).Expect(r.write(manifestFile, licenseFile)).NotTo(Succeed()) })
	}
}
