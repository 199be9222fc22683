package secret

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"rolecredential.dev/operator/controllers/intern"
)

// keysAnnotation is on metadata in the cache only. It lists the keys of the Secret's data, if nobody but the operator wrote to it.
const keysAnnotation = "sts.rolecredential.dev/cache-keys"

// Untouched is for a cache of Secrets' metadata. In place of its managed fields, which take more memory than all the rest, an
// object keeps what follows from them: whose hand its data is by. So after a restart no Secret needs to be read to know that it is
// as it was written.
func Untouched(object any) (any, error) {
	found, err := meta.Accessor(object)
	if err != nil {
		return object, nil //nolint:nilerr // a tombstone has none
	}
	if len(found.GetManagedFields()) == 0 {
		return object, nil // it went through here already
	}
	annotations := make(map[string]string, len(found.GetAnnotations())+1)
	for key, value := range found.GetAnnotations() {
		annotations[words.Of(key)] = value
	}
	delete(annotations, keysAnnotation)
	if keys, ok := ourKeys(found.GetManagedFields()); ok {
		annotations[keysAnnotation] = words.Of(strings.Join(keys, ","))
	}
	found.SetAnnotations(annotations)
	found.SetLabels(labelSets.Of(found.GetLabels()))
	owners := found.GetOwnerReferences()
	for i := range owners {
		owners[i].APIVersion, owners[i].Kind = words.Of(owners[i].APIVersion), words.Of(owners[i].Kind)
	}
	found.SetOwnerReferences(owners)
	found.SetNamespace(words.Of(found.GetNamespace()))
	found.SetManagedFields(nil)
	return object, nil
}

// What the metadata of many Secrets have in common.
var (
	words     intern.Strings
	labelSets intern.Labels
)

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
