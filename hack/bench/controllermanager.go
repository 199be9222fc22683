package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// controllerManagerComm is the name of kube-controller-manager's process, which the kernel cuts to 15 bytes.
const controllerManagerComm = "kube-controller"

// startControllerManager starts kube-controller-manager as kubeadm does, with its own defaults, and waits until its garbage collector
// works. The garbage collector watches the metadata of all Secrets and credentials, and follows their owner references.
func (w *world) startControllerManager(ctx context.Context) error {
	if w.controllerManager == "" {
		return nil
	}
	root := filepath.Join(w.Dir, "root-ca.crt")
	if err := os.WriteFile(root, w.Config.CAData, 0o600); err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(address, ":")
	log := filepath.Join(w.Dir, "kube-controller-manager.log")
	process, err := w.StartProcess(log, nil, w.controllerManager,
		"--kubeconfig="+w.Kubeconfig, "--authentication-kubeconfig="+w.Kubeconfig, "--authorization-kubeconfig="+w.Kubeconfig,
		"--bind-address="+host, "--secure-port="+port, "--cert-dir="+w.Dir,
		"--leader-elect=false", "--use-service-account-credentials=true", "--root-ca-file="+root)
	if err != nil {
		return err
	}
	w.ends = append(w.ends, process.End)
	if err := w.awaitGarbageCollector(ctx); err != nil {
		said, _ := os.ReadFile(log)
		return fmt.Errorf("kube-controller-manager collects no garbage: %w: %s", err, said[max(0, len(said)-logTail):])
	}
	return nil
}

// awaitGarbageCollector waits until the garbage collector deletes an object whose owner does not exist.
func (w *world) awaitGarbageCollector(ctx context.Context) error {
	garbage := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: metav1.NamespaceDefault, Name: "garbage",
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "absent", UID: "absent"}},
	}}
	if err := w.Client.Create(ctx, garbage); err != nil {
		return err
	}
	return await(ctx, 2*promptly, 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		err := w.Client.Get(ctx, client.ObjectKeyFromObject(garbage), garbage)
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
}
