package secretstore

import (
	"crypto/rand"
	"maps"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
)

// othersAnnotation marks trimmed metadata. Its value is [hashOthers] of an owned Secret, and empty for a Secret that must be read. The name
// is random, so no Secret of the API server has it.
var othersAnnotation = "cache-others-" + rand.Text()

// maxRecord is the largest record that the operator writes, in bytes: the bounds of reissue.Record, and names of at most 253 characters.
const maxRecord = 4 << 10

// maxCached is the most that the cache holds of a Secret, in bytes: a record, a controller reference, and as much again.
const maxCached = 2 * maxRecord

// maxCredential is the longest kind and name of a credential in a record, in bytes.
const maxCredential = 300

// TrimForCache is the transform of the cache of Secrets' metadata. Anyone who can create Secrets decides what their metadata holds, so the
// cache keeps only what the operator reads. Of a Secret that a credential controls, it keeps the record and the controller, and a hash of the
// other labels and annotations; beyond maxCached bytes it keeps no annotation. Of other Secrets it keeps the name, and the credential in the
// record if there is no controller.
func TrimForCache(object any) (any, error) {
	found, ok := object.(*metav1.PartialObjectMetadata)
	if !ok { // a tombstone
		return object, nil
	}
	if _, trimmed := found.Annotations[othersAnnotation]; !trimmed { // an informer may apply a transform twice
		found.ObjectMeta = trim(&found.ObjectMeta)
	}
	return found, nil
}

func trim(found *metav1.ObjectMeta) metav1.ObjectMeta {
	trimmed := metav1.ObjectMeta{
		Namespace: unique.Make(found.Namespace).Value(), Name: found.Name, UID: found.UID, ResourceVersion: found.ResourceVersion,
		Annotations: map[string]string{othersAnnotation: ""},
	}
	controller := metav1.GetControllerOfNoCopy(found)
	if !controlledByCredential(found) {
		if name := found.Annotations[reissue.AnnotationCredential]; controller == nil && name != "" && len(name) <= maxCredential {
			trimmed.Annotations[reissue.AnnotationCredential] = name
		}
		return trimmed
	}
	owned := trimmed
	owned.OwnerReferences = []metav1.OwnerReference{*controller}
	owned.OwnerReferences[0].APIVersion, owned.OwnerReferences[0].Kind = unique.Make(controller.APIVersion).Value(), unique.Make(controller.Kind).Value()
	if owned.Size() > maxCached { // no credential has such a name
		return trimmed
	}
	trimmed = owned
	owned.Annotations = map[string]string{othersAnnotation: ""}
	if len(found.OwnerReferences) == 1 && len(found.Finalizers) == 0 { // else a write from the cache would remove the others
		owned.Annotations[othersAnnotation] = unique.Make(hashOthers(found.Labels, found.Annotations)).Value()
	}
	for _, key := range reissue.RecordKeys {
		if value, ok := found.Annotations[key]; ok {
			owned.Annotations[key] = value
		}
	}
	if owned.Size() > maxCached {
		return trimmed
	}
	return owned
}

// hasOnlyTemplateMetadata reports whether cached metadata proves that a Secret has the operator's labels and annotations and no others.
func hasOnlyTemplateMetadata(cached *metav1.PartialObjectMetadata, t v1alpha1.SecretTemplate) bool {
	return cached.Annotations[othersAnnotation] == hashOthers(withManagedByLabel(t.Labels), t.Annotations)
}

// hashOthers returns the hash of labels, and of annotations that are not part of a record.
func hashOthers(labels, annotations map[string]string) string {
	return request.Hash([]map[string]string{maps.Collect(maps.All(labels)), withoutRecord(annotations)})
}

// withoutRecord returns a copy of annotations without those of a record.
func withoutRecord(annotations map[string]string) map[string]string {
	others := maps.Collect(maps.All(annotations))
	for _, key := range reissue.RecordKeys {
		delete(others, key)
	}
	return others
}
