package credential

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/testkit"
)

// The axes of the matrix, each with similar values.
var (
	namespaceLabels = map[string]map[string]string{ // namespaces and their labels
		"shop": {"team": "shop"}, "shop-": {}, "shop-eu": {"team": "shop", "stage": "eu"}, "prod-shop": {"team": "shops"}, "bank": {"team": "bank"},
	}
	roleValues = []string{
		"arn:aws:iam::123456789012:role/S3Reader", "arn:aws:iam::123456789012:role/S3ReaderAdmin", "arn:aws:iam::123456789012:role/team/S3Reader",
		"arn:aws:iam::999999999999:role/S3Reader", "arn:aws-cn:iam::123456789012:role/S3Reader", hubRole,
	}
	durationValues = []time.Duration{15 * time.Minute, time.Hour, time.Hour + time.Second, 12 * time.Hour}
	sessionValues  = []string{"", "ci-nightly", "bank.cell", "shop.cell"} // the last two are the default names of a cell in the namespaces bank and shop
	callValues     = []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken}
)

const hubRole = "arn:aws:iam::210987654321:role/Hub"

// matrixRules returns the rules of the ClusterIdentities by name, one for each form of rules.
func matrixRules() map[string][]v1alpha1.AllowRule {
	reader, all := roleValues[0], []string{"*"}
	upTo := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	labelled := &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}}
	allowAll := v1alpha1.AllowRule{Namespaces: all, RoleARNs: all, SessionNames: all, Calls: callValues}
	return map[string][]v1alpha1.AllowRule{
		"by-name":     {{Namespaces: []string{"shop"}, RoleARNs: []string{reader}, MaxDuration: upTo(time.Hour)}},
		"by-pattern":  {{Namespaces: []string{"shop-*", "ban*k"}, RoleARNs: []string{"arn:aws:iam::123456789012:role/S3*"}, SessionNames: []string{"ci-*"}}},
		"by-label":    {{NamespaceSelector: labelled, RoleARNs: []string{"arn:aws:iam::*:role/*S3Reader"}, MaxDuration: upTo(2 * time.Hour)}},
		"by-labels":   {{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop", "stage": "eu"}}, RoleARNs: all, SessionNames: []string{"shop.cell"}}},
		"by-operator": {{NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: metav1.LabelSelectorOpIn, Values: []string{"shops", "bank"}}}}, RoleARNs: []string{"arn:*:iam::123456789012:role/S3Reader"}}},
		"of-users":    {{Namespaces: []string{"shop", "*-shop"}, Calls: callValues[1:], MaxDuration: upTo(time.Hour)}},
		"of-one-call": {{Namespaces: all, Calls: callValues[2:], SessionNames: []string{"ci-nightly", "bank.*"}}},
		"several-rules": { // a request must match one of them completely
			{Namespaces: []string{"shop"}, RoleARNs: []string{reader}, MaxDuration: upTo(15 * time.Minute), SessionNames: []string{"ci-nightly"}},
			{Namespaces: []string{"shop"}, RoleARNs: []string{hubRole}, MaxDuration: upTo(12 * time.Hour)},
			{Namespaces: []string{"bank"}, RoleARNs: []string{reader}, MaxDuration: upTo(12 * time.Hour), SessionNames: all},
		},
		"without-rules": {},
		"invalid-rules": { // the schema rejects them, and they allow nothing
			{RoleARNs: all, SessionNames: all}, {Namespaces: []string{}, RoleARNs: all}, {Namespaces: []string{""}, RoleARNs: all}, {NamespaceSelector: &metav1.LabelSelector{}, RoleARNs: all},
			{Namespaces: all}, {Namespaces: all, RoleARNs: []string{""}}, {Namespaces: all, RoleARNs: all, Calls: []v1alpha1.Call{""}},
		},
		"for-all": {allowAll}, "chained": {allowAll}, "by-token": {allowAll}, "of-a-session": {allowAll}, "without-a-key": {allowAll},
	}
}

// cell is one request of the matrix.
type cell struct {
	namespace string
	ref       v1alpha1.IdentityReference
	call      v1alpha1.Call
	role      string
	session   string
	duration  time.Duration
}

func (c cell) String() string {
	return callText(fmt.Sprintf("namespace %s with %s %s", c.namespace, c.ref.Kind, c.ref.Name), c.call, c.role, c.session, c.duration)
}

