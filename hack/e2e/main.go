// Command e2e installs the operator in a real one-node cluster, as a Pod from its own image and manifests, and watches Pods use
// what it issues against MinIO, an STS and an S3 that nobody here wrote. `make e2e` builds all that it needs.
//
// It needs root on Linux, and of Debian's packages containerd, runc, containernetworking-plugins, iproute2 and iptables. All of
// it runs in namespaces of its own, so that nothing of the machine changes and all ends with it, however it ends.
//
// Its exit status is 0 if every scenario passed, 1 if one did not, 2 if it cannot run here, and 130 if it was interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// roleCheck is the argument of a run that only looks whether this machine can run it.
const roleCheck = "check"

const (
	exitFailed      = 1
	exitCannotRun   = 2
	exitInterrupted = 130
)

// errCannotRun is wrapped by what says why this machine cannot run it.
var errCannotRun = errors.New("make e2e cannot run here")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status, err := dispatch(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
	os.Exit(status)
}

// dispatch runs what this process is: the one that the user started, the first process in the namespaces, or the one that does
// the work in them.
func dispatch(ctx context.Context, args []string) (int, error) {
	role := ""
	if len(args) > 0 {
		role = args[0]
	}
	switch role {
	case roleCheck:
		if err := checkMachine(); err != nil {
			return exitCannotRun, err
		}
		return 0, nil
	case "":
		given, err := findPrograms()
		if err != nil {
			return exitCannotRun, err
		}
		if err := os.RemoveAll(given.Logs); err != nil {
			return exitFailed, err
		}
		return enclose(ctx)
	case roleFirst:
		return first()
	case roleRun:
		given, err := findPrograms()
		if err != nil {
			return exitCannotRun, err
		}
		return report(ctx, given)
	default:
		return exitFailed, fmt.Errorf("unexpected argument %q", role)
	}
}

// report runs the scenarios and prints what was seen.
func report(ctx context.Context, given programs) (int, error) {
	ctrl.SetLogger(logr.Discard()) // that of the client
	results, err := run(ctx, given)
	printSummary(os.Stdout, results)
	if err != nil || results.failed() {
		fmt.Fprintf(os.Stderr, "The servers' logs are in %s.\n", given.Logs)
		return exitFailed, err
	}
	return 0, nil
}
