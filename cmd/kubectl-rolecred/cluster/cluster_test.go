package cluster_test

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
)

func TestParseRefAcceptsTypesOfKubectl(t *testing.T) {
	for arg, want := range map[string]string{
		"s3-reader":                                              "rolecredential/s3-reader",
		"rolecred/s3-reader":                                     "rolecredential/s3-reader",
		"RoleCredential/s3-reader":                               "rolecredential/s3-reader",
		"rolecredentials/s3-reader":                              "rolecredential/s3-reader",
		"sessioncred/own-rights":                                 "sessioncredential/own-rights",
		"sessioncredentials.sts.rolecredential.dev/x":            "sessioncredential/x",
		"federatedcredentials.v1alpha1.sts.rolecredential.dev/x": "federatedcredential/x",
		"fedcred/uploader":                                       "federatedcredential/uploader",
		"secret/x":                                               "",
		"rolecred/":                                              "",
		"":                                                       "",
		"a/b/c":                                                  "",
	} {
		t.Run(arg, func(t *testing.T) {
			g := NewWithT(t)
			ref, err := cluster.ParseRef(arg)
			if want == "" {
				g.Expect(err).To(HaveOccurred())
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(ref.String()).To(Equal(want))
		})
	}
}

func TestParseIdentityRefRequiresType(t *testing.T) {
	g := NewWithT(t)
	for _, arg := range []string{"clusterid/default", "ClusterIdentity/default", "clusteridentities.sts.rolecredential.dev/default"} {
		ref, ok := cluster.ParseIdentityRef(arg, "shop")
		g.Expect(ok).To(BeTrue(), arg)
		g.Expect(ref.Args()).To(Equal([]string{"clusteridentity/default"}))
	}
	ref, ok := cluster.ParseIdentityRef("stsid/own", "shop")
	g.Expect(ok).To(BeTrue())
	g.Expect(ref.Args()).To(Equal([]string{"identity/own", "-n", "shop"}))
	for _, arg := range []string{"default", "rolecred/default", "clusterid/"} {
		_, ok := cluster.ParseIdentityRef(arg, "shop")
		g.Expect(ok).To(BeFalse(), arg)
	}
}

// No command works with an identity kind that the plugin does not know.
func TestEachIdentityKindOfTheAPIIsKnown(t *testing.T) {
	g := NewWithT(t)
	file, err := parser.ParseFile(token.NewFileSet(), "../../../api/v1alpha1/credential_types.go", nil, 0)
	g.Expect(err).NotTo(HaveOccurred())
	kinds := 0
	ast.Inspect(file, func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "IdentityKind") {
			kind, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			g.Expect(err).NotTo(HaveOccurred())
			_, known := cluster.ParseIdentityRef(kind+"/default", "shop")
			g.Expect(known).To(BeTrue(), kind)
			kinds++
		}
		return true
	})
	g.Expect(kinds).To(BeNumerically(">", 0))
}

func TestNewCredentialReturnsRequestOfSpec(t *testing.T) {
	for name, tc := range map[string]struct {
		object cluster.Object
		want   request.Request
	}{
		"a RoleCredential, with the schema's defaults": {
			object: &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader"}, Spec: v1alpha1.RoleCredentialSpec{RoleARN: "arn:r", ExternalID: "x", MFA: &v1alpha1.MFA{SerialNumber: "mfa"}}},
			want: request.Request{
				Identity: "ClusterIdentity default", Call: v1alpha1.CallAssumeRole, RoleARN: "arn:r", SessionName: "shop.s3-reader", Duration: time.Hour, ExternalID: "x", MFASerialNumber: "mfa",
			},
		},
		"a SessionCredential": {
			object: &v1alpha1.SessionCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own"}, Spec: v1alpha1.SessionCredentialSpec{CredentialSpec: v1alpha1.CredentialSpec{IdentityRef: v1alpha1.IdentityReference{Name: "iam-user"}}}},
			want:   request.Request{Identity: "ClusterIdentity iam-user", Call: v1alpha1.CallGetSessionToken, Duration: 12 * time.Hour},
		},
		"a FederatedCredential": {
			object: &v1alpha1.FederatedCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "up"}, Spec: v1alpha1.FederatedCredentialSpec{Policy: "{}", UserName: "mine", Duration: &metav1.Duration{Duration: time.Hour}}},
			want:   request.Request{Identity: "ClusterIdentity default", Call: v1alpha1.CallGetFederationToken, SessionName: "mine", Duration: time.Hour, Policy: "{}"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			kind, known := cluster.KindOf(tc.want.Call)
			g.Expect(known).To(BeTrue())
			c := cluster.NewCredential(kind, tc.object)
			g.Expect(c.Request).To(Equal(tc.want))
			// Setting its own fields changes nothing.
			again := c.WithRequestFields(c.RequestFields())
			g.Expect(again.Request.Duration).To(Equal(tc.want.Duration))
			g.Expect(again.Request.SessionName).To(Equal(tc.want.SessionName))
			g.Expect(again.Request.RoleARN).To(Equal(tc.want.RoleARN))
		})
	}
}

