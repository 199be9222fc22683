package credential

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/testkit"
)

// memoryAPI is an API server in memory for the few requests that a credential's reconcile makes. It has resource versions, UIDs and
// generations, and is a hundred times as fast as the fake client. A method that is not below panics.
type memoryAPI struct {
	client.Client
	scheme  *runtime.Scheme
	objects map[objectKey]client.Object
	last    int // the last resource version
	// changed is called after each change with the object before and after it; one of them is nil for a creation or deletion.
	changed func(before, after client.Object)
}

type objectKey struct {
	kind string
	types.NamespacedName
}

func keyOf(object client.Object) objectKey {
	return objectKey{testkit.KindName(object), client.ObjectKeyFromObject(object)}
}

func resource(object client.Object) schema.GroupResource {
	return schema.GroupResource{Resource: testkit.KindName(object)}
}

// copyInto copies a stored object into one of the same type, or its metadata.
func copyInto(stored, out client.Object) error {
	switch out := out.(type) {
	case *corev1.Secret:
		stored.(*corev1.Secret).DeepCopyInto(out)
	case *v1alpha1.RoleCredential:
		stored.(*v1alpha1.RoleCredential).DeepCopyInto(out)
	case *v1alpha1.ClusterIdentity:
		stored.(*v1alpha1.ClusterIdentity).DeepCopyInto(out)
	case *metav1.PartialObjectMetadata:
		copied, _ := stored.DeepCopyObject().(metav1.Object)
		out.ObjectMeta = *objectMeta(copied)
	default:
		return fmt.Errorf("no reads of a %T", out)
	}
	return nil
}

func objectMeta(object metav1.Object) *metav1.ObjectMeta {
	switch object := object.(type) {
	case *corev1.Secret:
		return &object.ObjectMeta
	case *corev1.Namespace:
		return &object.ObjectMeta
	default:
		panic(fmt.Sprintf("no reads of the metadata of a %T", object))
	}
}

func (a *memoryAPI) Scheme() *runtime.Scheme { return a.scheme }

// get reads an object, or its metadata.
func (a *memoryAPI) get(key types.NamespacedName, out client.Object) error {
	stored, ok := a.objects[objectKey{testkit.KindName(out), key}]
	if !ok {
		return apierrors.NewNotFound(resource(out), key.Name)
	}
	return copyInto(stored, out)
}

// put stores an object with a new resource version, and with a new generation if its spec changed.
func (a *memoryAPI) put(object client.Object) {
	key := keyOf(object)
	before := a.objects[key]
	a.last++
	object.SetResourceVersion(strconv.Itoa(a.last))
	if before == nil {
		object.SetUID(types.UID("uid-" + strconv.Itoa(a.last)))
		object.SetGeneration(1)
	} else if !apiequality.Semantic.DeepEqual(specOf(before), specOf(object)) {
		object.SetGeneration(before.GetGeneration() + 1)
	}
	stored, _ := object.DeepCopyObject().(client.Object)
	a.objects[key] = stored
	a.changed(before, stored)
}

func (a *memoryAPI) remove(key objectKey) {
	if before, ok := a.objects[key]; ok {
		delete(a.objects, key)
		a.changed(before, nil)
	}
}

func specOf(object client.Object) any {
	switch object := object.(type) {
	case *v1alpha1.RoleCredential:
		return object.Spec
	case *v1alpha1.ClusterIdentity:
		return object.Spec
	default:
		return nil
	}
}

func (a *memoryAPI) create(object client.Object) error {
	namespace := a.objects[objectKey{"Namespace", types.NamespacedName{Name: object.GetNamespace()}}]
	switch {
	case a.objects[keyOf(object)] != nil:
		return apierrors.NewAlreadyExists(resource(object), object.GetName())
	case !namespace.GetDeletionTimestamp().IsZero():
		return apierrors.NewForbidden(resource(object), object.GetName(), errors.New("the namespace is being terminated"))
	}
	a.put(object)
	return nil
}

var errChanged = errors.New("the object has been modified")

// matching returns the stored object that a write is for. It fails if the write names another version or UID.
func (a *memoryAPI) matching(object client.Object) (client.Object, error) {
	stored, ok := a.objects[keyOf(object)]
	switch {
	case !ok:
		return nil, apierrors.NewNotFound(resource(object), object.GetName())
	case object.GetResourceVersion() != "" && object.GetResourceVersion() != stored.GetResourceVersion(),
		object.GetUID() != "" && object.GetUID() != stored.GetUID():
		return nil, apierrors.NewConflict(resource(object), object.GetName(), errChanged)
	}
	return stored, nil
}

func (a *memoryAPI) update(object client.Object) error {
	stored, err := a.matching(object)
	if err != nil {
		return err
	}
	secret, _ := stored.(*corev1.Secret)
	if updated, ok := object.(*corev1.Secret); ok && ptr.Deref(secret.Immutable, false) && !maps.EqualFunc(updated.Data, secret.Data, bytes.Equal) {
		return apierrors.NewInvalid(schema.GroupKind{Kind: "Secret"}, object.GetName(), nil)
	}
	a.put(object)
	return nil
}

// updateStatus stores the status of a credential.
func (a *memoryAPI) updateStatus(object client.Object) error {
	stored, err := a.matching(object)
	if err != nil {
		return err
	}
	updated, _ := stored.DeepCopyObject().(*v1alpha1.RoleCredential)
	object.(*v1alpha1.RoleCredential).Status.DeepCopyInto(&updated.Status)
	a.put(updated)
	return copyInto(updated, object)
}

