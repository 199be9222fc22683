// Command bench measures the operator's throughput in relation to the API server's, and its resource usage.
//
// Each measurement starts its own etcd that syncs each write, kube-apiserver, kube-controller-manager, STS emulator with the latency of a
// region, and manager with the permissions of config/rbac. The limit is a bare client that makes the operator's writes, and nothing else. A
// second bare client also opens the operator's watches. The sides are measured one after the other.
//
//	make bench                                          the default run
//	make bench BENCH_ARGS='-sizes=50000 -repetitions=1' another
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"rolecredential.dev/operator/hack/program"
)

type options struct {
	programs
	sizes       []int
	repetitions int
	idle        time.Duration
	only, sides []string
	out         string
}

func parse(args []string) (options, error) {
	o := options{}
	bin := filepath.Join("bin", "bench")
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.StringVar(&o.manager, "manager", filepath.Join("bin", "manager"), "the manager's `binary`")
	set.StringVar(&o.emulator, "emulator", filepath.Join(bin, "stsemulator"), "the STS emulator's `binary`")
	set.StringVar(&o.controllerManager, "controller-manager", controllerManagerOf(os.Getenv("NODE_ASSETS")), "the `binary` of kube-controller-manager; empty for none")
	set.StringVar(&o.profiles, "profiles", "", "`folder` for profiles of the manager; empty for none")
	set.IntVar(&o.concurrency, "concurrency", 0, "number of concurrent reconciles, and of a bare client's concurrent writers; 0 for the manager's default")
	set.BoolVar(&o.rawUpdates, "raw-updates", false, "make the bare clients update statuses, as the operator does, instead of patching them, which costs the API server more")
	set.BoolVar(&o.apart, "apart", false, "run etcd, kube-apiserver and kube-controller-manager on one half of the cores, and everything else on the other; needs Linux and taskset")
	set.DurationVar(&o.latency, "latency", 60*time.Millisecond, "response time of STS")
	set.DurationVar(&o.idle, "idle", 20*time.Second, "duration of the samples of an idle manager")
	set.IntVar(&o.repetitions, "repetitions", 3, "measurements of each side at each size")
	set.StringVar(&o.out, "out", bin, "`folder` for the results")
	sizes := set.String("sizes", "100,1000,10000", "`numbers` of credentials")
	managerArgs := set.String("manager-args", "", "additional `flags` of the manager, separated by spaces")
	sides := set.String("sides", sideRaw+","+sideWatching+","+sideOperator, "`sides` to measure: a bare client, a bare client with the operator's watches, the operator")
	only := set.String("only", "", "`names` of the parts to run: latency, denied, outage, shards and limit; empty for all")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	o.sides = strings.Split(*sides, ",")
	o.only = strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	o.args = strings.Fields(*managerArgs)
	for _, side := range o.sides {
		if !slices.Contains([]string{sideRaw, sideWatching, sideOperator}, side) {
			return o, fmt.Errorf("-sides: unknown side %q: use %s, %s and %s", side, sideRaw, sideWatching, sideOperator)
		}
	}
	for text := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return o, fmt.Errorf("-sizes: %q is not a positive number", text)
		}
		o.sizes = append(o.sizes, n)
	}
	return o, os.MkdirAll(o.out, 0o755)
}

// controllerManagerOf returns the path of kube-controller-manager in the folder of a node's programs, empty without a folder.
func controllerManagerOf(assets string) string {
	if assets == "" {
		return ""
	}
	return filepath.Join(assets, "kube-controller-manager")
}

func main() {
	debug.SetGCPercent(instrumentGC)
	ctrl.SetLogger(logr.Discard()) // envtest logs
	program.Main("bench", func(ctx context.Context, args []string) error {
		o, err := parse(args)
		if err != nil {
			return err
		}
		return run(ctx, o)
	}, syscall.SIGPIPE) // if the reader of the output exits, the bench must stop its processes
}

