package controllers

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/output"
)

// identityRef returns the identity that an object names, with the schema's defaults.
func identityRef(object Object) v1alpha1.IdentityReference {
	ref := object.Common().IdentityRef
	return v1alpha1.IdentityReference{
		Kind: cmp.Or(ref.Kind, v1alpha1.IdentityKindClusterIdentity),
		Name: cmp.Or(ref.Name, v1alpha1.DefaultIdentityName),
	}
}

// serviceAccount returns the service account that an object names, by default the one that a pod has by default.
func serviceAccount(object Object, request credential.Request) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: cmp.Or(request.ServiceAccountName, "default")}
}

func secretName(object Object) string {
	return cmp.Or(object.Common().Secret.Name, object.GetName())
}

// desired is what the Secret is compared with.
func desired(object Object, request credential.Request, found *identity.Identity[STS]) credential.Desired {
	spec := object.Common()
	w := credential.Desired{
		RequestHash:    request.Hash(),
		TemplateHash:   output.Hash(spec.Secret),
		RefreshRequest: refreshRequest(object),
		RefreshBefore:  duration(spec.RefreshBefore),
		Key:            object.GetNamespace() + "/" + object.GetName(),
	}
	if found != nil {
		w.IssuerHash = found.IssuerHash
		if output.HoldsRegion(spec.Secret) { // which is known, like the issuer, only as long as the identity is
			w.IssuerHash = credential.Hash([]string{found.IssuerHash, found.Region})
		}
	}
	return w
}

func refreshRequest(object Object) string {
	request := object.GetAnnotations()[v1alpha1.RefreshAnnotation]
	return strings.ToValidUTF8(request[:min(len(request), credential.MaxRefreshRequest)], "")
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
func compact(policy string) (string, *failure.Failure) {
	if policy == "" {
		return "", nil
	}
	var compacted bytes.Buffer
	if err := json.Compact(&compacted, []byte(policy)); err != nil {
		return policy, failure.NotCalled(v1alpha1.ReasonMalformedPolicy, "spec.policy is not JSON: line %d: %s.", brokenLine(policy), err)
	}
	if length := utf8.RuneCount(compacted.Bytes()); length > maxPolicy {
		return compacted.String(), failure.NotCalled(v1alpha1.ReasonPolicyTooLarge, "spec.policy has %d characters without white space, and STS takes %d. "+
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

func duration(d *metav1.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	return &d.Duration
}

// conflictRecheck bounds how late a Secret that is no longer a stranger is noticed, should its watch have missed it.
const conflictRecheck = 5 * time.Minute

// conflict waits until the foreign Secret changes or is deleted. The controller is the Secret's, as <kind>/<name>, empty for none.
func conflict(secretName, kind, name, controller string) *failure.Failure {
	message := fmt.Sprintf("Secret %s exists and does not belong to this %s, so it is left alone. Delete it, choose another spec.secret.name, "+
		"or hand it over with the annotation %s: %s/%s on the Secret.", secretName, kind, v1alpha1.AdoptAnnotation, kind, name)
	if controller != "" { // the annotation has no effect
		message = fmt.Sprintf("Secret %s exists and belongs to %s by its ownerReferences, so it is left alone. Choose another spec.secret.name, or delete the Secret with its owner.",
			secretName, controller)
	}
	return &failure.Failure{Condition: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonSecretConflict, Message: message, Retry: failure.After(conflictRecheck)}
}

// immutable waits for the Secret to go, which is watched.
func immutable(secretName string) *failure.Failure {
	return &failure.Failure{
		Condition: v1alpha1.ConditionReady,
		Reason:    v1alpha1.ReasonSecretConflict,
		Message:   fmt.Sprintf("Secret %s is immutable, so that no new credential can be put there. Delete it; a new one is made in its place.", secretName),
		Retry:     failure.Never,
	}
}

// contended slows down a fight over a Secret's content, each round of which would cost a call of STS.
func contended(secretName string) *failure.Failure {
	return &failure.Failure{
		Condition: v1alpha1.ConditionReady,
		Reason:    v1alpha1.ReasonSecretConflict,
		Message: fmt.Sprintf("Something keeps deleting or changing Secret %s as soon as it is written. Find what writes it (kubectl get secret --show-managed-fields) "+
			"and stop it; the Secret is mended again after a while.", secretName),
		Retry: failure.Backoff,
	}
}

// notTakenOver leaves a Secret with the owner references that a former credential left.
func notTakenOver(secretName string, err error) *failure.Failure {
	return &failure.Failure{
		Condition: v1alpha1.ConditionIssued,
		Reason:    v1alpha1.ReasonSecretNotWritten,
		Message: fmt.Sprintf("A former credential of this name left Secret %s, and the API server did not let the operator set its ownerReferences (%s). "+
			"Check admission policies and the operator's RBAC in this namespace; the event holds the error.", secretName, apiReason(err)),
		Retry: failure.After(failure.MaxWait),
		Cause: err,
	}
}

// apiReason returns the API server's reason for an error, such as Forbidden. It stays the same for as long as the cause does.
func apiReason(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return "no answer"
	}
	return string(apierrors.ReasonForError(err))
}

// notWritten drops the credential: it is nowhere but in memory, and the next attempt gets another.
func notWritten(secretName string, err error) *failure.Failure {
	return &failure.Failure{
		Condition: v1alpha1.ConditionIssued,
		Reason:    v1alpha1.ReasonSecretNotWritten,
		Message: fmt.Sprintf("STS issued a credential, but the API server did not take Secret %s (%s). Check quotas, admission policies and the operator's RBAC in this namespace; "+
			"the event holds the error.", secretName, apiReason(err)),
		Retry: failure.Backoff,
		Cause: err,
	}
}

// unfit drops the credential too: it is such as AWS issues none, or the spec's data are rendered otherwise with it than with what
// they were tried with. Nothing but another spec helps.
func unfit(secretName string, err error) *failure.Failure {
	return &failure.Failure{
		Condition: v1alpha1.ConditionIssued,
		Reason:    v1alpha1.ReasonSecretNotWritten,
		Message:   fmt.Sprintf("STS issued a credential, but Secret %s cannot be written as spec.secret describes it: %s. Change formats or data.", secretName, err),
		Retry:     failure.Never,
	}
}
