package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/e2e/tally"
)

// scenarios are all there is to see, in order: each leaves its workloads running, so that they go through those after it.
var scenarios = []scenario{
	{name: "kubectl apply -k installs the operator", see: (*world).installByKustomize, needed: true},
	{name: "a Pod starts with credentials in its environment", see: (*world).podStarts},
	{name: "a Pod that waits for its Secret starts when there is one", see: (*world).podWaits},
	{name: "three restarts after refreshes lose no call", see: (*world).refreshesByRestart},
	{name: "three refreshes of a mounted Secret lose no call, with no restart", see: (*world).refreshesInVolume},
	{name: "a leader that is killed is followed before anything is due", see: (*world).leaderIsKilled},
	{name: "a leader that hangs is followed by the other, and ends itself", see: (*world).leaderHangs},
	{name: "a credential is refreshed in its own time", see: (*world).refreshInItsOwnTime},
	{name: "a credential that is deleted takes its Secret along", see: (*world).secretGoes},
	{name: soak, see: (*world).livesOn},
	{name: "all clients end, and none has lost a call", see: (*world).clientsEnd},
	{name: "kubectl delete -k leaves nothing behind", see: (*world).uninstallByKustomize, needed: true},
	{name: "helm installs the operator for one namespace", see: (*world).installByHelm, needed: true},
	{name: "helm uninstall leaves nothing behind", see: (*world).uninstallByHelm},
}

// soak is the scenario that takes as long as E2E_SOAK says, and is left out if it says nothing.
const soak = "clients live on in their own time"

const (
	operatorNamespace = "rolecredential-system"
	namespace         = "shop"
	// settle bounds what comes within seconds; nothing is measured by it.
	settle    = 90 * time.Second
	refreshes = 3
)

func manifest(name string) string { return filepath.Join("hack", "e2e", "manifests", name) }

// apply applies a manifest as users do.
func (w *world) apply(ctx context.Context, name string) error {
	_, err := w.kubectl(ctx, "apply", "-f", manifest(name))
	return err
}

// installByKustomize installs what config/default holds, and gives it a key of MinIO's user.
func (w *world) installByKustomize(ctx context.Context) (string, error) {
	if _, err := w.kubectl(ctx, "apply", "--server-side", "-k", manifest("operator")); err != nil {
		return "", err
	}
	return w.configureOperator(ctx)
}

// configureOperator waits for the managers and tells them who they are.
func (w *world) configureOperator(ctx context.Context) (string, error) {
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

func (w *world) podStarts(ctx context.Context) (string, error) {
	start := time.Now()
	if err := errors.Join(w.apply(ctx, "own-time.yaml"), w.apply(ctx, "starts.yaml")); err != nil {
		return "", err
	}
	if err := w.calling(ctx, "starts"); err != nil {
		return "", err
	}
	return fmt.Sprintf("it lists its bucket %s after apply", round(time.Since(start))), nil
}

func (w *world) podWaits(ctx context.Context) (string, error) {
	if err := w.apply(ctx, "waits.yaml"); err != nil {
		return "", err
	}
	err := await(ctx, settle, func(ctx context.Context) error {
		found := &corev1.Pod{}
		if err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "waits"}, found); err != nil {
			return err
		}
		for _, c := range found.Status.ContainerStatuses {
			if c.State.Waiting != nil && c.State.Waiting.Reason == "CreateContainerConfigError" {
				return nil
			}
		}
		return fmt.Errorf("it does not wait for its Secret: %v", found.Status)
	})
	if err != nil {
		return "", err
	}
	start := time.Now()
	if err := w.apply(ctx, "waits-credential.yaml"); err != nil {
		return "", err
	}
	if err := w.calling(ctx, "waits"); err != nil {
		return "", err
	}
	return fmt.Sprintf("CreateContainerConfigError, then it lists its bucket %s after the credential was made", round(time.Since(start))), nil
}

