package identity_test

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/testkit"
)

// fill gives every field a value, each list one item and each pointer something to point at. A type that it does not know fails the
// test, so that a field of one is not forgotten.
func fill(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(path)
	case reflect.Int32:
		v.SetInt(1)
	case reflect.Bool:
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, path, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, path+"[0]", v.Index(0))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	default:
		t.Fatalf("add a way to fill %s, which is a %s", path, v.Kind())
	}
}

// changes are by the fields that they change: each gives just one another value.
func changes(path string, v reflect.Value) map[string]func() {
	all := map[string]func(){}
	switch v.Kind() {
	case reflect.String:
		all[path] = func() { v.SetString(v.String() + "-other") }
	case reflect.Int32:
		all[path] = func() { v.SetInt(v.Int() + 1) }
	case reflect.Bool:
		all[path] = func() { v.SetBool(!v.Bool()) }
	case reflect.Pointer:
		maps.Copy(all, changes(path, v.Elem()))
	case reflect.Slice:
		maps.Copy(all, changes(path+"[0]", v.Index(0)))
	case reflect.Struct:
		for i := range v.NumField() {
			maps.Copy(all, changes(path+"."+v.Type().Field(i).Name, v.Field(i)))
		}
	}
	return all
}

// secretKeyPaths are the paths of the fields that name a key of a source's Secret, and so the names that fill gives them.
var secretKeyPaths = []string{"Source.SecretRef.Key", "Source.SecretRef.SecretKeyReference.Key", "Source.ClientSecretRef.Key", "Source.ClientSecretRef.SecretKeyReference.Key"}

// anySecret is a fixture in which every Secret holds a key, a certificate and tokens, whatever its name.
func anySecret(t *testing.T) *fixture {
	t.Helper()
	certificate := tlsSecret(NewWithT(t), testkit.Start).Data
	f := failing(t, interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
		if secret, ok := o.(*corev1.Secret); ok {
			*secret = *operatorKey()
			maps.Copy(secret.Data, certificate)
			for _, path := range secretKeyPaths {
				secret.Data[path], secret.Data[path+"-other"] = []byte(jwt(validFor(2*time.Hour))), []byte(jwt(validFor(2*time.Hour)))
			}
			return nil
		}
		return c.Get(ctx, key, o, options...)
	}})
	f.resolver.AllowNamespacedEndpoints = true
	return f
}

// What leads to another answer of STS has another issuer hash, so that no two such identities ever share a credential. A new field
// of an identity's spec fails this until it is in the hash, or here with a reason why not.
func TestIdentitiesThatDifferInAnyFieldHaveDifferentIssuerHashes(t *testing.T) {
	noAWS(t)
	reach := "it says how STS is reached, and not what it answers"
	harmless := map[string]string{
		"Settings.Region":   "it is hashed beside the issuer where it stands in the Secret",
		"Settings.CABundle": reach,
		"Settings.STSQPS":   reach,

		"Source.OIDCSettings.CABundle": "it says how the provider is reached, and not what it answers",
	}
	pem := string(serveTLS(t).CABundle)
	fields := func(found identity.Object, source reflect.Value) map[string]func() {
		fill(t, "Settings", reflect.ValueOf(found.Settings()).Elem())
		found.Settings().Endpoint, found.Settings().CABundle = "https://sts.example", pem
		fill(t, "Source", source)
		if field := source.Elem().FieldByName("RolesAnywhereSettings"); field.IsValid() {
			field.FieldByName("Endpoint").SetString("https://rolesanywhere.example")
		}
		if source.Type().Elem() == reflect.TypeFor[v1alpha1.ServiceAccountSource]() && source.IsValid() {
			found.Settings().SessionTags = nil // a ClusterIdentity may not have both
		}
		if field := source.Elem().FieldByName("OIDCSettings"); field.IsValid() {
			oidc := field.Addr().Interface().(*v1alpha1.OIDCSettings)
			oidc.Issuer, oidc.TokenURL, oidc.CABundle = "https://id.example/issuer", "https://id.example/token?tenant=one", pem
		}
		if field := source.Elem().FieldByName("RolesAnywhereSettings"); field.IsValid() {
			field.FieldByName("Endpoint").SetString("https://rolesanywhere.example")
		}
		all := changes("Settings", reflect.ValueOf(found.Settings()).Elem())
		all["Settings.CABundle"] = func() { found.Settings().CABundle += pem }
		maps.Copy(all, changes("Source", source))
		if field := source.Elem().FieldByName("OIDCSettings"); field.IsValid() {
			all["Source.OIDCSettings.CABundle"] = func() { field.FieldByName("CABundle").SetString(pem + pem) }
		}
		return all
	}
	for kind, of := range map[string]struct {
		sources reflect.Type
		create  func() (identity.Object, reflect.Value)
	}{
		"ClusterIdentity": {reflect.TypeFor[v1alpha1.ClusterIdentitySource](), func() (identity.Object, reflect.Value) {
			found := &v1alpha1.ClusterIdentity{ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "uid", Generation: 1}}
			return found, reflect.ValueOf(&found.Spec.Source).Elem()
		}},
		"Identity": {reflect.TypeFor[v1alpha1.IdentitySource](), func() (identity.Object, reflect.Value) {
			found := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own", UID: "uid", Generation: 1}}
			return found, reflect.ValueOf(&found.Spec.Source).Elem()
		}},
	} {
		for i := range of.sources.NumField() {
			found, source := of.create()
			for path := range fields(found, source.Field(i)) {
				t.Run(kind+" with "+of.sources.Field(i).Name+": "+path, func(t *testing.T) {
					f := anySecret(t)
					found, source := of.create()
					change := fields(found, source.Field(i))[path]
					before := f.configure(found)
					change()
					found.SetGeneration(2)
					after := f.configure(found)
					f.Expect(after.IssuerHash != before.IssuerHash).To(Equal(harmless[path] == ""))
					f.Expect(after.Version).NotTo(Equal(before.Version), "what was refused is tried at once")
					f.Expect(after.Keys()).NotTo(BeIdenticalTo(before.Keys()), "sessions of the former spec are not used")
				})
			}
		}
	}
}

// No two hops that differ in any field request the same session.
func TestHopsThatDifferInAnyFieldSendDifferentRequests(t *testing.T) {
	newIdentity := func() *v1alpha1.ClusterIdentity {
		return withKey(func(i *v1alpha1.ClusterIdentity) {
			i.Spec.Endpoint = "https://sts.example.internal" // whose roles may have any name
			i.Spec.Chain = make([]v1alpha1.Hop, 1)
			fill(t, "Hop", reflect.ValueOf(&i.Spec.Chain[0]).Elem())
		})
	}
	for path := range changes("Hop", reflect.ValueOf(&newIdentity().Spec.Chain[0]).Elem()) {
		t.Run(path, func(t *testing.T) {
			f := anySecret(t)
			f.configure(newIdentity()).Keys()
			other := newIdentity()
			other.Generation++
			changes("Hop", reflect.ValueOf(&other.Spec.Chain[0]).Elem())[path]()
			f.configure(other).Keys()
			f.Expect(f.hops).To(HaveLen(2))
			f.Expect(f.hops[0].Hash()).NotTo(Equal(f.hops[1].Hash()), fmt.Sprint(f.hops))
		})
	}
}
