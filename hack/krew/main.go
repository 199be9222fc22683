// Command krew builds the kubectl plugin for all platforms, as archives that krew installs, and writes the manifest that says where
// they are and what their sums are.
//
//	make krew VERSION=v0.1.0 KREW_URL=https://example.com/releases/v0.1.0
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
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
)

func main() {
	r := release{build: build}
	flag.StringVar(&r.version, "version", "", "the release, such as v0.1.0")
	flag.StringVar(&r.url, "url", "", "`URL` of the folder that the archives will be in")
	flag.StringVar(&r.out, "out", filepath.Join("bin", "krew"), "`folder` to write to")
	flag.Parse()
	if err := r.write(filepath.Join("config", "krew", "rolecred.yaml"), "LICENSE"); err != nil {
		fmt.Fprintln(os.Stderr, "krew:", err)
		os.Exit(1)
	}
}

// release is one of the plugin.
type release struct {
	version, url, out string
	// build builds the plugin for a platform, at a path.
	build func(path, version string, p platform) error
}

// platform is one that the manifest names.
type platform struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
}

// semver is what krew takes for a version, with the v before it.
var semver = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

// write builds an archive for each platform of a manifest, with a license in it, and writes the manifest that names them.
func (r release) write(manifestFile, licenseFile string) error {
	if !semver.MatchString(r.version) {
		return fmt.Errorf("VERSION %q is none that krew takes: it is to be such as v0.1.0", r.version)
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

// add builds the archive of a platform, and says in the manifest where it is.
func (r release) add(p *manifestPlatform, license []byte) error {
	where := p.Selector.MatchLabels
	program := filepath.Join(r.out, where.OS+"_"+where.Arch, p.Bin)
	if err := r.build(program, r.version, where); err != nil {
		return fmt.Errorf("building for %s/%s: %w", where.OS, where.Arch, err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	packed, err := archive([]file{{p.Bin, 0o755, content}, {"LICENSE", 0o644, license}})
	if err != nil {
		return err
	}
	name := fmt.Sprintf("kubectl-rolecred_%s_%s_%s.tar.gz", r.version, where.OS, where.Arch)
	sum := sha256.Sum256(packed)
	p.URI, p.SHA256 = strings.TrimSuffix(r.url, "/")+"/"+name, hex.EncodeToString(sum[:])
	return os.WriteFile(filepath.Join(r.out, name), packed, 0o644)
}

// manifest is what krew reads (krew documentation, 'Writing Krew plugin manifests').
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

// archive packs files, the same ones always into the same bytes.
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
