// Package output turns a credential into the keys of a Secret. It is pure.
package output

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
)

// Render returns the data of a credential's Secret. Region is the identity's. Its error is for what a credential of AWS never is
// and a template cannot be tried for beforehand; it holds no value of the credential.
func Render(t v1alpha1.SecretTemplate, c credential.Credential, region string) (map[string][]byte, error) {
	data := map[string][]byte{}
	in := input{Credential: c, region: region, mountPath: cmp.Or(t.MountPath, v1alpha1.DefaultMountPath), formats: formatsOf(t)}
	for _, name := range in.formats {
		write, known := formats[name]
		if !known {
			return nil, fmt.Errorf("this version of the operator does not know the format %s", name)
		}
		keys, err := write(in)
		if err != nil {
			return nil, fmt.Errorf("the format %s cannot hold it, since %w", name, err)
		}
		for key, value := range keys {
			data[key] = []byte(value)
		}
	}
	for key, text := range t.Data {
		value, err := rendered(key, text, in)
		if err != nil {
			return nil, fmt.Errorf("spec.secret.data[%s] cannot be rendered with it, or becomes too long", key) // err may quote it
		}
		data[key] = []byte(value)
	}
	return data, nil
}

// Keys returns the keys of the Secret's data that a template describes, without those of a format that is unknown here, for which
// [Check] returns a failure.
func Keys(t v1alpha1.SecretTemplate) []string {
	keys := slices.Collect(maps.Keys(t.Data))
	for _, name := range formatsOf(t) {
		write, known := formats[name]
		if !known {
			continue
		}
		written, err := write(trials[0])
		if err != nil {
			panic(err) // a trial can be held by all
		}
		keys = slices.AppendSeq(keys, maps.Keys(written))
	}
	return keys
}

// quotedLength is how much of a value is quoted, so that a message fits into a condition.
const quotedLength = 256

// Check returns a failure of ConditionReady if the Secret that a template describes could not be written: the API server would
// refuse its labels or annotations, which the CRD's schema cannot tell, a key of its data cannot be rendered, or a format is one that
// only a newer CRD has.
func Check(t v1alpha1.SecretTemplate) *failure.Failure {
	if names := unknownFormats(t); len(names) > 0 {
		return invalidTemplate("spec.secret.formats names %s, which this version of the operator does not know. "+
			"The CRDs are newer than the operator: upgrade the operator, or leave these formats out.", strings.Join(names, ", "))
	}
	path := field.NewPath("spec", "secret")
	problems := metav1validation.ValidateLabels(t.Labels, path.Child("labels"))
	problems = append(problems, apivalidation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	texts := checkData(t.Data)
	for _, problem := range problems {
		if value, ok := problem.BadValue.(string); ok {
			problem.BadValue = failure.Cut(value, quotedLength)
		}
		texts = append(texts, problem.Error())
	}
	if len(texts) == 0 {
		return nil
	}
	return invalidTemplate("The Secret cannot be written as spec.secret describes it: %s", slices.Min(texts)) // the same one of several each time
}

func invalidTemplate(format string, args ...any) *failure.Failure {
	return &failure.Failure{
		Condition: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonInvalidTemplate, Message: fmt.Sprintf(format, args...), Retry: failure.Never,
	}
}

// Hash tells templates apart whose Secrets would differ. The Secret's name is not part of it: another name is another Secret. Nor
// is what a default says in other words.
func Hash(t v1alpha1.SecretTemplate) string {
	t.Name = ""
	if t.Formats = formatsOf(t); slices.Equal(t.Formats, defaultFormats) {
		t.Formats = nil
	}
	if t.MountPath == v1alpha1.DefaultMountPath {
		t.MountPath = ""
	}
	return credential.Hash(t)
}

// HoldsRegion tells whether the Secret that a template describes may differ with the identity's region.
func HoldsRegion(t v1alpha1.SecretTemplate) bool {
	for _, text := range t.Data {
		if strings.Contains(string(text), ".Region") {
			return true
		}
	}
	return slices.Contains(t.Formats, v1alpha1.FormatRegion)
}