var (
	issued  = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)
	expires = issued.Add(time.Hour)
)

func ready() *v1alpha1.RoleCredential {
	c := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader", UID: "uid"}}
	c.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Issued"}}
	return c
}

var env = map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("ASIA"), "AWS_SECRET_ACCESS_KEY": []byte("secret"), "AWS_SESSION_TOKEN": []byte("token")}

func issuedSecret(change ...func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "s3-reader", Annotations: reissue.Record{IssuedAt: issued, Expiration: expires}.Annotations(),
		OwnerReferences: []metav1.OwnerReference{{UID: "uid", Controller: new(true)}},
	}, Data: env}
	for _, f := range change {
		f(s)
	}
	return s
}

func TestSessionCredentialsRejectUnusableSecrets(t *testing.T) {
	data := func(data map[string]string) func(*corev1.Secret) {
		return func(s *corev1.Secret) {
			s.Data = map[string][]byte{}
			for key, value := range data {
				s.Data[key] = []byte(value)
			}
		}
	}
	for name, tc := range map[string]struct {
		credential *v1alpha1.RoleCredential
		secret     *corev1.Secret
		now        time.Time
		wantErr    string
	}{
		"variables":                 {secret: issuedSecret()},
		"a setting without a value": {secret: issuedSecret(data(map[string]string{"credentials": "[default]\naws_access_key_id\n"})), wantErr: "no format"},
		"an unknown format":         {secret: issuedSecret(data(map[string]string{"password": "x"})), wantErr: "no format"},
		"a foreign Secret":          {secret: issuedSecret(func(s *corev1.Secret) { s.OwnerReferences[0].UID = "other" }), wantErr: "does not belong"},
		"no record":                 {secret: issuedSecret(func(s *corev1.Secret) { s.Annotations = nil }), wantErr: "missing or not valid"},
		"an expired credential":     {secret: issuedSecret(), now: expires, wantErr: "expired at 2026-11-23T16:00:00Z"},
		"one that is not Ready":     {secret: issuedSecret(), credential: &v1alpha1.RoleCredential{ObjectMeta: ready().ObjectMeta}, wantErr: "not reconciled yet"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			scheme, err := cluster.Scheme()
			g.Expect(err).NotTo(HaveOccurred())
			c := &cluster.Cluster{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(tc.secret).Build(), Namespace: "shop"}
			if tc.credential == nil {
				tc.credential = ready()
			}
			if tc.now.IsZero() {
				tc.now = issued
			}
			got, err := c.SessionCredentials(t.Context(), cluster.NewCredential(cluster.Kinds[0], tc.credential), tc.now)
			if tc.wantErr != "" {
				g.Expect(err).To(MatchError(cluster.ErrUnusable))
				g.Expect(err).To(MatchError(ContainSubstring(tc.wantErr)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got.Credentials).To(Equal(request.Credentials{AccessKeyID: "ASIA", SecretAccessKey: "secret", SessionToken: "token", IssuedAt: issued, Expiration: expires}))
		})
	}
}

// formats returns the formats that the API declares.
func formats(t *testing.T) (all []v1alpha1.Format) {
	t.Helper()
	g := NewWithT(t)
	file, err := parser.ParseFile(token.NewFileSet(), "../../../api/v1alpha1/format_types.go", nil, 0)
	g.Expect(err).NotTo(HaveOccurred())
	ast.Inspect(file, func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Format") {
			format, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			g.Expect(err).NotTo(HaveOccurred())
			all = append(all, v1alpha1.Format(format))
		}
		return true
	})
	g.Expect(len(all)).To(BeNumerically(">", 5))
	return all
}

