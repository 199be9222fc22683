package rollout

import (
	"encoding/json"

	"rolecredential.dev/operator/api/v1alpha1"
)

// Stamp names the credential of each Secret that a workload was last restarted onto, by the Secret's name. It is the value of
// [v1alpha1.CredentialsAnnotation]: one annotation for all of a workload's Secrets, so that one restart does for all, and GitOps
// tools have one path to ignore.
type Stamp map[string]string

// ParseStamp reads the stamp among annotations, which is empty if there is none that can be read.
func ParseStamp(annotations map[string]string) Stamp {
	var s Stamp
	if err := json.Unmarshal([]byte(annotations[v1alpha1.CredentialsAnnotation]), &s); err != nil {
		return nil
	}
	return s
}

// String is the annotation's value, the same text for the same stamp.
func (s Stamp) String() string {
	text, err := json.Marshal(map[string]string(s))
	if err != nil {
		panic(err) // strings always have a text
	}
	return string(text)
}
