package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Command returns a command that is killed with all its child processes when the context ends.
func Command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	ownGroup(cmd)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// ownGroup puts the process into its own process group. A terminal's Ctrl-C does not reach it, so that the program can stop its processes in
// order.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// Process is a process of a cluster.
type Process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// StartProcess starts a program with its output in the file log. Its environment has only the given variables, HOME and TMPDIR, so that it
// finds no AWS credentials.
func (c *Cluster) StartProcess(log string, variables []string, program string, args ...string) (*Process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the process has its own handle
	cmd := exec.Command(program, args...)
	cmd.Env = append([]string{"HOME=" + c.Dir, "TMPDIR=" + c.Dir}, variables...)
	cmd.Stdout, cmd.Stderr = file, file
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // State returns the result
		close(p.exited)
	}()
	return p, nil
}

// StartManager starts the manager with a kubeconfig, leader election and further flags.
func (c *Cluster) StartManager(log string, variables []string, program, kubeconfig string, flags ...string) (*Process, error) {
	return c.StartProcess(log, variables, program, append([]string{
		"--kubeconfig=" + kubeconfig, "--leader-elect", "--leader-election-namespace=" + OperatorNamespace, "--health-probe-bind-address=0",
	}, flags...)...)
}

// Pid returns the process ID.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Exited is closed when the process has exited.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// State describes how the process exited.
func (p *Process) State() string { return p.cmd.ProcessState.String() }

// Stop terminates the process. After 15 seconds, it kills the process and returns an error.
func (p *Process) Stop() error {
	_ = syscall.Kill(-p.Pid(), syscall.SIGTERM)
	select {
	case <-p.exited:
		return nil
	case <-time.After(15 * time.Second):
		p.Kill()
		return fmt.Errorf("%s did not exit after SIGTERM and was killed", p.cmd.Path)
	}
}

// Kill kills the process and its child processes, and waits until it has exited.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.Pid(), syscall.SIGKILL)
	<-p.exited
}
