package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/controllers/reissue"
)

var update = flag.Bool("update", false, "update the golden files")

var (
	issued  = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)
	now     = issued.Add(22*time.Minute + 30*time.Second)
	expires = issued.Add(time.Hour)
	due     = issued.Add(38*time.Minute + 24*time.Second)
)

const (
	reader   = "arn:aws:iam::123456789012:role/S3Reader"
	operator = "arn:aws:iam::210987654321:user/operator"
	hub      = "arn:aws:iam::210987654321:role/Hub"
)

func at(t time.Time) *metav1.Time { return &metav1.Time{Time: t} }

func condition(conditionType string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: conditionType, Status: status, Reason: reason, Message: message, LastTransitionTime: *at(issued)}
}

// good returns a RoleCredential that is Ready.
func good(change ...func(*v1alpha1.RoleCredential)) *v1alpha1.RoleCredential {
	c := &v1alpha1.RoleCredential{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader", UID: "uid-s3-reader", Generation: 1, CreationTimestamp: *at(issued.Add(-time.Minute))},
		Spec:       v1alpha1.RoleCredentialSpec{RoleARN: reader, Duration: &metav1.Duration{Duration: time.Hour}},
	}
	c.Status.CredentialStatus = v1alpha1.CredentialStatus{
		ObservedGeneration: 1, SecretName: "s3-reader", AccessKeyID: "ASIAEXAMPLE", PrincipalARN: "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader",
		Expiration: at(expires), LastRefreshTime: at(issued), NextRefreshTime: at(due),
		Conditions: []metav1.Condition{
			condition("Authorized", "True", "Allowed", "A rule of ClusterIdentity default allows the request."),
			condition("Issued", "True", "Issued", "STS issued credentials for this spec."),
			condition("Ready", "True", "Issued", "Secret s3-reader holds valid credentials of this spec."),
		},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

// failing sets conditions and removes the issued session credentials from the status.
func failing(conditions ...metav1.Condition) func(*v1alpha1.RoleCredential) {
	return func(c *v1alpha1.RoleCredential) {
		c.Status.CredentialStatus = v1alpha1.CredentialStatus{ObservedGeneration: 1, Conditions: conditions}
	}
}

// identity returns an identity that allows the namespace shop the role S3Reader.
func identity(change ...func(*v1alpha1.ClusterIdentity)) *v1alpha1.ClusterIdentity {
	i := &v1alpha1.ClusterIdentity{ObjectMeta: metav1.ObjectMeta{Name: "default", Generation: 1}}
	i.Spec.Region = "eu-west-1"
	i.Spec.Source.AccessKey = &v1alpha1.AccessKeySource{SecretRef: v1alpha1.SecretReference{Namespace: "rolecredential-system", Name: "bootstrap"}}
	i.Spec.Allow = &[]v1alpha1.AllowRule{
		{Namespaces: []string{"bank"}, RoleARNs: []string{"*"}},
		{Namespaces: []string{"shop"}, RoleARNs: []string{reader}, MaxDuration: &metav1.Duration{Duration: time.Hour}},
	}
	i.Status.ARN = operator
	i.Status.Conditions = []metav1.Condition{condition("Ready", "True", "Verified", "The caller is "+operator+".")}
	for _, f := range change {
		f(i)
	}
	return i
}

func pod(name, container string, started time.Time, use func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	p.Spec.Containers = []corev1.Container{{Name: container}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: *at(started)}}}}
	use(p)
	return p
}

func byEnvFrom(p *corev1.Pod) {
	p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "s3-reader"}}}}
}

func byVolume(p *corev1.Pod) {
	p.Spec.Volumes = []corev1.Volume{{Name: "aws", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s3-reader"}}}}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "aws", MountPath: "/aws"}}
}

// The canaries must occur only in the output of env, process and exec.
const (
	canarySecret = "CANARYCANARYCANARYCANARYCANARYCANARYCANA"
	canaryToken  = "TOKENTOKENTOKENTOKENTOKEN'; echo $(injected) \"TOKENTOKEN"
)

// secretOf returns the Secret of a credential, as the operator writes it.
func secretOf(c *v1alpha1.RoleCredential) *corev1.Secret {
	data := map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("ASIAEXAMPLE"), "AWS_SECRET_ACCESS_KEY": []byte(canarySecret), "AWS_SESSION_TOKEN": []byte(canaryToken)}
	record := reissue.Record{IssuedAt: issued, Expiration: expires, AccessKeyID: "ASIAEXAMPLE", PrincipalARN: c.Status.PrincipalARN,
		PreviousIssuedAt: issued.Add(-40 * time.Minute), PreviousExpiration: issued.Add(20 * time.Minute)}.WithChecksum(data)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: c.Namespace, Name: c.Name, Annotations: record.Annotations(),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "RoleCredential", Name: c.Name, UID: c.UID, Controller: new(true)}},
		},
		Data: data,
	}
}

