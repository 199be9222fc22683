package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/chaos/observer"
	"rolecredential.dev/operator/hack/cluster"
	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	operatorsAccount, tenantsAccount = "210987654321", "123456789012"
	hubRole                          = "arn:aws:iam::" + operatorsAccount + ":role/Hub"
	region                           = "eu-west-1"
	// fraction is the lifetime of a session as a fraction of its duration: an hour is three minutes.
	fraction = 1.0 / 20
)

// durations are the requested durations. The sessions last one to three minutes; a tenth of that is longer than the shortest backoff of the
// operator, 5 s.
var durations = []time.Duration{20 * time.Minute, 30 * time.Minute, 45 * time.Minute, time.Hour}

// identity is an Identity or ClusterIdentity, with an IAM user of its own.
type identity struct {
	name string
	// namespace is empty for a ClusterIdentity.
	namespace string
	user      stsemulator.AccessKey
	qps       int32
	// chained is whether its chain contains the hub role.
	chained bool
}

func (i *identity) userARN() string { return "arn:aws:iam::" + operatorsAccount + ":user/" + i.name }

// credential is a credential of any kind.
type credential struct {
	observer.Expected
	identity *identity
	duration time.Duration
}

// workload is what the operator manages in a run.
type workload struct {
	namespaces  []string
	identities  []*identity
	credentials []*credential
}

const (
	namespaces = 8
	// deletable is the number of namespaces, the last ones, that a fault may delete. Faults of Secrets use the others.
	deletable = 2
)

// newWorkload returns a random workload with a number of credentials.
func newWorkload(rng *rand.Rand, credentials int) *workload {
	w := &workload{}
	for i := range namespaces {
		w.namespaces = append(w.namespaces, fmt.Sprintf("team-%d", i))
	}
	for i, qps := range []int32{8, 5, 5, 5, 5} {
		w.identities = append(w.identities, &identity{name: fmt.Sprintf("cluster-%d", i), qps: qps, chained: i == 4})
	}
	for _, n := range []int{0, namespaces - 1} {
		w.identities = append(w.identities, &identity{name: fmt.Sprintf("own-%d", n), namespace: w.namespaces[n], qps: 5})
	}
	for i, known := range w.identities {
		known.user = stsemulator.AccessKey{ID: fmt.Sprintf("AKIACHAOS%011d", i), Secret: fmt.Sprintf("secret-of-%s", known.name)}
	}
	for i := range credentials {
		w.credentials = append(w.credentials, w.drawCredential(rng, i))
	}
	return w
}

// drawCredential returns a random credential. Half of them use the first identity, so that its bucket is often empty.
func (w *workload) drawCredential(rng *rand.Rand, n int) *credential {
	c := &credential{duration: durations[rng.IntN(len(durations))]}
	c.Namespace = w.namespaces[rng.IntN(namespaces)]
	c.identity = w.identities[0]
	if rng.IntN(2) > 0 {
		c.identity = w.identities[1+rng.IntN(len(w.identities)-1)]
	}
	if c.identity.namespace != "" {
		c.Namespace = c.identity.namespace
	}
	c.Identity = c.identity.name
	kind := rng.IntN(5)
	if c.identity.chained {
		kind = 0 // roles cannot make the other calls
	}
	switch kind {
	case 3:
		c.Kind, c.Name, c.Action = "SessionCredential", fmt.Sprintf("session-%03d", n), "GetSessionToken"
		c.PrincipalARN = c.identity.userARN()
	case 4:
		c.Kind, c.Name, c.Action = "FederatedCredential", fmt.Sprintf("federated-%03d", n), "GetFederationToken"
		c.PrincipalARN = fmt.Sprintf("arn:aws:sts::%s:federated-user/%s.%s", operatorsAccount, c.Namespace, c.Name)
	default:
		c.Kind, c.Name, c.Action = "RoleCredential", fmt.Sprintf("role-%03d", n), "AssumeRole"
		role := fmt.Sprintf("chaos-%03d", n)
		c.RoleARN = fmt.Sprintf("arn:aws:iam::%s:role/%s", tenantsAccount, role)
		c.PrincipalARN = fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s.%s", tenantsAccount, role, c.Namespace, c.Name)
	}
	return c
}

// accounts returns the configuration of the emulator.
func (w *workload) accounts() stsemulator.Config {
	root := []stsemulator.Trust{{Principal: "arn:aws:iam::" + operatorsAccount + ":root"}}
	operators := stsemulator.Account{ID: operatorsAccount, Roles: []stsemulator.Role{{Name: "Hub", MayAssume: []string{"*"}, Trust: root}}}
	for _, i := range w.identities {
		operators.Users = append(operators.Users, stsemulator.User{
			Name: i.name, AccessKeys: []stsemulator.AccessKey{i.user}, MayAssume: []string{"*"}, MayFederate: []string{"*"},
		})
	}
	return stsemulator.Config{Accounts: []stsemulator.Account{
		operators,
		{ID: tenantsAccount, Roles: []stsemulator.Role{{Name: "chaos-*", Trust: append(root, stsemulator.Trust{Principal: hubRole})}}},
	}}
}

