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

// The axes of the matrix, each with what looks alike.
var (
	tenants = map[string]map[string]string{ // namespaces and their labels
		"shop": {"team": "shop"}, "shop-": {}, "shop-eu": {"team": "shop", "stage": "eu"}, "prod-shop": {"team": "shops"}, "bank": {"team": "bank"},
	}
	askedRoles = []string{
		"arn:aws:iam::123456789012:role/S3Reader", "arn:aws:iam::123456789012:role/S3ReaderAdmin", "arn:aws:iam::123456789012:role/team/S3Reader",
		"arn:aws:iam::999999999999:role/S3Reader", "arn:aws-cn:iam::123456789012:role/S3Reader", hubRole,
	}
	askedDurations = []time.Duration{15 * time.Minute, time.Hour, time.Hour + time.Second, 12 * time.Hour}
	askedSessions  = []string{"", "ci-nightly", "bank.cell", "shop.cell"} // the last two are a cell's default in one namespace each
	askedCalls     = []v1alpha1.Call{v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken}
)

const hubRole = "arn:aws:iam::210987654321:role/Hub"

// ruled are the rules of the ClusterIdentities, one for each shape that rules have.
func ruled() map[string][]v1alpha1.AllowRule {
	reader, all := askedRoles[0], []string{"*"}
	upTo := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	labelled := &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}}
	anything := v1alpha1.AllowRule{Namespaces: all, RoleARNs: all, SessionNames: all, Calls: askedCalls}
	return map[string][]v1alpha1.AllowRule{
		"by-name":     {{Namespaces: []string{"shop"}, RoleARNs: []string{reader}, MaxDuration: upTo(time.Hour)}},
		"by-pattern":  {{Namespaces: []string{"shop-*", "ban*k"}, RoleARNs: []string{"arn:aws:iam::123456789012:role/S3*"}, SessionNames: []string{"ci-*"}}},
		"by-label":    {{NamespaceSelector: labelled, RoleARNs: []string{"arn:aws:iam::*:role/*S3Reader"}, MaxDuration: upTo(2 * time.Hour)}},
		"by-labels":   {{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop", "stage": "eu"}}, RoleARNs: all, SessionNames: []string{"shop.cell"}}},
		"by-operator": {{NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: metav1.LabelSelectorOpIn, Values: []string{"shops", "bank"}}}}, RoleARNs: []string{"arn:*:iam::123456789012:role/S3Reader"}}},
		"of-users":    {{Namespaces: []string{"shop", "*-shop"}, Calls: askedCalls[1:], MaxDuration: upTo(time.Hour)}},
		"of-one-call": {{Namespaces: all, Calls: askedCalls[2:], SessionNames: []string{"ci-nightly", "bank.*"}}},
		"that-add-up": { // to nothing more than each allows
			{Namespaces: []string{"shop"}, RoleARNs: []string{reader}, MaxDuration: upTo(15 * time.Minute), SessionNames: []string{"ci-nightly"}},
			{Namespaces: []string{"shop"}, RoleARNs: []string{hubRole}, MaxDuration: upTo(12 * time.Hour)},
			{Namespaces: []string{"bank"}, RoleARNs: []string{reader}, MaxDuration: upTo(12 * time.Hour), SessionNames: all},
		},
		"for-nobody": {},
		"of-blanks": { // which the schema refuses, and which allow nothing
			{RoleARNs: all, SessionNames: all}, {Namespaces: []string{}, RoleARNs: all}, {Namespaces: []string{""}, RoleARNs: all}, {NamespaceSelector: &metav1.LabelSelector{}, RoleARNs: all},
			{Namespaces: all}, {Namespaces: all, RoleARNs: []string{""}}, {Namespaces: all, RoleARNs: all, Calls: []v1alpha1.Call{""}},
		},
		"for-all": {anything}, "chained": {anything}, "by-token": {anything}, "of-a-session": {anything}, "without-a-key": {anything},
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
	return question(fmt.Sprintf("namespace %s with %s %s", c.namespace, c.ref.Kind, c.ref.Name), c.call, c.role, c.session, c.duration)
}

// matrix is every cell that there is: a call that takes no role or no name has one for all of them.
func matrix() (cells []cell) {
	var refs []v1alpha1.IdentityReference
	for _, name := range append(slices.Sorted(maps.Keys(ruled())), "that-is-not") {
		refs = append(refs, v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindClusterIdentity, Name: name})
	}
	for _, name := range []string{"own", "for-all"} {
		refs = append(refs, v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindIdentity, Name: name})
	}
	roles := map[v1alpha1.Call][]string{v1alpha1.CallAssumeRole: askedRoles, v1alpha1.CallGetSessionToken: {""}, v1alpha1.CallGetFederationToken: {""}}
	sessions := map[v1alpha1.Call][]string{v1alpha1.CallAssumeRole: askedSessions, v1alpha1.CallGetSessionToken: {""}, v1alpha1.CallGetFederationToken: askedSessions}
	for _, namespace := range slices.Sorted(maps.Keys(tenants)) {
		for _, ref := range refs {
			for _, call := range askedCalls {
				for _, role := range roles[call] {
					for _, session := range sessions[call] {
						for _, duration := range askedDurations {
							cells = append(cells, cell{namespace, ref, call, role, session, duration})
						}
					}
				}
			}
		}
	}
	return cells
}

