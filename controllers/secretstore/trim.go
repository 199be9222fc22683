package secretstore

import (
	"crypto/rand"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"rolecredential.dev/operator/controllers/intern"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
)

// Annotations of metadata in the cache. Their names are random, so that no Secret of the API server has them.
var (
	// keysAnnotation lists the keys of the Secret's data, if nobody but the operator wrote to it.
	keysAnnotation = "cache-keys-" + rand.Text()
	// othersAnnotation has the hash of what the Secret has beside its record, see [hashOthers].
	othersAnnotation = "cache-others-" + rand.Text()
)

// maxName bounds the kind and name of a credential in a record, in bytes.
const maxName = 300

// TrimForCache is the transform of a cache of Secrets' metadata. Of a Secret that a credential controls, the cache holds the record,
// and hashes of the labels and of other annotations, which may hold anything. In place of its managed fields, it holds whether only
// the operator wrote the data, so that a restart reads no data. Of any other Secret, the cache holds its name and the name of the
// credential in its record.
func TrimForCache(object any) (any, error) {
	found, err := meta.Accessor(object)
	if err != nil {
		return object, nil //nolint:nilerr // a tombstone has none
	}
	if _, trimmed := found.GetAnnotations()[othersAnnotation]; trimmed { // an informer may apply a transform twice
		return object, nil
	}
	found.SetNamespace(words.Of(found.GetNamespace()))
	if controlledByCredential(found) {
		trimOwned(found)
	} else {
		trimForeign(found)
	}
	found.SetLabels(nil)
	found.SetManagedFields(nil)
	return object, nil
}

func trimOwned(found metav1.Object) {
	annotations := found.GetAnnotations()
	kept := map[string]string{othersAnnotation: words.Of(hashOthers(found.GetLabels(), annotations))}
	for _, key := range reissue.RecordKeys() {
		// A longer value exceeds the bounds of a record. Without it the record is not valid.
		if value, ok := annotations[key]; ok && len(value) <= reissue.MaxPrincipalARN {
			kept[key] = value
		}
	}
	if keys, ok := ourKeys(found.GetManagedFields()); ok {
		kept[keysAnnotation] = words.Of(strings.Join(keys, ","))
	}
	found.SetAnnotations(kept)
	owners := found.GetOwnerReferences()
	for i := range owners {
		owners[i].APIVersion, owners[i].Kind = words.Of(owners[i].APIVersion), words.Of(owners[i].Kind)
	}
	found.SetOwnerReferences(owners)
}

func trimForeign(found metav1.Object) {
	kept := map[string]string{othersAnnotation: ""}
	if name, ok := found.GetAnnotations()[reissue.AnnotationCredential]; ok && len(name) <= maxName {
		kept[reissue.AnnotationCredential] = name
	}
	found.SetAnnotations(kept)
	found.SetOwnerReferences(nil)
	found.SetFinalizers(nil)
}

// hashOthers returns the hash of labels, and of annotations that are not part of a record.
func hashOthers(labels, annotations map[string]string) string {
	return request.Hash([]map[string]string{maps.Collect(maps.All(labels)), withoutRecord(annotations)})
}

// withoutRecord returns a copy of annotations without those of a record.
func withoutRecord(annotations map[string]string) map[string]string {
	others := maps.Collect(maps.All(annotations))
	for _, key := range reissue.RecordKeys() {
		delete(others, key)
	}
	return others
}

// words are what the metadata of many Secrets have in common.
var words intern.Strings

// ourKeys returns the keys of a Secret's data. It is false if others than the operator had their hands in the Secret.
func ourKeys(fields []metav1.ManagedFieldsEntry) (keys []string, ok bool) {
	for _, entry := range fields {
		if entry.Manager != FieldManager || entry.FieldsV1 == nil {
			return nil, false
		}
		var set fieldpath.Set
		if err := set.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
			return nil, false
		}
		keys = append(keys, membersOf(&set, "data")...)
	}
	slices.Sort(keys)
	return slices.Compact(keys), true
}

// keysOfOurs returns the keys below a path that the operator wrote.
func keysOfOurs(fields []metav1.ManagedFieldsEntry, path ...string) (keys []string) {
	for _, entry := range fields {
		var set fieldpath.Set
		if entry.Manager == FieldManager && entry.FieldsV1 != nil && set.FromJSON(entry.FieldsV1.GetRawReader()) == nil {
			keys = append(keys, membersOf(&set, path...)...)
		}
	}
	return keys
}

func membersOf(set *fieldpath.Set, path ...string) (keys []string) {
	for _, field := range path {
		set = set.WithPrefix(fieldpath.PathElement{FieldName: &field})
	}
	set.Members.Iterate(func(key fieldpath.PathElement) {
		if key.FieldName != nil {
			keys = append(keys, *key.FieldName)
		}
	})
	return keys
}

// untouched tells whether nobody but the operator wrote to a Secret, whose keys should be these.
func untouched(seen *metav1.PartialObjectMetadata, keys []string) bool {
	held, ok := seen.Annotations[keysAnnotation]
	return ok && held == strings.Join(slices.Sorted(slices.Values(keys)), ",")
}
