package perturb_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
	"rolecredential.dev/operator/hack/testbed"
)

// neutral replaces the name of the world, which differs between runs.
func (w *world) neutral(text string) string { return strings.ReplaceAll(text, w.name, "world") }

// violate records the first violation.
func (w *world) violate(what string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && w.violation == nil {
		w.violation = fmt.Errorf("%s: %w", what, err)
	}
}

// reached counts a request that is about to be made, and returns what the plan does with it.
func (w *world) reached(what string) (action string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests++
	if !w.recording {
		return ""
	}
	w.counts[what]++
	if w.disturbed || what != w.plan.at.what || w.counts[what] != w.plan.at.nth || w.plan.action == newProcess {
		return ""
	}
	w.disturbed = true
	if w.plan.action == hold {
		w.withheld[w.plan.kind] = true
	}
	return w.plan.action
}

// passed ends the hold of a plan after the next write.
func (w *world) passed(action string) {
	if w.plan.action == hold && action != hold {
		w.release()
	}
}

// recordChange records a successful write, or a call.
func (w *world) recordChange(what string, before *unstructured.Unstructured, answer []byte) {
	c := change{what: what}
	after := &unstructured.Unstructured{}
	if json.Unmarshal(answer, &after.Object) == nil && after.GetResourceVersion() != "" && !strings.HasPrefix(what, "delete ") {
		c.revision, c.fields = revision(after.GetResourceVersion()), changed(before, after)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.step = w.step; w.recording {
		w.changes = append(w.changes, c)
	}
}

// changed returns the fields that differ, to a depth of two, and the new conditions.
func changed(before, after *unstructured.Unstructured) string {
	old, now := map[string]string{}, map[string]string{}
	if before != nil {
		flatten("", before.Object, old)
	}
	flatten("", after.Object, now)
	all := map[string]bool{}
	for path := range now {
		if parts := strings.SplitN(path, ".", 3); old[path] != now[path] && len(parts) > 1 && !strings.HasPrefix(path, "status.conditions") {
			all[parts[0]+"."+parts[1]] = true
		}
	}
	for path := range old {
		if _, retained := now[path]; !retained {
			all["without "+path] = true
		}
	}
	for path, value := range now {
		if condition, ok := strings.CutSuffix(path, ".status"); ok && old[path] != value {
			_, condition, _ = strings.Cut(condition, "conditions.")
			all[condition+"="+value+" "+now[strings.TrimSuffix(path, ".status")+".reason"]] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(all)), ", ")
}

// volatile are the fields that say nothing about the state.
var volatile = map[string]bool{
	"apiVersion": true, "kind": true, "metadata.uid": true, "metadata.resourceVersion": true, "metadata.managedFields": true, "metadata.creationTimestamp": true,
	"metadata.annotations." + tickLabel: true,
	// They depend on the number of issues.
	"metadata.annotations.sts.rolecredential.dev/previous-issued-at": true, "metadata.annotations.sts.rolecredential.dev/previous-expiration": true,
}

// flatten adds all values of an object by their paths. Conditions have their type as an index.
func flatten(path string, value any, into map[string]string) {
	if volatile[path] {
		return
	}
	join := func(key string) string { return strings.TrimPrefix(path+"."+key, ".") }
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			flatten(join(key), inner, into)
		}
	case []any:
		for i, inner := range value {
			index := fmt.Sprint(i)
			if condition, ok := inner.(map[string]any); ok && condition["type"] != nil {
				index = fmt.Sprint(condition["type"])
			}
			flatten(join(index), inner, into)
		}
	default:
		into[path] = fmt.Sprint(value)
	}
}

// lookUp returns the stored object of an object's kind and name; nil if it does not exist.
func (w *world) lookUp(object client.Object) *unstructured.Unstructured {
	gvk, err := admin.GroupVersionKindFor(object)
	if err != nil {
		w.violate("reading an object", err)
		return nil
	}
	found := &unstructured.Unstructured{}
	found.SetGroupVersionKind(gvk)
	if err := admin.Get(context.Background(), client.ObjectKeyFromObject(object), found); err != nil {
		if !apierrors.IsNotFound(err) {
			w.violate("reading an object", err)
		}
		return nil
	}
	return found
}

// versions returns the resource versions of the objects of a kind that a process watches, and the revision of the list.
func (w *world) versions(kind string) (stream, uint64) {
	ctx, present := context.Background(), stream{}
	list := &metav1.PartialObjectMetadataList{}
	options := []client.ListOption{client.InNamespace(w.name)}
	gv := v1alpha1.GroupVersion
	switch kind {
	case "Secret":
		gv = corev1.SchemeGroupVersion
		options = append(options, client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue})
	case sourceSecret:
		gv, kind = corev1.SchemeGroupVersion, "Secret"
		options = []client.ListOption{client.InNamespace(testbed.OperatorNamespace), client.MatchingFields{metav1.ObjectNameField: w.name}}
	case "Namespace":
		gv = corev1.SchemeGroupVersion
		options = []client.ListOption{client.MatchingFields{metav1.ObjectNameField: w.name}}
	case "ClusterIdentity":
		options = []client.ListOption{client.MatchingFields{metav1.ObjectNameField: w.name}}
	}
	list.SetGroupVersionKind(gv.WithKind(kind + "List"))
	if err := admin.List(ctx, list, options...); err != nil {
		w.violate("listing "+kind, err)
	}
	for i := range list.Items {
		present[list.Items[i].Name] = list.Items[i].ResourceVersion
	}
	return present, revision(list.ResourceVersion)
}

