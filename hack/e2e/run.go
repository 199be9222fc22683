package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/hack/e2e/tally"
	"rolecredential.dev/operator/hack/program"
)

// tallyAddress is the address to which clients report their calls.
const tallyAddress = gateway + ":9001"

// environment is a cluster with an STS and an S3, and the reports of its Pods.
type environment struct {
	*cluster
	key   aws.Credentials
	calls *tally.Tally
	// before are the objects from before the installation.
	before objectSet
}

// scenario is a test. Its result is a line of the summary.
type scenario struct {
	name string
	run  func(*environment, context.Context) (result string, err error)
	// needed is whether the scenarios after it depend on it.
	needed bool
}

type result struct {
	scenario
	result string
	took   time.Duration
	err    error
}

type results []result

func (all results) failed() bool {
	for _, r := range all {
		if r.err != nil {
			return true
		}
	}
	return false
}

func (r result) verdict() string {
	if r.err != nil {
		return "FAIL"
	}
	return "PASS"
}

// run starts the cluster and runs the scenarios, one after the other.
func run(ctx context.Context, given programs) (results, error) {
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	start := time.Now()
	c, err := startCluster(ctx, given, abort)
	if err != nil {
		return nil, fmt.Errorf("starting the cluster: %w", err)
	}
	w := &environment{cluster: c, calls: &tally.Tally{OnFailure: func(r tally.Report) {
		fmt.Printf("call %d of Pod %s of %s failed: %s\n", r.Call, r.Pod, r.Workload, r.Error)
	}}}
	if err := w.countCalls(); err != nil {
		return nil, err
	}
	if w.key, err = c.startSeaweedFS(ctx); err != nil {
		return nil, fmt.Errorf("starting SeaweedFS: %w", err)
	}
	if err := w.setUp(ctx); err != nil {
		return nil, err
	}
	fmt.Printf("a cluster with a node and SeaweedFS started in %s\n", round(time.Since(start)))

	var all results
	for _, s := range scenarios {
		if !given.Run.MatchString(s.name) || (s.name == soak && given.Soak == 0) {
			continue
		}
		fmt.Printf("\n=== %s\n", s.name)
		r := result{scenario: s}
		start := time.Now()
		r.result, r.err = s.run(w, ctx)
		r.took = time.Since(start)
		if r.err != nil {
			r.result = r.err.Error()
		}
		fmt.Printf("%s in %s: %s\n", r.verdict(), round(r.took), r.result)
		all = append(all, r)
		if r.err != nil {
			w.keepLogs(ctx, s.name)
			if s.needed || ctx.Err() != nil {
				break
			}
		}
	}
	fmt.Printf("\ntotal: %s\n", w.calls.Count("", w.runningPods(ctx)...))
	return all, context.Cause(ctx)
}

// setUp creates the namespace of the Pods, and records the existing objects.
func (w *environment) setUp(ctx context.Context) error {
	if err := w.apply(ctx, "namespace.yaml"); err != nil {
		return err
	}
	return program.WaitUntil(ctx, settleTimeout, pollInterval, func(ctx context.Context) (err error) { // its ConfigMap is created a moment later
		if err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "kube-root-ca.crt"}, &corev1.ConfigMap{}); err != nil {
			return err
		}
		w.before, err = w.objects(ctx)
		return err
	})
}

// countCalls serves the tally to clients.
func (w *environment) countCalls() error {
	listener, err := net.Listen("tcp", tallyAddress)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: w.calls, ReadHeaderTimeout: 10 * time.Second}
	go func() { w.abort(server.Serve(listener)) }()
	return nil
}

// keepLogs stores the Pods' logs and the cluster's objects beside the servers' logs.
func (w *environment) keepLogs(ctx context.Context, scenario string) {
	dir := filepath.Join(w.given.Logs, "pods")
	_ = os.RemoveAll(dir) // the new logs include those of an earlier failure
	err := os.CopyFS(dir, os.DirFS(filepath.Join(state, "pod-logs")))
	for _, args := range [][]string{
		{"get", "pods,sts-credentials,clusteridentities,secrets", "-A", "-o", "wide"},
		{"describe", "pods", "-A"},
		{"get", "sts-credentials,clusteridentities", "-A", "-o", "yaml"},
		{"get", "events", "-A"},
	} {
		output, failure := w.kubectl(ctx, args...)
		err = errors.Join(err, failure)
		name := filepath.Join(w.given.Logs, fmt.Sprintf("%s-%s.txt", args[0], args[1][:min(len(args[1]), 6)]))
		err = errors.Join(err, os.WriteFile(name, []byte(output), 0o644))
	}
	if err != nil {
		fmt.Printf("cannot store all logs of %q: %v\n", scenario, err)
	}
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

// printSummary prints a line for each scenario.
func printSummary(out io.Writer, all results) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\n\tSCENARIO\tTOOK\tRESULT")
	for _, r := range all {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.verdict(), r.name, round(r.took), r.result)
	}
	_ = table.Flush()
}
