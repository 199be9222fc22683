// Package render turns session credentials into the data of a Secret. It is pure.
package render

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/lru"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/request"
)

// Render returns the data of a credential's Secret. The region is the identity's. An error is possible only for values
// that AWS never issues, or that differ from those of [Check]. It contains no value of the credential.
func Render(t v1alpha1.SecretTemplate, c request.Credentials, region string) (map[string][]byte, error) {
	data := map[string][]byte{}
	in := input{Credentials: c, region: region, mountPath: cmp.Or(t.MountPath, v1alpha1.DefaultMountPath), formats: formatsOf(t)}
	for _, name := range in.formats {
		write, known := formats[name]
		if !known {
			return nil, fmt.Errorf("this version of the operator does not support the format %s", name)
		}
		keys, err := write(in)
		if err != nil {
			return nil, fmt.Errorf("the format %s cannot represent it: %w", name, err)
		}
		for key, value := range keys {
			data[key] = []byte(value)
		}
	}
	values, failed, err := renderData(t.Data, in)
	if err != nil { // its text may contain the credential
		return nil, fmt.Errorf("the template spec.secret.data[%s] failed, or its result is too long", failed)
	}
	for key, value := range values {
		data[key] = []byte(value)
	}
	return data, nil
}

// quotedLength is the maximum length of a quoted value in bytes, so that a message fits into a condition.
const quotedLength = 256

// trials are fictitious inputs to try templates with: one with all values, and one with only the values that an
// STS-compatible server always returns.
var trials = []input{
	{region: "eu-west-1", Credentials: request.Credentials{
		AccessKeyID: "ASIA0123456789ABCDEF", SecretAccessKey: request.RedactedString(strings.Repeat("s", 40)), SessionToken: request.RedactedString(strings.Repeat("t", 2<<10)),
		PrincipalARN: "arn:aws:sts::123456789012:assumed-role/role/session",
	}},
	{region: "eu-west-1", Credentials: request.Credentials{AccessKeyID: "ASIA0123456789ABCDEF", SecretAccessKey: "s"}},
}

// maxVerdicts bounds the memory of verdicts to about 1 MiB. Templates beyond it are checked again at each reconcile.
const maxVerdicts = 1024

// verdicts of [Check], by the hash of the template.
var verdicts = lru.New(maxVerdicts)

// Check returns a failure of ConditionReady if the Secret cannot be written: its labels or annotations are not valid,
// which the CRD's schema cannot check, a template of its data fails, or a format is known only to a newer CRD. It
// remembers the verdict on a template. Callers must not change it.
func Check(t v1alpha1.SecretTemplate) *reason.Error {
	return remember(Hash(t), func() *reason.Error { return check(t) })
}

func remember(hash string, check func() *reason.Error) *reason.Error {
	if known, ok := verdicts.Get(hash); ok {
		verdict, _ := known.(*reason.Error)
		return verdict
	}
	verdict := check()
	verdicts.Add(hash, verdict)
	return verdict
}

func check(t v1alpha1.SecretTemplate) *reason.Error {
	if names := unknownFormats(t); len(names) > 0 {
		return invalidTemplate("spec.secret.formats contains %s, which this version of the operator does not support. "+
			"The CRDs are newer than the operator: upgrade the operator, or remove these formats.", strings.Join(names, ", "))
	}
	path := field.NewPath("spec", "secret")
	invalid := metav1validation.ValidateLabels(t.Labels, path.Child("labels"))
	invalid = append(invalid, apivalidation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	var problems []string
	for _, problem := range invalid {
		if value, ok := problem.BadValue.(string); ok {
			problem.BadValue = reason.Cut(value, quotedLength)
		}
		problems = append(problems, problem.Error())
	}
	for _, trial := range trials {
		if _, key, err := renderData(t.Data, trial); err != nil {
			problems = append(problems, fmt.Sprintf("spec.secret.data[%s]: %s", key, reason.Cut(err.Error(), quotedLength)))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return invalidTemplate("spec.secret does not describe a valid Secret: %s", slices.Min(problems)) // the same problem each time
}

func invalidTemplate(format string, args ...any) *reason.Error {
	return &reason.Error{
		Condition: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonInvalidTemplate, Message: fmt.Sprintf(format, args...), Retry: reason.Never,
	}
}

// Hash returns a hash that differs for templates with different Secrets. It ignores the Secret's name, because
// another name is another Secret. A default and its explicit value have the same hash.
func Hash(t v1alpha1.SecretTemplate) string {
	t.Name = ""
	if t.Formats = formatsOf(t); slices.Equal(t.Formats, defaultFormats) {
		t.Formats = nil
	}
	if t.MountPath == v1alpha1.DefaultMountPath {
		t.MountPath = ""
	}
	return request.Hash(t)
}

// HoldsRegion reports whether the content of the Secret may depend on the identity's region.
func HoldsRegion(t v1alpha1.SecretTemplate) bool {
	for _, text := range t.Data {
		if strings.Contains(string(text), ".Region") {
			return true
		}
	}
	return slices.Contains(t.Formats, v1alpha1.FormatRegion)
}
