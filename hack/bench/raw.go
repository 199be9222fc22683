package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
)

// raw is a bare client that writes what the operator writes, a Secret and a status for each credential, as the ServiceAccount that the
// operator has, and does nothing else. No operator can be faster on the same API server.
type raw struct {
	*world
	like    sample
	made    []*v1alpha1.RoleCredential
	secrets []*corev1.Secret
}

// newRaw makes n credentials, for a raw client to write what is like a sample.
func (w *world) newRaw(ctx context.Context, like sample, prefix string, n int) (*raw, error) {
	// First, since the API server's authorizer takes a moment to see it.
	err := w.allow(ctx, prefix, rbacv1.PolicyRule{
		APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"rolecredentials/status"}, Verbs: []string{"patch"},
	})
	if err != nil {
		return nil, err
	}
	r := &raw{world: w, like: like, secrets: make([]*corev1.Secret, n)}
	if r.made, err = w.prepare(ctx, prefix, n, nil); err != nil {
		return nil, err
	}
	for _, made := range r.made {
		made.ManagedFields = nil // as the manager keeps them
		made.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RoleCredential"))
	}
	return r, nil
}

// accessKeyID is that of a credential's nth issue, as long as those of AWS.
func accessKeyID(i, issue int) string { return fmt.Sprintf("ASIA%012d%04d", i, issue) }

// issue creates the Secret of a credential, and writes its status.
func (r *raw) issue(ctx context.Context, i int) error {
	of := r.made[i]
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: of.Namespace, Name: of.Name, Labels: r.like.secret.Labels, Annotations: r.like.secret.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(of, v1alpha1.GroupVersion.WithKind("RoleCredential"))},
		},
		Type: corev1.SecretTypeOpaque,
		Data: r.like.secret.Data,
	}
	var err error
	if r.secrets[i], err = r.asManager.clientset.CoreV1().Secrets(of.Namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return err
	}
	status := r.like.status
	status.AccessKeyID, status.SecretName = accessKeyID(i, 1), of.Name
	return r.writeStatus(ctx, i, status)
}

// refresh writes a new credential over the old one, and what changes of the status.
func (r *raw) refresh(ctx context.Context, i int) error {
	secret := r.secrets[i]
	secret.Data = map[string][]byte{}
	for key, value := range r.like.secret.Data {
		changed := append([]byte{}, value...)
		changed[0]++
		secret.Data[key] = changed
	}
	if _, err := r.asManager.clientset.CoreV1().Secrets(secret.Namespace).Update(ctx, secret, metav1.UpdateOptions{}); err != nil {
		return err
	}
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	return r.writeStatus(ctx, i, v1alpha1.CredentialStatus{AccessKeyID: accessKeyID(i, 2), Expiration: &now, LastRefreshTime: &now, NextRefreshTime: &now})
}

// writeStatus writes what is in a status over what is there.
func (r *raw) writeStatus(ctx context.Context, i int, status v1alpha1.CredentialStatus) error {
	of := r.made[i]
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": of.ResourceVersion}, "status": status})
	if err != nil {
		return err
	}
	request := r.asManager.extensions.Patch(types.MergePatchType)
	if r.rawUpdates {
		if err := json.Unmarshal(body, of); err != nil {
			return err
		}
		request = r.asManager.extensions.Put()
		if body, err = json.Marshal(of); err != nil {
			return err
		}
	}
	answer, err := request.Namespace(of.Namespace).Resource("rolecredentials").Name(of.Name).SubResource("status").Body(body).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("%w: %s", err, answer)
	}
	var after metav1.PartialObjectMetadata
	if err := json.Unmarshal(answer, &after); err != nil {
		return err
	}
	of.ResourceVersion = after.ResourceVersion
	return nil
}

// measureRaw measures how fast n credentials are written, and then written anew, with the operator's watches or with none.
func measureRaw(ctx context.Context, w *world, n int, side string) (measurement, error) {
	taken := measurement{Side: side, N: n}
	like, err := w.warmUp(ctx)
	if err != nil {
		return taken, err
	}
	r, err := w.newRaw(ctx, like, "raw", n)
	if err != nil {
		return taken, err
	}
	o, err := w.observe(ctx)
	if err != nil {
		return taken, err
	}
	if side == sideWatching {
		if err := w.watchAsOperator(ctx); err != nil {
			return taken, err
		}
	}
	for i, phase := range []struct {
		into *phase
		name string
		do   func(context.Context, int) error
	}{{&taken.Issue, "raw-issue", r.issue}, {&taken.Refresh, "raw-refresh", r.refresh}} {
		*phase.into, err = w.watchPhase(ctx, n, func(ctx context.Context) (begin, end time.Time, err error) {
			profiled := w.startProfile(ctx, nil, n, phase.name)
			begin = time.Now()
			if err = parallel(ctx, w.workers(), n, phase.do); err == nil {
				end, err = o.await(ctx, promptly, (i+1)*n)
			}
			return begin, end, errors.Join(err, profiled())
		})
		if err != nil {
			return taken, err
		}
	}
	return taken, nil
}
