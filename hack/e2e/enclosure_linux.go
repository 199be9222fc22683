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

	"github.com/aws/aws-sdk-go-v2/aws"

	"rolecredential.dev/operator/hack/program"
)

// The roles of the processes in the enclosure.
const (
	roleFirst = "first"
	roleRun   = "run"
)

// scratchFolders are the folders that a kubelet and containerd write to. In the enclosure, each is a tmpfs.
var scratchFolders = []string{"/run", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"}

// kernelSettings are the settings that a kubelet writes and that no namespace separates. In the enclosure, each is a file with the
// kubelet's value, so that the machine's settings do not change.
var kernelSettings = map[string]string{
	"kernel/keys/root_maxbytes": "25000000",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
}

// lockFile is locked during a run: two runs would use control groups of the same names.
const lockFile = "/run/rolecredential-e2e.lock"

// lock waits until no other run holds the lock. The kernel releases it when the process exits.
func lock(ctx context.Context, path string) (unlock func(), err error) {
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
			fmt.Println("waiting for another run to end")
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, errors.New("stopped waiting for another run")
		case <-again.C:
		}
	}
}

// enclose runs this program in its own namespaces and returns its exit status. When the first process in them or this process exits, the
// kernel kills all others and removes the mounts, the network, its rules and its settings.
func enclose(ctx context.Context) (status int, err error) {
	unlock, err := lock(ctx, lockFile)
	if err != nil {
		return program.Interrupted, err
	}
	defer unlock()
	if kubeletRuns() {
		return program.CannotRun, fmt.Errorf("%w: another kubelet runs on this machine, and uses control groups of the same names", errCannotRun)
	}
	if err := removePodGroups(); err != nil { // left by a run that was killed
		return program.CannotRun, fmt.Errorf("%w: the control groups of another kubelet are in use: %w", errCannotRun, err)
	}
	created, err := createFolders(scratchFolders)
	defer func() {
		for _, folder := range slices.Backward(created) {
			err = errors.Join(err, os.Remove(folder))
		}
	}()
	if err != nil {
		return program.Failed, err
	}
	defer func() { err = errors.Join(err, removePodGroups(), seaweedFS(aws.Credentials{}).RemoveSockets()) }()

	runtime.LockOSThread() // Pdeathsig signals the end of the thread, not of the process
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", roleFirst)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Setpgid:    true, // a terminal's Ctrl-C must reach only this process
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return program.CannotRun, fmt.Errorf("%w: it cannot create namespaces: %w", errCannotRun, err)
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return program.Interrupted, errors.New("all processes have stopped")
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// createFolders creates the missing folders, and returns them, outermost first.
func createFolders(folders []string) (created []string, err error) {
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
				return created, err
			}
			created = append(created, dir)
		}
	}
	return created, nil
}

// kubeletRuns returns whether another kubelet runs on this machine.
func kubeletRuns() bool {
	processes, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is valid
	return slices.ContainsFunc(processes, func(path string) bool {
		name, err := os.ReadFile(path)
		return err == nil && string(name) == "kubelet\n"
	})
}

// podGroups lists the control groups that a kubelet creates for its Pods: one, or one per controller.
func podGroups() []string {
	found, _ := filepath.Glob("/sys/fs/cgroup/kubepods") // the pattern is valid
	each, _ := filepath.Glob("/sys/fs/cgroup/*/kubepods")
	return append(found, each...)
}

// removePodGroups removes the control groups once their processes are gone, which takes the kernel a moment.
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

// removeGroup removes a control group and its subgroups. The kernel removes their files.
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

// first is the first process in the namespaces: it prepares them, starts the run, and reaps orphaned processes.
func first() (int, error) {
	if err := prepareNamespaces(); err != nil {
		return program.Failed, fmt.Errorf("preparing the namespaces: %w", err)
	}
	worker, err := os.StartProcess("/proc/self/exe", []string{os.Args[0], roleRun}, &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{nil, os.Stdout, os.Stderr},
	})
	if err != nil {
		return program.Failed, err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return program.Failed, err
		case pid == worker.Pid && status.Exited():
			return status.ExitStatus(), nil
		case pid == worker.Pid:
			return program.Failed, fmt.Errorf("the run was killed by the signal %s", status.Signal())
		}
	}
}

// prepareNamespaces creates the mounts and starts the loopback interface.
func prepareNamespaces() error {
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
		file := "/run/kernel/" + name
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(file, setting, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting on %s: %w", setting, err)
		}
	}
	if output, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, output)
	}
	return nil
}
