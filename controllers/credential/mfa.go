package credential

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// mfaDevice is a virtual MFA device. It is empty for a credential without MFA.
type mfaDevice struct {
	seed string
	// version changes with the Secret and with the reference to it, so that a corrected seed is tried at once.
	version string
}

// invalidMFA is the failure of an MFA device whose seed cannot be used.
func invalidMFA(format string, args ...any) *reason.Error {
	f := reason.NotSent(v1alpha1.ReasonInvalidMFA, format, args...)
	f.Retry = reason.After(secretRecheck)
	return f
}

// recheck returns the earlier of a retry and the next read of the seed, which may have been corrected. A zero retry stays: another seed
// does not help.
func (d mfaDevice) recheck(now, retry time.Time) time.Time {
	if read := now.Add(secretRecheck); d.version != "" && retry.After(read) {
		return read
	}
	return retry
}

// readMFADevice reads the seed of the spec's MFA device from a Secret in the credential's namespace.
func (r *Reconciler[T]) readMFADevice(ctx context.Context, cred T) (mfaDevice, error) {
	device := r.Kind.MFA(cred)
	if device == nil {
		return mfaDevice{}, nil
	}
	ref := device.TOTPSecretRef
	key := client.ObjectKey{Namespace: cred.GetNamespace(), Name: ref.Name}
	found := &corev1.Secret{}
	err := r.Secrets.APIReader.Get(ctx, key, found)
	if apierrors.IsForbidden(err) {
		return mfaDevice{}, invalidMFA("The operator may not read Secret %s. Let its RBAC allow get of Secrets in this namespace.", ref.Name)
	}
	if client.IgnoreNotFound(err) != nil {
		return mfaDevice{}, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	d := mfaDevice{seed: string(found.Data[ref.Key]), version: request.Hash([]string{ref.Name, ref.Key, found.ResourceVersion})}
	if apierrors.IsNotFound(err) {
		return d, invalidMFA("There is no Secret %s in this namespace. Create it with the MFA device's seed under the key %s.", ref.Name, ref.Key)
	}
	if d.seed == "" {
		return d, invalidMFA("Secret %s has no key %s, or it is empty. Store the MFA device's seed there.", ref.Name, ref.Key)
	}
	return d, nil
}
