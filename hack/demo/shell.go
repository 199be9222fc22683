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

// patience bounds one command.
const patience = 90 * time.Second

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// kubectl prints a command, runs exactly that, and prints and returns its output.
func (d *demo) kubectl(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d.say("$ kubectl %s", quote(args))
	return d.finish(ctx, d.KubectlCommand(ctx, args...))
}

// kubectlUntil prints a command that goes on and on, runs it and prints its output until stop is true of a line of it.
func (d *demo) kubectlUntil(ctx context.Context, stop func(line string) bool, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
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
	gaveUp := context.Cause(ctx)
	cancel()
	err = cmd.Wait()
	switch {
	case stopped:
		d.say("^C")
		return nil
	case gaveUp != nil:
		return gaveUp
	default:
		return fmt.Errorf("it ended too soon: %w", err)
	}
}

// finish runs a command to its end, and prints and returns its output.
func (d *demo) finish(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var printed bytes.Buffer
	cmd.Stdout = io.MultiWriter(d.out, &printed)
	cmd.Stderr = cmd.Stdout
	err := cmd.Run()
	if gaveUp := context.Cause(ctx); gaveUp != nil {
		err = gaveUp
	}
	return printed.String(), err
}

// failed tells whether a command ran and said no.
func failed(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit)
}

var plain = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// quote writes arguments as a shell reads them, and as people type them: of --flag=value it quotes the value.
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

// showManagerLog prints the end of the manager's log, if there is one: it goes with the demo.
func (d *demo) showManagerLog() {
	log, err := os.ReadFile(d.managerLog)
	if err != nil || len(log) == 0 {
		return
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	d.say("\nThe end of the manager's log:\n%s", strings.Join(lines[max(0, len(lines)-logTail):], "\n"))
}
