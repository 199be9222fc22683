package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// What a process of this program is told to be.
const (
	roleFirst = "first"
	roleRun   = "run"
)

// scratchFolders are where a kubelet and containerd write whatever they are told. In the enclosure each is one that is in memory.
var scratchFolders = []string{"/run", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"}

// kernelSettings are those that a kubelet sets and that no namespace divides. In the enclosure each reads as the kubelet wants
// it, from a file, so that the machine's stay as they are.
var kernelSettings = map[string]string{
	"kernel/keys/root_maxbytes": "25000000",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
}

// turnFile is locked by the run whose turn it is: the control groups of two would have the same names.
const turnFile = "/run/rolecredential-e2e.lock"

// takeTurn waits until no other run goes on. The lock ends with the process at the latest.
func takeTurn(ctx context.Context, path string) (done func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for waited := false; ; waited = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			_ = file.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		if !waited {
			fmt.Println("another run goes on; waiting for its end")
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, errors.New("interrupted while waiting for another run")
		case <-again.C:
		}
	}
}

// enclose runs this program in namespaces of its own and returns its exit status. When the first process in them ends, or this
// one does, the kernel ends all others, and with them go the mounts, the network, its rules and its settings.
func enclose(ctx context.Context) (status int, err error) {
	done, err := takeTurn(ctx, turnFile)
	if err != nil {
		return exitInterrupted, err
	}
	defer done()
	if kubeletRuns() {
		return exitCannotRun, fmt.Errorf("%w: a kubelet runs on this machine, whose control groups have the same names", errCannotRun)
	}
	if err := removePodGroups(); err != nil { // of a run that was killed
		return exitCannotRun, fmt.Errorf("%w: the control groups of another kubelet are in use: %w", errCannotRun, err)
	}
	made, err := makeFolders(scratchFolders)
	defer func() {
		for _, folder := range slices.Backward(made) {
			err = errors.Join(err, os.Remove(folder))
		}
	}()
	if err != nil {
		return exitFailed, err
	}
	defer func() { err = errors.Join(err, removePodGroups()) }()

	runtime.LockOSThread() // the kernel tells of the end of the thread, not of the process
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", roleFirst)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Setpgid:    true, // a terminal's Ctrl-C is for this process
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return exitCannotRun, fmt.Errorf("%w: it may not make namespaces: %w", errCannotRun, err)
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return exitInterrupted, errors.New("interrupted; all of it has ended")
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// makeFolders makes those that are not there, and returns them, outermost first.
func makeFolders(folders []string) (made []string, err error) {
	for _, folder := range folders {
		var missing []string
		for dir := folder; ; dir = filepath.Dir(dir) {
			if _, err := os.Stat(dir); err == nil {
				break
			}
			missing = append(missing, dir)
		}
		for _, dir := range slices.Backward(missing) {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return made, err
			}
			made = append(made, dir)
		}
	}
	return made, nil
}

// kubeletRuns tells whether there is a kubelet, which is none of ours: they end with their runs.
func kubeletRuns() bool {
	processes, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is a good one
	return slices.ContainsFunc(processes, func(path string) bool {
		name, err := os.ReadFile(path)
		return err == nil && string(name) == "kubelet\n"
	})
}

// podGroups lists the control groups that a kubelet makes for its Pods: one, or one for each controller.
func podGroups() []string {
	found, _ := filepath.Glob("/sys/fs/cgroup/kubepods") // the pattern is a good one
	each, _ := filepath.Glob("/sys/fs/cgroup/*/kubepods")
	return append(found, each...)
}

// removePodGroups removes them once their processes are gone, which takes the kernel a moment.
func removePodGroups() error {
	var err error
	for range 100 {
		err = nil
		for _, group := range podGroups() {
			err = errors.Join(err, removeGroup(group))
		}
		if err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// removeGroup removes a control group and those in it. Their files are not to be removed, and go with them.
func removeGroup(group string) error {
	var folders []string
	err := filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			folders = append(folders, path)
		}
		return err
	})
	for _, folder := range slices.Backward(folders) {
		err = errors.Join(err, syscall.Rmdir(folder))
	}
	return err
}

// first is the first process in the namespaces: it prepares them, and reaps whatever loses its parent while the work is done.
func first() (int, error) {
	if err := furnish(); err != nil {
		return exitFailed, fmt.Errorf("preparing the namespaces: %w", err)
	}
	worker, err := os.StartProcess("/proc/self/exe", []string{os.Args[0], roleRun}, &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{nil, os.Stdout, os.Stderr},
	})
	if err != nil {
		return exitFailed, err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return exitFailed, err
		case pid == worker.Pid && status.Exited():
			return status.ExitStatus(), nil
		case pid == worker.Pid:
			return exitFailed, fmt.Errorf("the run ended by signal %s", status.Signal())
		}
	}
}

// furnish gives the namespaces their mounts and their loopback interface.
func furnish() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	for _, folder := range scratchFolders {
		if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mounting on %s: %w", folder, err)
		}
	}
	for name, value := range kernelSettings {
		setting := "/proc/sys/" + name
		if _, err := os.Stat(setting); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		stand := "/run/kernel/" + name
		if err := os.MkdirAll(filepath.Dir(stand), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(stand, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(stand, setting, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting on %s: %w", setting, err)
		}
	}
	if said, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, said)
	}
	return nil
}