// refreshesByRestart has spec.rollout restart the Pods, which keep the environment that they started with. After a refresh they
// would have minutes for that. They are restarted at once if nothing tells for how long what they hold lives: after their Secret was
// deleted, and the managers were restarted.
func (w *world) refreshesByRestart(ctx context.Context) (string, error) {
	if err := w.apply(ctx, "restarts.yaml"); err != nil {
		return "", err
	}
	if err := w.calling(ctx, "restarts"); err != nil {
		return "", err
	}
	for range refreshes {
		before, err := w.keyInSecret(ctx, "restarts")
		if err != nil {
			return "", err
		}
		if err := w.olderThan(ctx, "restarts", 3*time.Second); err != nil { // times are in whole seconds
			return "", err
		}
		if _, err := w.kubectl(ctx, "delete", "secret", "restarts", "-n", namespace); err != nil {
			return "", err
		}
		key, err := w.keyAfter(ctx, "restarts", before)
		if err != nil {
			return "", err
		}
		for _, args := range [][]string{
			{"rollout", "restart", "deployment/rolecredential-manager", "-n", operatorNamespace},
			{"rollout", "status", "deployment/rolecredential-manager", "-n", operatorNamespace, "--timeout=90s"},
		} {
			if _, err := w.kubectl(ctx, args...); err != nil {
				return "", err
			}
		}
		if err := w.allUse(ctx, "restarts", key); err != nil {
			return "", err
		}
		if _, err := w.kubectl(ctx, "wait", "--for=condition=RolledOut", "rolecredential/restarts", "-n", namespace, "--timeout=60s"); err != nil {
			return "", err
		}
	}
	return w.lossless(ctx, "restarts")
}

// refreshesInVolume has the SDK of the same Pods follow the Secret.
func (w *world) refreshesInVolume(ctx context.Context) (string, error) {
	if err := w.apply(ctx, "follows.yaml"); err != nil {
		return "", err
	}
	if err := w.calling(ctx, "follows"); err != nil {
		return "", err
	}
	first, err := w.pods(ctx, namespace, "workload", "follows")
	if err != nil {
		return "", err
	}
	for i := range refreshes {
		key, err := w.refresh(ctx, "follows", i)
		if err != nil {
			return "", err
		}
		if err := w.allUse(ctx, "follows", key); err != nil {
			return "", err
		}
	}
	last, err := w.pods(ctx, namespace, "workload", "follows")
	if err != nil {
		return "", err
	}
	if !slices.Equal(ids(first), ids(last)) {
		return "", fmt.Errorf("the Pods were replaced: first %v, then %v", ids(first), ids(last))
	}
	for _, pod := range last {
		if restarts := pod.Status.ContainerStatuses[0].RestartCount; restarts != 0 {
			return "", fmt.Errorf("%s was restarted %d times", pod.Name, restarts)
		}
	}
	return w.lossless(ctx, "follows")
}

// leaderIsKilled ends the leader's process at once, so that it cannot give its lease back. Whoever comes first leads: the other
// manager, or the process that the kubelet starts in the place of the one that was killed.
func (w *world) leaderIsKilled(ctx context.Context) (string, error) {
	leader, err := w.leader(ctx)
	if err != nil {
		return "", err
	}
	process, err := w.process(ctx, podOf(leader))
	if err != nil {
		return "", err
	}
	return w.succession(ctx, leader, func() error { return syscall.Kill(process, syscall.SIGKILL) })
}

// leaderHangs stops the leader's process, and lets it go on when the other leads. It is to end itself then.
func (w *world) leaderHangs(ctx context.Context) (string, error) {
	leader, err := w.leader(ctx)
	if err != nil {
		return "", err
	}
	process, err := w.process(ctx, podOf(leader))
	if err != nil {
		return "", err
	}
	seen, err := w.succession(ctx, leader, func() error { return syscall.Kill(process, syscall.SIGSTOP) })
	if err != nil {
		return "", err
	}
	if err := syscall.Kill(process, syscall.SIGCONT); err != nil {
		return "", err
	}
	err = await(ctx, settle, func(context.Context) error {
		if err := syscall.Kill(process, 0); err == nil {
			return errors.New("the former leader goes on")
		}
		return nil
	})
	return seen + "; the former leader ended itself", err
}

