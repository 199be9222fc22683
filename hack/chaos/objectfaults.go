package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/chaos/observer"
)

// Faults of the operator's objects, and of the objects that it depends on.
var objectFaults = []*fault{
	{name: "Secrets are deleted", run: changeSecrets(20, func(ctx context.Context, c *chaos, secret *corev1.Secret, _ *rand.Rand) error {
		return c.cluster.Client.Delete(ctx, secret)
	})},
	{name: "Secrets are edited", run: changeSecrets(20, editSecret)},
	{name: "Secrets are replaced by foreign ones", run: replaceSecrets},
	{name: "a namespace is deleted and recreated", run: func(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (effects, error) {
		name := c.workload.namespaces[namespaces-1-rng.IntN(deletable)]
		c.exclusive.Lock()
		defer c.exclusive.Unlock()
		gone := c.workload.credentialsIn(name)
		c.observer.Forget(expectations(gone)...)
		if err := c.cluster.deleteNamespace(ctx, name); err != nil {
			return nil, err
		}
		sleep(ctx, lasts/2)
		return effects{"credentials deleted": len(gone)}, c.createNamespace(ctx, name)
	}},
	{name: "an identity's key is deactivated in AWS", run: breakIdentity(nil,
		func(_ context.Context, c *chaos, i *identity) error {
			return c.sts.SetAccessKeyActive(i.user.ID, false)
		},
		func(_ context.Context, c *chaos, i *identity) error { return c.sts.SetAccessKeyActive(i.user.ID, true) },
	)},
	{name: "an identity's Secret is corrupted", run: breakIdentity(nil,
		func(ctx context.Context, c *chaos, i *identity) error {
			return c.patchSource(ctx, i, "an invalid key")
		},
		func(ctx context.Context, c *chaos, i *identity) error { return c.patchSource(ctx, i, i.user.Secret) },
	)},
	{name: "an identity's rules are removed", run: breakIdentity(isClusterIdentity,
		func(ctx context.Context, c *chaos, i *identity) error {
			return c.patchRules(ctx, i, &[]v1alpha1.AllowRule{})
		},
		func(ctx context.Context, c *chaos, i *identity) error {
			original, _ := i.object("").(*v1alpha1.ClusterIdentity)
			return c.patchRules(ctx, i, original.Spec.Allow)
		},
	)},
	{name: "an identity is deleted and recreated", run: breakIdentity(nil,
		func(ctx context.Context, c *chaos, i *identity) error {
			return client.IgnoreNotFound(c.cluster.Client.Delete(ctx, i.object("")))
		},
		func(ctx context.Context, c *chaos, i *identity) error {
			return client.IgnoreAlreadyExists(c.cluster.Client.Create(ctx, i.object(c.sts.front.URL)))
		},
	)},
}

func isClusterIdentity(i *identity) bool { return i.namespace == "" }

// randomCredential returns a credential of a namespace that is never deleted.
func (c *chaos) randomCredential(rng *rand.Rand) *credential {
	for {
		drawn := c.workload.credentials[rng.IntN(len(c.workload.credentials))]
		if !slices.Contains(c.workload.namespaces[namespaces-deletable:], drawn.Namespace) {
			return drawn
		}
	}
}

// triggerIssues deletes a few Secrets, so that a manager issues them again and reaches each point of a reconcile.
func (c *chaos) triggerIssues(ctx context.Context, rng *rand.Rand) {
	for range 3 {
		drawn := c.randomCredential(rng)
		secret := &corev1.Secret{}
		err := c.cluster.Client.Get(ctx, types.NamespacedName{Namespace: drawn.Namespace, Name: drawn.Name}, secret)
		if err == nil && !c.isForeign(secret) {
			_ = c.cluster.Client.Delete(ctx, secret) // a failure only makes this fault less likely to have an effect
		}
	}
}

// changeSecrets changes n Secrets over time. It skips a Secret that does not exist or changes meanwhile.
func changeSecrets(n int, change func(context.Context, *chaos, *corev1.Secret, *rand.Rand) error) inject {
	return func(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (effects, error) {
		found := effects{}
		for range n {
			drawn := c.randomCredential(rng)
			secret := &corev1.Secret{}
			err := c.cluster.Client.Get(ctx, types.NamespacedName{Namespace: drawn.Namespace, Name: drawn.Name}, secret)
			if err == nil && !c.isForeign(secret) {
				err = change(ctx, c, secret, rng)
			}
			if err == nil {
				found["Secrets"]++
			} else {
				found["skipped"]++
			}
			sleep(ctx, lasts/time.Duration(n))
		}
		return found, nil
	}
}

// editSecret corrupts a Secret in one of several ways.
func editSecret(ctx context.Context, c *chaos, secret *corev1.Secret, rng *rand.Rand) error {
	switch rng.IntN(4) {
	case 0: // a key of another credential
		secret.Data["AWS_SECRET_ACCESS_KEY"] = []byte(fmt.Sprintf("not-%d-the-one", rng.Uint64()))
	case 1:
		delete(secret.Data, "AWS_SESSION_TOKEN")
	case 2:
		secret.Annotations["sts.rolecredential.dev/expiration"] = time.Now().Add(1000 * time.Hour).UTC().Format(time.RFC3339)
		return c.cluster.Client.Update(ctx, secret)
	default:
		secret.Labels = nil
		return c.cluster.Client.Update(ctx, secret)
	}
	c.observer.ExpectEdit(secret.UID, secret.Data)
	return c.cluster.Client.Update(ctx, secret)
}

// replaceSecrets replaces Secrets of the operator with foreign ones, and deletes those at the end.
func replaceSecrets(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (effects, error) {
	var created []*corev1.Secret
	found := effects{}
	for range 12 {
		drawn := c.randomCredential(rng)
		foreign, err := c.createForeignSecret(ctx, drawn, rng)
		if err != nil {
			found["skipped"]++
			continue
		}
		created = append(created, foreign)
		found["Secrets"]++
	}
	sleep(ctx, lasts)
	var errs []error
	for _, foreign := range created {
		c.observer.ForeignReleased(foreign.UID)
		errs = append(errs, retry(ctx, func(ctx context.Context) error {
			err := client.IgnoreNotFound(c.cluster.Client.Delete(ctx, foreign, client.Preconditions{UID: &foreign.UID}))
			if apierrors.IsConflict(err) { // the operator has replaced it, which the observer reports
				return nil
			}
			return err
		}))
		c.setForeign(foreign.UID, false)
	}
	return found, errors.Join(errs...)
}

// createForeignSecret creates a foreign Secret of a credential's name. Some imitate the operator's.
func (c *chaos) createForeignSecret(ctx context.Context, drawn *credential, rng *rand.Rand) (*corev1.Secret, error) {
	name := types.NamespacedName{Namespace: drawn.Namespace, Name: drawn.Name}
	old := &corev1.Secret{}
	err := c.cluster.Client.Get(ctx, name, old)
	if client.IgnoreNotFound(err) != nil || c.isForeign(old) {
		return nil, errors.New("it cannot be replaced")
	}
	foreign := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name},
		StringData: map[string]string{"AWS_ACCESS_KEY_ID": "another", "AWS_SECRET_ACCESS_KEY": "owner's", "password": "kept"},
	}
	switch rng.IntN(4) {
	case 0:
		foreign.Labels = map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}
	case 1:
		foreign.Labels, foreign.Annotations = old.Labels, old.Annotations
	case 2: // owned by an earlier object of the same name
		foreign.Labels, foreign.Annotations, foreign.OwnerReferences = old.Labels, old.Annotations, old.OwnerReferences
		for i := range foreign.OwnerReferences {
			foreign.OwnerReferences[i].UID = "00000000-0000-0000-0000-000000000000"
		}
	}
	for range 20 { // the operator may recreate the Secret first
		if err := client.IgnoreNotFound(c.cluster.Client.Delete(ctx, &corev1.Secret{ObjectMeta: foreign.ObjectMeta})); err != nil {
			return nil, err
		}
		created := foreign.DeepCopy()
		if err = c.cluster.Client.Create(ctx, created); err == nil {
			c.setForeign(created.UID, true)
			c.observer.ForeignCreated(created.UID, created.ResourceVersion)
			return created, nil
		}
	}
	return nil, err
}

