package credential

import (
	"net/url"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
)

const narrow = `{"Statement":[{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}]}`

func session() *v1alpha1.SessionCredential {
	return &v1alpha1.SessionCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own-rights", UID: "session-uid", Generation: 1}}
}

func federated() *v1alpha1.FederatedCredential {
	c := &v1alpha1.FederatedCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "narrowed", UID: "federated-uid", Generation: 1}}
	c.Spec.Policy = narrow
	return c
}

// allowing returns the default identity with one rule, which allows the namespace shop the given calls.
func allowing(calls ...v1alpha1.Call) *v1alpha1.ClusterIdentity {
	return testkit.Changed(testkit.DefaultIdentity(), func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Allow = &[]v1alpha1.AllowRule{{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}, Calls: calls}}
	})
}

// temporary returns the source's Secret with a session token.
func temporary() *corev1.Secret {
	return testkit.Changed(testkit.Bootstrap(), func(s *corev1.Secret) { s.Data["AWS_SESSION_TOKEN"] = []byte("source-token") })
}

// reconcileKind creates and reconciles an object of any kind, and returns it as stored afterwards.
func reconcileKind[T request.Object](f *fixture, kind request.Kind[T], object T) T {
	f.T.Helper()
	base := f.credentials
	r := &Reconciler[T]{
		Kind: kind, Client: f.Operator, Identities: base.Identities, Secrets: base.Secrets, Devices: base.Devices, Limits: base.Limits, Events: base.Events, Metrics: base.Metrics, Clock: f.Clock,
	}
	f.Expect(f.Client.Create(f.T.Context(), object)).To(Succeed())
	_, err := r.Reconcile(f.T.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)})
	f.Expect(err).NotTo(HaveOccurred())
	f.Expect(f.Client.Get(f.T.Context(), client.ObjectKeyFromObject(object), object)).To(Succeed())
	return object
}

func TestSessionAndFederatedCredentialsRequireRuleAndUserKey(t *testing.T) {
	for kind, reconcile := range map[v1alpha1.Call]func(f *fixture) request.Object{
		v1alpha1.CallGetSessionToken:    func(f *fixture) request.Object { return reconcileKind(f, request.SessionCredential, session()) },
		v1alpha1.CallGetFederationToken: func(f *fixture) request.Object { return reconcileKind(f, request.FederatedCredential, federated()) },
	} {
		for name, tc := range map[string]struct {
			objects    []client.Object
			want       string // of the condition that is not True, or of Ready
			wantCalls  int
			wantSaying string
		}{
			"a rule with the call":           {objects: testkit.World(allowing(kind)), want: "Ready=True Issued", wantCalls: 1},
			"a rule with another call":       {objects: testkit.World(allowing(v1alpha1.CallAssumeRole)), want: "Authorized=False NotAllowed", wantSaying: "allows namespace \"shop\" the call " + string(kind)},
			"a rule without calls":           {objects: testkit.World(allowing()), want: "Authorized=False NotAllowed"},
			"a source with a session token":  {objects: testkit.World(allowing(kind), temporary()), want: "Issued=False WrongSourceType", wantSaying: "(accessKey rolecredential-system/bootstrap) has temporary credentials"},
			"a missing Secret of the source": {objects: testkit.Without(testkit.Bootstrap(), testkit.World(allowing(kind))), want: "Authorized=False IdentityNotReady"},
		} {
			t.Run(string(kind)+" "+name, func(t *testing.T) {
				f := newFixture(t, tc.objects...)
				got := reconcile(f).Report()
				f.Expect(testkit.FirstProblem(got.Conditions)).To(HavePrefix(tc.want))
				f.Expect(testkit.FirstProblem(got.Conditions)).To(ContainSubstring(tc.wantSaying))
				f.Expect(f.STS.Issued).To(HaveLen(tc.wantCalls))
			})
		}
	}
}