// succession has something happen to the leader, and waits until another process leads, which must issue nothing that is not due.
func (w *world) succession(ctx context.Context, leader string, happen func() error) (string, error) {
	issued, err := w.keys(ctx)
	if err != nil {
		return "", err
	}
	start := time.Now()
	if err := happen(); err != nil {
		return "", err
	}
	err = await(ctx, settle, func(ctx context.Context) error {
		now, err := w.leader(ctx)
		if err == nil && now == leader {
			err = fmt.Errorf("%s still leads", leader)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	took := time.Since(start)
	if _, err := w.refresh(ctx, "waits", int(start.Unix())); err != nil { // it works
		return "", err
	}
	now, err := w.keys(ctx)
	if err != nil {
		return "", err
	}
	next, err := w.firstDue(ctx)
	if err != nil {
		return "", err
	}
	delete(issued, "waits")
	for name, key := range issued {
		if now[name] != key {
			return "", fmt.Errorf("the new leader issued %s anew, which was not due", name)
		}
	}
	return fmt.Sprintf("another process leads after %s, %s before the next credential is due; nothing was issued twice", round(took), round(time.Until(next))), nil
}

// refreshInItsOwnTime waits for a refresh that nobody asked for.
func (w *world) refreshInItsOwnTime(ctx context.Context) (string, error) {
	found := &v1alpha1.RoleCredential{}
	err := await(ctx, 3*time.Minute, func(ctx context.Context) error {
		if err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "own-time"}, found); err != nil {
			return err
		}
		if found.Status.LastRefreshTime == nil || found.Status.LastRefreshTime.Sub(found.CreationTimestamp.Time) < time.Minute {
			return fmt.Errorf("it is still the first credential: %v", found.Status)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s after the first, which was due after 90s", found.Status.LastRefreshTime.Sub(found.CreationTimestamp.Time)), nil
}

// secretGoes deletes a credential, and with it, by Kubernetes's garbage collection, its Secret, unless that is to be left. The
// collector comes to know a new kind within half a minute.
func (w *world) secretGoes(ctx context.Context) (string, error) {
	for _, cascade := range []string{"orphan", "background"} {
		if err := w.apply(ctx, "goes.yaml"); err != nil {
			return "", err
		}
		for _, args := range [][]string{
			{"wait", "--for=condition=Ready", "rolecredential/goes", "-n", namespace, "--timeout=30s"},
			{"delete", "rolecredential", "goes", "-n", namespace, "--cascade=" + cascade},
		} {
			if _, err := w.kubectl(ctx, args...); err != nil {
				return "", err
			}
		}
		if cascade == "orphan" {
			if _, err := w.kubectl(ctx, "delete", "secret", "goes", "-n", namespace); err != nil {
				return "", fmt.Errorf("it did not stay: %w", err)
			}
		}
	}
	start := time.Now()
	err := await(ctx, settle, func(ctx context.Context) error {
		err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "goes"}, &corev1.Secret{})
		if err == nil {
			err = errors.New("its Secret is still there")
		}
		return client.IgnoreNotFound(err)
	})
	return fmt.Sprintf("collected %s after the credential; with --cascade=orphan it stays", round(time.Since(start))), err
}

// livesOn lets clients go on for as long as E2E_SOAK says, over real expiries: nothing is forced, and nobody's clock is turned.
func (w *world) livesOn(ctx context.Context) (string, error) {
	for _, args := range [][]string{
		// Pods of no workload are restarted by nobody.
		{"delete", "pod", "starts", "waits", "-n", namespace, "--ignore-not-found"},
		{"set", "env", "deployment/follows", "EXPIRY_WINDOW=10s", "-n", namespace},
		{"rollout", "status", "deployment/follows", "-n", namespace, "--timeout=90s"},
	} {
		if _, err := w.kubectl(ctx, args...); err != nil {
			return "", err
		}
	}
	before := map[string]tally.Count{}
	for _, workload := range []string{"restarts", "follows"} {
		before[workload] = w.calls.Count(workload)
	}
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case <-time.After(w.given.Soak):
	}
	var seen []string
	for _, workload := range []string{"restarts", "follows"} {
		if _, err := w.lossless(ctx, workload); err != nil {
			return "", err
		}
		after := w.calls.Count(workload)
		seen = append(seen, fmt.Sprintf("%s: %d S3 calls, 0 failed, %d more keys, %d more Pods", workload,
			after.Calls-before[workload].Calls, len(after.Keys)-len(before[workload].Keys), len(after.Pods)-len(before[workload].Pods)))
	}
	return strings.Join(seen, "; "), nil
}

func (w *world) clientsEnd(ctx context.Context) (string, error) {
	if _, err := w.kubectl(ctx, "delete", "deployment,pod", "--all", "-n", namespace, "--wait", "--timeout=60s"); err != nil {
		return "", err
	}
	err := await(ctx, settle, func(ctx context.Context) error {
		var left corev1.PodList
		err := w.client.List(ctx, &left, client.InNamespace(namespace))
		if err == nil && len(left.Items) > 0 {
			err = fmt.Errorf("%d Pods are left", len(left.Items))
		}
		return err
	})
	if err != nil {
		return "", err
	}
	count := w.calls.Count("")
	if count.Calls == 0 || count.Failed+count.Lost > 0 {
		return "", fmt.Errorf("%s, %d lost: %s", count, count.Lost, count.Error)
	}
	return count.String(), nil
}

// uninstallByKustomize takes the operator away while its credentials are in use.
func (w *world) uninstallByKustomize(ctx context.Context) (string, error) {
	if _, err := w.kubectl(ctx, "delete", "-k", manifest("operator"), "--timeout=90s"); err != nil {
		return "", err
	}
	return w.nothingIsLeft(ctx)
}

func (w *world) installByHelm(ctx context.Context) (string, error) {
	for _, name := range []string{operatorNamespace, "elsewhere"} {
		if _, err := w.kubectl(ctx, "create", "namespace", name); err != nil {
			return "", err
		}
	}
	if _, err := w.kubectl(ctx, "label", "namespace", operatorNamespace, "pod-security.kubernetes.io/enforce=restricted"); err != nil {
		return "", err
	}
	_, err := w.helm(ctx, "install", "rolecredential", filepath.Join("config", "chart"), "--namespace", operatorNamespace,
		"--set", "image.repository=localhost/rolecredential,image.tag=e2e,crds.keep=false,watchNamespaces={"+namespace+"}")
	if err != nil {
		return "", err
	}
	seen, err := w.configureOperator(ctx)
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
	err = await(ctx, settle, func(context.Context) error {
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
		return "", fmt.Errorf("a credential of another namespace was dealt with: %v", outside.Status.Conditions)
	}
	return seen + "; a Pod lists its bucket; a credential of another namespace is left alone", nil
}

func (w *world) uninstallByHelm(ctx context.Context) (string, error) {
	if _, err := w.clientsEnd(ctx); err != nil {
		return "", err
	}
	if _, err := w.secretGoes(ctx); err != nil { // by now the garbage collector knows the kinds
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

// calling waits until each Pod of a workload has made calls that succeeded.
func (w *world) calling(ctx context.Context, workload string) error {
	return await(ctx, settle, func(ctx context.Context) error {
		pods, err := w.pods(ctx, namespace, "workload", workload)
		if err != nil {
			return err
		}
		if len(pods) == 0 {
			return errors.New("there is no Pod of " + workload)
		}
		for _, pod := range pods {
			if w.calls.KeyInUse(string(pod.UID)) == "" {
				return fmt.Errorf("%s has made no call that succeeded: %s", pod.Name, w.calls.Count(workload).Error)
			}
		}
		return nil
	})
}

// olderThan waits until all containers of a workload have run for a while.
func (w *world) olderThan(ctx context.Context, workload string, age time.Duration) error {
	return await(ctx, settle, func(ctx context.Context) error {
		pods, err := w.pods(ctx, namespace, "workload", workload)
		for _, pod := range pods {
			if running := pod.Status.ContainerStatuses[0].State.Running; running == nil || time.Since(running.StartedAt.Time) < age {
				err = fmt.Errorf("%s has not run for %s", pod.Name, age)
			}
		}
		return err
	})
}

// refresh asks for a refresh, as users do, and returns the new access key id once it is in the Secret.
func (w *world) refresh(ctx context.Context, name string, n int) (string, error) {
	before, err := w.keyInSecret(ctx, name)
	if err != nil {
		return "", err
	}
	if _, err := w.kubectl(ctx, "annotate", "rolecredential", name, "-n", namespace, "--overwrite", fmt.Sprintf("%s=%d", v1alpha1.RefreshAnnotation, n)); err != nil {
		return "", err
	}
	return w.keyAfter(ctx, name, before)
}

// keyAfter waits until a Secret holds another key than before, and returns its id.
func (w *world) keyAfter(ctx context.Context, name, before string) (key string, err error) {
	err = await(ctx, settle, func(ctx context.Context) error {
		if key, err = w.keyInSecret(ctx, name); err == nil && key == before {
			err = errors.New("the Secret still holds " + key)
		}
		return err
	})
	return key, err
}

// keyInSecret returns the access key id that a Secret holds, in the environment's key or in what a process prints.
func (w *world) keyInSecret(ctx context.Context, name string) (string, error) {
	secret := &corev1.Secret{}
	if err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret); err != nil {
		return "", err
	}
	if key := string(secret.Data["AWS_ACCESS_KEY_ID"]); key != "" {
		return key, nil
	}
	var printed struct{ AccessKeyId string } //nolint:revive // the SDKs' name
	err := json.Unmarshal(secret.Data["credential_process.json"], &printed)
	return printed.AccessKeyId, err
}

// allUse waits until a workload runs as it should, on a key, and no former Pod of it is left.
func (w *world) allUse(ctx context.Context, workload, key string) error {
	return await(ctx, settle, func(ctx context.Context) error {
		deployment := &appsv1.Deployment{}
		if err := w.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: workload}, deployment); err != nil {
			return err
		}
		pods, err := w.pods(ctx, namespace, "workload", workload)
		if err != nil {
			return err
		}
		if len(pods) != int(*deployment.Spec.Replicas) {
			return fmt.Errorf("%d Pods, want %d", len(pods), *deployment.Spec.Replicas)
		}
		for _, pod := range pods {
			if used := w.calls.KeyInUse(string(pod.UID)); used != key {
				return fmt.Errorf("%s uses %q, not %s", pod.Name, used, key)
			}
		}
		return nil
	})
}

// lossless holds that a workload lost no call over the refreshes.
func (w *world) lossless(ctx context.Context, workload string) (string, error) {
	pods, err := w.pods(ctx, namespace, "workload", workload)
	if err != nil {
		return "", err
	}
	count := w.calls.Count(workload, ids(pods)...)
	if count.Failed+count.Lost > 0 || len(count.Keys) < refreshes+1 {
		return "", fmt.Errorf("%s, %d lost: %s", count, count.Lost, count.Error)
	}
	return count.String(), nil
}

// leader returns what the manager that leads calls itself: by its Pod, and by what tells the Pod's processes apart.
func (w *world) leader(ctx context.Context) (string, error) {
	lease := &coordinationv1.Lease{}
	if err := w.client.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: "rolecredential.dev"}, lease); err != nil {
		return "", err
	}
	if ptr.Deref(lease.Spec.HolderIdentity, "") == "" {
		return "", errors.New("no manager leads")
	}
	return *lease.Spec.HolderIdentity, nil
}

