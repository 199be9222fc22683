// Package wallclock builds programs whose wall clock can be stepped while they run, and theirs alone: as by a hand or a time server that
// sets a machine's clock. The program's own code is built as it is. What is changed, for that one build, is the standard library's
// time.Now, of which the monotonic reading goes on as before: so it is on a machine whose clock is set.
package wallclock

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed step.go.txt
var stepSource []byte

// What is changed in time.Now.
const (
	reads   = "\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {"
	stepped = "\tsec, nsec, mono := runtimeNow()\n\tsec = stepped(sec)\n\tif mono == 0 {"
)

// Build builds the main package of a folder so that its wall clock can be stepped. The first build of a machine compiles everything
// anew, from the standard library on.
func Build(dir, pkg, output string) error {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	lib := filepath.Join(strings.TrimSpace(string(goroot)), "src", "time")
	source, err := os.ReadFile(filepath.Join(lib, "time.go"))
	if err != nil {
		return err
	}
	if bytes.Count(source, []byte(reads)) != 1 {
		return fmt.Errorf("%s: time.Now is not as it was when this was written, and cannot be changed", lib)
	}
	temporary, err := os.MkdirTemp("", "wallclock-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	overlay := map[string]map[string]string{"Replace": {}}
	for name, content := range map[string][]byte{
		"time.go":      bytes.Replace(source, []byte(reads), []byte(stepped), 1),
		"zwallstep.go": stepSource,
	} {
		path := filepath.Join(temporary, name)
		overlay["Replace"][filepath.Join(lib, name)] = path
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	replace, err := json.Marshal(overlay)
	if err != nil {
		return err
	}
	path := filepath.Join(temporary, "overlay.json")
	if err := os.WriteFile(path, replace, 0o600); err != nil {
		return err
	}
	if output, err = filepath.Abs(output); err != nil {
		return err
	}
	build := exec.Command("go", "build", "-overlay="+path, "-trimpath", "-buildvcs=false", "-o", output, pkg)
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	return build.Run()
}

// Clock steps the wall clock of a process.
type Clock struct{ path string }

// New returns the clock of a process to be started with what Environment returns. It is a file, which is made.
func New(path string) (Clock, error) {
	c := Clock{path}
	return c, c.Step(0)
}

// Environment returns the variable that the process needs.
func (c Clock) Environment() string { return "WALLCLOCK_STEP=" + c.path }

// Step puts the process's wall clock ahead of the machine's, or behind it, from now on.
func (c Clock) Step(ahead time.Duration) error {
	// In place: what the process has mapped is this very file.
	file, err := os.OpenFile(c.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = binary.Write(file, binary.NativeEndian, int64(ahead/time.Second))
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
