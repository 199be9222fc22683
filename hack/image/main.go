// Command image builds Go programs and packs them into a container image, without a daemon or a registry:
//
//	go run ./hack/image -name rolecredential:v1.0.0 -o image.tar ./cmd/manager ./cmd/credential-process
//
// The image contains only the programs, statically linked, for each platform. It runs the first one as a user other than root. The output
// is an OCI archive, which `ctr images import`, `skopeo copy oci-archive:...` and others read. It depends only on the source, the flags and
// the Go toolchain: two builds have the same digest, which it prints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"rolecredential.dev/operator/hack/program"
)

// nonRoot is the conventional user of images without a base. It is a number, so that Kubernetes can verify that it is not root.
const nonRoot = "65532:65532"

func main() {
	program.Main("image", func(ctx context.Context, args []string) error { return run(ctx, args, os.Stdout) })
}

type flags struct {
	name, output  string
	tags, ldflags string
	platforms     []v1.Platform
	labels        map[string]string
	packages      []string
}

func parse(args []string) (flags, error) {
	f := flags{labels: map[string]string{}}
	set := flag.NewFlagSet("image", flag.ContinueOnError)
	set.StringVar(&f.name, "name", "", "`name` and tag of the image")
	set.StringVar(&f.output, "o", "", "`file` to write the OCI archive to")
	set.StringVar(&f.tags, "tags", "", "comma-separated `list` of build tags")
	set.StringVar(&f.ldflags, "ldflags", "-s -w", "`flags` of the Go linker")
	platforms := set.String("platforms", "linux/amd64,linux/arm64", "comma-separated `list` of platforms")
	set.Func("label", "`key=value` to label the image with; may be given more than once", func(text string) error {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return errors.New("want key=value")
		}
		f.labels[key] = value
		return nil
	})
	if err := set.Parse(args); err != nil {
		return flags{}, err
	}
	for text := range strings.SplitSeq(*platforms, ",") {
		system, architecture, ok := strings.Cut(text, "/")
		if !ok || system == "" || architecture == "" {
			return flags{}, fmt.Errorf("platform %q: want one such as linux/amd64", text)
		}
		f.platforms = append(f.platforms, v1.Platform{OS: system, Architecture: architecture})
	}
	if f.name == "" || f.output == "" || set.NArg() == 0 {
		return flags{}, errors.New("no -name, -o or package: usage is image -name NAME -o FILE [flags] PACKAGE")
	}
	f.packages = set.Args()
	return f, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f, err := parse(args)
	if err != nil {
		return err
	}
	img := image{name: f.name, config: v1.ImageConfig{User: nonRoot, WorkingDir: "/", Labels: f.labels}}
	for _, platform := range f.platforms {
		v := variant{platform: platform}
		for _, pkg := range f.packages {
			binary, err := f.build(ctx, pkg, platform)
			if err != nil {
				return err
			}
			v.files = append(v.files, file{path: "/" + path.Base(pkg), content: binary})
		}
		img.config.Entrypoint = []string{v.files[0].path}
		img.variants = append(img.variants, v)
	}
	return write(f.output, img, out)
}

// build builds a package for a platform, and returns the program.
func (f flags) build(ctx context.Context, pkg string, platform v1.Platform) ([]byte, error) {
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "program")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", f.tags, "-ldflags", f.ldflags, "-o", binary, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+platform.OS, "GOARCH="+platform.Architecture)
	if output, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building %s for %s/%s: %w\n%s", pkg, platform.OS, platform.Architecture, err, output)
	}
	return os.ReadFile(binary)
}

// write writes the archive under a temporary name and renames it, so that the output is always complete.
func write(output string, img image, out io.Writer) (err error) {
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return err
	}
	unfinished, err := os.Create(output + ".unfinished")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(unfinished.Name())
		}
	}()
	sum, err := writeArchive(unfinished, img)
	if err := errors.Join(err, unfinished.Close()); err != nil {
		return err
	}
	if err := os.Rename(unfinished.Name(), output); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s@%s in %s\n", img.name, sum, output)
	return err
}