// caller returns the name of the identity that signs with an access key ID. A session's key belongs to the only chained identity.
func (w *workload) caller(accessKeyID string) string {
	chained := ""
	for _, i := range w.identities {
		if i.user.ID == accessKeyID {
			return i.name
		}
		if i.chained {
			chained = i.name
		}
	}
	if strings.HasPrefix(accessKeyID, "ASIA") {
		return chained
	}
	return accessKeyID
}

// credentialsIn returns the credentials of a namespace.
func (w *workload) credentialsIn(namespace string) (found []*credential) {
	for _, c := range w.credentials {
		if c.Namespace == namespace {
			found = append(found, c)
		}
	}
	return found
}

func expectations(credentials []*credential) (expected []observer.Expected) {
	for _, c := range credentials {
		expected = append(expected, c.Expected)
	}
	return expected
}

// createNamespace creates a namespace with its identities and credentials.
func (c *chaos) createNamespace(ctx context.Context, namespace string) error {
	err := retry(ctx, func(ctx context.Context) error {
		return c.cluster.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	})
	if err != nil {
		return err
	}
	for _, i := range c.workload.identities {
		if i.namespace == namespace {
			if err := c.createIdentity(ctx, i); err != nil {
				return err
			}
		}
	}
	credentials := c.workload.credentialsIn(namespace)
	c.observer.Expect(expectations(credentials)...)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, each := range credentials {
		group.Go(func() error { return c.createIfAbsent(ctx, each.object()) })
	}
	return group.Wait()
}

// createIfAbsent creates an object, unless it exists.
func (c *chaos) createIfAbsent(ctx context.Context, object client.Object) error {
	return retry(ctx, func(ctx context.Context) error {
		return client.IgnoreAlreadyExists(c.cluster.Client.Create(ctx, object))
	})
}

func (c *chaos) createIdentity(ctx context.Context, i *identity) error {
	if err := c.createIfAbsent(ctx, i.secret()); err != nil {
		return err
	}
	return c.createIfAbsent(ctx, i.object(c.sts.front.URL))
}

// secretNamespace returns the namespace of the identity's Secret.
func (i *identity) secretNamespace() string {
	if i.namespace == "" {
		return cluster.OperatorNamespace
	}
	return i.namespace
}

func (i *identity) secret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: i.secretNamespace(), Name: "source-" + i.name},
		Data:       map[string][]byte{"AWS_ACCESS_KEY_ID": []byte(i.user.ID), "AWS_SECRET_ACCESS_KEY": []byte(i.user.Secret)},
	}
}

func (i *identity) settings(endpoint string) v1alpha1.IdentitySettings {
	settings := v1alpha1.IdentitySettings{Region: region, Endpoint: endpoint, STSQPS: i.qps}
	if i.chained {
		settings.Chain = []v1alpha1.Hop{{RoleARN: hubRole}}
	}
	return settings
}

func (i *identity) object(endpoint string) client.Object {
	if i.namespace != "" {
		return &v1alpha1.Identity{
			ObjectMeta: metav1.ObjectMeta{Namespace: i.namespace, Name: i.name},
			Spec: v1alpha1.IdentitySpec{
				IdentitySettings: i.settings(endpoint),
				Source:           v1alpha1.IdentitySource{AccessKey: &v1alpha1.LocalAccessKeySource{SecretRef: v1alpha1.LocalSecretReference{Name: i.secret().Name}}},
			},
		}
	}
	rule := v1alpha1.AllowRule{Namespaces: []string{"team-*"}, RoleARNs: []string{"arn:aws:iam::" + tenantsAccount + ":role/chaos-*"}, Calls: []v1alpha1.Call{v1alpha1.CallAssumeRole}}
	if !i.chained {
		rule.Calls = append(rule.Calls, v1alpha1.CallGetSessionToken, v1alpha1.CallGetFederationToken)
	}
	return &v1alpha1.ClusterIdentity{
		ObjectMeta: metav1.ObjectMeta{Name: i.name},
		Spec: v1alpha1.ClusterIdentitySpec{
			IdentitySettings: i.settings(endpoint),
			Source: v1alpha1.ClusterIdentitySource{AccessKey: &v1alpha1.AccessKeySource{
				SecretRef: v1alpha1.SecretReference{Namespace: cluster.OperatorNamespace, Name: i.secret().Name},
			}},
			Allow: &[]v1alpha1.AllowRule{rule},
		},
	}
}

func (c *credential) object() client.Object {
	spec := v1alpha1.CredentialSpec{IdentityRef: v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindClusterIdentity, Name: c.identity.name}}
	if c.identity.namespace != "" {
		spec.IdentityRef.Kind = v1alpha1.IdentityKindIdentity
	}
	meta, duration := metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name}, &metav1.Duration{Duration: c.duration}
	switch c.Kind {
	case "SessionCredential":
		return &v1alpha1.SessionCredential{ObjectMeta: meta, Spec: v1alpha1.SessionCredentialSpec{CredentialSpec: spec, Duration: duration}}
	case "FederatedCredential":
		policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`
		return &v1alpha1.FederatedCredential{ObjectMeta: meta, Spec: v1alpha1.FederatedCredentialSpec{CredentialSpec: spec, Duration: duration, Policy: policy}}
	default:
		return &v1alpha1.RoleCredential{ObjectMeta: meta, Spec: v1alpha1.RoleCredentialSpec{CredentialSpec: spec, Duration: duration, RoleARN: c.RoleARN}}
	}
}