// result is the output and exit code of one run.
type result struct {
	out, err string
	code     int
}

// world is a cluster for one test.
type world struct {
	t       *testing.T
	cluster *cluster.Cluster
	now     time.Time
	environ []string
	exec    func(path string, args, environ []string) error
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	scheme, err := cluster.Scheme()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	// Without status subresources, the fake client keeps the status of the objects.
	return &world{t: t, now: now, cluster: &cluster.Cluster{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build(), Namespace: "shop"}}
}

// forbid makes the API server forbid reads of some kinds.
func (w *world) forbid(kinds ...string) *world {
	deny := func(object any) error {
		for _, kind := range kinds {
			if strings.Contains(kindName(object), kind) {
				return apierrors.NewForbidden(corev1.Resource(strings.ToLower(kind)), "", errors.New("forbidden by the test"))
			}
		}
		return nil
	}
	inner, ok := w.cluster.Client.(client.WithWatch)
	NewWithT(w.t).Expect(ok).To(BeTrue())
	w.cluster.Client = interceptor.NewClient(inner, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if err := deny(object); err != nil {
				return err
			}
			return c.Get(ctx, key, object, options...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			if err := deny(list); err != nil {
				return err
			}
			return c.List(ctx, list, options...)
		},
	})
	return w
}

func kindName(object any) string {
	if partial, ok := object.(*metav1.PartialObjectMetadata); ok {
		return partial.Kind
	}
	return strings.TrimPrefix(strings.TrimPrefix(fmt.Sprintf("%T", object), "*v1alpha1."), "*v1.")
}

func (w *world) run(args ...string) result {
	w.t.Helper()
	var out, errOut bytes.Buffer
	p := newPlugin(Options{
		IOStreams: genericiooptions.IOStreams{Out: &out, ErrOut: &errOut}, Clock: clocktesting.NewFakePassiveClock(w.now), Environ: w.environ, Version: "test", Exec: w.exec,
	})
	p.cluster = func() (*cluster.Cluster, error) { return w.cluster, nil }
	code := p.run(w.t.Context(), args)
	return result{out: out.String(), err: errOut.String(), code: code}
}

// golden compares a text with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update updates it):\n%s", path, diff)
	}
}