func TestEachFormatOfACredentialIsRead(t *testing.T) {
	for _, format := range formats(t) {
		t.Run(string(format), func(t *testing.T) {
			g := NewWithT(t)
			want := request.Credentials{AccessKeyID: "ASIA", SecretAccessKey: "sec/ret+", SessionToken: "to/ken==", IssuedAt: issued, Expiration: expires}
			data, err := render.Render(v1alpha1.SecretTemplate{Formats: []v1alpha1.Format{format}}, want, "eu-west-1")
			g.Expect(err).NotTo(HaveOccurred())
			scheme, err := cluster.Scheme()
			g.Expect(err).NotTo(HaveOccurred())
			c := &cluster.Cluster{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(issuedSecret(func(s *corev1.Secret) { s.Data = data })).Build()}
			got, err := c.SessionCredentials(t.Context(), cluster.NewCredential(cluster.Kinds[0], ready()), issued)
			if format == v1alpha1.FormatRegion { // it contains no keys
				g.Expect(err).To(MatchError(cluster.ErrUnusable))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got.Credentials).To(Equal(want))
		})
	}
}

func TestIdentityAllowsEverythingInItsNamespace(t *testing.T) {
	g := NewWithT(t)
	scheme, err := cluster.Scheme()
	g.Expect(err).NotTo(HaveOccurred())
	own := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own"}}
	own.Spec.Region, own.Spec.Source.ServiceAccount = "eu-west-1", &v1alpha1.ServiceAccountSource{}
	key := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "key"}}
	key.Spec.Source.AccessKey = &v1alpha1.LocalAccessKeySource{SecretRef: v1alpha1.LocalSecretReference{Name: "own-key"}}
	c := &cluster.Cluster{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(own, key).Build()}
	read := func(name string) cluster.Identity {
		ref, _ := cluster.ParseIdentityRef("stsid/"+name, "shop")
		identity, err := c.Identity(t.Context(), ref)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(identity.Namespaced).To(BeTrue())
		g.Expect(identity.Rules[0].Namespaces).To(Equal([]string{"shop"}))
		return identity
	}
	g.Expect(read("own").Audience).To(Equal("sts.amazonaws.com"))
	g.Expect(read("key").SourceSecret.String()).To(Equal("shop/own-key"))
}

func TestSourceOfNewerCRDIsUnknown(t *testing.T) {
	g := NewWithT(t)
	scheme, err := cluster.Scheme()
	g.Expect(err).NotTo(HaveOccurred())
	newer := &v1alpha1.ClusterIdentity{ObjectMeta: metav1.ObjectMeta{Name: "newer"}}
	ambient := &v1alpha1.ClusterIdentity{ObjectMeta: metav1.ObjectMeta{Name: "ambient"}}
	ambient.Spec.Source.Ambient = &v1alpha1.AmbientSource{}
	c := &cluster.Cluster{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(newer, ambient).Build()}
	for name, want := range map[string]string{"newer": "unknown", "ambient": "ambient"} {
		ref, _ := cluster.ParseIdentityRef("clusterid/"+name, "shop")
		identity, err := c.Identity(t.Context(), ref)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(identity.Source).To(Equal(want))
	}
}

