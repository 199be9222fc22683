// Command chaos lets everything around the operator go wrong, and watches that it keeps its promises: on a real API server, with an
// STS emulator in AWS's place, and two managers that have the rights of their own ServiceAccount and no others.
//
//	make chaos                            some minutes of it
//	CHAOS_SEED=7 CHAOS_TIME=10m make chaos   the schedule of another seed, for longer
//
// Which faults come when, and to whom, follows from the seed. What they meet depends on the machine's speed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"rolecredential.dev/operator/hack/chaos/wallclock"
	"rolecredential.dev/operator/hack/cluster"
)

// exit codes.
const (
	exitBroken      = 1
	exitCannotRun   = 2
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	held, err := command(ctx, os.Args[1:])
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "chaos: interrupted:", err)
		os.Exit(exitInterrupted)
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(exitCannotRun)
	case !held:
		os.Exit(exitBroken)
	}
}

func command(ctx context.Context, args []string) (held bool, err error) {
	s := settings{out: os.Stdout}
	set := flag.NewFlagSet("chaos", flag.ContinueOnError)
	set.Uint64Var(&s.seed, "seed", 1, "what the schedule is drawn from")
	set.DurationVar(&s.time, "time", 5*time.Minute, "for how long faults come")
	set.IntVar(&s.credentials, "credentials", 500, "how many there are")
	only := set.String("faults", "", "`regexp` of the only faults to choose from")
	set.StringVar(&s.manager, "manager", filepath.Join("bin", "chaos", "manager"), "the manager's `binary`, as built by the command build")
	set.StringVar(&s.dir, "dir", filepath.Join("bin", "chaos"), "`folder` for logs and the result")
	if err := set.Parse(args); err != nil {
		return false, err
	}
	if s.faults, err = regexp.Compile(*only); err != nil {
		return false, err
	}
	if set.Arg(0) == "build" {
		return true, wallclock.Build(".", "./cmd/manager", s.manager)
	}
	if set.NArg() > 0 && set.Arg(0) != "mutations" {
		return false, fmt.Errorf("there is no command %q but build and mutations", set.Arg(0))
	}
	if s.assets, err = cluster.Assets(); err != nil {
		return false, err
	}
	if s.manager, err = filepath.Abs(s.manager); err != nil {
		return false, err
	}
	if s.temporary, err = os.MkdirTemp("", "rolecredential-chaos-"); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.temporary)) }()
	if set.Arg(0) == "mutations" {
		return mutate(ctx, s, set.Args()[1:])
	}
	ctrl.SetLogger(logr.Discard()) // envtest's
	return run(ctx, s)
}