// Each combination of source and kind issues credentials, or is rejected with a specific reason before the STS call.
func TestEachSourceSupportsOrRejectsEachKind(t *testing.T) {
	const issued, wrongSource = "Ready=True Issued", "Issued=False WrongSourceType"
	ambient := func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Source = v1alpha1.ClusterIdentitySource{Ambient: &v1alpha1.AmbientSource{}}
	}
	chain := func(hops ...string) func(i *v1alpha1.ClusterIdentity) {
		return func(i *v1alpha1.ClusterIdentity) {
			for _, hop := range hops {
				i.Spec.Chain = append(i.Spec.Chain, v1alpha1.Hop{RoleARN: "arn:aws:iam::123456789012:role/" + hop})
			}
		}
	}
	serviceAccount := func(i *v1alpha1.ClusterIdentity) { i.Spec.Source = byToken().Spec.Source }
	for source, tc := range map[string]struct {
		identity      func(*v1alpha1.ClusterIdentity)
		mfa           *v1alpha1.MFA
		ambient       string // session token of the environment
		secret        *corev1.Secret
		ofUser        string // result of a SessionCredential and of a FederatedCredential
		ofRole        string // result of a RoleCredential for 1h
		ofLongSession string // result of a RoleCredential for 2h, which STS denies to a session
	}{
		"an access key":                      {ofRole: issued, ofUser: issued, ofLongSession: issued},
		"an access key with a session token": {secret: temporary(), ofRole: issued, ofUser: wrongSource, ofLongSession: issued},
		"an ambient access key":              {identity: ambient, ofRole: issued, ofUser: issued, ofLongSession: issued},
		"an ambient session":                 {identity: ambient, ambient: "a-token", ofRole: issued, ofUser: wrongSource, ofLongSession: issued},
		"an access key and an MFA device":    {mfa: device(), ofRole: issued, ofUser: issued, ofLongSession: issued},
		"a service account":                  {identity: serviceAccount, ofRole: issued, ofUser: wrongSource, ofLongSession: issued},
		"a chain of one":                     {identity: chain("Hub"), ofRole: issued, ofUser: wrongSource, ofLongSession: "Authorized=False DurationNotAllowed"},
		"a chain of three":                   {identity: chain("Hub", "Second", "Third"), ofRole: issued, ofUser: wrongSource, ofLongSession: "Authorized=False DurationNotAllowed"},
		"a service account and a chain": {
			identity: func(i *v1alpha1.ClusterIdentity) { serviceAccount(i); chain("Hub")(i) }, ofRole: issued, ofUser: wrongSource, ofLongSession: "Authorized=False DurationNotAllowed",
		},
	} {
		for kind, kindCase := range map[string]struct {
			want      string
			reconcile func(f *fixture) request.Object
		}{
			"RoleCredential": {tc.ofRole, func(f *fixture) request.Object {
				return reconcileKind(f, request.RoleCredential, anotherReader(time.Hour, tc.mfa))
			}},
			"RoleCredential for 2h": {tc.ofLongSession, func(f *fixture) request.Object {
				return reconcileKind(f, request.RoleCredential, anotherReader(2*time.Hour, tc.mfa))
			}},
			"SessionCredential": {tc.ofUser, func(f *fixture) request.Object {
				return reconcileKind(f, request.SessionCredential, testkit.Changed(session(), func(c *v1alpha1.SessionCredential) { c.Spec.MFA = tc.mfa }))
			}},
			"FederatedCredential": {tc.ofUser, func(f *fixture) request.Object { return reconcileKind(f, request.FederatedCredential, federated()) }},
		} {
			t.Run(source+" and a "+kind, func(t *testing.T) {
				t.Setenv("AWS_ACCESS_KEY_ID", "AKIAAMBIENT")
				t.Setenv("AWS_SECRET_ACCESS_KEY", "ambient-secret")
				t.Setenv("AWS_SESSION_TOKEN", tc.ambient)
				by := allowing(v1alpha1.CallAssumeRole, v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken)
				if tc.identity != nil {
					tc.identity(by)
				}
				objects := testkit.World(by, seedSecret(deviceSeed))
				if tc.secret != nil {
					objects = testkit.World(by, tc.secret)
				}
				f := newFixture(t, objects...)
				f.Expect(testkit.FirstProblem(kindCase.reconcile(f).Report().Conditions)).To(HavePrefix(kindCase.want))
				calls := 0
				if kindCase.want == issued {
					calls = 1
				}
				f.Expect(f.STS.Issued).To(HaveLen(calls))
			})
		}
	}
}

