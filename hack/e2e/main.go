// Command e2e installs the operator in a real one-node cluster, as Pods of its own image and manifests. Pods use the issued credentials
// with SeaweedFS, a third-party STS and S3. `make e2e` builds everything that it needs.
//
// It needs root on Linux, and Debian's packages containerd, runc, containernetworking-plugins, iproute2 and iptables. It runs in its own
// Linux namespaces, so that it changes nothing on the machine, and the kernel stops all of its processes however it ends.
//
// The exit status is 0 if every scenario passed, 1 if one failed, 2 if this machine cannot run it, and 130 after an interrupt.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"rolecredential.dev/operator/hack/program"
)

// roleCheck is the argument of a run that only checks whether this machine can run it.
const roleCheck = "check"

// errCannotRun is wrapped by the reason why this machine cannot run it.
var errCannotRun = errors.New("make e2e cannot run here")

func main() {
	program.Main("e2e", func(ctx context.Context, args []string) error {
		return program.WithStatus(dispatch(ctx, args))
	})
}

// dispatch runs the role of this process: the command of the user, the first process in the namespaces, or the process that runs the
// scenarios in them. It returns the exit status.
func dispatch(ctx context.Context, args []string) (int, error) {
	role := ""
	if len(args) > 0 {
		role = args[0]
	}
	switch role {
	case roleCheck:
		if err := checkMachine(); err != nil {
			return program.CannotRun, err
		}
		return 0, nil
	case "":
		given, err := findPrograms()
		if err != nil {
			return program.CannotRun, err
		}
		if err := os.RemoveAll(given.Logs); err != nil {
			return program.Failed, err
		}
		return enclose(ctx)
	case roleFirst:
		return first()
	case roleRun:
		given, err := findPrograms()
		if err != nil {
			return program.CannotRun, err
		}
		return report(ctx, given)
	default:
		return program.Failed, fmt.Errorf("unexpected argument %q", role)
	}
}

// report runs the scenarios and prints the summary.
func report(ctx context.Context, given programs) (int, error) {
	ctrl.SetLogger(logr.Discard()) // the client logs
	results, err := run(ctx, given)
	printSummary(os.Stdout, results)
	if err != nil || results.failed() {
		fmt.Fprintf(os.Stderr, "The servers' logs are in %s.\n", given.Logs)
		return program.Failed, err
	}
	return 0, nil
}
