package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/cluster"
	"rolecredential.dev/operator/hack/program"
)

// The namespaces, and the roles that the identity default allows each of them.
const (
	attackerNamespace, attackerRole = "attacker", "arn:aws:iam::123456789012:role/bench-attacker"
	victimNamespace, victimRole     = "victim", "arn:aws:iam::123456789012:role/bench-victim"
)

// world is one attack's cluster: an API server, an STS, two managers and an attacker.
type world struct {
	*cluster.Cluster
	options
	stsURL     string
	kubeconfig string
	managers   [2]*manager
	// started counts the managers' processes, and led is the index of the manager that led at first.
	started, led int
	// qps is the limit of STS calls per second of the shared identity.
	qps int32
	// attacker is a client with the role edit in its namespace.
	attacker client.Client
	requests atomic.Int64
	// hanging counts the calls in flight at the attacker's endpoint.
	hanging  gauge
	cleanups program.Cleanups
}

func newWorld(ctx context.Context, o options, qps int32) (*world, error) {
	w := &world{options: o, qps: qps}
	assets, err := cluster.Assets()
	if err != nil {
		return w, err
	}
	dir, err := os.MkdirTemp("", "rolecredential-neighbours-")
	if err != nil {
		return w, err
	}
	if !o.keep {
		w.cleanups.Add(func() error { return os.RemoveAll(dir) })
	}
	w.Cluster, err = cluster.Start(assets, dir)
	w.cleanups.Add(func() error { return errors.Join(w.Close(), os.Unsetenv("TMPDIR")) })
	if err != nil {
		return w, err
	}
	if err := w.Install(ctx, "."); err != nil {
		return w, err
	}
	if w.kubeconfig, err = w.ManagerKubeconfig(ctx); err != nil {
		return w, err
	}
	if err := w.startSTS(ctx); err != nil {
		return w, err
	}
	if err := w.createObjects(ctx); err != nil {
		return w, err
	}
	if w.attacker, err = w.editor(ctx); err != nil {
		return w, err
	}
	for i := range w.managers {
		if w.managers[i], err = w.startManager(); err != nil {
			return w, err
		}
	}
	return w, nil
}

// startSTS starts an emulator whose sessions of 15 minutes last 100 seconds.
func (w *world) startSTS(ctx context.Context) error {
	urlFile := filepath.Join(w.Dir, "sts-url")
	process, err := w.StartProcess(filepath.Join(w.Dir, "sts.log"), nil, w.emulator, "--address=127.0.0.1:0", "--url-file="+urlFile, "--lifetime-fraction=0.1111")
	if err != nil {
		return err
	}
	w.cleanups.Add(process.Stop)
	return program.WaitUntil(ctx, time.Minute, 100*time.Millisecond, func(context.Context) error {
		url, err := os.ReadFile(urlFile)
		w.stsURL = strings.TrimSpace(string(url))
		return err
	})
}

func (w *world) createObjects(ctx context.Context) error {
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: attackerNamespace}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: victimNamespace}},
		accessKey(cluster.OperatorNamespace, "bootstrap"),
		&v1alpha1.ClusterIdentity{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.DefaultIdentityName}, Spec: v1alpha1.ClusterIdentitySpec{
			IdentitySettings: v1alpha1.IdentitySettings{Region: "eu-west-1", Endpoint: w.stsURL, STSQPS: w.qps},
			Source:           v1alpha1.ClusterIdentitySource{AccessKey: &v1alpha1.AccessKeySource{SecretRef: v1alpha1.SecretReference{Namespace: cluster.OperatorNamespace, Name: "bootstrap"}}},
			Allow: &[]v1alpha1.AllowRule{
				{Namespaces: []string{attackerNamespace}, RoleARNs: []string{attackerRole + "*"}},
				{Namespaces: []string{victimNamespace}, RoleARNs: []string{victimRole}},
			},
		}},
	} {
		if err := w.Client.Create(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// accessKey returns a Secret with the access key of a user of the emulator.
func accessKey(namespace, name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
	}}
}

// editor returns a client of a user with the cluster's role edit in the attacker's namespace. No controller aggregates that role here, so
// its parts are bound one by one.
func (w *world) editor(ctx context.Context) (client.Client, error) {
	const user = "attacker"
	for _, label := range []string{"rbac.authorization.k8s.io/aggregate-to-edit", "rbac.authorization.k8s.io/aggregate-to-view"} {
		var parts rbacv1.ClusterRoleList
		if err := w.Client.List(ctx, &parts, client.MatchingLabels{label: "true"}); err != nil {
			return nil, err
		}
		for _, part := range parts.Items {
			err := w.Client.Create(ctx, &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Namespace: attackerNamespace, GenerateName: "attacker-"},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: part.Name},
				Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
			})
			if err != nil {
				return nil, err
			}
		}
	}
	config := rest.CopyConfig(w.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	config.QPS = -1
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			w.requests.Add(1)
			return next.RoundTrip(r)
		})
	})
	return client.New(config, client.Options{Scheme: w.Client.Scheme()})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
