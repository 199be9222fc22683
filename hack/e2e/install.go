package main

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/program"
)

// installByKustomize installs config/complete, and creates the Secret with the key of SeaweedFS's user.
func (w *environment) installByKustomize(ctx context.Context) (string, error) {
	if _, err := w.kubectl(ctx, "apply", "--server-side", "-k", manifest("operator")); err != nil {
		return "", err
	}
	return w.configureOperator(ctx)
}

// configureOperator creates the ClusterIdentity and its Secret, and waits for the managers.
func (w *environment) configureOperator(ctx context.Context) (string, error) {
	for _, args := range [][]string{
		{"wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"},
		{
			"create", "secret", "generic", "bootstrap", "-n", operatorNamespace,
			"--from-literal=AWS_ACCESS_KEY_ID=" + w.key.AccessKeyID, "--from-literal=AWS_SECRET_ACCESS_KEY=" + w.key.SecretAccessKey,
		},
		{"apply", "-f", manifest("identity.yaml")},
		{"rollout", "status", "deployment/rolecredential-manager", "-n", operatorNamespace, "--timeout=90s"},
		{"wait", "--for=condition=Ready", "--timeout=30s", "clusteridentity/default"},
	} {
		if _, err := w.kubectl(ctx, args...); err != nil {
			return "", err
		}
	}
	managers, err := w.pods(ctx, operatorNamespace, "app.kubernetes.io/component", "manager")
	if err != nil {
		return "", err
	}
	enforced, err := w.kubectl(ctx, "get", "namespace", operatorNamespace, "-o", `jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}`)
	return fmt.Sprintf("%d managers ready under Pod Security %s; ClusterIdentity ready", len(managers), enforced), err
}

// uninstallByKustomize removes the operator while its credentials are in use.
func (w *environment) uninstallByKustomize(ctx context.Context) (string, error) {
	if _, err := w.kubectl(ctx, "delete", "-k", manifest("operator"), "--timeout=90s"); err != nil {
		return "", err
	}
	return w.nothingIsLeft(ctx)
}

func (w *environment) installByHelm(ctx context.Context) (string, error) {
	for _, name := range []string{operatorNamespace, "elsewhere"} {
		if _, err := w.kubectl(ctx, "create", "namespace", name); err != nil {
			return "", err
		}
	}
	if _, err := w.kubectl(ctx, "label", "namespace", operatorNamespace, "pod-security.kubernetes.io/enforce=restricted"); err != nil {
		return "", err
	}
	_, err := w.helm(ctx, "install", "rolecredential", w.given.Chart, "--namespace", operatorNamespace,
		"--set", "image.repository=localhost/rolecredential,image.tag=e2e,crds.keep=false,watchNamespaces={"+namespace+"}")
	if err != nil {
		return "", err
	}
	observed, err := w.configureOperator(ctx)
	if err != nil {
		return "", err
	}
	outside := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "elsewhere", Name: "outside"}}
	outside.Spec.RoleARN = "arn:aws:iam::123456789012:role/S3Reader"
	if err := w.client.Create(ctx, outside); err != nil {
		return "", err
	}
	before := w.calls.Count("starts").Calls
	if err := w.apply(ctx, "starts.yaml"); err != nil {
		return "", err
	}
	err = program.WaitUntil(ctx, settleTimeout, pollInterval, func(context.Context) error {
		if w.calls.Count("starts").Calls < before+10 {
			return errors.New("the Pod makes no calls")
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if err := w.client.Get(ctx, client.ObjectKeyFromObject(outside), outside); err != nil {
		return "", err
	}
	if len(outside.Status.Conditions) > 0 {
		return "", fmt.Errorf("the operator wrote the status of a credential in another namespace: %v", outside.Status.Conditions)
	}
	return observed + "; a Pod lists its bucket; it ignores a credential of another namespace", nil
}

func (w *environment) uninstallByHelm(ctx context.Context) (string, error) {
	if _, err := w.clientsExit(ctx); err != nil {
		return "", err
	}
	if _, err := w.secretIsCollected(ctx); err != nil { // the garbage collector has discovered the kinds by now
		return "", err
	}
	if _, err := w.helm(ctx, "uninstall", "rolecredential", "--namespace", operatorNamespace, "--wait"); err != nil {
		return "", err
	}
	if _, err := w.kubectl(ctx, "delete", "namespace", operatorNamespace, "elsewhere", "--timeout=90s"); err != nil {
		return "", err
	}
	return w.nothingIsLeft(ctx)
}
