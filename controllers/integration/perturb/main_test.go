// Package perturb_test checks that one disturbance at any point does not change what the operator achieves. The operator is real, and so is
// the API server.
//
// A scenario is what a user or an administrator does, such as a rename. It is run twice undisturbed, which gives the reference: the end
// state, and each write and STS call. Then a plan disturbs the scenario at one of these points:
//
//   - intermediate state: the process crashes before or after the request, or the answer is lost
//   - unobserved state: a change and its reversal happen while the operator sees neither
//   - stale state: the watch events of one kind are late, or a new process starts with an earlier state of all objects
//
// The end state must be that of the reference, with no more requests than the disturbance explains.
//
//   - gate_test.go is between the operator and its two servers
//   - world_test.go is one run: a namespace, an identity, STS, a clock, and the process
//   - state_test.go describes the end state
//   - scenarios_test.go has the scenarios
//   - plans_test.go finds the plans, and checks each run
package perturb_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"rolecredential.dev/operator/hack/testbed"
)

// The administrator's client, the configuration of the operator's ServiceAccount, and the mapper of all processes.
var (
	admin          client.WithWatch
	operatorConfig *rest.Config
	mapper         meta.RESTMapper
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	flag.Parse()
	// A run mostly waits for the API server.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cluster, err := testbed.Start(filepath.Join("..", "..", ".."))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping the control plane:", err)
			code = 1
		}
	}()
	ctrl.SetLogger(logr.Discard())
	if err := connect(cluster); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func connect(cluster *testbed.Cluster) (err error) {
	admin = cluster.Client
	if operatorConfig, err = cluster.ManagerConfig(context.Background()); err != nil {
		return err
	}
	httpClient, err := rest.HTTPClientFor(cluster.Config)
	if err != nil {
		return err
	}
	mapper, err = apiutil.NewDynamicRESTMapper(cluster.Config, httpClient)
	return err
}
