// Command krew builds the kubectl plugin's archives for all platforms, and the krew manifest with their URLs and checksums.
//
//	make krew VERSION=v0.1.0 KREW_URL=https://example.com/releases/v0.1.0
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/hack/program"
)

func main() {
	program.Main("krew", run)
}

func run(_ context.Context, args []string) error {
	r := release{build: build}
	set := flag.NewFlagSet("krew", flag.ContinueOnError)
	set.StringVar(&r.version, "version", "", "the release, such as v0.1.0")
	set.StringVar(&r.url, "url", "", "`URL` of the folder that the archives will be in")
	set.StringVar(&r.out, "out", filepath.Join("bin", "krew"), "`folder` to write to")
	if err := set.Parse(args); err != nil {
		return err
	}
	return r.write(filepath.Join("config", "krew", "rolecred.yaml"), "LICENSE")
}

// release is a release of the plugin.
type release struct {
	version, url, out string
	// build builds the plugin for a platform.
	build func(path, version string, p platform) error
}

// platform is a platform of the manifest.
type platform struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
}

// semver is krew's format of a version.
var semver = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

// write builds an archive for each platform of a manifest, and writes the manifest with their URLs and checksums.
func (r release) write(manifestFile, licenseFile string) error {
	if !semver.MatchString(r.version) {
		return fmt.Errorf("krew rejects the VERSION %q: use one such as v0.1.0", r.version)
	}
	if !strings.HasPrefix(r.url, "https://") {
		return errors.New("KREW_URL must be the https:// URL of the folder that the archives will be in")
	}
	text, err := os.ReadFile(manifestFile)
	if err != nil {
		return err
	}
	license, err := os.ReadFile(licenseFile)
	if err != nil {
		return err
	}
	var m manifest
	if err := yaml.UnmarshalStrict(text, &m); err != nil {
		return fmt.Errorf("%s: %w", manifestFile, err)
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	m.Spec.Version = r.version
	for i := range m.Spec.Platforms {
		if err := r.add(&m.Spec.Platforms[i], license); err != nil {
			return err
		}
	}
	written, err := yaml.Marshal(m)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, m.Metadata.Name+".yaml"), written, 0o644)
}

// add builds the archive of a platform, and sets its URL and checksum in the manifest.
func (r release) add(p *manifestPlatform, license []byte) error {
	target := p.Selector.MatchLabels
	path := filepath.Join(r.out, target.OS+"_"+target.Arch, p.Bin)
	if err := r.build(path, r.version, target); err != nil {
		return fmt.Errorf("building for %s/%s: %w", target.OS, target.Arch, err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	packed, err := archive([]file{{p.Bin, 0o755, content}, {"LICENSE", 0o644, license}})
	if err != nil {
		return err
	}
	name := fmt.Sprintf("kubectl-rolecred_%s_%s_%s.tar.gz", r.version, target.OS, target.Arch)
	sum := sha256.Sum256(packed)
	p.URI, p.SHA256 = strings.TrimSuffix(r.url, "/")+"/"+name, hex.EncodeToString(sum[:])
	return os.WriteFile(filepath.Join(r.out, name), packed, 0o644)
}

// manifest is a krew manifest (krew documentation, 'Writing Krew plugin manifests').
type manifest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string             `json:"version"`
		Homepage         string             `json:"homepage"`
		ShortDescription string             `json:"shortDescription"`
		Description      string             `json:"description"`
		Caveats          string             `json:"caveats"`
		Platforms        []manifestPlatform `json:"platforms"`
	} `json:"spec"`
}

type manifestPlatform struct {
	Selector struct {
		MatchLabels platform `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
	Bin    string `json:"bin"`
}

type file struct {
	name    string
	mode    int64
	content []byte
}

// archive returns a compressed tar of the files. The same files have the same bytes.
func archive(files []file) ([]byte, error) {
	var packed bytes.Buffer
	compressed := gzip.NewWriter(&packed)
	tape := tar.NewWriter(compressed)
	for _, f := range files {
		if err := tape.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), Format: tar.FormatUSTAR}); err != nil {
			return nil, err
		}
		if _, err := tape.Write(f.content); err != nil {
			return nil, err
		}
	}
	err := errors.Join(tape.Close(), compressed.Close())
	return packed.Bytes(), err
}

func build(path, version string, p platform) error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+version, "-o", path, "./cmd/kubectl-rolecred")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.OS, "GOARCH="+p.Arch)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
