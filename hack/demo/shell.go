package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// commandTimeout bounds one command.
const commandTimeout = 90 * time.Second

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// kubectl prints a command, runs it, and prints and returns its output.
func (d *demo) kubectl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	d.say("$ kubectl %s", quote(args))
	return d.finish(ctx, d.KubectlCommand(ctx, args...))
}

// kubectlUntil prints and runs a command, and prints its output until stop returns true for a line.
func (d *demo) kubectlUntil(ctx context.Context, stop func(line string) bool, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	d.say("$ kubectl %s", quote(args))
	cmd := d.KubectlCommand(ctx, args...)
	cmd.Stderr = d.out
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	stopped := false
	for lines := bufio.NewScanner(output); !stopped && lines.Scan(); {
		d.say("%s", lines.Text())
		stopped = stop(lines.Text())
	}
	cause := context.Cause(ctx)
	cancel()
	err = cmd.Wait()
	switch {
	case stopped:
		d.say("^C")
		return nil
	case cause != nil:
		return cause
	default:
		return fmt.Errorf("kubectl exited early: %w", err)
	}
}

// finish runs a command, and prints and returns its output.
func (d *demo) finish(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var printed bytes.Buffer
	cmd.Stdout = io.MultiWriter(d.out, &printed)
	cmd.Stderr = cmd.Stdout
	err := cmd.Run()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return printed.String(), err
}

// failed reports whether a command ran and exited with an error.
func failed(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit)
}

var plain = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// quote returns arguments as a line for a shell. In --flag=value it quotes only the value, as users do.
func quote(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		flag, value, ok := strings.Cut(arg, "=")
		if !ok || !plain.MatchString(flag) {
			flag, value = "", arg
		} else {
			flag += "="
		}
		if value != "" && !plain.MatchString(value) {
			value = "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
		}
		quoted[i] = flag + value
	}
	return strings.Join(quoted, " ")
}

const logTail = 20

// showManagerLog prints the end of the manager's log, because the demo removes the file.
func (d *demo) showManagerLog() {
	log, err := os.ReadFile(d.managerLog)
	if err != nil || len(log) == 0 {
		return
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	d.say("\nThe end of the manager's log:\n%s", strings.Join(lines[max(0, len(lines)-logTail):], "\n"))
}