func (c *chaos) setForeign(uid types.UID, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if is {
		c.foreign[uid] = true
	} else {
		delete(c.foreign, uid)
	}
}

func (c *chaos) isForeign(secret *corev1.Secret) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.foreign[secret.UID]
}

// breakIdentity breaks a random identity of those that are eligible, nil for all, and repairs it at the end.
func breakIdentity(eligible func(*identity) bool, breaks, repairs func(context.Context, *chaos, *identity) error) inject {
	return func(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (effects, error) {
		broken := c.workload.identities[rng.IntN(len(c.workload.identities))]
		for eligible != nil && !eligible(broken) {
			broken = c.workload.identities[rng.IntN(len(c.workload.identities))]
		}
		c.exclusive.Lock()
		defer c.exclusive.Unlock()
		c.disruptions.Begin(observer.IdentityOf(broken.name))
		defer c.disruptions.End(observer.IdentityOf(broken.name), 0)
		if err := retry(ctx, func(ctx context.Context) error { return breaks(ctx, c, broken) }); err != nil {
			return nil, err
		}
		sleep(ctx, lasts)
		return effects{"times " + broken.name: 1}, retry(ctx, func(ctx context.Context) error { return repairs(ctx, c, broken) })
	}
}

func (c *chaos) patchSource(ctx context.Context, i *identity, secretKey string) error {
	secret := i.secret()
	if err := c.cluster.Client.Get(ctx, client.ObjectKeyFromObject(secret), secret); err != nil {
		return err
	}
	secret.Data["AWS_SECRET_ACCESS_KEY"] = []byte(secretKey)
	return c.cluster.Client.Update(ctx, secret)
}

func (c *chaos) patchRules(ctx context.Context, i *identity, rules *[]v1alpha1.AllowRule) error {
	found := &v1alpha1.ClusterIdentity{}
	if err := c.cluster.Client.Get(ctx, client.ObjectKey{Name: i.name}, found); err != nil {
		return err
	}
	found.Spec.Allow = rules
	return c.cluster.Client.Update(ctx, found)
}
