package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/hack/program"
)

// controllerManagerComm is the name of kube-controller-manager's process, which the kernel cuts to 15 bytes.
const controllerManagerComm = "kube-controller"

// startControllerManager starts kube-controller-manager with its defaults, like kubeadm, and waits until its garbage collector works. The
// garbage collector watches the metadata of all Secrets and credentials, and follows their owner references.
func (e *environment) startControllerManager(ctx context.Context) error {
	if e.controllerManager == "" {
		return nil
	}
	root := filepath.Join(e.Dir, "root-ca.crt")
	if err := os.WriteFile(root, e.Config.CAData, 0o600); err != nil {
		return err
	}
	address, err := program.FreeAddress()
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(address, ":")
	log := filepath.Join(e.Dir, "kube-controller-manager.log")
	process, err := e.StartProcess(log, nil, e.controllerManager,
		"--kubeconfig="+e.Kubeconfig, "--authentication-kubeconfig="+e.Kubeconfig, "--authorization-kubeconfig="+e.Kubeconfig,
		"--bind-address="+host, "--secure-port="+port, "--cert-dir="+e.Dir,
		"--leader-elect=false", "--use-service-account-credentials=true", "--root-ca-file="+root)
	if err != nil {
		return err
	}
	e.cleanups.Add(process.Stop)
	if err := e.awaitGarbageCollector(ctx); err != nil {
		text, _ := os.ReadFile(log)
		return fmt.Errorf("kube-controller-manager collects no garbage: %w: %s", err, text[max(0, len(text)-logTail):])
	}
	return nil
}

// awaitGarbageCollector waits until the garbage collector deletes an object whose owner does not exist.
func (e *environment) awaitGarbageCollector(ctx context.Context) error {
	garbage := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: metav1.NamespaceDefault, Name: "garbage",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "absent", UID: "absent"}},
	}}
	if err := e.Client.Create(ctx, garbage); err != nil {
		return err
	}
	return program.WaitUntil(ctx, 2*shortTimeout, 50*time.Millisecond, func(ctx context.Context) error {
		err := e.Client.Get(ctx, client.ObjectKeyFromObject(garbage), garbage)
		if err == nil {
			return errors.New("the object still exists")
		}
		return client.IgnoreNotFound(err)
	})
}
