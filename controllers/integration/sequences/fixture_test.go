package sequences_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/hack/stsemulator"
)

// fixture is a namespace with the object under test. An identity has a credential that uses it.
type fixture struct {
	Gomega
	namespace string
	object    *unstructured.Unstructured
	// credential is the object itself, or the one that uses it.
	credential *unstructured.Unstructured
	since      int // the number of calls before the last change
}

// status has the fields of the statuses of all kinds.
type status struct {
	v1alpha1.CredentialStatus
	AccountID string `json:"accountID,omitempty"`
	ARN       string `json:"arn,omitempty"`
}

func (s status) state(conditionType string) string {
	c := meta.FindStatusCondition(s.Conditions, conditionType)
	if c == nil {
		return "none"
	}
	return string(c.Status) + " " + c.Reason
}

func (s status) is(conditionTypes ...string) bool {
	for _, conditionType := range conditionTypes {
		if !meta.IsStatusConditionTrue(s.Conditions, conditionType) {
			return false
		}
	}
	return true
}

func newObject(kind, namespace, name string, spec map[string]any) *unstructured.Unstructured {
	created := &unstructured.Unstructured{Object: map[string]any{"spec": runtime.DeepCopyJSON(spec)}}
	created.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	created.SetName(name)
	if kind != "ClusterIdentity" {
		created.SetNamespace(namespace)
	}
	return created
}

// create creates the object in a new namespace, and waits until it has settled.
func create(g Gomega, kind, namespace string, spec, consumer map[string]any) *fixture {
	ctx := context.Background()
	g.Expect(createNamespace(ctx, namespace)).To(Succeed())
	f := &fixture{Gomega: g, namespace: namespace, since: len(emulator.Calls())}
	identity, name := strings.HasSuffix(kind, "Identity"), "x"
	if identity {
		name = namespace // a ClusterIdentity's must be its own
	}
	f.object = newObject(kind, namespace, name, spec)
	f.credential = f.object
	f.Expect(admin.Create(ctx, f.object)).To(Succeed())
	if identity {
		f.credential = newObject("RoleCredential", namespace, "x", overlay(map[string]any{
			"roleARN": kinds["RoleCredential"].Base["roleARN"], "identityRef": map[string]any{"kind": kind, "name": namespace}, "serviceAccountName": "reader",
		}, consumer))
		f.Expect(admin.Create(ctx, f.credential)).To(Succeed())
	}
	f.waitUntilIdle()
	return f
}

// remove deletes the objects, so that they make no more calls.
func (f *fixture) remove() {
	for _, object := range []client.Object{f.credential, f.object} {
		f.Expect(client.IgnoreNotFound(admin.Delete(context.Background(), object))).To(Succeed())
	}
}

// apply changes the spec of the object, and requests a refresh unless the request is empty. Its error is the API server's.
func (f *fixture) apply(spec map[string]any, refresh string) (err error) {
	f.since = len(emulator.Calls())
	for apierrors.IsConflict(err) || err == nil {
		f.read(f.object)
		changed := f.object.DeepCopy()
		changed.Object["spec"] = runtime.DeepCopyJSON(spec)
		if refresh != "" {
			changed.SetAnnotations(map[string]string{v1alpha1.RefreshAnnotation: refresh})
		}
		if err = admin.Update(context.Background(), changed); err == nil {
			f.object.Object = changed.Object
			return nil
		}
	}
	return err
}

func (f *fixture) read(object *unstructured.Unstructured) (s status) {
	f.Expect(admin.Get(context.Background(), client.ObjectKeyFromObject(object), object)).To(Succeed())
	if found, ok := object.Object["status"].(map[string]any); ok {
		f.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(found, &s)).To(Succeed())
	}
	return s
}

const (
	waitLimit = 30 * time.Second // an upper bound of a wait
	poll      = 10 * time.Millisecond
)

// waitUntilIdle waits until the operator has processed the present specs. Once it has processed that of an identity, a change of refreshBefore
// shows when it has reconciled the credential with it, since that changes neither the request nor the Secret.
func (f *fixture) waitUntilIdle() {
	if f.credential != f.object {
		f.await(f.object)
		before, _ := lookup(f.credential.Object, "spec.refreshBefore")
		next := map[bool]string{true: "11m", false: "10m"}[before == "10m"]
		patch := fmt.Appendf(nil, `{"spec":{"refreshBefore":%q}}`, next)
		f.Expect(admin.Patch(context.Background(), f.credential, client.RawPatch(types.MergePatchType, patch))).To(Succeed())
	}
	f.await(f.credential)
}

