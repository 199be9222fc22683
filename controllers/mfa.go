package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
)

func serialNumber(device *v1alpha1.MFA) string {
	if device == nil {
		return ""
	}
	return device.SerialNumber
}

// seed is what an MFA device's codes are computed from.
type seed struct {
	text string
	// version changes with the Secret and with where in it the seed is, so that a mended one is tried at once.
	version string
}

// seed reads the seed of the MFA device that a spec names, if it names one, from a Secret in the credential's own namespace,
// whose change then wakes the credential.
func (r *Reconciler[T]) seed(ctx context.Context, object T) (seed, *failure.Failure, error) {
	if r.Kind.MFA == nil || r.Kind.MFA(object) == nil {
		return seed{}, nil, nil
	}
	ref := r.Kind.MFA(object).TOTPSecretRef
	key := client.ObjectKey{Namespace: object.GetNamespace(), Name: ref.Name}
	held := &corev1.Secret{}
	err := r.Secrets.Reader.Get(ctx, key, held)
	if apierrors.IsForbidden(err) {
		return seed{}, failure.NotAsked(v1alpha1.ReasonInvalidMFA, "The operator may not read Secret %s. Have its RBAC allow get, list and watch of Secrets in this namespace.", ref.Name), nil
	}
	if client.IgnoreNotFound(err) != nil {
		return seed{}, nil, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	r.Strangers.Await(r.waiter(client.ObjectKeyFromObject(object)), key, held.ResourceVersion)
	found := seed{text: string(held.Data[ref.Key]), version: credential.Hash([]string{ref.Name, ref.Key, held.ResourceVersion})}
	if apierrors.IsNotFound(err) {
		return found, failure.NotAsked(v1alpha1.ReasonInvalidMFA, "There is no Secret %s in this namespace. Create it with the MFA device's seed under the key %s.", ref.Name, ref.Key), nil
	}
	if found.text == "" {
		return found, failure.NotAsked(v1alpha1.ReasonInvalidMFA, "Secret %s has nothing under the key %s. Put the MFA device's seed there.", ref.Name, ref.Key), nil
	}
	return found, nil, nil
}

// prepare gets what the call takes: a token of the identity's budget and, if an MFA device is named, its code of the moment.
// Neither is used up without the other. It is false, and says until when, if the turn has to wait for one of them.
func (r *Reconciler[T]) prepare(t *turn, s seed) (bool, *failure.Failure) {
	if t.request.MFASerialNumber == "" {
		return r.takeToken(t), nil
	}
	code, next, err := r.Devices.Code(t.request.MFASerialNumber, s.text, t.now, func() bool { return r.takeToken(t) })
	if err != nil {
		return false, failure.NotAsked(v1alpha1.ReasonInvalidMFA, "The seed of the MFA device cannot be used: %s. Give the base32 text that AWS calls the secret configuration key.", err)
	}
	if t.turnIn > 0 {
		return false, nil
	}
	if code == "" {
		t.waiting, t.retryAt = "another call used the MFA device's code of the moment, and the next comes within 30 seconds.", next
		return false, nil
	}
	t.proof.MFACode = code
	return true, nil
}
