package credential

import (
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/render"
	"rolecredential.dev/operator/controllers/request"
)

// desired is what the Secret is compared with.
func desired(object request.Object, r request.Request, found *identity.Identity) reissue.Desired {
	spec := object.Common()
	w := reissue.Desired{
		RequestHash:    r.Hash(),
		TemplateHash:   render.Hash(spec.Secret),
		RefreshRequest: refreshRequest(object),
		RefreshBefore:  duration(spec.RefreshBefore),
		Key:            object.GetNamespace() + "/" + object.GetName(),
	}
	if found != nil {
		w.IssuerHash = found.IssuerHash
		if render.HoldsRegion(spec.Secret) { // which is known, like the issuer, only as long as the identity is
			w.IssuerHash = request.Hash([]string{found.IssuerHash, found.Region})
		}
	}
	return w
}

func refreshRequest(object request.Object) string {
	request := object.GetAnnotations()[v1alpha1.RefreshAnnotation]
	return strings.ToValidUTF8(request[:min(len(request), reissue.MaxRefreshRequest)], "")
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
func conflict(secretName, kind, name, controller string) *reason.Error {
	message := fmt.Sprintf("Secret %s exists and does not belong to this %s, so it is left alone. Delete it, choose another spec.secret.name, "+
		"or hand it over with the annotation %s: %s/%s on the Secret.", secretName, kind, v1alpha1.AdoptAnnotation, kind, name)
	if controller != "" { // the annotation has no effect
		message = fmt.Sprintf("Secret %s exists and belongs to %s by its ownerReferences, so it is left alone. Choose another spec.secret.name, or delete the Secret with its owner.",
			secretName, controller)
	}
	return &reason.Error{Condition: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonSecretConflict, Message: message, Retry: reason.After(conflictRecheck)}
}

// immutable waits for the Secret to go, which is watched.
func immutable(secretName string) *reason.Error {
	return &reason.Error{
		Condition: v1alpha1.ConditionReady,
		Reason:    v1alpha1.ReasonSecretConflict,
		Message:   fmt.Sprintf("Secret %s is immutable, so that no new credential can be put there. Delete it; a new one is made in its place.", secretName),
		Retry:     reason.Never,
	}
}

// contended slows down a fight over a Secret's content, each round of which would cost a call of STS.
func contended(secretName string) *reason.Error {
	return &reason.Error{
		Condition: v1alpha1.ConditionReady,
		Reason:    v1alpha1.ReasonSecretConflict,
		Message: fmt.Sprintf("Something keeps deleting or changing Secret %s as soon as it is written. Find what writes it (kubectl get secret --show-managed-fields) "+
			"and stop it; the Secret is mended again after a while.", secretName),
		Retry: reason.Backoff,
	}
}

// notTakenOver leaves a Secret with the owner references that a former credential left.
func notTakenOver(secretName string, err error) *reason.Error {
	return &reason.Error{
		Condition: v1alpha1.ConditionIssued,
		Reason:    v1alpha1.ReasonSecretNotWritten,
		Message: fmt.Sprintf("A former credential of this name left Secret %s, and the API server did not let the operator set its ownerReferences (%s). "+
			"Check admission policies and the operator's RBAC in this namespace; the event holds the error.", secretName, apiReason(err)),
		Retry: reason.After(reason.MaxWait),
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
func notWritten(secretName string, err error) *reason.Error {
	return &reason.Error{
		Condition: v1alpha1.ConditionIssued,
		Reason:    v1alpha1.ReasonSecretNotWritten,
		Message: fmt.Sprintf("STS issued a credential, but the API server did not take Secret %s (%s). Check quotas, admission policies and the operator's RBAC in this namespace; "+
			"the event holds the error.", secretName, apiReason(err)),
		Retry: reason.Backoff,
		Cause: err,
	}
}

// unfit drops the credential too: it is such as AWS issues none, or the spec's data are rendered otherwise with it than with what
// they were tried with. Nothing but another spec helps.
func unfit(secretName string, err error) *reason.Error {
	return &reason.Error{
		Condition: v1alpha1.ConditionIssued,
		Reason:    v1alpha1.ReasonSecretNotWritten,
		Message:   fmt.Sprintf("STS issued a credential, but Secret %s cannot be written as spec.secret describes it: %s. Change formats or data.", secretName, err),
		Retry:     reason.Never,
	}
}
