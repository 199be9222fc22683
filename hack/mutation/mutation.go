// Package mutation applies patches to the operator that break it, so that a program or test that checks the operator can be checked too.
package mutation

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Mutation is a patch that gives the operator one defect.
type Mutation struct {
	Name, Path string
	// Head has the values of the lines such as 'Time: 50s' before the first diff of the patch, by their names.
	Head map[string]string
}

// Read reads all patches of a folder, in the order of their names. Each must have all given lines in its head.
func Read(folder string, lines ...string) (mutations []Mutation, err error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.patch"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		m := Mutation{Name: strings.TrimSuffix(filepath.Base(path), ".patch"), Path: path, Head: map[string]string{}}
		head, _, _ := strings.Cut(string(text), "\ndiff ")
		for line := range strings.Lines(head) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
				m.Head[name] = value
			}
		}
		for _, line := range lines {
			if m.Head[line] == "" {
				return nil, fmt.Errorf("%s: the line %s is missing", path, line)
			}
		}
		mutations = append(mutations, m)
	}
	return mutations, nil
}

// Build builds the manager of the module at root with the patch. The files of the module stay unchanged: copies are in a folder, which must
// be new or empty.
func (m Mutation) Build(ctx context.Context, root, folder, output string) error {
	return m.build(ctx, root, folder, output, "build", "./cmd/manager")
}

// Test runs a test of a package, such as ./controllers, with the patch, in the present folder. It returns an error unless the test fails
// with the text of the head's line Violation. It needs a folder as Build does.
func (m Mutation) Test(ctx context.Context, root, folder, pkg, test string, env ...string) error {
	program := filepath.Join(folder, "test")
	if err := m.build(ctx, root, folder, program, "test", "-c", pkg); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, program, "-test.run=^"+test+"$")
	command.Env = append(os.Environ(), env...)
	output, err := command.CombinedOutput()
	if err == nil {
		return fmt.Errorf("the test does not find %s", m.Name)
	}
	if !strings.Contains(string(output), m.Head["Violation"]) {
		return fmt.Errorf("the test does not find %s: %w: %s", m.Name, err, output)
	}
	return nil
}

func (m Mutation) build(ctx context.Context, root, folder, output, command string, args ...string) error {
	overlay, _, err := m.overlay(ctx, root, folder)
	if err != nil {
		return err
	}
	if output, err = filepath.Abs(output); err != nil {
		return err
	}
	return compile(ctx, root, overlay, command, append([]string{"-o=" + output}, args...)...)
}

// Compile compiles only the packages that the patch changes.
func (m Mutation) Compile(ctx context.Context, root, folder string) error {
	overlay, changed, err := m.overlay(ctx, root, folder)
	if err != nil {
		return err
	}
	return compile(ctx, root, overlay, "build", changed...)
}

func compile(ctx context.Context, root, overlay, command string, args ...string) error {
	_, err := run(ctx, root, "go", append([]string{command, "-trimpath", "-buildvcs=false", "-overlay=" + overlay}, args...)...)
	return err
}

// overlay writes patched copies of files into a folder, and the file there that replaces the originals by them in a go command. It returns
// the path of that file, and the changed packages.
func (m Mutation) overlay(ctx context.Context, root, folder string) (path string, changed []string, err error) {
	tree, err := filepath.Abs(root)
	if err != nil {
		return "", nil, err
	}
	patch, err := filepath.Abs(m.Path)
	if err != nil {
		return "", nil, err
	}
	files, err := run(ctx, tree, "git", "apply", "--numstat", patch)
	if err != nil {
		return "", nil, err
	}
	replaced := map[string]string{}
	for line := range strings.Lines(files) {
		file := strings.Fields(line)[2]
		changed = append(changed, "./"+filepath.Dir(file))
		replaced[filepath.Join(tree, file)] = filepath.Join(folder, file)
		if err := copyFile(filepath.Join(tree, file), filepath.Join(folder, file)); err != nil {
			return "", nil, err
		}
	}
	if _, err := run(ctx, folder, "git", "apply", patch); err != nil {
		return "", nil, err
	}
	text, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(folder, "overlay.json")
	return path, changed, os.WriteFile(path, text, 0o600)
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}

// run runs a program in a folder, which git takes to be in no repository unless it is the root of one.
func run(ctx context.Context, folder, program string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, program, args...)
	command.Dir = folder
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GIT_CEILING_DIRECTORIES="+filepath.Dir(folder))
	output, err := command.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, output)
	}
	return string(output), err
}
