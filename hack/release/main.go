// Command release makes the parts of a release for which there is no other tool. `make release` runs all of its commands:
//
//	release check -version v0.1.0       # refuses changed files, and a version that is not a tag of HEAD
//	release archives -version v0.1.0 -url https://example.com/releases/v0.1.0
//	release chart -version 0.1.0 -image registry.example.com/rolecredential:v0.1.0
//	release checksums -version v0.1.0   # refuses a missing or an extra file
//
// They write to dist, or to the folder in -out. The same source and Go toolchain give the same bytes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"rolecredential.dev/operator/hack/program"
)

func main() {
	program.Main("release", run)
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: release check|archives|chart|checksums -version VERSION [flags]")
	}
	flags := flag.NewFlagSet("release "+args[0], flag.ContinueOnError)
	version := flags.String("version", "", "`version` of the release, such as v0.1.0; of the chart, such as 0.1.0")
	out := flags.String("out", "dist", "`folder` to write to")
	url := flags.String("url", "", "https `URL` of the folder that the archives will be in")
	image := flags.String("image", "", "`image` that the chart installs, with its tag")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "check":
		return check(ctx, ".", *version, os.Getenv("RELEASE_ANY") != "")
	case "archives":
		return archives{version: *version, url: *url, out: *out, build: build}.write(ctx, filepath.Join("config", "krew", "rolecred.yaml"), "LICENSE")
	case "chart":
		return packChart(filepath.Join("config", "chart"), *out, *version, *image)
	case "checksums":
		return writeChecksums(*out, *version)
	}
	return fmt.Errorf("unknown command %q", args[0])
}