func TestTextOutput(t *testing.T) {
	denied := condition("Authorized", "False", "NotAllowed", `No rule of ClusterIdentity default allows namespace "shop" the call AssumeRole for the role `+reader+`.`)
	accessDenied := condition("Issued", "False", "AccessDenied", "STS denied access: "+operator+" (ClusterIdentity default) may not call AssumeRole on "+reader+" (AccessDenied, HTTP 403). Check that the role exists.")
	for name, tc := range map[string]struct {
		objects []client.Object
		forbid  []string
		args    []string
		code    int
	}{
		"status with readers": {
			objects: []client.Object{good(), identity(), pod("web-0", "app", issued.Add(time.Minute), byEnvFrom), pod("old-0", "app", issued.Add(-10*time.Minute), byEnvFrom),
				pod("older-0", "app", issued.Add(-2*time.Hour), byEnvFrom), pod("files-0", "app", issued.Add(-2*time.Hour), byVolume)},
			args: []string{"status", "s3-reader"},
		},
		"status with a chain": {
			objects: []client.Object{good(), identity(func(i *v1alpha1.ClusterIdentity) {
				i.Spec.Chain = []v1alpha1.Hop{{RoleARN: hub, ExternalID: "k8s"}}
				i.Status.ARN = "arn:aws:sts::210987654321:assumed-role/Hub"
			})},
			args: []string{"status", "rolecred/s3-reader"},
		},
		"status of a denied credential": {
			objects: []client.Object{good(failing(denied, condition("Issued", "Unknown", "NotAttempted", "STS was not called for this spec: see the condition Authorized."),
				condition("Ready", "False", "NotIssued", "Secret s3-reader holds no credential yet: see the condition Authorized."))),
				identity(func(i *v1alpha1.ClusterIdentity) { i.Spec.Allow = &[]v1alpha1.AllowRule{} })},
			args: []string{"status", "s3-reader"}, code: ExitNo,
		},
		"status without other permissions": {
			objects: []client.Object{good(), identity()}, forbid: []string{"ClusterIdentity", "Pod", "Secret", "Namespace"},
			args: []string{"status", "s3-reader"},
		},
		"status before the first reconcile": {
			objects: []client.Object{good(func(c *v1alpha1.RoleCredential) { c.Status = v1alpha1.RoleCredentialStatus{} }), identity()},
			args:    []string{"status", "s3-reader"}, code: ExitNo,
		},
		"explain AccessDenied": {
			objects: []client.Object{good(failing(condition("Authorized", "True", "Allowed", "A rule allows it."), accessDenied, condition("Ready", "False", "NotIssued", "No credentials yet."))), identity()},
			args:    []string{"explain", "s3-reader"}, code: ExitNo,
		},
		"explain NotAllowed": {
			objects: []client.Object{good(failing(denied)), identity(func(i *v1alpha1.ClusterIdentity) {
				(*i.Spec.Allow)[1].RoleARNs = []string{"arn:aws:iam::123456789012:role/other"}
			})},
			args: []string{"explain", "s3-reader"}, code: ExitNo,
		},
		"explain a failed refresh": {
			objects: []client.Object{good(func(c *v1alpha1.RoleCredential) {
				c.Status.Conditions[1] = accessDenied
				c.Status.FailedCall = &v1alpha1.FailedCall{Call: "AssumeRole", RoleARN: reader, CallerARN: operator}
			}), identity()}, forbid: []string{"ClusterIdentity"},
			args: []string{"explain", "s3-reader"}, code: ExitNo,
		},
		"explain PodsOutdated": {
			objects: []client.Object{good(func(c *v1alpha1.RoleCredential) {
				c.Status.Conditions = append(c.Status.Conditions, condition("RolledOut", "False", "PodsOutdated", "Pods hold an earlier credential: Deployment web is paused."))
			}), identity()}, args: []string{"explain", "s3-reader"},
		},
		"explain a Ready credential": {objects: []client.Object{good(), identity()}, args: []string{"explain", "s3-reader"}},
		"status with a service account": {
			objects: []client.Object{good(byOwn), own()}, args: []string{"status", "s3-reader"},
		},
		"explain AccessDenied for a service account": {
			objects: []client.Object{good(byOwn, failing(condition("Authorized", "True", "Allowed", "A rule allows it."),
				condition("Issued", "False", "AccessDenied", "STS denied access: system:serviceaccount:shop:reader (Identity own) may not call AssumeRoleWithWebIdentity on "+reader+" (AccessDenied, HTTP 403).")),
				func(c *v1alpha1.RoleCredential) {
					c.Status.FailedCall = &v1alpha1.FailedCall{Call: "AssumeRoleWithWebIdentity", RoleARN: reader}
				}), own()},
			args: []string{"explain", "s3-reader"}, code: ExitNo,
		},
		"status with a certificate": {
			objects: []client.Object{good(func(c *v1alpha1.RoleCredential) { c.Spec.IdentityRef.Name = "on-premises" }), onPremises()}, args: []string{"status", "s3-reader"},
		},
		"can-i with an Identity": {objects: []client.Object{own()}, args: []string{"can-i", "--role", reader, "--identity", "stsid/own"}},
		"explain an identity": {objects: []client.Object{identity(func(i *v1alpha1.ClusterIdentity) {
			i.Status.Conditions = []metav1.Condition{condition("Ready", "False", "SecretNotFound", "Secret rolecredential-system/bootstrap does not exist.")}
		})}, args: []string{"explain", "clusterid/default"}, code: ExitNo},
		"explain an identity with a certificate": {objects: []client.Object{onPremises()}, args: []string{"explain", "clusterid/on-premises"}},
		"explain a certificate as Terraform code": {
			objects: []client.Object{onPremises()}, args: []string{"explain", "clusterid/on-premises", "--certificate", "testdata/certificate.pem", "--output=terraform"},
		},
		"explain a certificate as a CloudFormation template": {
			objects: []client.Object{onPremises()}, args: []string{"explain", "clusterid/on-premises", "--certificate", "testdata/certificate.pem", "--output=cloudformation"},
		},
		"explain AccessDenied as Terraform code": {
			objects: []client.Object{good(failing(condition("Authorized", "True", "Allowed", "A rule allows it."), accessDenied)), identity()},
			args:    []string{"explain", "s3-reader", "-o", "terraform"}, code: ExitNo,
		},
		"explain AccessDenied as a CloudFormation template": {
			objects: []client.Object{good(failing(condition("Authorized", "True", "Allowed", "A rule allows it."), accessDenied)), identity()},
			args:    []string{"explain", "s3-reader", "-o", "cloudformation"}, code: ExitNo,
		},
		"explain without a policy as Terraform code": {objects: []client.Object{good(), identity()}, args: []string{"explain", "s3-reader", "-o", "terraform"}, code: 1},
		"explain with a certificate without a common name": {
			objects: []client.Object{onPremises()}, args: []string{"explain", "clusterid/on-premises", "--certificate", "testdata/certificate-without-a-common-name.pem"}, code: 1,
		},
		"explain with a file that is not a certificate": {
			objects: []client.Object{onPremises()}, args: []string{"explain", "clusterid/on-premises", "--certificate", "explain.go"}, code: 1,
		},
		"can-i allowed":                 {objects: []client.Object{identity()}, args: []string{"can-i", "--as-namespace", "shop", "--role", reader}},
		"can-i with a denied duration":  {objects: []client.Object{identity()}, args: []string{"can-i", "--role", reader, "--duration", "2h"}, code: ExitNo},
		"can-i without a matching rule": {objects: []client.Object{identity()}, args: []string{"can-i", "--as-namespace", "lab", "--role", reader, "--session-name", "mine"}, code: ExitNo},
		"can-i with a certificate":      {objects: []client.Object{onPremises()}, args: []string{"can-i", "--as-namespace", "shop", "--role", reader, "--identity", "on-premises", "--duration", "12h"}},
		"can-i with a session name that the profile does not accept": {
			objects: []client.Object{withoutSessionNames()},
			args:    []string{"can-i", "--as-namespace", "shop", "--role", reader, "--identity", "on-premises", "--session-name", "mine"},
		},
		"can-i for CreateSession":      {objects: []client.Object{onPremises()}, args: []string{"can-i", "--as-namespace", "lab", "--call", "CreateSession", "--role", reader, "--identity", "on-premises"}, code: ExitNo},
		"can-i for GetFederationToken": {objects: []client.Object{identity()}, args: []string{"can-i", "--call", "GetFederationToken", "--identity", "clusterid/default"}, code: ExitNo},
		"get":                          {objects: []client.Object{good(), good(func(c *v1alpha1.RoleCredential) { c.Name = "lab"; failing(denied)(c) }), session()}, args: []string{"get"}},
		"get -A -o wide": {
			objects: []client.Object{good(), good(func(c *v1alpha1.RoleCredential) { c.Namespace = "lab" })}, args: []string{"get", "-A", "-o", "wide"},
		},
		"readers -o wide": {
			objects: []client.Object{good(), pod("web-0", "app", issued.Add(time.Minute), byEnvFrom), pod("files-0", "app", issued.Add(-2*time.Hour), byVolume)},
			args:    []string{"readers", "s3-reader", "-o", "wide"},
		},
		"revoke":                        {objects: []client.Object{good(), identity()}, args: []string{"revoke", "s3-reader"}},
		"revoke the sessions of a user": {objects: []client.Object{session(), identity()}, args: []string{"revoke", "sessioncred/own-rights"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, append(tc.objects, secretOf(good()))...).forbid(tc.forbid...)
			got := w.run(tc.args...)
			if got.code != tc.code {
				t.Errorf("exit code %d, want %d", got.code, tc.code)
			}
			golden(t, strings.NewReplacer(" ", "-", ",", "", "'", "").Replace(name)+".txt", "$ kubectl rolecred "+strings.Join(tc.args, " ")+"\n"+got.out+got.err)
		})
	}
}

