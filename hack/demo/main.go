// Command demo shows a RoleCredential at work, on a real API server with the STS emulator instead of AWS. The
// manager runs as a process with the permissions of its ServiceAccount. Everything uses loopback and a
// temporary folder, and is removed at the end.
//
//	make demo              the steps, then a running cluster until Ctrl-C
//	DEMO_ONCE=1 make demo  only the steps; it fails if one of them fails
//	make docs              record the output of the kubectl plugin for the documentation
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
	// SIGPIPE too: if the reader of the output exits, the demo must stop its processes.
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
		ctrl.SetLogger(logr.Discard()) // envtest logs
		once := os.Getenv("DEMO_ONCE")
		return demonstrate(ctx, managerPath, once != "" && once != "0")
	case "whoami":
		return whoami(ctx, os.Stdout)
	case "plugin-session":
		ctrl.SetLogger(logr.Discard())
		return recordSession(ctx, managerPath, os.Stdout)
	default:
		return fmt.Errorf("unknown command %q: use whoami, plugin-session, or no command for the demo", command)
	}
}

// demonstrate runs all steps. Unless once is set, it keeps the cluster until an interrupt. It stops all processes before it returns.
func demonstrate(ctx context.Context, managerPath string, once bool) (err error) {
	d, err := newDemo(managerPath)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	ctx, d.abort = context.WithCancelCause(ctx)
	defer d.abort(nil)

	if err := d.runSteps(ctx); err != nil {
		if !errors.Is(err, context.Canceled) {
			d.showManagerLog()
		}
		return err
	}
	if once {
		return nil
	}
	d.printNextSteps()
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		d.showManagerLog()
		return cause
	}
	d.say("\nStopping.")
	return nil
}
