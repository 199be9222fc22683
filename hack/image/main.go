// Command image builds Go programs and packs them into a container image, with no daemon and no registry:
//
//	go run ./hack/image -name rolecredential:v1.0.0 -o image.tar ./cmd/manager ./cmd/credential-process
//
// The image holds the programs alone, statically linked, for each platform, and runs the first as a user who is not root. It is
// written as an OCI archive, which `ctr images import`, `skopeo copy oci-archive:...` and others take. It depends on nothing but
// the source, the flags and the Go toolchain: two builds have one digest, which is printed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// nonRoot is the user that images without a base are given by custom, by number, so that Kubernetes can see that it is not root.
const nonRoot = "65532:65532"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
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
			program, err := f.build(ctx, pkg, platform)
			if err != nil {
				return err
			}
			v.files = append(v.files, file{path: "/" + path.Base(pkg), content: program})
		}
		img.config.Entrypoint = []string{v.files[0].path}
		img.variants = append(img.variants, v)
	}
	return write(f.output, img, out)
}

// build returns the program of a package for a platform.
func (f flags) build(ctx context.Context, pkg string, platform v1.Platform) ([]byte, error) {
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program := filepath.Join(dir, "program")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", f.tags, "-ldflags", f.ldflags, "-o", program, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+platform.OS, "GOARCH="+platform.Architecture)
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building %s for %s/%s: %w\n%s", pkg, platform.OS, platform.Architecture, err, said)
	}
	return os.ReadFile(program)
}

// write writes the archive beside its place and moves it there, so that what bears its name is whole.
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
