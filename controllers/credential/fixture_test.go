package credential

import (
	"testing"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/telemetry"
	"rolecredential.dev/operator/controllers/testkit"
)

// fixture has the reconcilers of RoleCredentials and ClusterIdentities on a fake client.
type fixture struct {
	*testkit.Fixture
	credentials *Reconciler[*v1alpha1.RoleCredential]
	identities  *identity.Reconciler[*v1alpha1.ClusterIdentity]
}

func newFixture(t *testing.T, objects ...client.Object) *fixture {
	t.Helper()
	f := testkit.New(t, objects...)
	recorded := telemetry.Events{Recorder: f.Recorder}
	return &fixture{
		Fixture: f,
		credentials: &Reconciler[*v1alpha1.RoleCredential]{
			Kind: request.RoleCredential, Client: f.Operator, Identities: f.Resolver, Secrets: &secretstore.Store{Client: f.Operator, APIReader: f.Operator}, Devices: &identity.Devices{},
			Limits: f.Limits, Events: recorded, Metrics: f.Metrics, Clock: f.Clock,
		},
		identities: &identity.Reconciler[*v1alpha1.ClusterIdentity]{
			New: func() *v1alpha1.ClusterIdentity { return &v1alpha1.ClusterIdentity{} }, Client: f.Operator, Identities: f.Resolver, Limits: f.Limits,
			Events: recorded, Metrics: f.Metrics, Clock: f.Clock,
		},
	}
}

// reconcile reconciles the Reader once, and returns it as stored afterwards.
func (f *fixture) reconcile() (*v1alpha1.RoleCredential, reconcile.Result) {
	f.T.Helper()
	key := client.ObjectKeyFromObject(testkit.Reader())
	result, err := f.credentials.Reconcile(f.T.Context(), reconcile.Request{NamespacedName: key})
	f.Expect(err).NotTo(HaveOccurred())
	return f.Credential(), result
}

// verify reconciles the default identity once, and returns it as stored afterwards.
func (f *fixture) verify() (*v1alpha1.ClusterIdentity, reconcile.Result) {
	f.T.Helper()
	result, err := f.identities.Reconcile(f.T.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(testkit.DefaultIdentity())})
	f.Expect(err).NotTo(HaveOccurred())
	return f.Identity(), result
}
