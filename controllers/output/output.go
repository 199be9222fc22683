// Package output turns a credential into the keys of a Secret. It is pure.
package output

import (
	"fmt"
	"slices"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
)

// The environment variables that AWS SDKs and tools read, and that a Secret's keys are named after (AWS SDKs and Tools
// Reference Guide, 'AWS access keys').
const (
	AccessKeyID     = "AWS_ACCESS_KEY_ID"
	SecretAccessKey = "AWS_SECRET_ACCESS_KEY"
	SessionToken    = "AWS_SESSION_TOKEN"
)

// Render returns the data of a credential's Secret.
func Render(c credential.Credential) map[string][]byte {
	return map[string][]byte{
		AccessKeyID:     []byte(c.AccessKeyID),
		SecretAccessKey: []byte(c.SecretAccessKey),
		SessionToken:    []byte(c.SessionToken),
	}
}

// quotedLength is how much of a value is quoted, so that a message fits into a condition.
const quotedLength = 256

// Check returns a failure of ConditionReady if the API server would refuse a Secret with the template's labels and
// annotations, which the CRD's schema cannot tell.
func Check(t v1alpha1.SecretTemplate) *failure.Failure {
	path := field.NewPath("spec", "secret")
	problems := metav1validation.ValidateLabels(t.Labels, path.Child("labels"))
	problems = append(problems, apivalidation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	if len(problems) == 0 {
		return nil
	}
	texts := make([]string, len(problems))
	for i, problem := range problems {
		if value, ok := problem.BadValue.(string); ok {
			problem.BadValue = failure.Cut(value, quotedLength)
		}
		texts[i] = problem.Error()
	}
	return &failure.Failure{
		Condition: v1alpha1.ConditionReady,
		Reason:    v1alpha1.ReasonInvalidTemplate,
		Message:   fmt.Sprintf("The Secret cannot be written as spec.secret describes it: %s", slices.Min(texts)), // the same one of several each time
		Retry:     failure.Never,
	}
}

// Hash tells templates apart whose Secrets would differ. The Secret's name is not part of it: another name is another
// Secret.
func Hash(t v1alpha1.SecretTemplate) string {
	t.Name = ""
	return credential.Hash(t)
}
