// Command neighbours attacks the operator from one namespace, with the role edit there and nothing else, and checks that a credential in
// another namespace is Ready throughout. Two managers run as processes with the shipped RBAC and memory limit. In the middle of each attack
// the leader is killed and started again.
package main

import (
	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"text/tabwriter"
	"time"
)

type options struct {
	manager, emulator string
	attacks           *regexp.Regexp
	duration          time.Duration
	keep              bool
}

func main() {
	var o options
	pattern := flag.String("attacks", ".", "regular `expression` that selects attacks by name")
	flag.DurationVar(&o.duration, "time", 90*time.Second, "duration of each attack")
	flag.StringVar(&o.manager, "manager", "bin/manager", "the manager's `program`")
	flag.StringVar(&o.emulator, "emulator", "bin/neighbours/stsemulator", "the STS emulator's `program`")
	flag.BoolVar(&o.keep, "keep", false, "keep the folder with the logs")
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	var err error
	if o.attacks, err = regexp.Compile(*pattern); err != nil {
		fmt.Fprintln(os.Stderr, "neighbours:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "neighbours:", err)
		os.Exit(1)
	}
}

// run makes each attack in a cluster of its own and prints a line for each.
func run(ctx context.Context, o options) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ATTACK\tVICTIM NOT READY\tREFRESH LATE\tPEAK RSS LEADER\tSTANDBY\tCPU\tREQUESTS\tRESULT")
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
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%.1fs\t%d\t%s\n", a.name, m.notReady.Round(10*time.Millisecond), m.late.Round(10*time.Millisecond),
			mebibytes(m.leader), mebibytes(m.standby), m.cpu.Seconds(), m.requests, result)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fmt.Errorf("the victim or the operator suffered from %v", failed)
	}
	return nil
}

func mebibytes(bytes float64) string { return fmt.Sprintf("%.0f MiB", bytes/(1<<20)) }