func podOf(leader string) string {
	pod, _, _ := strings.Cut(leader, "_")
	return pod
}

// process returns the id of a manager's process.
func (w *world) process(ctx context.Context, pod string) (int, error) {
	found := &corev1.Pod{}
	if err := w.client.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: pod}, found); err != nil {
		return 0, err
	}
	container := strings.TrimPrefix(found.Status.ContainerStatuses[0].ContainerID, "containerd://")
	tasks, err := w.ctr(ctx, "tasks", "ls")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(tasks) {
		var task string
		var process int
		if n, _ := fmt.Sscan(line, &task, &process); n == 2 && task == container {
			return process, nil
		}
	}
	return 0, fmt.Errorf("container %s of %s has no process:\n%s", container, pod, tasks)
}

// keys are the access key ids of all credentials, by name.
func (w *world) keys(ctx context.Context) (map[string]string, error) {
	var list v1alpha1.RoleCredentialList
	if err := w.client.List(ctx, &list); err != nil {
		return nil, err
	}
	keys := map[string]string{}
	for _, found := range list.Items {
		keys[found.Name] = found.Status.AccessKeyID
	}
	return keys, nil
}

// firstDue is when the first credential is due.
func (w *world) firstDue(ctx context.Context) (time.Time, error) {
	var list v1alpha1.RoleCredentialList
	if err := w.client.List(ctx, &list); err != nil {
		return time.Time{}, err
	}
	var first time.Time
	for _, found := range list.Items {
		if at := found.Status.NextRefreshTime; at != nil && (first.IsZero() || at.Time.Before(first)) {
			first = at.Time
		}
	}
	return first, nil
}

// pods lists the Pods with a label, those that are about to end among them.
func (w *world) pods(ctx context.Context, namespace, label, value string) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := w.client.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{label: value})
	return list.Items, err
}

// ids are what Pods call themselves in their reports.
func ids(pods []corev1.Pod) []string {
	var all []string
	for _, pod := range pods {
		all = append(all, string(pod.UID))
	}
	slices.Sort(all)
	return all
}

// everyPod lists the clients that run.
func (w *world) everyPod(ctx context.Context) []string {
	var list corev1.PodList
	if err := w.client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil // the cluster is gone
	}
	return ids(list.Items)
}
