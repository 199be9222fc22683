// Command credential-process lets an SDK read credential_process.json in an image that has neither a shell nor cat.
//
// Most SDKs run what a profile names as `sh -c 'cat FILE'`, some as `cat FILE`. An init container has `credential-process install
// DIR` put this program into a folder under those two names, and mounts it as /bin/sh and /bin/cat: see docs/formats.md. It prints
// that one file and runs nothing, so that an image without a shell remains one.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Args, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, filepath.Base(os.Args[0])+":", err)
		os.Exit(1)
	}
}

// run does what the program is called as.
func run(args []string, out io.Writer) error {
	switch name := filepath.Base(args[0]); {
	case name == "sh":
		return shell(args[1:], out)
	case name == "cat" && len(args) == 2:
		return show(args[1], out)
	case name == "cat":
		return errors.New("this is not cat, but credential-process: it prints just one file")
	case len(args) == 3 && args[1] == "install":
		return install(args[2])
	default:
		return errors.New("usage: credential-process install DIR")
	}
}

// shell runs `-c 'cat FILE'`, and nothing else. The C library's popen has -- before the command, and the SDK for C++ 2>&1 at its
// end.
func shell(args []string, out io.Writer) error {
	if len(args) == 3 && args[1] == "--" {
		args = []string{args[0], args[2]}
	}
	if len(args) == 2 && args[0] == "-c" {
		words := strings.Fields(strings.TrimSuffix(args[1], " 2>&1"))
		if len(words) == 2 && words[0] == "cat" && !strings.ContainsAny(words[1], "\"'`\\$&|;<>()*?[]#~!{}") {
			return show(words[1], out)
		}
	}
	return errors.New("this is not a shell, but credential-process: it runs just -c 'cat FILE'")
}

func show(file string, out io.Writer) error {
	text, err := os.ReadFile(file) //nolint:gosec // the file that it is told to
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// install puts the program into a folder, as sh and as cat.
func install(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(self) //nolint:gosec // itself
	if err != nil {
		return err
	}
	for _, name := range []string{"sh", "cat"} {
		if err := os.WriteFile(filepath.Join(dir, name), program, 0o755); err != nil { //nolint:gosec // another user runs it
			return err
		}
	}
	return nil
}