// times are points in time, which depend on how long a run waited.
var times = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// state describes all objects of the world, as far as runs can be compared.
func (w *world) state() (map[string]string, error) {
	ctx, all := context.Background(), map[string]string{}
	lists := []client.ObjectList{&v1alpha1.RoleCredentialList{}, &corev1.SecretList{}, &appsv1.DeploymentList{}, &v1alpha1.ClusterIdentityList{}}
	owners := strings.NewReplacer()
	for i, list := range lists { // credentials first
		options := []client.ListOption{client.InNamespace(w.name)}
		if _, ok := list.(*v1alpha1.ClusterIdentityList); ok {
			options = []client.ListOption{client.MatchingFields{metav1.ObjectNameField: w.name}}
		}
		if err := admin.List(ctx, list, options...); err != nil {
			return nil, err
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			return nil, err
		}
		var uids []string
		for _, item := range items {
			object, _ := item.(client.Object)
			content, err := json.Marshal(object)
			if err != nil {
				return nil, err
			}
			var fields map[string]any
			if err := json.Unmarshal(content, &fields); err != nil {
				return nil, err
			}
			kind, flat := fmt.Sprintf("%T ", object)[1:], map[string]string{}
			flatten("", fields, flat)
			for path, value := range flat {
				all[kind+w.neutral(object.GetName())+" "+path] = times.ReplaceAllString(owners.Replace(w.neutral(value)), "<time>")
			}
			if secret, ok := object.(*corev1.Secret); ok && secret.Data["AWS_ACCESS_KEY_ID"] != nil {
				all[kind+secret.Name+" session"] = w.neutral(w.session(secret))
			}
			uids = append(uids, string(object.GetUID()), "<uid of "+object.GetName()+">")
		}
		if i == 0 {
			owners = strings.NewReplacer(uids...)
		}
	}
	return all, nil
}

// session describes the session in a Secret.
func (w *world) session(secret *corev1.Secret) string {
	stored, ok := w.sts.SessionOf(string(secret.Data["AWS_ACCESS_KEY_ID"]), string(secret.Data["AWS_SECRET_ACCESS_KEY"]), string(secret.Data["AWS_SESSION_TOKEN"]))
	switch {
	case !ok:
		return "none of STS"
	case !w.clock.Now().Before(stored.Expiration):
		return "expired"
	}
	return stored.ARN
}

// holdsSession returns an error if a write stores a Secret without one valid session that STS issued to its owner, or, unless the operator is
// behind, Ready=True without such a Secret.
func (w *world) holdsSession(write testkit.Write) error {
	var secret *corev1.Secret
	switch object := write.Object.(type) {
	case *corev1.Secret:
		if secret = object; write.Verb == "delete" {
			return nil
		}
	case *v1alpha1.RoleCredential:
		if !meta.IsStatusConditionTrue(object.Status.Conditions, v1alpha1.ConditionReady) || w.plan.isStale() {
			return nil
		}
		secret = &corev1.Secret{}
		if err := admin.Get(context.Background(), client.ObjectKey{Namespace: w.name, Name: object.Status.SecretName}, secret); err != nil {
			return err
		}
		if !metav1.IsControlledBy(secret, object) {
			return errors.New("Ready is True without a Secret")
		}
	default:
		return nil
	}
	if found := w.session(secret); !strings.HasPrefix(found, "arn:") {
		return fmt.Errorf("the Secret holds a session that is %s", found)
	}
	return nil
}

// ready returns an error until a credential has reported on its spec and refresh request with a reason of Ready.
func (w *world) ready(name, reason string) error {
	c := &v1alpha1.RoleCredential{}
	if err := admin.Get(context.Background(), client.ObjectKey{Namespace: w.name, Name: name}, c); err != nil {
		return err
	}
	found := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
	switch requested := c.Annotations[v1alpha1.RefreshAnnotation]; {
	case found == nil || found.ObservedGeneration != c.Generation || found.Reason != reason:
		return fmt.Errorf("the conditions of %s are %v, and Ready must have the reason %s", name, testkit.States(c.Status.Conditions), reason)
	case reason == v1alpha1.ReasonIssued && c.Status.LastHandledRefreshRequest != requested:
		return fmt.Errorf("the refresh request %s is not handled", requested)
	}
	return nil
}