// results are the results of a run, the content of performance.json.
type results struct {
	Cores int  `json:"cores"`
	Apart bool `json:"apart,omitempty"`
	// ControllerManager is whether kube-controller-manager ran.
	ControllerManager bool          `json:"controllerManager,omitempty"`
	Concurrency       int           `json:"concurrency"`
	STSLatency        string        `json:"stsLatency"`
	Measurements      []measurement `json:"measurements,omitempty"`
	Latency           *latency      `json:"latency,omitempty"`
	Denied            *denied       `json:"denied,omitempty"`
	Outage            *outage       `json:"outage,omitempty"`
	Shards            *shards       `json:"shards,omitempty"`
}

// parts are the parts of a run, by the names that -only takes.
var parts = []struct {
	name string
	run  func(context.Context, options, *results) error
}{
	{"latency", func(ctx context.Context, o options, r *results) error {
		return within(ctx, o, &r.Latency, func(ctx context.Context, e *environment) (latency, error) { return measureLatency(ctx, e, 100) })
	}},
	{"denied", func(ctx context.Context, o options, r *results) error {
		return within(ctx, o, &r.Denied, func(ctx context.Context, e *environment) (denied, error) {
			return measureDenied(ctx, e, 500, time.Minute, 2*time.Minute)
		})
	}},
	{"outage", func(ctx context.Context, o options, r *results) error {
		return within(ctx, o, &r.Outage, func(ctx context.Context, e *environment) (outage, error) {
			return measureOutage(ctx, e, 500, 3*time.Minute)
		})
	}},
	{"shards", func(ctx context.Context, o options, r *results) error {
		return within(ctx, o, &r.Shards, func(ctx context.Context, e *environment) (shards, error) { return measureShards(ctx, e, 1000) })
	}},
	{"limit", measureAll},
}

func run(ctx context.Context, o options) error {
	r := &results{Cores: runtime.NumCPU(), Apart: o.apart, ControllerManager: o.controllerManager != "", Concurrency: o.workers(), STSLatency: o.latency.String()}
	for _, part := range parts {
		if len(o.only) > 0 && !slices.Contains(o.only, part.name) {
			continue
		}
		err := part.run(ctx, o, r)
		if err != nil {
			err = fmt.Errorf("%s: %w", part.name, err)
		}
		if err := errors.Join(err, r.write(o.out)); err != nil { // the results of earlier parts are kept after a failure
			return err
		}
	}
	text, err := os.ReadFile(filepath.Join(o.out, tablesFile))
	fmt.Println(string(text))
	return err
}

// within measures something in its own environment.
func within[T any](ctx context.Context, o options, into **T, measure func(context.Context, *environment) (T, error)) error {
	return inEnvironment(ctx, o.programs, func(ctx context.Context, e *environment) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		result, err := measure(ctx, e)
		if err != nil {
			e.printLogs()
			return err
		}
		*into = &result
		return nil
	})
}

// measureAll compares the operator with the bare clients, one after the other.
func measureAll(ctx context.Context, o options, r *results) error {
	for _, n := range o.sizes {
		for i := range o.repetitions {
			sides := slices.Clone(o.sides)
			if i%2 == 1 {
				slices.Reverse(sides)
			}
			for _, side := range sides {
				var result *measurement
				err := within(ctx, o, &result, func(ctx context.Context, e *environment) (measurement, error) {
					if side == sideOperator {
						return measureOperator(ctx, e, n, o.idle)
					}
					return measureRaw(ctx, e, n, side)
				})
				if err != nil {
					return fmt.Errorf("%s, %d credentials: %w", side, n, err)
				}
				fmt.Fprintf(os.Stderr, "%-8s %6d  issue %4.0f/s  refresh %4.0f/s  watches terminated %v %v\n", side, n,
					result.Issue.PerSecond, result.Refresh.PerSecond, result.Issue.TerminatedWatches, result.Refresh.TerminatedWatches)
				r.Measurements = append(r.Measurements, *result)
			}
		}
	}
	return nil
}
