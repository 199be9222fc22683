package readers

import (
	"encoding/json"

	"rolecredential.dev/operator/api/v1alpha1"
)

// Stamp maps the names of Secrets to the IDs of the credentials that a workload was last restarted for. It is the
// value of [v1alpha1.CredentialsAnnotation]. One annotation serves all Secrets of a workload, so that one restart
// covers all of them, and a GitOps tool has one path to ignore.
type Stamp map[string]string

// ParseStamp reads the stamp among annotations. The stamp is empty if there is none, or if it is not valid.
func ParseStamp(annotations map[string]string) Stamp {
	var s Stamp
	if err := json.Unmarshal([]byte(annotations[v1alpha1.CredentialsAnnotation]), &s); err != nil {
		return nil
	}
	return s
}

// String is the annotation's value. Equal stamps have equal values.
func (s Stamp) String() string {
	text, err := json.Marshal(map[string]string(s))
	if err != nil {
		panic(err) // a map of strings always has a JSON encoding
	}
	return string(text)
}