func anotherReader(duration time.Duration, device *v1alpha1.MFA) *v1alpha1.RoleCredential {
	return testkit.Changed(testkit.Reader(), func(c *v1alpha1.RoleCredential) {
		c.Name, c.UID, c.Spec.Duration, c.Spec.MFA = "another", "another-uid", &metav1.Duration{Duration: duration}, device
	})
}

func TestRequestsOfSessionAndFederatedCredentials(t *testing.T) {
	g := NewWithT(t)
	got, invalid := request.SessionCredential.Request(session())
	g.Expect(invalid).To(BeNil())
	g.Expect(got).To(Equal(request.Request{Identity: "ClusterIdentity default", Call: v1alpha1.CallGetSessionToken, Duration: 12 * time.Hour}))

	user, invalid := request.FederatedCredential.Request(federated())
	g.Expect(invalid).To(BeNil())
	g.Expect(user).To(Equal(request.Request{
		Identity: "ClusterIdentity default", Call: v1alpha1.CallGetFederationToken, SessionName: "shop.narrowed", Duration: 12 * time.Hour, Policy: narrow,
	}))
	_, invalid = request.FederatedCredential.Request(testkit.Changed(federated(), func(c *v1alpha1.FederatedCredential) { c.Spec.Policy = "{" }))
	g.Expect(invalid.Reason).To(Equal(v1alpha1.ReasonMalformedPolicy))
}

func TestRuleMustAllowUserName(t *testing.T) {
	credential := testkit.Changed(federated(), func(c *v1alpha1.FederatedCredential) { c.Spec.UserName = "alice" })
	f := newFixture(t, testkit.World(allowing(v1alpha1.CallGetFederationToken))...)
	f.Expect(testkit.FirstProblem(reconcileKind(f, request.FederatedCredential, credential).Status.Conditions)).To(And(
		HavePrefix("Authorized=False NotAllowed"), ContainSubstring(`not the session name "alice". Leave spec.userName out for the default "shop.narrowed"`)))
}

// As TestEachFieldOfRoleCredentialIsSent, for the other kinds.
func TestEachFieldOfSessionAndFederatedCredentialsIsSent(t *testing.T) {
	for _, field := range fieldsOf[v1alpha1.SessionCredentialSpec](false) {
		t.Run("SessionCredential "+field, func(t *testing.T) {
			s := newRecordingSTS(t)
			with := session()
			var want url.Values
			switch field {
			case "Duration":
				with.Spec.Duration, want = &metav1.Duration{Duration: time.Hour}, url.Values{"DurationSeconds": {"3600"}}
			case "MFA":
				return // see TestACodeGoesWithTheCall
			default:
				t.Fatalf("the field %s has no case with its parameter of STS", field)
			}
			s.Expect(difference(s.parameters(validRequest(request.SessionCredential.Request(session()))), s.parameters(validRequest(request.SessionCredential.Request(with))))).To(Equal(want))
		})
	}
	for _, field := range fieldsOf[v1alpha1.FederatedCredentialSpec](false) {
		t.Run("FederatedCredential "+field, func(t *testing.T) {
			s := newRecordingSTS(t)
			with := federated()
			var want url.Values
			switch field {
			case "Duration":
				with.Spec.Duration, want = &metav1.Duration{Duration: time.Hour}, url.Values{"DurationSeconds": {"3600"}}
			case "UserName":
				with.Spec.UserName, want = "alice", url.Values{"Name": {"alice"}}
			case "Policy":
				with.Spec.Policy, want = `{ "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}] }`, url.Values{"Policy": {`{"Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`}}
			case "PolicyARNs":
				with.Spec.PolicyARNs, want = []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"}, url.Values{"PolicyArns.member.1.arn": {"arn:aws:iam::aws:policy/ReadOnlyAccess"}}
			case "Tags":
				with.Spec.Tags, want = []v1alpha1.Tag{{Key: "team", Value: new("shop")}}, url.Values{"Tags.member.1.Key": {"team"}, "Tags.member.1.Value": {"shop"}}
			default:
				t.Fatalf("the field %s has no case with its parameter of STS", field)
			}
			s.Expect(difference(s.parameters(validRequest(request.FederatedCredential.Request(federated()))), s.parameters(validRequest(request.FederatedCredential.Request(with))))).To(Equal(want))
		})
	}
}

// validRequest returns a request without its error, for valid specs.
func validRequest(r request.Request, _ *reason.Error) request.Request { return r }
