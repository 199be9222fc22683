// Command bench measures the operator: how near it comes to what the API server can take, and what it costs.
//
// Each measurement runs in a world of its own: etcd that has every write on the disk before it answers, kube-apiserver, the STS
// emulator with the latency of a region, and the manager, each in a process of its own, the manager with the rights of config/rbac.
// The limit is a bare client that writes what the operator writes, and nothing else. A second bare client holds the operator's watches too.
// kube-controller-manager runs beside the API server, as in every cluster. The sides are measured one after the other.
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
	"os/signal"
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
)

type options struct {
	programs
	sizes       []int
	repetitions int
	idle        time.Duration
	only, sides []string
	out         string
}

func parse() (options, error) {
	o := options{}
	bin := filepath.Join("bin", "bench")
	flag.StringVar(&o.manager, "manager", filepath.Join("bin", "manager"), "the manager's `binary`")
	flag.StringVar(&o.emulator, "emulator", filepath.Join(bin, "stsemulator"), "the STS emulator's `binary`")
	flag.StringVar(&o.controllerManager, "controller-manager", controllerManagerOf(os.Getenv("NODE_ASSETS")), "the `binary` of kube-controller-manager, which runs beside the API server; empty for none")
	flag.StringVar(&o.profiles, "profiles", "", "`folder` for profiles of the manager; empty for none")
	flag.IntVar(&o.concurrency, "concurrency", 0, "how many credentials are dealt with at a time on either side; 0 for the manager's default")
	flag.BoolVar(&o.rawUpdates, "raw-updates", false, "have the limit's client update statuses, as the operator does, which takes the API server less than the patches that it else makes")
	flag.BoolVar(&o.apart, "apart", false, "give etcd and kube-apiserver one half of the machine's cores, and all else the other, by taskset, on Linux")
	flag.DurationVar(&o.latency, "latency", 60*time.Millisecond, "how long STS takes to answer")
	flag.DurationVar(&o.idle, "idle", 20*time.Second, "how long idle managers are looked at")
	flag.IntVar(&o.repetitions, "repetitions", 3, "how often each side is measured at each size")
	flag.StringVar(&o.out, "out", bin, "`folder` for the results")
	sizes := flag.String("sizes", "100,1000,10000", "`numbers` of credentials")
	args := flag.String("manager-args", "", "more `flags` of the manager, separated by spaces")
	sides := flag.String("sides", sideRaw+","+sideWatching+","+sideOperator, "which `sides` are measured: a bare client, a bare client with the operator's watches, the operator")
	only := flag.String("only", "", "`names` of the only parts to run, of latency, denied, outage, shards and limit")
	flag.Parse()
	o.sides = strings.Split(*sides, ",")
	o.only = strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	o.args = strings.Fields(*args)
	for _, side := range o.sides {
		if !slices.Contains([]string{sideRaw, sideWatching, sideOperator}, side) {
			return o, fmt.Errorf("-sides: %q is no side; give some of %s, %s and %s", side, sideRaw, sideWatching, sideOperator)
		}
	}
	for text := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return o, fmt.Errorf("-sizes: %q is no number of credentials", text)
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
	ctrl.SetLogger(logr.Discard()) // envtest's
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	o, err := parse()
	if err == nil {
		err = run(ctx, o)
	}
	stop()
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "bench: interrupted")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// results are all that a run measured.
type results struct {
	Cores int  `json:"cores"`
	Apart bool `json:"apart,omitempty"`
	// ControllerManager is whether kube-controller-manager ran beside the API server.
	ControllerManager bool          `json:"controllerManager,omitempty"`
	Concurrency       int           `json:"concurrency"`
	STSLatency        string        `json:"stsLatency"`
	Measurements      []measurement `json:"measurements,omitempty"`
	Latency           *latency      `json:"latency,omitempty"`
	Denied            *denied       `json:"denied,omitempty"`
	Outage            *outage       `json:"outage,omitempty"`
	Shards            *shards       `json:"shards,omitempty"`
}

// parts of a run, by the names that -only takes.
var parts = []struct {
	name string
	run  func(context.Context, options, *results) error
}{
	{"latency", func(ctx context.Context, o options, r *results) error {
		return within(ctx, o, &r.Latency, func(ctx context.Context, w *world) (latency, error) { return measureLatency(ctx, w, 100) })
	}},
	{"denied", func(ctx context.Context, o options, r *results) error {
		return within(ctx, o, &r.Denied, func(ctx context.Context, w *world) (denied, error) {
			return measureDenied(ctx, w, 500, time.Minute, 2*time.Minute)
		})
	}},
	{"outage", func(ctx context.Context, o options, r *results) error {
		return within(ctx, o, &r.Outage, func(ctx context.Context, w *world) (outage, error) { return measureOutage(ctx, w, 500, 3*time.Minute) })
	}},
	{"shards", func(ctx context.Context, o options, r *results) error {
		return within(ctx, o, &r.Shards, func(ctx context.Context, w *world) (shards, error) { return measureShards(ctx, w, 1000) })
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
		if err := errors.Join(err, r.write(o.out)); err != nil { // what was measured is not lost with what failed
			return err
		}
	}
	text, err := os.ReadFile(filepath.Join(o.out, tablesFile))
	fmt.Println(string(text))
	return err
}

// within measures something in a world of its own.
func within[T any](ctx context.Context, o options, into **T, measure func(context.Context, *world) (T, error)) error {
	return inWorld(ctx, o.programs, func(ctx context.Context, w *world) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		taken, err := measure(ctx, w)
		if err != nil {
			w.showLogs()
			return err
		}
		*into = &taken
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
				var taken *measurement
				err := within(ctx, o, &taken, func(ctx context.Context, w *world) (measurement, error) {
					if side == sideOperator {
						return measureOperator(ctx, w, n, o.idle)
					}
					return measureRaw(ctx, w, n, side)
				})
				if err != nil {
					return fmt.Errorf("%s, %d credentials: %w", side, n, err)
				}
				fmt.Fprintf(os.Stderr, "%-8s %6d  issue %4.0f/s  refresh %4.0f/s  watches terminated %v %v\n", side, n,
					taken.Issue.PerSecond, taken.Refresh.PerSecond, taken.Issue.TerminatedWatches, taken.Refresh.TerminatedWatches)
				r.Measurements = append(r.Measurements, *taken)
			}
		}
	}
	return nil
}
