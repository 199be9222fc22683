// Command demo shows a RoleCredential at work: on a real API server, with an STS emulator in AWS's place, and with the
// manager as a process that has the rights of its own ServiceAccount and no others. All of it is on loopback and in a
// temporary folder, and ends with the demo.
//
//	make demo              the tour, then a cluster to play with until Ctrl-C
//	DEMO_ONCE=1 make demo  the tour alone; it fails if a step was not as it should be
//	make docs              what the kubectl plugin prints, for the documentation
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	managerPath := flag.String("manager", filepath.Join("bin", "manager"), "the manager's `binary`")
	flag.Parse()
	// SIGPIPE is among them so that a reader of our output who leaves does not leave our processes behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err := run(ctx, flag.Arg(0), *managerPath)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "demo: interrupted")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, command, managerPath string) error {
	switch command {
	case "":
		ctrl.SetLogger(logr.Discard()) // envtest's
		once := os.Getenv("DEMO_ONCE")
		return demonstrate(ctx, managerPath, once != "" && once != "0")
	case "whoami":
		return whoami(ctx, os.Stdout)
	case "plugin-session":
		ctrl.SetLogger(logr.Discard())
		return recordSession(ctx, managerPath, os.Stdout)
	default:
		return fmt.Errorf("there is no command %q but whoami and plugin-session; the tour is taken without one", command)
	}
}

// demonstrate takes the tour and, unless once is set, stays up afterwards. What was started has ended when it returns.
func demonstrate(ctx context.Context, managerPath string, once bool) (err error) {
	d, err := newDemo(managerPath)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	ctx, d.abort = context.WithCancelCause(ctx)
	defer d.abort(nil)

	if err := d.tour(ctx); err != nil {
		if !errors.Is(err, context.Canceled) {
			d.showManagerLog()
		}
		return err
	}
	if once {
		return nil
	}
	d.inviteToPlay()
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		d.showManagerLog()
		return cause
	}
	d.say("\nEnding all of it.")
	return nil
}