// matrix returns all cells. A call without a role or a name has one value for it.
func matrix() (cells []cell) {
	var refs []v1alpha1.IdentityReference
	for _, name := range append(slices.Sorted(maps.Keys(matrixRules())), "missing") {
		refs = append(refs, v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindClusterIdentity, Name: name})
	}
	for _, name := range []string{"own", "for-all"} {
		refs = append(refs, v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindIdentity, Name: name})
	}
	roles := map[v1alpha1.Call][]string{v1alpha1.CallAssumeRole: roleValues, v1alpha1.CallGetSessionToken: {""}, v1alpha1.CallGetFederationToken: {""}}
	sessions := map[v1alpha1.Call][]string{v1alpha1.CallAssumeRole: sessionValues, v1alpha1.CallGetSessionToken: {""}, v1alpha1.CallGetFederationToken: sessionValues}
	for _, namespace := range slices.Sorted(maps.Keys(namespaceLabels)) {
		for _, ref := range refs {
			for _, call := range callValues {
				for _, role := range roles[call] {
					for _, session := range sessions[call] {
						for _, duration := range durationValues {
							cells = append(cells, cell{namespace, ref, call, role, session, duration})
						}
					}
				}
			}
		}
	}
	return cells
}

// The oracle decides by the API's documentation, independently of the operator's code.

// ownKeys maps each Identity, as namespace/name, to its caller: an access key ID or a token.
var ownKeys = map[string]string{"shop/own": keyIDOf("shop", "own-key"), "prod-shop/own": keyIDOf("prod-shop", "own-key"), "shop-eu/own": "token of shop-eu:default for sts.amazonaws.com", "bank/for-all": keyIDOf("bank", "own-key")}

// expected returns the first condition that is not True, or Ready, and the STS call if Ready is True.
func (c cell) expected() (verdict, wantCall string) {
	caller := ownKeys[c.namespace+"/"+c.ref.Name]
	rules, found := matrixRules()[c.ref.Name]
	switch cluster := c.ref.Kind == v1alpha1.IdentityKindClusterIdentity; {
	case cluster && !found || !cluster && caller == "":
		return "Authorized=False IdentityNotFound", ""
	case cluster && c.ref.Name == "without-a-key":
		return "Authorized=False IdentityNotReady", ""
	case cluster && !slices.ContainsFunc(rules, c.allowedFor(c.duration)):
		if slices.ContainsFunc(rules, c.allowedFor(0)) {
			return "Authorized=False DurationNotAllowed", ""
		}
		return "Authorized=False NotAllowed", ""
	case cluster && c.ref.Name == "chained" && c.role == hubRole:
		return "Authorized=False NotAllowed", ""
	case cluster && c.ref.Name == "chained" && c.call == v1alpha1.CallAssumeRole && c.duration > time.Hour:
		return "Authorized=False DurationNotAllowed", ""
	case strings.HasPrefix(c.role, "arn:aws-cn:"): // the region of each identity is in the partition aws
		return "Issued=False WrongPartition", ""
	case c.call != v1alpha1.CallAssumeRole && (cluster && slices.Contains([]string{"chained", "by-token", "of-a-session"}, c.ref.Name) || strings.HasPrefix(caller, "token")):
		return "Issued=False WrongSourceType", ""
	case cluster:
		caller = map[string]string{"chained": "session of " + hubRole + " by ", "by-token": "token of " + c.namespace + ":default for sts.amazonaws.com"}[c.ref.Name]
		if c.ref.Name != "by-token" {
			caller += keyIDOf("rolecredential-system", c.ref.Name)
		}
	}
	name, call := c.session, c.call
	if name == "" && call != v1alpha1.CallGetSessionToken {
		name = c.namespace + ".cell"
	}
	if strings.HasPrefix(caller, "token") {
		call = v1alpha1.CallAssumeRoleWithWebIdentity
	}
	return "Ready=True Issued", callText(caller, call, c.role, name, c.duration)
}

// callText describes an STS call and its caller.
func callText(caller string, call v1alpha1.Call, role, session string, duration time.Duration) string {
	return fmt.Sprintf("%s calls %s for role %q, name %q, duration %s", caller, call, role, session, duration)
}

// allowedFor returns a function that reports whether a rule allows the cell with another duration.
func (c cell) allowedFor(duration time.Duration) func(v1alpha1.AllowRule) bool {
	return func(r v1alpha1.AllowRule) bool {
		namespaceOK := anyOf(r.Namespaces, func(p string) bool { return matchesPattern(p, c.namespace) }) || selectorMatches(r.NamespaceSelector, namespaceLabels[c.namespace])
		callOK := anyOf(r.Calls, func(call v1alpha1.Call) bool { return call == c.call }) || r.Calls == nil && c.call == v1alpha1.CallAssumeRole
		roleOK := c.role == "" || anyOf(r.RoleARNs, func(p string) bool { return p == "*" || matchesPattern(p, c.role) })
		nameOK := c.session == "" || c.session == c.namespace+".cell" || anyOf(r.SessionNames, func(p string) bool { return matchesPattern(p, c.session) })
		durationOK := r.MaxDuration == nil || duration <= r.MaxDuration.Duration
		return namespaceOK && callOK && roleOK && nameOK && durationOK
	}
}