// The oracle: who may have what, in the words of the API's description and as plainly as can be. It knows nothing of how the
// operator finds out.

// ownKeys are the namespaces that hold an Identity, and whom STS knows it as.
var ownKeys = map[string]string{"shop/own": keyIDOf("shop", "own-key"), "prod-shop/own": keyIDOf("prod-shop", "own-key"), "shop-eu/own": "token of shop-eu:default for sts.amazonaws.com", "bank/for-all": keyIDOf("bank", "own-key")}

// says is the first condition that is not True, or Ready, and if that is True what STS is asked and as whom.
func (c cell) says() (verdict, asks string) {
	own := ownKeys[c.namespace+"/"+c.ref.Name]
	rules, found := ruled()[c.ref.Name]
	switch cluster := c.ref.Kind == v1alpha1.IdentityKindClusterIdentity; {
	case cluster && !found || !cluster && own == "":
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
	case strings.HasPrefix(c.role, "arn:aws-cn:"): // all identities are of a region of the partition aws
		return "Issued=False WrongPartition", ""
	case c.call != v1alpha1.CallAssumeRole && (cluster && slices.Contains([]string{"chained", "by-token", "of-a-session"}, c.ref.Name) || strings.HasPrefix(own, "token")):
		return "Issued=False WrongSourceType", ""
	case cluster:
		own = map[string]string{"chained": "session of " + hubRole + " by ", "by-token": "token of " + c.namespace + ":default for sts.amazonaws.com"}[c.ref.Name]
		if c.ref.Name != "by-token" {
			own += keyIDOf("rolecredential-system", c.ref.Name)
		}
	}
	name := c.session
	if name == "" && c.call != v1alpha1.CallGetSessionToken {
		name = c.namespace + ".cell"
	}
	return "Ready=True Issued", question(own, c.call, c.role, name, c.duration)
}

func question(caller string, call v1alpha1.Call, role, session string, duration time.Duration) string {
	return fmt.Sprintf("%s asks by %s for %q named %q for %s", caller, call, role, session, duration)
}

// allowedFor tells whether one rule allows all of the cell, for a duration.
func (c cell) allowedFor(duration time.Duration) func(v1alpha1.AllowRule) bool {
	return func(r v1alpha1.AllowRule) bool {
		theNamespace := some(r.Namespaces, func(p string) bool { return like(p, c.namespace) }) || selects(r.NamespaceSelector, tenants[c.namespace])
		theCall := some(r.Calls, func(call v1alpha1.Call) bool { return call == c.call }) || r.Calls == nil && c.call == v1alpha1.CallAssumeRole
		theRole := c.role == "" || some(r.RoleARNs, func(p string) bool { return p == "*" || like(p, c.role) })
		theName := c.session == "" || c.session == c.namespace+".cell" || some(r.SessionNames, func(p string) bool { return like(p, c.session) })
		theDuration := r.MaxDuration == nil || duration <= r.MaxDuration.Duration
		return theNamespace && theCall && theRole && theName && theDuration
	}
}

func some[T any](list []T, holds func(T) bool) bool { return slices.ContainsFunc(list, holds) }

var patterns = map[string]*regexp.Regexp{}

// like tells whether the whole text is as the pattern says, in which a star is any run of characters but a colon.
func like(pattern, text string) bool {
	if patterns[pattern] == nil {
		patterns[pattern] = regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, "[^:]*") + "$")
	}
	return patterns[pattern].MatchString(text)
}

func selects(selector *metav1.LabelSelector, labels map[string]string) bool {
	if selector == nil || len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		return false
	}
	for key, value := range selector.MatchLabels {
		if labels[key] != value {
			return false
		}
	}
	for _, in := range selector.MatchExpressions { // the only operator that is used here
		if !slices.Contains(in.Values, labels[in.Key]) {
			return false
		}
	}
	return true
}

// The world that the cells are tried in.

// keyIDOf is the access key's ID in a Secret, in the characters that AWS uses.
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
	for name, labels := range tenants {
		objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	}
	for name, rules := range ruled() {
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
	for own, caller := range ownKeys {
		namespace, name, _ := strings.Cut(own, "/")
		found := testkit.Changed(ownIdentity(), func(i *v1alpha1.Identity) { i.Namespace, i.Name = namespace, name })
		if strings.HasPrefix(caller, "token") {
			found.Spec.Source = v1alpha1.IdentitySource{ServiceAccount: &v1alpha1.ServiceAccountSource{}}
		}
		objects = append(objects, found, accessKeyOf(namespace, "own-key"))
	}
	return objects
}

