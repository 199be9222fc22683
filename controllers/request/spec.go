package request

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

// IdentityRef returns the identity that an object names, with the schema's defaults.
func IdentityRef(object Object) v1alpha1.IdentityReference {
	ref := object.Common().IdentityRef
	return v1alpha1.IdentityReference{
		Kind: cmp.Or(ref.Kind, v1alpha1.IdentityKindClusterIdentity),
		Name: cmp.Or(ref.Name, v1alpha1.DefaultIdentityName),
	}
}

// ServiceAccount returns the service account that an object names, by default the one that a pod has by default.
func ServiceAccount(object Object, r Request) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: cmp.Or(r.ServiceAccountName, "default")}
}

// SecretName returns the name of the Secret of a credential.
func SecretName(object Object) string {
	return cmp.Or(object.Common().Secret.Name, object.GetName())
}

func durationOr(d *metav1.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return d.Duration
}

// maxPolicy is how many characters a session policy may have (API Reference, 'AssumeRole' and 'GetFederationToken', Policy).
const maxPolicy = 2048

// compact returns a policy without white space: less of what STS counts, and free of what some servers read wrongly in a form. It
// returns a failure if the policy is then still too long, or is not JSON.
func compact(policy string) (string, *reason.Error) {
	if policy == "" {
		return "", nil
	}
	var compacted bytes.Buffer
	if err := json.Compact(&compacted, []byte(policy)); err != nil {
		return policy, reason.NotCalled(v1alpha1.ReasonMalformedPolicy, "spec.policy is not JSON: line %d: %s.", brokenLine(policy), err)
	}
	if length := utf8.RuneCount(compacted.Bytes()); length > maxPolicy {
		return compacted.String(), reason.NotCalled(v1alpha1.ReasonPolicyTooLarge, "spec.policy has %d characters without white space, and STS takes %d. "+
			"Make it shorter, or put it into a managed policy and name that in spec.policyARNs.", length, maxPolicy)
	}
	return compacted.String(), nil
}

// brokenLine is the line on which a text is no longer JSON, from 1. [json.Compact] does not tell.
func brokenLine(text string) int {
	where, ok := errors.AsType[*json.SyntaxError](json.Unmarshal([]byte(text), &json.RawMessage{}))
	if !ok {
		return 1
	}
	return 1 + strings.Count(text[:max(where.Offset-1, 0)], "\n")
}

func serialNumber(device *v1alpha1.MFA) string {
	if device == nil {
		return ""
	}
	return device.SerialNumber
}

// IdentityName returns the kind and name of an identity, for messages.
func IdentityName(ref v1alpha1.IdentityReference) string { return string(ref.Kind) + " " + ref.Name }

// Key identifies an object of one of the operator's kinds.
type Key struct {
	Kind string
	types.NamespacedName
}

// Label returns the name, with the namespace and a slash before it if there is one.
func (k Key) Label() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.NamespacedName.String()
}

// String returns the kind and the label.
func (k Key) String() string { return k.Kind + " " + k.Label() }
