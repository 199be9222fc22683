// Command chaos injects faults into everything around the operator, and checks the operator's guarantees: on a real API server, with the STS
// emulator instead of AWS, and with two managers that have the permissions of their ServiceAccount only.
//
//	make chaos                               five minutes of faults
//	CHAOS_SEED=7 CHAOS_TIME=10m make chaos   the schedule of another seed, for longer
//
// The seed determines the faults, their times and their targets. Their effects depend on the machine's speed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"rolecredential.dev/operator/hack/chaos/wallclock"
	"rolecredential.dev/operator/hack/cluster"
	"rolecredential.dev/operator/hack/program"
)

func main() {
	program.Main("chaos", func(ctx context.Context, args []string) error {
		passed, err := command(ctx, args)
		switch {
		case err != nil:
			return program.WithStatus(program.CannotRun, err)
		case !passed:
			return program.WithStatus(program.Failed, nil)
		}
		return nil
	})
}

func parse(args []string) (s settings, command []string, err error) {
	s = settings{out: os.Stdout}
	set := flag.NewFlagSet("chaos", flag.ContinueOnError)
	set.Uint64Var(&s.seed, "seed", 1, "seed of the schedule")
	set.DurationVar(&s.time, "time", 5*time.Minute, "duration of the faults")
	set.IntVar(&s.credentials, "credentials", 500, "number of credentials")
	faults := set.String("faults", "", "`regexp` that selects faults by their names")
	set.StringVar(&s.manager, "manager", filepath.Join("bin", "chaos", "manager"), "the manager's `binary`, built by the command build")
	set.StringVar(&s.dir, "dir", filepath.Join("bin", "chaos"), "`folder` for logs and the result")
	if err := set.Parse(args); err != nil {
		return s, nil, err
	}
	s.faults, err = regexp.Compile(*faults)
	return s, set.Args(), err
}

// command runs a command: none for a run, build or mutations. It returns whether all checks succeeded.
func command(ctx context.Context, args []string) (passed bool, err error) {
	s, args, err := parse(args)
	if err != nil {
		return false, err
	}
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	switch name {
	case "build":
		return true, wallclock.Build(".", "./cmd/manager", s.manager)
	case "", "mutations":
	default:
		return false, fmt.Errorf("unknown command %q: use build, mutations, or no command for a run", name)
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
	if name == "mutations" {
		return mutate(ctx, s, args[1:])
	}
	ctrl.SetLogger(logr.Discard()) // envtest logs
	return run(ctx, s)
}
