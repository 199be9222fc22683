package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Command is a command that ends with its context, and whatever it started with it.
func Command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	ownGroup(cmd)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// ownGroup makes the process one that a terminal's Ctrl-C does not reach: it is ended in its turn.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// Process is a program that runs beside a cluster.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// StartProcess starts a program with its output in a file, and with no variable of ours, above all none of AWS's, but those given.
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
	p := &Process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // what there is to say is in the process's state
		close(p.ended)
	}()
	return p, nil
}

// Pid is the process's number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// State says how the process ended.
func (p *Process) State() string { return p.cmd.ProcessState.String() }

// End ends the process, and if it does not heed that, kills it and all that it started.
func (p *Process) End() error {
	_ = syscall.Kill(-p.Pid(), syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(15 * time.Second):
		p.Kill()
		return fmt.Errorf("%s did not end when told to, and was killed", p.cmd.Path)
	}
}

// Kill kills the process and all that it started, with no chance to give anything back.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.Pid(), syscall.SIGKILL)
	<-p.ended
}