func anyOf[T any](list []T, match func(T) bool) bool { return slices.ContainsFunc(list, match) }

var patterns = map[string]*regexp.Regexp{}

// matchesPattern reports whether the whole text matches the pattern, in which '*' matches any run of characters except a colon.
func matchesPattern(pattern, text string) bool {
	if patterns[pattern] == nil {
		patterns[pattern] = regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, "[^:]*") + "$")
	}
	return patterns[pattern].MatchString(text)
}

func selectorMatches(selector *metav1.LabelSelector, labels map[string]string) bool {
	if selector == nil || len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		return false
	}
	for key, value := range selector.MatchLabels {
		if labels[key] != value {
			return false
		}
	}
	for _, in := range selector.MatchExpressions { // the matrix uses only the operator In
		if !slices.Contains(in.Values, labels[in.Key]) {
			return false
		}
	}
	return true
}

// The objects of the matrix.

// keyIDOf returns the access key ID of a Secret, with the characters that AWS allows.
func keyIDOf(namespace, name string) string {
	return "AKIA_of_" + strings.ReplaceAll(namespace+"_"+name, "-", "_")
}

func accessKeyOf(namespace, name string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data:       map[string][]byte{"AWS_ACCESS_KEY_ID": []byte(keyIDOf(namespace, name)), "AWS_SECRET_ACCESS_KEY": []byte("secret")},
	}
}

func matrixWorld() (objects []client.Object) {
	for name, labels := range namespaceLabels {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
	for name, rules := range matrixRules() {
		found := testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) { i.Name, i.Spec.Allow = name, &rules })
		found.Spec.Source.AccessKey.SecretRef.Name = name
		key := accessKeyOf("rolecredential-system", name)
		switch name {
		case "chained":
			found.Spec.Chain = []v1alpha1.Hop{{RoleARN: hubRole}}
		case "by-token":
			found.Spec.Source = byToken().Spec.Source
		case "of-a-session":
			key.Data["AWS_SESSION_TOKEN"] = []byte("token")
		case "without-a-key":
			key.Name = "misnamed"
		}
		objects = append(objects, found, key)
	}
	for key, caller := range ownKeys {
		namespace, name, _ := strings.Cut(key, "/")
		found := testkit.Changed(ownIdentity(), func(i *v1alpha1.Identity) { i.Namespace, i.Name = namespace, name })
		if strings.HasPrefix(caller, "token") {
			found.Spec.Source = v1alpha1.IdentitySource{ServiceAccount: &v1alpha1.ServiceAccountSource{}}
		}
		objects = append(objects, found, accessKeyOf(namespace, "own-key"))
	}
	return objects
}

// callRecorder is an STS client that records each call with its caller.
type callRecorder struct {
	*testkit.STS
	calls *[]string
}

func (s callRecorder) Issue(ctx context.Context, credentials aws.CredentialsProvider, r request.Request, auth request.CallAuth) (request.Credentials, error) {
	caller := string(auth.WebIdentityToken)
	if caller == "" {
		keys, err := credentials.Retrieve(ctx)
		if err != nil {
			return request.Credentials{}, err
		}
		caller = keys.AccessKeyID
	}
	*s.calls = append(*s.calls, callText(caller, r.Call, r.RoleARN, r.SessionName, r.Duration))
	return s.STS.Issue(ctx, credentials, r, auth)
}

func (callRecorder) Hop(source aws.CredentialsProvider, r request.Request, _ identity.AuthSource) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		keys, err := source.Retrieve(ctx)
		keys.AccessKeyID, keys.SessionToken = "session of "+r.RoleARN+" by "+keys.AccessKeyID, "token"
		return keys, err
	})
}

// matrixScheme returns a scheme with only the necessary kinds, which makes each write of the fake client faster.
func matrixScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Secret{}, &corev1.SecretList{}, &corev1.Namespace{}, &corev1.ServiceAccount{})
	scheme.AddKnownTypes(authenticationv1.SchemeGroupVersion, &authenticationv1.TokenRequest{})
	for _, version := range []schema.GroupVersion{corev1.SchemeGroupVersion, authenticationv1.SchemeGroupVersion} {
		metav1.AddToGroupVersion(scheme, version)
	}
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}

