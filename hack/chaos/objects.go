package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
)

// What others do to the operator's objects, or to those that it depends on.
var objectFaults = []*fault{
	{name: "Secrets are deleted", run: someSecrets(20, func(ctx context.Context, c *chaos, secret *corev1.Secret, _ *rand.Rand) error {
		return c.cluster.Client.Delete(ctx, secret)
	})},
	{name: "Secrets are edited", run: someSecrets(20, edit)},
	{name: "Secrets are replaced by foreign ones", run: replaceSecrets},
	{name: "a namespace is deleted and made anew", run: func(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (seen, error) {
		name := c.world.namespaces[namespaces-1-rng.IntN(doomed)]
		c.doom.Lock() // one after the other
		defer c.doom.Unlock()
		gone := c.world.in(name)
		c.observer.Forget(wanted(gone)...)
		if err := c.cluster.deleteNamespace(ctx, name); err != nil {
			return nil, err
		}
		pause(ctx, lasts/2)
		return seen{"credentials deleted": len(gone)}, c.make(ctx, name)
	}},
	{name: "an identity's key is switched off in AWS", run: breakIdentity(nil,
		func(_ context.Context, c *chaos, i *identity) error {
			return c.sts.SetAccessKeyActive(i.user.ID, false)
		},
		func(_ context.Context, c *chaos, i *identity) error { return c.sts.SetAccessKeyActive(i.user.ID, true) },
	)},
	{name: "an identity's Secret is spoilt", run: breakIdentity(nil,
		func(ctx context.Context, c *chaos, i *identity) error {
			return c.patchSource(ctx, i, "no longer this one")
		},
		func(ctx context.Context, c *chaos, i *identity) error { return c.patchSource(ctx, i, i.user.Secret) },
	)},
	{name: "an identity's rules are withdrawn", run: breakIdentity(inNoNamespace,
		func(ctx context.Context, c *chaos, i *identity) error {
			return c.patchRules(ctx, i, &[]v1alpha1.AllowRule{})
		},
		func(ctx context.Context, c *chaos, i *identity) error {
			made, _ := i.object("").(*v1alpha1.ClusterIdentity)
			return c.patchRules(ctx, i, made.Spec.Allow)
		},
	)},
	{name: "an identity is deleted and made anew", run: breakIdentity(nil,
		func(ctx context.Context, c *chaos, i *identity) error {
			return client.IgnoreNotFound(c.cluster.Client.Delete(ctx, i.object("")))
		},
		func(ctx context.Context, c *chaos, i *identity) error {
			return client.IgnoreAlreadyExists(c.cluster.Client.Create(ctx, i.object(c.sts.front.URL)))
		},
	)},
}

func inNoNamespace(i *identity) bool { return i.namespace == "" }

// safe draws a credential of a namespace that is not deleted.
func (c *chaos) safe(rng *rand.Rand) *credential {
	for {
		drawn := c.world.credentials[rng.IntN(len(c.world.credentials))]
		if drawn.Namespace != c.world.namespaces[namespaces-1] && drawn.Namespace != c.world.namespaces[namespaces-2] {
			return drawn
		}
	}
}

// cause has a few credentials issued anew, so that a manager comes by each point of the way.
func (c *chaos) cause(ctx context.Context, rng *rand.Rand) {
	for range 3 {
		drawn := c.safe(rng)
		secret := &corev1.Secret{}
		err := c.cluster.Client.Get(ctx, types.NamespacedName{Namespace: drawn.Namespace, Name: drawn.Name}, secret)
		if err == nil && !c.isForeign(secret) {
			_ = c.cluster.Client.Delete(ctx, secret) // another time, if not now
		}
	}
}

// someSecrets does something to as many Secrets, over a while. A Secret that is not there, or changes meanwhile, is let be.
func someSecrets(n int, do func(context.Context, *chaos, *corev1.Secret, *rand.Rand) error) func(context.Context, *chaos, time.Duration, *rand.Rand) (seen, error) {
	return func(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (seen, error) {
		found := seen{}
		for range n {
			drawn := c.safe(rng)
			secret := &corev1.Secret{}
			err := c.cluster.Client.Get(ctx, types.NamespacedName{Namespace: drawn.Namespace, Name: drawn.Name}, secret)
			if err == nil && !c.isForeign(secret) {
				err = do(ctx, c, secret, rng)
			}
			if err == nil {
				found["Secrets"]++
			} else {
				found["let be"]++
			}
			pause(ctx, lasts/time.Duration(n))
		}
		return found, nil
	}
}

// edit spoils a Secret, in one of several ways.
func edit(ctx context.Context, c *chaos, secret *corev1.Secret, rng *rand.Rand) error {
	switch rng.IntN(4) {
	case 0: // one that looks like another
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
	c.observer.Edited(secret.UID, secret.Data)
	return c.cluster.Client.Update(ctx, secret)
}

// replaceSecrets puts foreign Secrets where the operator's were, and takes them away after a while.
func replaceSecrets(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (seen, error) {
	var planted []*corev1.Secret
	found := seen{}
	for range 12 {
		drawn := c.safe(rng)
		foreign, err := c.plant(ctx, drawn, rng)
		if err != nil {
			found["let be"]++
			continue
		}
		planted = append(planted, foreign)
		found["Secrets"]++
	}
	pause(ctx, lasts)
	var errs []error
	for _, foreign := range planted {
		c.observer.Released(foreign.UID)
		errs = append(errs, insist(ctx, func(ctx context.Context) error {
			err := client.IgnoreNotFound(c.cluster.Client.Delete(ctx, foreign, client.Preconditions{UID: &foreign.UID}))
			if apierrors.IsConflict(err) { // it is another's now, which the observer tells
				return nil
			}
			return err
		}))
		c.foreign(foreign.UID, false)
	}
	return found, errors.Join(errs...)
}

// plant makes a foreign Secret of a credential's name, of the kind that is easily taken for the operator's.
func (c *chaos) plant(ctx context.Context, drawn *credential, rng *rand.Rand) (*corev1.Secret, error) {
	name := types.NamespacedName{Namespace: drawn.Namespace, Name: drawn.Name}
	old := &corev1.Secret{}
	err := c.cluster.Client.Get(ctx, name, old)
	if client.IgnoreNotFound(err) != nil || c.isForeign(old) {
		return nil, errors.New("it cannot be replaced")
	}
	foreign := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name},
		StringData: map[string]string{"AWS_ACCESS_KEY_ID": "somebody's", "AWS_SECRET_ACCESS_KEY": "own", "password": "precious"},
	}
	switch rng.IntN(4) {
	case 0:
		foreign.Labels = map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}
	case 1:
		foreign.Labels, foreign.Annotations = old.Labels, old.Annotations
	case 2: // of an earlier object of the name
		foreign.Labels, foreign.Annotations, foreign.OwnerReferences = old.Labels, old.Annotations, old.OwnerReferences
		for i := range foreign.OwnerReferences {
			foreign.OwnerReferences[i].UID = "00000000-0000-0000-0000-000000000000"
		}
	}
	for range 20 { // against who mends the Secret
		if err := client.IgnoreNotFound(c.cluster.Client.Delete(ctx, &corev1.Secret{ObjectMeta: foreign.ObjectMeta})); err != nil {
			return nil, err
		}
		made := foreign.DeepCopy()
		if err = c.cluster.Client.Create(ctx, made); err == nil {
			c.foreign(made.UID, true)
			c.observer.Foreign(made.UID, made.ResourceVersion)
			return made, nil
		}
	}
	return nil, err
}

func (c *chaos) foreign(uid types.UID, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if is {
		c.planted[uid] = true
	} else {
		delete(c.planted, uid)
	}
}

func (c *chaos) isForeign(secret *corev1.Secret) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.planted[secret.UID]
}

// breakIdentity breaks one for a while, and mends it.
func breakIdentity(suits func(*identity) bool, breaks, mends func(context.Context, *chaos, *identity) error) func(context.Context, *chaos, time.Duration, *rand.Rand) (seen, error) {
	return func(ctx context.Context, c *chaos, lasts time.Duration, rng *rand.Rand) (seen, error) {
		broken := c.world.identities[rng.IntN(len(c.world.identities))]
		for suits != nil && !suits(broken) {
			broken = c.world.identities[rng.IntN(len(c.world.identities))]
		}
		c.doom.Lock() // not while its namespace goes, nor twice at a time
		defer c.doom.Unlock()
		c.weather.Begin("identity " + broken.name)
		defer c.weather.End(0, "identity "+broken.name)
		if err := insist(ctx, func(ctx context.Context) error { return breaks(ctx, c, broken) }); err != nil {
			return nil, err
		}
		pause(ctx, lasts)
		return seen{"times " + broken.name: 1}, insist(ctx, func(ctx context.Context) error { return mends(ctx, c, broken) })
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
