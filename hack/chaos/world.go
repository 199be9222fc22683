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
	// fraction of its duration is what a session lasts: an hour is three minutes.
	fraction = 1.0 / 20
)

// durations are what credentials ask for. By the fraction they are one to three minutes, of which a tenth is longer than the least
// that the operator waits between two tries, 5 s.
var durations = []time.Duration{20 * time.Minute, 30 * time.Minute, 45 * time.Minute, time.Hour}

// identity is one of the world's, with a user of its own.
type identity struct {
	name string
	// namespace is empty for a ClusterIdentity.
	namespace string
	user      stsemulator.AccessKey
	qps       int32
	// chained ones reach roles by way of the hub.
	chained bool
}

func (i *identity) userARN() string { return "arn:aws:iam::" + operatorsAccount + ":user/" + i.name }

// credential is one of the world's.
type credential struct {
	observer.Wanted
	identity *identity
	duration time.Duration
}

// world is all that the operator has to keep.
type world struct {
	namespaces  []string
	identities  []*identity
	credentials []*credential
}

// Namespaces are many; those that are doomed are deleted now and then, and the others hold the Secrets that are replaced.
const (
	namespaces = 8
	doomed     = 2
)

// newWorld draws a world of so many credentials.
func newWorld(rng *rand.Rand, credentials int) *world {
	w := &world{}
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
		w.credentials = append(w.credentials, w.draw(rng, i))
	}
	return w
}

// draw makes up a credential. Half of them have the first identity, so that its bucket is often empty.
func (w *world) draw(rng *rand.Rand, n int) *credential {
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
		kind = 0 // the other calls are for users
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

// accounts are the world as AWS has it.
func (w *world) accounts() stsemulator.Config {
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

// caller is the name of the identity that signs with an access key id. Only one is chained, so that whoever is no user is its hop.
func (w *world) caller(accessKeyID string) string {
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

// in lists the credentials of a namespace.
func (w *world) in(namespace string) (found []*credential) {
	for _, c := range w.credentials {
		if c.Namespace == namespace {
			found = append(found, c)
		}
	}
	return found
}

func wanted(credentials []*credential) (wanted []observer.Wanted) {
	for _, c := range credentials {
		wanted = append(wanted, c.Wanted)
	}
	return wanted
}

// make makes all of a namespace.
func (c *chaos) make(ctx context.Context, namespace string) error {
	err := insist(ctx, func(ctx context.Context) error {
		return c.cluster.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	})
	if err != nil {
		return err
	}
	for _, i := range c.world.identities {
		if i.namespace == namespace {
			if err := c.makeIdentity(ctx, i); err != nil {
				return err
			}
		}
	}
	credentials := c.world.in(namespace)
	c.observer.Expect(wanted(credentials)...)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, made := range credentials {
		group.Go(func() error { return c.apply(ctx, made.object()) })
	}
	return group.Wait()
}

// apply creates an object, unless it is there.
func (c *chaos) apply(ctx context.Context, object client.Object) error {
	return insist(ctx, func(ctx context.Context) error {
		return client.IgnoreAlreadyExists(c.cluster.Client.Create(ctx, object))
	})
}

func (c *chaos) makeIdentity(ctx context.Context, i *identity) error {
	if err := c.apply(ctx, i.secret()); err != nil {
		return err
	}
	return c.apply(ctx, i.object(c.sts.front.URL))
}

// home is the namespace of the identity's Secret.
func (i *identity) home() string {
	if i.namespace == "" {
		return cluster.OperatorNamespace
	}
	return i.namespace
}

func (i *identity) secret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: i.home(), Name: "source-" + i.name},
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