// await waits until an object has settled. The time passes slowly meanwhile, for what waits in the operator.
func (f *fixture) await(object *unstructured.Unstructured) {
	f.Eventually(func() string {
		why := f.unsettled(object)
		if why != "" {
			now.Step(5 * poll)
		}
		return why
	}).WithTimeout(waitLimit).WithPolling(poll).Should(BeEmpty())
}

// unsettled says what is still to come for an object; nothing if it has settled.
func (f *fixture) unsettled(object *unstructured.Unstructured) string {
	s := f.read(object)
	if s.ObservedGeneration != object.GetGeneration() {
		return fmt.Sprintf("generation %d is observed, not %d", s.ObservedGeneration, object.GetGeneration())
	}
	for _, c := range s.Conditions {
		if c.ObservedGeneration != object.GetGeneration() && c.Type != v1alpha1.ConditionClockInSync {
			return c.Type + " is of an earlier generation"
		}
	}
	if object != f.credential {
		return ""
	}
	spec := object.Object["spec"].(map[string]any)
	_, rollout := spec["rollout"]
	suspended, _ := spec["suspend"].(bool)
	requested := object.GetAnnotations()[v1alpha1.RefreshAnnotation]
	switch rolledOut := s.state("RolledOut"); {
	case !suspended && s.is("Authorized") && aboutSession(s) && strings.HasPrefix(s.state("Issued"), "Unknown"):
		return "it waits for a call of STS: " + meta.FindStatusCondition(s.Conditions, "Issued").Message
	case !suspended && s.is("Authorized", "Issued", "Ready") && requested != s.LastHandledRefreshRequest:
		return "a refresh is requested"
	case rollout != (rolledOut != "none"), rollout && s.is("Authorized", "Ready") && strings.HasPrefix(rolledOut, "Unknown"):
		return "RolledOut is " + rolledOut
	default:
		return ""
	}
}

// aboutSession reports whether Ready says what the Secret holds, and not why it cannot be written.
func aboutSession(s status) bool {
	c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
	return c != nil && slices.Contains([]string{v1alpha1.ReasonIssued, v1alpha1.ReasonNotIssued, v1alpha1.ReasonOutdated, v1alpha1.ReasonExpired, v1alpha1.ReasonSuspended}, c.Reason)
}

// observation is the state of a fixture.
type observation struct {
	good bool
	// shape is what a twin must have too: the conditions, the Secrets, and the calls that issued the credential. Names, times and keys are
	// masked.
	shape map[string]string
	// refused has the parts of shape that are the same for a twin that has no Secret of an earlier spec.
	refused map[string]string
	failed  string // the last call, if it failed
	// session is the access key ID, and due when it is refreshed.
	session string
	due     time.Time
	after   string // how long after the issue that is
	// secrets has the data of the credential's Secrets, bystanders the versions of all other objects.
	secrets, bystanders map[string]string
}

// mask replaces the names of the fixture, and what names the session.
func (f *fixture) mask(text string) string {
	return sessionKey.ReplaceAllString(strings.NewReplacer(string(f.credential.GetUID()), "UID", f.namespace, "PLACE").Replace(text), "KEY")
}

