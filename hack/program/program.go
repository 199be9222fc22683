// Package program contains what the commands in hack share: signals, exit statuses, cleanups and waiting.
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit statuses of a command. CannotRun is for a machine that lacks what the command needs.
const (
	Failed      = 1
	CannotRun   = 2
	Interrupted = 128 + int(syscall.SIGINT)
)

// statusError is an error with an exit status.
type statusError struct {
	status int
	// cause is nil if the command has reported the failure already.
	cause error
}

func (e statusError) Error() string { return fmt.Sprint(e.cause) }

func (e statusError) Unwrap() error { return e.cause }

// WithStatus returns an error that makes [Main] exit with a status. A nil err means that there is nothing more to print.
func WithStatus(status int, err error) error {
	if status == 0 && err == nil {
		return nil
	}
	return statusError{status, err}
}

// Main runs a command with its arguments, prints its error and exits. An interrupt cancels the context, so that the command stops its
// processes. Further signals do the same.
func Main(name string, run func(ctx context.Context, args []string) error, further ...os.Signal) {
	ctx, stop := interruptible(further...)
	err := run(ctx, os.Args[1:])
	interrupted := ctx.Err() != nil
	stop()
	os.Exit(report(name, err, interrupted, os.Stderr))
}

// interruptible returns a context that signals cancel. SIGPIPE is not among them, since a write to any closed connection raises it too.
func interruptible(further ...os.Signal) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), append(further, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)...)
}

// report prints an error, and returns the exit status.
func report(name string, err error, interrupted bool, out io.Writer) int {
	failure, hasStatus := errors.AsType[statusError](err)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case hasStatus && failure.cause == nil:
		return failure.status
	case interrupted && errors.Is(err, context.Canceled):
		fmt.Fprintf(out, "%s: interrupted\n", name)
		return Interrupted
	case interrupted:
		fmt.Fprintf(out, "%s: interrupted: %s\n", name, err)
		return Interrupted
	}
	fmt.Fprintf(out, "%s: %s\n", name, err)
	if hasStatus {
		return failure.status
	}
	return Failed
}

// Cleanups are functions that run in reverse order.
type Cleanups []func() error

// Add adds a cleanup.
func (c *Cleanups) Add(cleanup func() error) { *c = append(*c, cleanup) }

// Run runs all cleanups, the last first, and removes them.
func (c *Cleanups) Run() (err error) {
	for len(*c) > 0 {
		last := len(*c) - 1
		cleanup := (*c)[last]
		*c = (*c)[:last]
		err = errors.Join(err, cleanup())
	}
	return err
}
