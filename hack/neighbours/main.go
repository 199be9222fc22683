// Command neighbours attacks the operator from one namespace, with the role edit there and nothing else, and checks that a credential in
// another namespace is Ready throughout. Two managers run as processes with the shipped RBAC and memory limit. In the middle of each attack
// the leader is killed and started again.
//
// With -mutations, it makes each attack on an operator without the fix, and checks that the attack then fails. The patches in the folder
// mutations remove the fixes.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"rolecredential.dev/operator/hack/program"
)

type options struct {
	manager, emulator string
	attacks           *regexp.Regexp
	duration          time.Duration
	keep              bool
	mutations         bool
}

func main() {
	ctrl.SetLogger(logr.Discard())
	program.Main("neighbours", run)
}

func parse(args []string) (o options, err error) {
	set := flag.NewFlagSet("neighbours", flag.ContinueOnError)
	set.BoolVar(&o.mutations, "mutations", false, "make each attack on an operator without the fix, and check that it then fails")
	pattern := set.String("attacks", ".", "regular `expression` that selects attacks by name")
	set.DurationVar(&o.duration, "time", 90*time.Second, "duration of each attack")
	set.StringVar(&o.manager, "manager", "bin/manager", "the manager's `program`")
	set.StringVar(&o.emulator, "emulator", "bin/neighbours/stsemulator", "the STS emulator's `program`")
	set.BoolVar(&o.keep, "keep", false, "keep the folder with the logs")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	o.attacks, err = regexp.Compile(*pattern)
	return o, err
}

// row is the format of a line of the result.
const row = "%-22s  %-16s  %-12s  %-8s  %-15s  %-8s  %-6s  %-8s  %-5s  %-7s  %-6s  %s\n"

// run makes each attack in a cluster of its own and prints a line for each.
func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	fmt.Printf(row, "ATTACK", "VICTIM NOT READY", "REFRESH LATE", "RSS REST", "PEAK RSS LEADER", "STANDBY", "CPU", "REQUESTS", "CALLS", "HANGING", "EVENTS", "RESULT")
	if o.mutations {
		return mutate(ctx, o)
	}
	var failed []string
	for _, a := range attacks {
		if !o.attacks.MatchString(a.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", a.name, a.does)
		m, err := measure(ctx, o, a)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		result := "ok"
		if problems := m.problems(); len(problems) > 0 {
			result = fmt.Sprint(problems)
			failed = append(failed, a.name)
		}
		m.print(a.name, result)
	}
	if len(failed) > 0 {
		return fmt.Errorf("the victim or the operator suffered from %v", failed)
	}
	return nil
}

// print writes a line of the result.
func (m measurement) print(name, result string) {
	fmt.Printf(row, name, m.notReady.Round(10*time.Millisecond), m.late.Round(10*time.Millisecond), mebibytes(m.rest), mebibytes(m.leader), mebibytes(m.standby),
		m.cpu.Round(100*time.Millisecond), fmt.Sprint(m.requests), fmt.Sprint(m.calls), fmt.Sprint(m.hanging), fmt.Sprint(m.events), result)
}

func mebibytes(bytes float64) string { return fmt.Sprintf("%.0f MiB", bytes/mebibyte) }
