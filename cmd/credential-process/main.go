// Command credential-process lets an SDK read credential_process.json in an image that has neither a shell nor cat.
//
// Most SDKs run the credential_process of a profile as `sh -c 'cat FILE'`, some as `cat FILE`. In an init container, `credential-process
// install DIR` copies this program to a folder under those two names. The pod mounts them as /bin/sh and /bin/cat: see docs/formats.md. The
// program prints one file and starts no process, so the image still has no shell.
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

// run selects the command by the program's name.
func run(args []string, out io.Writer) error {
	switch name := filepath.Base(args[0]); {
	case name == "sh":
		return shell(args[1:], out)
	case name == "cat" && len(args) == 2:
		return show(args[1], out)
	case name == "cat":
		return errors.New("this is credential-process, not cat: it takes exactly one file")
	case len(args) == 3 && args[1] == "install":
		return install(args[2])
	default:
		return errors.New("usage: credential-process install DIR")
	}
}

// shell accepts only `-c 'cat FILE'`. The C library's popen adds -- before the command, and the SDK for C++ adds 2>&1 at its
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
	return errors.New("this is credential-process, not a shell: it accepts only -c 'cat FILE'")
}

func show(file string, out io.Writer) error {
	text, err := os.ReadFile(file) //nolint:gosec // the caller chooses the file
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// install copies the program to a folder, as sh and as cat.
func install(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(self) //nolint:gosec // this program
	if err != nil {
		return err
	}
	for _, name := range []string{"sh", "cat"} {
		if err := os.WriteFile(filepath.Join(dir, name), program, 0o755); err != nil { //nolint:gosec // other users run it
			return err
		}
	}
	return nil
}
