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
	"path/filepath"
	"syscall"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"rolecredential.dev/operator/hack/program"
)

func main() {
	program.Main("demo", func(ctx context.Context, args []string) error {
		set := flag.NewFlagSet("demo", flag.ContinueOnError)
		managerPath := set.String("manager", filepath.Join("bin", "manager"), "the manager's `binary`")
		if err := set.Parse(args); err != nil {
			return err
		}
		return run(ctx, set.Arg(0), *managerPath)
	}, syscall.SIGPIPE) // if the reader of the output exits, the demo must stop its processes
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
	defer func() { err = errors.Join(err, d.cleanups.Run()) }()
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
