package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// Programs that a release has archives of.
const (
	plugin            = "kubectl-rolecred"
	credentialProcess = "credential-process"
)

// archives are the archives of the programs that run outside the cluster, one for each program and platform.
type archives struct {
	version, url, out string
	// build writes the program of a package in cmd to a file.
	build func(ctx context.Context, file, pkg, version string, p platform) error
}

// platform is an operating system and an architecture, in the words of Go and of krew.
type platform struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
}

// file returns the name of a program's file.
func (p platform) file(program string) string {
	if p.OS == "windows" {
		return program + ".exe"
	}
	return program
}

func archiveName(program, version string, p platform) string {
	return fmt.Sprintf("%s_%s_%s_%s.tar.gz", program, version, p.OS, p.Arch)
}

// write writes the archives for the platforms of a krew manifest, and the manifest with their URLs and checksums.
func (a archives) write(ctx context.Context, manifestFile, licenseFile string) error {
	if err := validVersion(a.version); err != nil {
		return err
	}
	if !strings.HasPrefix(a.url, "https://") {
		return errors.New("KREW_URL must be the https:// URL of the folder that the archives will be in")
	}
	license, err := os.ReadFile(licenseFile)
	if err != nil {
		return err
	}
	m, err := readManifest(manifestFile)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(a.out, 0o755); err != nil {
		return err
	}
	m.Spec.Version = a.version
	for i := range m.Spec.Platforms {
		p := &m.Spec.Platforms[i]
		if _, _, err := a.pack(ctx, credentialProcess, p.Selector.MatchLabels, license); err != nil {
			return err
		}
		name, sum, err := a.pack(ctx, plugin, p.Selector.MatchLabels, license)
		if err != nil {
			return err
		}
		p.URI, p.SHA256 = strings.TrimSuffix(a.url, "/")+"/"+name, sum
	}
	written, err := yaml.Marshal(m)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(a.out, m.Metadata.Name+".yaml"), written, 0o644)
}

// pack builds a program and writes its archive, and returns the archive's name and SHA-256.
func (a archives) pack(ctx context.Context, program string, p platform, license []byte) (name, sum string, err error) {
	scratch, err := os.MkdirTemp("", "release-")
	if err != nil {
		return "", "", err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	built := filepath.Join(scratch, p.file(program))
	if err := a.build(ctx, built, "./cmd/"+program, a.version, p); err != nil {
		return "", "", fmt.Errorf("building %s for %s/%s: %w", program, p.OS, p.Arch, err)
	}
	content, err := os.ReadFile(built)
	if err != nil {
		return "", "", err
	}
	packed, err := archive([]file{{p.file(program), 0o755, content}, {"LICENSE", 0o644, license}})
	if err != nil {
		return "", "", err
	}
	name = archiveName(program, a.version, p)
	digest := sha256.Sum256(packed)
	return name, hex.EncodeToString(digest[:]), os.WriteFile(filepath.Join(a.out, name), packed, 0o644)
}

// manifest is the manifest of a krew plugin (krew documentation, 'Writing Krew plugin manifests').
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

func readManifest(path string) (m manifest, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return m, err
	}
	if err := yaml.UnmarshalStrict(text, &m); err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

type file struct {
	name    string
	mode    int64
	content []byte
}

// archive returns a .tar.gz of the files, without times and owners.
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

func build(ctx context.Context, file, pkg, version string, p platform) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.version="+version, "-o", file, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.OS, "GOARCH="+p.Arch)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