// onPremises returns an identity whose source is x509.
func onPremises() *v1alpha1.ClusterIdentity {
	return identity(func(i *v1alpha1.ClusterIdentity) {
		i.Name, i.Status.ARN, i.Spec.Source = "on-premises", "", v1alpha1.ClusterIdentitySource{X509: &v1alpha1.X509Source{
			SecretRef: v1alpha1.SecretReference{Namespace: "rolecredential-system", Name: "operator-cert"},
			RolesAnywhereSettings: v1alpha1.RolesAnywhereSettings{
				TrustAnchorARN:        "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/7a6c4b2e-0f5d-4c3b-9a81-2d1e0f9c8b7a",
				ProfileARN:            "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/0d5f3b1a-6e2c-4f7d-8b90-1c2d3e4f5a6b",
				AcceptRoleSessionName: true,
			},
		}}
		i.Spec.Allow = &[]v1alpha1.AllowRule{
			{Namespaces: []string{"shop"}, RoleARNs: []string{"*"}},
			{Namespaces: []string{"shop"}, RoleARNs: []string{reader}, Calls: []v1alpha1.Call{v1alpha1.CallCreateSession}},
		}
		i.Status.Conditions = []metav1.Condition{condition("Ready", "True", "NotVerifiable", "The certificate is valid.")}
	})
}

