package credential

import (
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

// secretRecheck is how often the operator reads a Secret that it does not own: a foreign Secret in place of the credential's, or that of an
// MFA device. These Secrets are not watched.
const secretRecheck = time.Minute

// conflict is the failure of a Secret that the credential may not write.
func conflict(retry reason.Retry, format string, args ...any) *reason.Error {
	return &reason.Error{Condition: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonSecretConflict, Message: fmt.Sprintf(format, args...), Retry: retry}
}

// foreign is the failure of a Secret that belongs to something else. The controller is the Secret's, as <kind>/<name>; empty for none.
func foreign(secretName, kind, name, controller string) *reason.Error {
	if controller != "" { // the annotation has no effect
		return conflict(reason.After(secretRecheck), "Secret %s belongs to %s by its ownerReferences. The operator does not change it. "+
			"Choose another spec.secret.name, or delete the Secret with its owner.", secretName, controller)
	}
	return conflict(reason.After(secretRecheck), "Secret %s exists and does not belong to this %s. The operator does not change it. Delete it, choose another "+
		"spec.secret.name, or let the operator adopt it with the annotation %s: %s/%s.", secretName, kind, v1alpha1.AdoptAnnotation, kind, name)
}

// notWritable is the failure of a Secret that the API server would not let the operator write. STS is not called for it.
func notWritable(secretName, problem string) *reason.Error {
	return conflict(reason.After(secretRecheck), "Secret %s %s. Delete it, and the operator creates it again, or choose another spec.secret.name.", secretName, problem)
}

// contended limits the STS calls for a Secret that something keeps changing.
func contended(secretName string) *reason.Error {
	return conflict(reason.Backoff, "Another writer keeps deleting or changing Secret %s. Find it (kubectl get secret --show-managed-fields) and stop it. "+
		"The operator repairs the Secret again after a wait.", secretName)
}

// notWritten is the failure of a write of the Secret. Issued credentials are dropped: they exist only in memory.
func notWritten(retry reason.Retry, cause error, format string, args ...any) *reason.Error {
	return &reason.Error{Condition: v1alpha1.ConditionIssued, Reason: v1alpha1.ReasonSecretNotWritten, Message: fmt.Sprintf(format, args...), Retry: retry, Cause: cause}
}

// notTakenOver is the failure of a takeover of the Secret that a former credential left.
func notTakenOver(secretName string, err error) *reason.Error {
	return notWritten(reason.After(reason.MaxWait), err, "A former credential of this name left Secret %s, and the API server did not accept new ownerReferences (%s). "+
		"Check admission policies and the operator's RBAC in this namespace. The event holds the error.", secretName, apiReason(err))
}

// rejected is the failure of a Secret that the API server did not accept.
func rejected(secretName string, err error) *reason.Error {
	return notWritten(reason.Backoff, err, "STS issued credentials, but the API server did not accept Secret %s (%s). "+
		"Check quotas, admission policies and the operator's RBAC in this namespace. The event holds the error.", secretName, apiReason(err))
}

// unrenderable is the failure of credentials that spec.secret cannot represent, although sample values could be rendered.
func unrenderable(secretName string, err error) *reason.Error {
	return notWritten(reason.Never, nil, "STS issued credentials, but Secret %s cannot be written as spec.secret describes it: %s. Change formats or data.", secretName, err)
}

// apiReason returns the API server's reason for an error, such as Forbidden. It stays the same for as long as the cause does.
func apiReason(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return "no answer"
	}
	return string(apierrors.ReasonForError(err))
}
