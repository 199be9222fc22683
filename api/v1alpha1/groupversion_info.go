// Package v1alpha1 is the API of the RoleCredential operator, group sts.rolecredential.dev: the kinds, and their
// conditions and reasons.
//
// +kubebuilder:object:generate=true
// +groupName=sts.rolecredential.dev
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package="../applyconfiguration"
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of every kind in this package.
var GroupVersion = schema.GroupVersion{Group: "sts.rolecredential.dev", Version: "v1alpha1"}

// SchemeGroupVersion is GroupVersion, under the name that generated clients use.
var SchemeGroupVersion = GroupVersion

var schemeBuilder = runtime.NewSchemeBuilder(func(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&RoleCredential{}, &RoleCredentialList{},
		&SessionCredential{}, &SessionCredentialList{},
		&FederatedCredential{}, &FederatedCredentialList{},
		&ClusterIdentity{}, &ClusterIdentityList{},
		&Identity{}, &IdentityList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
})

// AddToScheme adds this package's kinds to a scheme.
var AddToScheme = schemeBuilder.AddToScheme
