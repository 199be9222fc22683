package testkit

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
)

// Write is a request of the operator that changes an object.
type Write struct {
	Verb   string // create, update, update status, apply, patch or delete
	Object client.Object
	// Stored is the object before the write, nil if there is none. It is needed for Secrets only.
	Stored client.Object
	// Preconditions are those of a delete.
	Preconditions metav1.Preconditions
	// Content is what an apply or a patch sets, as JSON.
	Content []byte
}

// Permitted returns an error if the operator must never make the write. It may write a Secret that a credential controls, or may take over,
// by its resource version; the status of its own kinds; and the restart of a workload. It writes events and its lease with other clients.
// A write that the API server rejects, because it names an earlier version or another UID, is permitted.
func (w Write) Permitted() error {
	switch kind := KindName(w.Object); kind {
	case "Secret":
		return w.secret()
	case "RoleCredential", "SessionCredential", "FederatedCredential", "ClusterIdentity", "Identity":
		if w.Verb == "update status" && w.Object.GetResourceVersion() != "" {
			return nil
		}
		return errors.New("the operator may write its status only, by its resource version")
	case "Deployment", "StatefulSet", "DaemonSet":
		return w.restart("spec.template.metadata.annotations." + v1alpha1.CredentialsAnnotation)
	case "Rollout":
		return w.restart("spec.restartAt", "metadata.annotations."+v1alpha1.CredentialsAnnotation)
	default:
		return fmt.Errorf("the operator writes no %s", kind)
	}
}

// secret checks a write of a Secret.
func (w Write) secret() error {
	switch w.Verb {
	case "create": // which replaces no Secret
		return controlledAfterwards(credentialOf(w.Object))
	case "update":
		return w.update(credentialOf(w.Object))
	case "delete":
		return w.deletion()
	default:
		return errors.New("the operator creates, updates or deletes a Secret")
	}
}

func controlledAfterwards(owner *metav1.OwnerReference) error {
	if owner == nil || owner.UID == "" {
		return errors.New("no credential controls the Secret afterwards")
	}
	return nil
}

// update checks an update of a Secret that the owner controls afterwards.
func (w Write) update(owner *metav1.OwnerReference) error {
	if w.Object.GetResourceVersion() == "" {
		return errors.New("no resource version")
	}
	if err := controlledAfterwards(owner); err != nil {
		return err
	}
	if w.Stored != nil && !w.isOutdated() && !mayTake(*owner, w.Stored) {
		return errors.New("the Secret belongs to something else, which does not consent")
	}
	return nil
}

func (w Write) deletion() error {
	if w.Preconditions.UID == nil || w.Preconditions.ResourceVersion == nil {
		return errors.New("no UID and resource version as preconditions")
	}
	if w.Stored != nil && !w.isOutdated() && credentialOf(w.Stored) == nil {
		return errors.New("no credential controls the Secret")
	}
	return nil
}

// isOutdated reports whether the API server rejects the write because the object has changed. Each version of an object has its own number,
// also after a deletion.
func (w Write) isOutdated() bool {
	if w.Verb == "delete" {
		return *w.Preconditions.UID != w.Stored.GetUID() || *w.Preconditions.ResourceVersion != w.Stored.GetResourceVersion()
	}
	return w.Object.GetResourceVersion() != w.Stored.GetResourceVersion()
}

// credentialOf returns the controller of an object if it is a credential, else nil.
func credentialOf(object client.Object) *metav1.OwnerReference {
	controller := metav1.GetControllerOf(object)
	if controller == nil || schema.FromAPIVersionAndKind(controller.APIVersion, controller.Kind).Group != v1alpha1.GroupVersion.Group {
		return nil
	}
	return controller
}

// mayTake reports whether a credential controls a Secret, or may take it over: the Secret has no controller and consents, or a former
// credential of the same kind and name left it.
func mayTake(owner metav1.OwnerReference, stored client.Object) bool {
	name, annotations := owner.Kind+"/"+owner.Name, stored.GetAnnotations()
	if metav1.GetControllerOf(stored) == nil {
		return annotations[v1alpha1.AdoptAnnotation] == name || annotations[reissue.AnnotationCredential] == name && matchesRecord(stored)
	}
	former := credentialOf(stored)
	return former != nil && (former.UID == owner.UID || former.Kind == owner.Kind && former.Name == owner.Name && matchesRecord(stored))
}

// matchesRecord reports whether a Secret holds what its record describes.
func matchesRecord(stored client.Object) bool {
	secret, ok := stored.(*corev1.Secret)
	record, valid := reissue.ParseRecord(stored.GetAnnotations())
	return ok && valid && record.MatchesData(secret.Data)
}

// restart checks a write of a workload, which may set these fields only.
func (w Write) restart(fields ...string) error {
	var content map[string]any
	if err := json.Unmarshal(w.Content, &content); err != nil {
		return err
	}
	set := leaves(content)
	for _, identifying := range []string{"apiVersion", "kind", "metadata.namespace", "metadata.name", "metadata.uid"} {
		delete(set, identifying)
	}
	if got := slices.Sorted(maps.Keys(set)); w.Verb != "apply" || !slices.Equal(got, slices.Sorted(slices.Values(fields))) {
		return fmt.Errorf("it sets %q", got)
	}
	return nil
}

// leaves returns the paths of all values in an object.
func leaves(object map[string]any) map[string]bool {
	paths := map[string]bool{}
	for key, value := range object {
		inner, ok := value.(map[string]any)
		if !ok {
			paths[key] = true
		}
		for path := range leaves(inner) {
			paths[key+"."+path] = true
		}
	}
	return paths
}