// noting is an STS that notes as whom it is asked what.
type noting struct {
	*testkit.STS
	credentials aws.CredentialsProvider
	asked       *[]string
}

func (s noting) Issue(ctx context.Context, r request.Request, proof request.CallAuth) (request.Credentials, error) {
	caller := string(proof.WebIdentityToken)
	if caller == "" {
		keys, err := s.credentials.Retrieve(ctx)
		if err != nil {
			return request.Credentials{}, err
		}
		caller = keys.AccessKeyID
	}
	*s.asked = append(*s.asked, question(caller, r.Call, r.RoleARN, r.SessionName, r.Duration))
	return s.STS.Issue(ctx, r, proof)
}

func assumed(_ request.Key, config aws.Config, r request.Request, _ identity.TokenSource) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		keys, err := config.Credentials.Retrieve(ctx)
		keys.AccessKeyID, keys.SessionToken = "session of "+r.RoleARN+" by "+keys.AccessKeyID, "token"
		return keys, err
	})
}

// few is a scheme of just the kinds that the matrix needs: the fake client goes through all that it knows with each write.
func few() *runtime.Scheme {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Secret{}, &corev1.SecretList{}, &corev1.Namespace{}, &corev1.ServiceAccount{})
	scheme.AddKnownTypes(authenticationv1.SchemeGroupVersion, &authenticationv1.TokenRequest{})
	for _, version := range []schema.GroupVersion{corev1.SchemeGroupVersion, authenticationv1.SchemeGroupVersion} {
		metav1.AddToGroupVersion(scheme, version)
	}
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}

// newMatrix is a fixture whose STS notes in asked as whom it is asked what, and whose client notes in reported what has a status.
func newMatrix(t *testing.T, asked *[]string, reported *request.Object) *fixture {
	f := newFixture(t)
	f.Recorder.Events = nil // which nobody reads
	f.Client = fake.NewClientBuilder().WithScheme(few()).WithObjects(matrixWorld()...).
		WithStatusSubresource(&v1alpha1.RoleCredential{}, &v1alpha1.SessionCredential{}, &v1alpha1.FederatedCredential{}).
		WithIndex(secretstore.Metadata(), secretstore.OwnerIndex, secretstore.IndexOwner).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourceCreate: f.Tokens.Issue,
			// To write it would take the fake client longer than all else together.
			SubResourceUpdate: func(_ context.Context, _ client.Client, _ string, o client.Object, _ ...client.SubResourceUpdateOption) error {
				*reported, _ = o.(request.Object)
				return nil
			},
		}).Build()
	f.credentials.Client, f.credentials.Secrets = f.Client, &secretstore.Store{Client: f.Client, Reader: f.Client}
	resolver := f.credentials.Identities
	resolver.Reader, resolver.Secrets, resolver.Tokens = f.Client, f.Client, identity.NewTokens(f.Client, f.Clock)
	resolver.Connect = func(_ request.Key, config aws.Config, _ identity.STS) identity.STS {
		return noting{f.STS, config.Credentials, asked}
	}
	resolver.Assume = assumed
	return f
}

// reconciled lets a cell's credential go the way once, removes what it left, and tells whether there was a Secret.
func (c cell) reconciled(f *fixture) (written bool) {
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

// What the oracle denies reaches neither STS nor a token of a service account, and what it allows is asked just so.
func TestNamespaceReachesOnlyAllowedRequests(t *testing.T) {
	var asked []string
	var reported request.Object
	f := newMatrix(t, &asked, &reported)
	cells, verdicts, wrong := matrix(), map[string]int{}, 0
	for _, c := range cells {
		wantVerdict, wantAsks := c.says()
		verdicts[wantVerdict]++
		asked, reported, f.STS.Issued = nil, nil, nil
		f.credentials.Limits = &limit.Limiter{DefaultQPS: 100, Slots: 4} // no cell waits for those before it
		tokens := len(f.Tokens.Requested)
		written := c.reconciled(f)
		verdict, _, _ := strings.Cut(testkit.FirstProblem(reported.Report().Conditions), ":")
		var want []string
		if wantAsks != "" {
			want = []string{wantAsks}
		}
		if verdict == wantVerdict && slices.Equal(asked, want) && written == (want != nil) && (want != nil || len(f.Tokens.Requested) == tokens) {
			continue
		}
		t.Errorf("%s:\n got %s, %q, a Secret: %t, %d tokens\nwant %s, %q", c, verdict, asked, written, len(f.Tokens.Requested)-tokens, wantVerdict, want)
		if wrong++; wrong == 10 {
			t.Fatal("and so on")
		}
	}
	f.Expect(len(cells)).To(BeNumerically(">", 9000))
	t.Logf("%d cells: %v", len(cells), verdicts)
	for verdict, n := range verdicts {
		f.Expect(n).To(BeNumerically(">=", 30), verdict)
	}
	f.Expect(verdicts).To(HaveLen(7))
}
