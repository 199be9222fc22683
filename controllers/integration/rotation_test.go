package integration_test

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

// fleet has the credentials of an identity whose key the test rotates.
type fleet struct {
	*harness
	namespace string
	by        *v1alpha1.ClusterIdentity
	all       []*v1alpha1.RoleCredential
	oldKey    stsemulator.AccessKey
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	const credentials = 50
	f := &fleet{harness: newHarness(t, stsemulator.Options{})}
	f.start()
	f.namespace, f.by, f.oldKey = f.harness.namespace(nil), f.identity(), f.sts.AccessKeys(operatorARN)[0]
	f.eventually(f.by, "Ready", "True Verified")
	for i := range credentials {
		f.all = append(f.all, f.credential(f.namespace, fmt.Sprintf("reader-%d", i), f.by))
	}
	f.Eventually(func() int { return f.ready(f.namespace) }).WithTimeout(waitLimit).Should(Equal(credentials))
	return f
}

// waitForKey waits until the identity is verified with the current key of the Secret.
func (f *fleet) waitForKey() {
	f.t.Helper()
	current := f.secret(operatorNamespace, f.by.Name).ResourceVersion
	f.Eventually(func() string { f.state(f.by, "Ready")(); return f.by.Status.ObservedSecretVersion }).WithTimeout(waitLimit).Should(Equal(current))
	f.Expect(f.state(f.by, "Ready")()).To(Equal("True Verified"))
}

// requestRefresh requests a refresh of credentials without waiting for it.
func (f *fleet) requestRefresh(credentials []*v1alpha1.RoleCredential, value string) {
	f.t.Helper()
	for _, c := range credentials {
		f.refresh(c, value)
	}
}

// waitForRefresh waits until the operator has handled the refresh request of each credential.
func (f *fleet) waitForRefresh(credentials []*v1alpha1.RoleCredential, value string) {
	f.t.Helper()
	for _, c := range credentials {
		f.Eventually(func() string { f.state(c, "Ready")(); return c.Status.LastHandledRefreshRequest }).WithTimeout(waitLimit).Should(Equal(value))
		f.Expect(f.state(c, "Issued")()).To(Equal("True Issued"))
		f.Expect(f.state(c, "Ready")()).To(Equal("True Issued"))
	}
}

// secretVersions returns the resource versions of the credentials' Secrets.
func (f *fleet) secretVersions(credentials []*v1alpha1.RoleCredential) (versions []string) {
	for _, c := range credentials {
		versions = append(versions, f.secret(f.namespace, c.Name).ResourceVersion)
	}
	return versions
}

func TestKeyReplacedBeforeDeactivationCausesNoFailure(t *testing.T) {
	f := newFleet(t)
	newKey, err := f.sts.CreateAccessKey(operatorARN)
	f.Expect(err).NotTo(HaveOccurred())
	f.requestRefresh(f.all, "before")
	f.putKey(f.by.Name, newKey)
	f.requestRefresh(f.all, "after")
	f.waitForKey()
	f.waitForRefresh(f.all, "after")
	f.Expect(f.sts.DeleteAccessKey(f.oldKey.ID)).To(Succeed())
	deleted := len(f.sts.Calls())
	f.requestRefresh(f.all, "afterwards")
	f.waitForRefresh(f.all, "afterwards")
	f.stop()

	calls := f.sts.Calls()
	for _, call := range calls {
		f.Expect(call.Code).To(BeEmpty())
	}
	for _, call := range calls[deleted:] {
		f.Expect(call.AccessKeyID).To(Equal(newKey.ID))
	}
}

func TestCredentialsRecoverAfterInactiveKeyIsReplaced(t *testing.T) {
	f := newFleet(t)
	failing, others := f.all[:10], f.all[10:]
	f.Expect(f.sts.SetAccessKeyActive(f.oldKey.ID, false)).To(Succeed())
	before := f.issues()
	f.requestRefresh(failing, "during")
	f.Eventually(f.issues).WithTimeout(waitLimit).Should(BeNumerically(">=", before+3)) // probes of the open circuit
	for _, c := range failing {
		f.Expect(f.state(c, "Ready")()).To(Equal("True Issued"), "the current credentials stay valid")
	}
	// The operator verifies a ready identity each hour, and a changed one at once.
	update(f.harness, f.by, func(i *v1alpha1.ClusterIdentity) {
		(*i.Spec.Allow)[0].MaxDuration = &metav1.Duration{Duration: time.Hour}
	})
	f.eventually(f.by, "Ready", "False InvalidSourceCredentials")

	versions := f.secretVersions(others)
	newKey, err := f.sts.CreateAccessKey(operatorARN)
	f.Expect(err).NotTo(HaveOccurred())
	f.putKey(f.by.Name, newKey) // the only manual step
	replaced := len(f.sts.Calls())
	f.waitForKey()
	verified := len(f.sts.Calls())
	f.waitForRefresh(failing, "during")
	f.Expect(f.secretVersions(others)).To(Equal(versions))

	recovered := len(f.sts.Calls())
	f.requestRefresh(f.all, "afterwards")
	f.waitForRefresh(f.all, "afterwards")
	f.stop()
	calls := f.sts.Calls()
	for _, call := range calls[verified:] {
		f.Expect(call.AccessKeyID).To(Equal(newKey.ID))
		f.Expect(call.Code).To(BeEmpty())
	}
	f.Expect(calls[recovered:]).To(HaveLen(len(f.all)))
	oldKeyCalls := 0
	for _, call := range calls[replaced:verified] {
		if call.AccessKeyID == f.oldKey.ID {
			oldKeyCalls++
		}
	}
	t.Logf("%d calls from the Secret's change to the identity's status, %d of them with the old key; %d credentials recovered with %d calls", verified-replaced, oldKeyCalls, len(failing), recovered-replaced)
}