// withoutSessionNames returns an identity whose profile accepts no session names, although a rule allows them.
func withoutSessionNames() *v1alpha1.ClusterIdentity {
	i := onPremises()
	i.Spec.Source.X509.AcceptRoleSessionName = false
	(*i.Spec.Allow)[1].SessionNames = []string{"mine"}
	return i
}

// own returns an Identity of the namespace shop whose source is serviceAccount.
func own() *v1alpha1.Identity {
	i := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own", Generation: 1}}
	i.Spec.Region = "eu-west-1"
	i.Spec.Source.ServiceAccount = &v1alpha1.ServiceAccountSource{Audience: "sts.amazonaws.com"}
	i.Status.Conditions = []metav1.Condition{condition("Ready", "True", "NotVerifiable", "Each credential calls STS with its own service account.")}
	return i
}

func byOwn(c *v1alpha1.RoleCredential) {
	c.Spec.IdentityRef = v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindIdentity, Name: "own"}
	c.Spec.ServiceAccountName = "reader"
}

// session returns a SessionCredential that is Ready.
func session() *v1alpha1.SessionCredential {
	c := &v1alpha1.SessionCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own-rights", UID: "uid-own-rights", Generation: 1, CreationTimestamp: *at(issued)}}
	c.Status.CredentialStatus = good().Status.CredentialStatus
	c.Status.SecretName, c.Status.PrincipalARN = "own-rights", ""
	return c
}

func TestTextOutputHasNoControlCharacters(t *testing.T) {
	const escape = "\x1b[2J\r\u009b\u202e\nx"
	hostile := good(func(c *v1alpha1.RoleCredential) {
		c.Spec.RoleARN, c.Spec.SessionName, c.Spec.ExternalID = reader+escape, "name"+escape, "id"+escape
		c.Status.PrincipalARN += escape
		c.Status.Conditions[1] = condition("Issued", "False", "AccessDenied"+escape, "STS denied access"+escape)
		c.Status.Conditions[2] = condition("Ready", "False", "NotIssued", "nothing"+escape)
	})
	denying := identity(func(i *v1alpha1.ClusterIdentity) {
		i.Spec.Region, i.Spec.Endpoint = "eu"+escape, "https://"+escape
		i.Spec.Chain = []v1alpha1.Hop{{RoleARN: hub + escape, ExternalID: "k8s" + escape}}
		(*i.Spec.Allow)[1].RoleARNs, (*i.Spec.Allow)[1].SessionNames = []string{reader + escape}, []string{"name" + escape}
		i.Status.Conditions = []metav1.Condition{condition("Ready", "False", "AccessDenied", "STS denied access"+escape)}
	})
	w := newWorld(t, hostile, denying, secretOf(hostile))
	for _, args := range [][]string{
		{"get"}, {"get", "-A", "-o", "wide"}, {"status", "s3-reader"}, {"explain", "s3-reader"}, {"explain", "clusterid/default"}, {"readers", "s3-reader", "-o", "wide"},
		{"revoke", "s3-reader"}, {"can-i", "--role", reader + escape, "--session-name", "other" + escape}, {"env", "s3-reader"}, {"explain", "none" + escape},
	} {
		got := w.run(args...)
		NewWithT(t).Expect(strings.ReplaceAll(got.out+got.err, "\n", "")).NotTo(Or(BeEmpty(), MatchRegexp(`\p{C}`)), "%v", args)
	}
}

func TestJSONAndYAMLReportsAreEqual(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t, good(), identity(), secretOf(good()))
	for _, args := range [][]string{{"status", "s3-reader"}, {"explain", "s3-reader"}, {"readers", "s3-reader"}, {"revoke", "s3-reader"}, {"can-i", "--role", reader}, {"get"}, {"get", "s3-reader"}} {
		asJSON, asYAML := w.run(append(args, "-o", "json")...), w.run(append(args, "-o", "yaml")...)
		g.Expect(json.Valid([]byte(asJSON.out))).To(BeTrue(), asJSON.out)
		g.Expect(asYAML.out).To(MatchYAML(asJSON.out), "%v", args)
		g.Expect(w.run(append(args, "-o", "xml")...).code).To(Equal(ExitError))
	}
}