func (a *memoryAPI) deleteObject(object client.Object, preconditions metav1.Preconditions) error {
	named := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: testkit.KindName(object)}}
	named.Namespace, named.Name = object.GetNamespace(), object.GetName()
	named.UID, named.ResourceVersion = ptr.Deref(preconditions.UID, ""), ptr.Deref(preconditions.ResourceVersion, "")
	if _, err := a.matching(named); err != nil {
		return err
	}
	a.remove(keyOf(object))
	return nil
}

// secrets returns the Secrets of a namespace, or of all if it is empty, in the order of their names.
func (a *memoryAPI) secrets(namespace string) (all []*corev1.Secret) {
	for key, object := range a.objects {
		if secret, ok := object.(*corev1.Secret); ok && (namespace == "" || key.Namespace == namespace) {
			all = append(all, secret)
		}
	}
	slices.SortFunc(all, func(a, b *corev1.Secret) int { return cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	return all
}

// listOwned lists the metadata of Secrets by the index of owners.
func (a *memoryAPI) listOwned(list *metav1.PartialObjectMetadataList, options *client.ListOptions) error {
	uid, ok := options.FieldSelector.RequiresExactMatch(secretstore.OwnerIndex)
	if !ok {
		return errors.New("a list of metadata without the index of owners")
	}
	for _, secret := range a.secrets(options.Namespace) {
		for _, indexed := range secretstore.IndexOwner(secret) {
			if indexed == uid && cached(secret) {
				list.Items = append(list.Items, metav1.PartialObjectMetadata{TypeMeta: secretstore.Metadata().TypeMeta, ObjectMeta: *secret.ObjectMeta.DeepCopy()})
			}
		}
	}
	return nil
}

// listSecrets lists whole Secrets by label.
func (a *memoryAPI) listSecrets(list *corev1.SecretList, options *client.ListOptions) {
	for _, secret := range a.secrets(options.Namespace) {
		if options.LabelSelector == nil || options.LabelSelector.Matches(labels.Set(secret.Labels)) {
			list.Items = append(list.Items, *secret.DeepCopy())
		}
	}
}

// operatorClient is the client of one process of the operator. It reads from the manager's cache, and asks the process before each request.
type operatorClient struct {
	*memoryAPI
	process *process
}

// Get reads from the cache, which holds trimmed metadata of the Secrets with the operator's label.
func (c operatorClient) Get(_ context.Context, key types.NamespacedName, out client.Object, _ ...client.GetOption) error {
	if err := c.get(key, out); err != nil || testkit.KindName(out) != "Secret" {
		return err
	}
	if !cached(out) {
		return apierrors.NewNotFound(resource(out), key.Name)
	}
	_, err := secretstore.TrimForCache(out)
	return err
}

// cached reports whether the manager's cache holds a Secret.
func cached(secret client.Object) bool {
	return secret.GetLabels()[v1alpha1.ManagedByLabel] == v1alpha1.ManagedByValue
}

func (c operatorClient) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	owned, ok := list.(*metav1.PartialObjectMetadataList)
	if !ok {
		return fmt.Errorf("no cache of a %T", list)
	}
	return c.listOwned(owned, (&client.ListOptions{}).ApplyOptions(options))
}

func (c operatorClient) Create(_ context.Context, object client.Object, _ ...client.CreateOption) error {
	return c.process.write(testkit.Write{Verb: "create", Object: object}, func() error { return c.create(object) })
}

func (c operatorClient) Update(_ context.Context, object client.Object, _ ...client.UpdateOption) error {
	return c.process.write(testkit.Write{Verb: "update", Object: object}, func() error { return c.update(object) })
}

func (c operatorClient) Delete(_ context.Context, object client.Object, options ...client.DeleteOption) error {
	preconditions := ptr.Deref((&client.DeleteOptions{}).ApplyOptions(options).Preconditions, metav1.Preconditions{})
	write := testkit.Write{Verb: "delete", Object: object, Preconditions: preconditions}
	return c.process.write(write, func() error { return c.deleteObject(object, preconditions) })
}

func (c operatorClient) Status() client.SubResourceWriter { return statusWriter{client: c} }

type statusWriter struct {
	client.SubResourceWriter
	client operatorClient
}

func (w statusWriter) Update(_ context.Context, object client.Object, _ ...client.SubResourceUpdateOption) error {
	return w.client.process.write(testkit.Write{Verb: "update status", Object: object}, func() error { return w.client.updateStatus(object) })
}

// liveReader reads from the API server.
type liveReader struct{ operatorClient }

func (r liveReader) Get(_ context.Context, key types.NamespacedName, out client.Object, _ ...client.GetOption) error {
	what := "get Secret"
	if key.Namespace != credentialKey.Namespace {
		what = "get the source's Secret"
	}
	return r.process.read(what, func() error { return r.get(key, out) })
}

func (r liveReader) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	secrets, ok := list.(*corev1.SecretList)
	if !ok {
		return fmt.Errorf("no list of a %T", list)
	}
	return r.process.read("list Secrets", func() error {
		r.listSecrets(secrets, (&client.ListOptions{}).ApplyOptions(options))
		return nil
	})
}
