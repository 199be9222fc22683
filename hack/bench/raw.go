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

// raw is a bare client that makes the operator's writes, a Secret and a status for each credential, as the operator's ServiceAccount, and
// nothing else. No operator can be faster on the same API server.
type raw struct {
	*environment
	model       sample
	credentials []*v1alpha1.RoleCredential
	secrets     []*corev1.Secret
}

// newRaw creates n credentials for a bare client, which writes Secrets and statuses with the content of a sample.
func (e *environment) newRaw(ctx context.Context, model sample, prefix string, n int) (*raw, error) {
	// This comes first, since the API server's authorizer sees a new role after a moment.
	err := e.grant(ctx, prefix, rbacv1.PolicyRule{
		APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"rolecredentials/status"}, Verbs: []string{"patch"},
	})
	if err != nil {
		return nil, err
	}
	r := &raw{environment: e, model: model, secrets: make([]*corev1.Secret, n)}
	if r.credentials, err = e.createCredentials(ctx, prefix, n, nil); err != nil {
		return nil, err
	}
	for _, credential := range r.credentials {
		credential.ManagedFields = nil // the manager trims them too
		credential.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("RoleCredential"))
	}
	return r, nil
}

// accessKeyID returns an access key ID for an issue of a credential, with the length of AWS's.
func accessKeyID(i, issue int) string { return fmt.Sprintf("ASIA%012d%04d", i, issue) }

// issue creates the Secret of a credential, and writes its status.
func (r *raw) issue(ctx context.Context, i int) error {
	credential := r.credentials[i]
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: credential.Namespace, Name: credential.Name, Labels: r.model.secret.Labels, Annotations: r.model.secret.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(credential, v1alpha1.GroupVersion.WithKind("RoleCredential"))},
		},
		Type: corev1.SecretTypeOpaque,
		Data: r.model.secret.Data,
	}
	var err error
	if r.secrets[i], err = r.asManager.clientset.CoreV1().Secrets(credential.Namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return err
	}
	status := r.model.status
	status.AccessKeyID, status.SecretName = accessKeyID(i, 1), credential.Name
	return r.writeStatus(ctx, i, status)
}

// refresh updates a Secret with new data, and the changed fields of the status.
func (r *raw) refresh(ctx context.Context, i int) error {
	secret := r.secrets[i]
	secret.Data = map[string][]byte{}
	for key, value := range r.model.secret.Data {
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

// writeStatus merges a status into the credential's.
func (r *raw) writeStatus(ctx context.Context, i int, status v1alpha1.CredentialStatus) error {
	credential := r.credentials[i]
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": credential.ResourceVersion}, "status": status})
	if err != nil {
		return err
	}
	request := r.asManager.extensions.Patch(types.MergePatchType)
	if r.rawUpdates {
		if err := json.Unmarshal(body, credential); err != nil {
			return err
		}
		request = r.asManager.extensions.Put()
		if body, err = json.Marshal(credential); err != nil {
			return err
		}
	}
	answer, err := request.Namespace(credential.Namespace).Resource("rolecredentials").Name(credential.Name).SubResource("status").Body(body).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("%w: %s", err, answer)
	}
	var after metav1.PartialObjectMetadata
	if err := json.Unmarshal(answer, &after); err != nil {
		return err
	}
	credential.ResourceVersion = after.ResourceVersion
	return nil
}

// measureRaw measures the writes of an issue and of a refresh of n credentials.
func measureRaw(ctx context.Context, e *environment, n int, side string) (measurement, error) {
	result := measurement{Side: side, N: n}
	model, err := e.warmUp(ctx)
	if err != nil {
		return result, err
	}
	r, err := e.newRaw(ctx, model, "raw", n)
	if err != nil {
		return result, err
	}
	o, err := e.observe(ctx)
	if err != nil {
		return result, err
	}
	if side == sideWatching {
		if err := e.watchAsOperator(ctx); err != nil {
			return result, err
		}
	}
	for i, phase := range []struct {
		into *phase
		name string
		do   func(context.Context, int) error
	}{{&result.Issue, "raw-issue", r.issue}, {&result.Refresh, "raw-refresh", r.refresh}} {
		*phase.into, err = e.measurePhase(ctx, n, func(ctx context.Context) (begin, end time.Time, err error) {
			profiled := e.startProfile(ctx, nil, n, phase.name)
			begin = time.Now()
			if err = parallel(ctx, e.workers(), n, phase.do); err == nil {
				end, err = o.await(ctx, shortTimeout, (i+1)*n)
			}
			return begin, end, errors.Join(err, profiled())
		})
		if err != nil {
			return result, err
		}
	}
	return result, nil
}