var (
	sessionKey = regexp.MustCompile(`ASIA\w{16}`)
	// sessionParts are a session token, a secret access key and a time, in the data of a Secret.
	sessionParts = regexp.MustCompile(`IQoJb3JpZ2luX2Vj[A-Za-z0-9+/=]+|[A-Za-z0-9+/]{40}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
)

func (f *fixture) observe() observation {
	s := f.read(f.credential)
	of := s
	if f.object != f.credential {
		of = f.read(f.object)
	}
	o := observation{shape: map[string]string{}, refused: map[string]string{}, secrets: map[string]string{}, bystanders: map[string]string{}, session: s.AccessKeyID}
	o.good = of.is("Ready") && s.is("Authorized", "Issued", "Ready")
	for _, c := range s.Conditions {
		text := f.mask(fmt.Sprint(c.Status, " ", c.Reason, " ", c.Message))
		o.shape[c.Type] = text
		if c.Type == v1alpha1.ConditionAuthorized || c.Type == v1alpha1.ConditionIssued && c.Status == metav1.ConditionFalse || c.Type == v1alpha1.ConditionReady && !aboutSession(s) {
			o.refused[c.Type] = text
		}
	}
	for _, c := range of.Conditions {
		if f.object != f.credential && c.Type != v1alpha1.ConditionClockInSync {
			text := f.mask(fmt.Sprint(c.Status, " ", c.Reason, " ", c.Message))
			o.shape["identity "+c.Type], o.refused["identity "+c.Type] = text, text
		}
	}
	o.shape["status"] = f.mask(fmt.Sprint(s.FailedCall, s.SecretName, s.PrincipalARN, ptr.Deref(s.PackedPolicySize, -1), of.FailedCall, of.ARN, of.AccountID))
	if s.Expiration != nil {
		o.shape["lifetime"] = s.Expiration.Sub(s.LastRefreshTime.Time).String()
	}
	if s.NextRefreshTime != nil {
		o.due = s.NextRefreshTime.Time
		if f.object == f.credential { // waitUntilIdle changes it for another
			o.after = o.due.Sub(s.LastRefreshTime.Time).String()
		}
	}
	calls := emulator.Calls()
	o.shape["calls"] = strings.Join(f.issuedBy(calls, s.AccessKeyID), "\n")
	if n := len(calls); n > f.since && calls[n-1].Code != "" {
		o.failed = f.describe(calls[n-1]) + " in " + calls[n-1].Region
	}
	f.observeObjects(&o)
	return o
}

// issuedBy describes the call that issued an access key, and those that issued the keys that signed it.
func (f *fixture) issuedBy(calls []stsemulator.Call, accessKeyID string) []string {
	at := slices.IndexFunc(calls, func(c stsemulator.Call) bool { return accessKeyID != "" && c.IssuedAccessKeyID == accessKeyID })
	if at < 0 {
		return nil
	}
	return append(f.issuedBy(calls, calls[at].AccessKeyID), f.describe(calls[at]))
}

// describe leaves the region out: another region does not issue again.
func (f *fixture) describe(c stsemulator.Call) string {
	c.Parameters.Del("TokenCode")
	session, _ := emulator.Session(c.IssuedAccessKeyID)
	var parameters []string
	for _, name := range slices.Sorted(maps.Keys(c.Parameters)) {
		parameters = append(parameters, name+"="+c.Parameters.Get(name))
	}
	return f.mask(fmt.Sprint(c.Action, " at ", entrance.of(c.RequestID), " by ", cmp.Or(c.CallerARN, session.CallerARN), " ", session.Subject, " ", session.Audience, " ", c.Code, " ", strings.Join(parameters, "&")))
}

func (f *fixture) observeObjects(o *observation) {
	var secrets corev1.SecretList
	f.Expect(admin.List(context.Background(), &secrets, client.InNamespace(f.namespace))).To(Succeed())
	var deployments appsv1.DeploymentList
	f.Expect(admin.List(context.Background(), &deployments, client.InNamespace(f.namespace))).To(Succeed())
	for _, d := range deployments.Items {
		o.bystanders["Deployment "+d.Name] = d.ResourceVersion
	}
	for _, secret := range secrets.Items {
		if secret.Labels[v1alpha1.ManagedByLabel] != v1alpha1.ManagedByValue {
			o.bystanders["Secret "+secret.Name] = secret.ResourceVersion
			continue
		}
		var lines []string
		for key, value := range secret.Data {
			lines = append(lines, fmt.Sprintf("data %s: %s", key, sessionParts.ReplaceAllString(f.mask(string(value)), "PART")))
		}
		for key, value := range secret.Annotations {
			if rest, ours := strings.CutPrefix(key, "sts.rolecredential.dev/"); ours {
				if strings.HasPrefix(rest, "previous-") || rest == "refresh-request" { // the Secret's history
					continue
				}
				value = "of the operator"
			}
			lines = append(lines, fmt.Sprintf("annotation %s: %s", key, f.mask(value)))
		}
		lines = append(lines, fmt.Sprint(secret.Type, f.mask(fmt.Sprint(secret.Labels)), len(secret.OwnerReferences), metav1.IsControlledBy(&secret, f.credential)))
		slices.Sort(lines)
		o.shape["Secret "+secret.Name] = strings.Join(lines, "\n")
		o.secrets[secret.Name] = request.Hash(secret.Data)
	}
}