func TestSourceReplacesAssumeRole(t *testing.T) {
	scheme, err := cluster.Scheme()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	ref, local := v1alpha1.SecretReference{Namespace: "ops", Name: "source"}, v1alpha1.LocalSecretReference{Name: "source"}
	key := v1alpha1.SecretKeyReference{Name: "source", Key: "value"}
	settings := v1alpha1.OIDCSettings{ClientID: "operator"}
	for source, tc := range map[cluster.SourceType]struct {
		inCluster v1alpha1.ClusterIdentitySource
		inShop    v1alpha1.IdentitySource
		want      v1alpha1.Call
		key       string
	}{
		cluster.SourceAccessKey: {
			v1alpha1.ClusterIdentitySource{AccessKey: &v1alpha1.AccessKeySource{SecretRef: ref}}, v1alpha1.IdentitySource{AccessKey: &v1alpha1.LocalAccessKeySource{SecretRef: local}},
			v1alpha1.CallAssumeRole, "",
		},
		cluster.SourceX509: {
			v1alpha1.ClusterIdentitySource{X509: &v1alpha1.X509Source{SecretRef: ref}}, v1alpha1.IdentitySource{X509: &v1alpha1.LocalX509Source{SecretRef: local}},
			v1alpha1.CallCreateSession, "",
		},
		cluster.SourceOIDC: {
			v1alpha1.ClusterIdentitySource{OIDC: &v1alpha1.OIDCSource{ClientSecretRef: v1alpha1.NamespacedSecretKeyReference{Namespace: "ops", SecretKeyReference: key}, OIDCSettings: settings}},
			v1alpha1.IdentitySource{OIDC: &v1alpha1.LocalOIDCSource{ClientSecretRef: key, OIDCSettings: settings}},
			v1alpha1.CallAssumeRoleWithWebIdentity, "value",
		},
		cluster.SourceWebIdentityToken: {
			v1alpha1.ClusterIdentitySource{WebIdentityToken: &v1alpha1.WebIdentityTokenSource{SecretRef: v1alpha1.NamespacedSecretKeyReference{Namespace: "ops", SecretKeyReference: key}}},
			v1alpha1.IdentitySource{WebIdentityToken: &v1alpha1.LocalWebIdentityTokenSource{SecretRef: key}},
			v1alpha1.CallAssumeRoleWithWebIdentity, "value",
		},
		cluster.SourceServiceAccount: {
			v1alpha1.ClusterIdentitySource{ServiceAccount: &v1alpha1.ServiceAccountSource{}}, v1alpha1.IdentitySource{ServiceAccount: &v1alpha1.ServiceAccountSource{}},
			v1alpha1.CallAssumeRoleWithWebIdentity, "",
		},
	} {
		t.Run(string(source), func(t *testing.T) {
			g := NewWithT(t)
			wide := &v1alpha1.ClusterIdentity{ObjectMeta: metav1.ObjectMeta{Name: "hub"}, Spec: v1alpha1.ClusterIdentitySpec{Source: tc.inCluster}}
			own := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own"}, Spec: v1alpha1.IdentitySpec{Source: tc.inShop}}
			c := &cluster.Cluster{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(wide, own).Build()}
			for name, namespace := range map[string]string{"clusterid/hub": "ops", "stsid/own": "shop"} {
				ref, _ := cluster.ParseIdentityRef(name, "shop")
				identity, err := c.Identity(t.Context(), ref)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(identity.SourceType).To(Equal(source))
				g.Expect(identity.SourceKey).To(Equal(tc.key))
				if source != cluster.SourceServiceAccount {
					g.Expect(identity.SourceSecret.String()).To(Equal(namespace + "/source"))
				}
				g.Expect(identity.Call(v1alpha1.CallAssumeRole)).To(Equal(tc.want))
				g.Expect(identity.Call(v1alpha1.CallGetSessionToken)).To(Equal(v1alpha1.CallGetSessionToken))
				identity.Chain = []v1alpha1.Hop{{RoleARN: "arn:hub"}}
				g.Expect(identity.Call(v1alpha1.CallAssumeRole)).To(Equal(v1alpha1.CallAssumeRole), "behind a hop")
			}
		})
	}
}

func TestCredentialsReturnsKindsThatCanBeListed(t *testing.T) {
	g := NewWithT(t)
	scheme, err := cluster.Scheme()
	g.Expect(err).NotTo(HaveOccurred())
	c := &cluster.Cluster{Client: onlyRoles{fake.NewClientBuilder().WithScheme(scheme).WithObjects(ready()).Build()}}
	found, err := c.Credentials(t.Context(), "shop")
	g.Expect(err).To(MatchError(ContainSubstring("SessionCredentialList")))
	g.Expect(found).To(HaveLen(1))
	g.Expect(found[0].String()).To(Equal("rolecredential/s3-reader"))
}

// onlyRoles lists only RoleCredentials.
type onlyRoles struct{ client.Client }

func (o onlyRoles) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if _, ok := list.(*v1alpha1.RoleCredentialList); !ok {
		return fmt.Errorf("%T cannot be listed", list)
	}
	return o.Client.List(ctx, list, options...)
}
