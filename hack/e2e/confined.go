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

// confined is the expected content of /proc/PID/status of a manager (proc_pid_status(5)): a seccomp filter, no capability, no way to gain
// one, and a user other than root.
var confined = map[string]string{
	"Seccomp": "2", "NoNewPrivs": "1", "Uid": "65532 65532 65532 65532", "Gid": "65532 65532 65532 65532",
	"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none,
}

const none = "0000000000000000"

// managersAreConfined checks the managers' processes, not the specs of their Pods.
func (w *environment) managersAreConfined(ctx context.Context) (string, error) {
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
	status := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		status[name] = strings.Join(strings.Fields(value), " ")
	}
	for name, want := range confined {
		if status[name] != want {
			return fmt.Errorf("%s is %q, want %q", name, status[name], want)
		}
	}
	return cannotWrite(process)
}

// cannotWrite returns an error unless a process's root is mounted read-only, and root of the node cannot write to it either.
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
		return fmt.Errorf("writing to its root: %w", errors.Join(err, errors.New("want the error of a read-only file system")))
	}
	return nil
}