// newMatrix returns a fixture that records STS calls in calls, and the last object whose status was written in reported.
func newMatrix(t *testing.T, calls *[]string, reported *request.Object) *fixture {
	f := newFixture(t)
	f.Recorder.Events = nil // no test reads them
	f.Client = fake.NewClientBuilder().WithScheme(matrixScheme()).WithObjects(matrixWorld()...).
		WithStatusSubresource(&v1alpha1.RoleCredential{}, &v1alpha1.SessionCredential{}, &v1alpha1.FederatedCredential{}).
		WithIndex(secretstore.Metadata(), secretstore.OwnerIndex, secretstore.IndexOwner).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourceCreate: f.Tokens.Issue,
			// The fake client's write would take most of the test's time.
			SubResourceUpdate: func(_ context.Context, _ client.Client, _ string, o client.Object, _ ...client.SubResourceUpdateOption) error {
				*reported, _ = o.(request.Object)
				return nil
			},
		}).Build()
	f.Operator, _ = f.Client.(client.WithWatch)
	f.credentials.Client, f.credentials.Secrets = f.Client, &secretstore.Store{Client: f.Client, APIReader: f.Client}
	resolver := f.credentials.Identities
	resolver.Reader, resolver.APIReader, resolver.Tokens = f.Client, f.Client, identity.NewTokens(f.Client, f.Clock)
	resolver.NewSTS = func(request.Key, aws.Config) identity.STS { return callRecorder{f.STS, calls} }
	return f
}

// reconcile creates, reconciles and deletes the credential of a cell, and reports whether the operator wrote a Secret.
func (c cell) reconcile(f *fixture) (wroteSecret bool) {
	meta := metav1.ObjectMeta{Namespace: c.namespace, Name: "cell", UID: "cell-uid", Generation: 1}
	common, duration := v1alpha1.CredentialSpec{IdentityRef: c.ref}, &metav1.Duration{Duration: c.duration}
	var object request.Object
	switch c.call {
	case v1alpha1.CallAssumeRole:
		object = reconcileKind(f, request.RoleCredential, &v1alpha1.RoleCredential{ObjectMeta: meta, Spec: v1alpha1.RoleCredentialSpec{CredentialSpec: common, Duration: duration, RoleARN: c.role, SessionName: c.session}})
	case v1alpha1.CallGetSessionToken:
		object = reconcileKind(f, request.SessionCredential, &v1alpha1.SessionCredential{ObjectMeta: meta, Spec: v1alpha1.SessionCredentialSpec{CredentialSpec: common, Duration: duration}})
	case v1alpha1.CallGetFederationToken:
		object = reconcileKind(f, request.FederatedCredential, &v1alpha1.FederatedCredential{ObjectMeta: meta, Spec: v1alpha1.FederatedCredentialSpec{CredentialSpec: common, Duration: duration, UserName: c.session, Policy: narrow}})
	}
	f.Expect(f.Client.Delete(f.T.Context(), object)).To(Succeed())
	err := f.Client.Delete(f.T.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "cell"}})
	f.Expect(client.IgnoreNotFound(err)).To(Succeed())
	return err == nil
}

// A request that the oracle denies causes no STS call and no token request. An allowed one causes exactly the expected call.
func TestNamespaceReachesOnlyAllowedRequests(t *testing.T) {
	var calls []string
	var reported request.Object
	f := newMatrix(t, &calls, &reported)
	cells, verdicts, wrong := matrix(), map[string]int{}, 0
	for _, c := range cells {
		wantVerdict, wantCall := c.expected()
		verdicts[wantVerdict]++
		calls, reported, f.STS.Issued = nil, nil, nil
		f.credentials.Limits = &limit.Limiter{DefaultQPS: 100, Slots: 4} // a new limiter, so that no cell waits
		tokens := len(f.Tokens.Requested)
		wroteSecret := c.reconcile(f)
		verdict, _, _ := strings.Cut(testkit.FirstProblem(reported.Report().Conditions), ":")
		var want []string
		if wantCall != "" {
			want = []string{wantCall}
		}
		if verdict == wantVerdict && slices.Equal(calls, want) && wroteSecret == (want != nil) && (want != nil || len(f.Tokens.Requested) == tokens) {
			continue
		}
		t.Errorf("%s:\n got %s, %q, a Secret: %t, %d tokens\nwant %s, %q", c, verdict, calls, wroteSecret, len(f.Tokens.Requested)-tokens, wantVerdict, want)
		if wrong++; wrong == 10 {
			t.Fatal("stopped after 10 mismatches")
		}
	}
	f.Expect(len(cells)).To(BeNumerically(">", 9000))
	t.Logf("%d cells: %v", len(cells), verdicts)
	for verdict, n := range verdicts {
		f.Expect(n).To(BeNumerically(">=", 30), verdict)
	}
	f.Expect(verdicts).To(HaveLen(7))
}
