package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

// confined is what the kernel is to say of a manager's process (proc_pid_status(5)): a seccomp filter, no capability nor a way to one,
// and a user who is not root.
var confined = map[string]string{
	"Seccomp": "2", "NoNewPrivs": "1", "Uid": "65532 65532 65532 65532", "Gid": "65532 65532 65532 65532",
	"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none,
}

const none = "0000000000000000"

// managersAreConfined looks at the managers' processes themselves, and not at what their Pods ask for.
func (w *world) managersAreConfined(ctx context.Context) (string, error) {
	managers, err := w.pods(ctx, operatorNamespace, "app.kubernetes.io/component", "manager")
	if err != nil {
		return "", err
	}
	if len(managers) == 0 {
		return "", errors.New("there is no manager")
	}
	for _, manager := range managers {
		process, err := w.process(ctx, manager.Name)
		if err != nil {
			return "", err
		}
		if err := isConfined(process); err != nil {
			return "", fmt.Errorf("%s: %w", manager.Name, err)
		}
	}
	return fmt.Sprintf("%d processes have a seccomp filter, no capabilities, no root user and a root they cannot write to", len(managers)), nil
}

func isConfined(process int) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process))
	if err != nil {
		return err
	}
	told := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		told[name] = strings.Join(strings.Fields(value), " ")
	}
	for name, want := range confined {
		if told[name] != want {
			return fmt.Errorf("%s is %q, and is to be %q", name, told[name], want)
		}
	}
	return cannotWrite(process)
}

// cannotWrite tells that a process's root is mounted to be read only, and is so for who tries, root of the node included.
func cannotWrite(process int) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", process))
	if err != nil {
		return err
	}
	root := ""
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 5 && fields[4] == "/" { // proc_pid_mountinfo(5): the mount point, and its options
			root = fields[5]
		}
	}
	if !slices.Contains(strings.Split(root, ","), "ro") {
		return fmt.Errorf("its root is mounted %q", root)
	}
	err = os.WriteFile(fmt.Sprintf("/proc/%d/root/written", process), nil, 0o600)
	if !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("writing to its root: %w", errors.Join(err, errors.New("it is to be refused as a read-only file system")))
	}
	return nil
}
