// Package wallclock builds programs whose wall clock can be shifted while they run, like the clock of a machine that is set. The program's own
// code is unchanged: the build replaces the standard library's time.Now. The monotonic clock is unchanged too, as on a machine whose clock is
// set.
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

//go:embed offset.go.txt
var offsetSource []byte

// The replacement in time.Now.
const (
	original = "\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {"
	replaced = "\tsec, nsec, mono := runtimeNow()\n\tsec = shifted(sec)\n\tif mono == 0 {"
)

// Build builds a main package of the module in a folder, with a wall clock that can be shifted. The first build compiles the standard library
// too.
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
	if bytes.Count(source, []byte(original)) != 1 {
		return fmt.Errorf("%s: time.Now has changed in this version of Go: adapt hack/chaos/wallclock", lib)
	}
	temporary, err := os.MkdirTemp("", "wallclock-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	overlay := map[string]map[string]string{"Replace": {}}
	for name, content := range map[string][]byte{
		"time.go":        bytes.Replace(source, []byte(original), []byte(replaced), 1),
		"zwalloffset.go": offsetSource,
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

// Clock shifts the wall clock of a process. It is a file that the process maps into its memory.
type Clock struct{ path string }

// New creates the clock of a process, which must be started with the variable that Environment returns.
func New(path string) (Clock, error) {
	c := Clock{path}
	return c, c.SetOffset(0)
}

// Environment returns the variable that the process needs.
func (c Clock) Environment() string { return "WALLCLOCK_OFFSET=" + c.path }

// SetOffset shifts the process's wall clock against the machine's, from now on.
func (c Clock) SetOffset(offset time.Duration) error {
	// It must write to the existing file, since the process has mapped it.
	file, err := os.OpenFile(c.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = binary.Write(file, binary.NativeEndian, int64(offset/time.Second))
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
