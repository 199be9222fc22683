package controllers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/credential"
	"rolecredential.dev/operator/controllers/failure"
	"rolecredential.dev/operator/controllers/identity"
)

// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=rolecredentials,verbs=get;list;watch
// +kubebuilder:rbac:groups=sts.rolecredential.dev,resources=rolecredentials/status,verbs=patch

var roleCredential = Kind[*v1alpha1.RoleCredential]{
	Name:    "RoleCredential",
	New:     func() *v1alpha1.RoleCredential { return &v1alpha1.RoleCredential{} },
	NewList: func() client.ObjectList { return &v1alpha1.RoleCredentialList{} },
	Request: assumeRole,
}

// defaultRoleDuration is the schema's default, for an object that the API server did not see.
const defaultRoleDuration = time.Hour

func assumeRole(c *v1alpha1.RoleCredential) (credential.Request, *failure.Failure) {
	request := credential.Request{
		Identity:          identity.Name(identityRef(c)),
		Call:              v1alpha1.CallAssumeRole,
		RoleARN:           c.Spec.RoleARN,
		SessionName:       c.Spec.SessionName,
		Duration:          defaultRoleDuration,
		ExternalID:        c.Spec.ExternalID,
		SourceIdentity:    c.Spec.SourceIdentity,
		PolicyARNs:        c.Spec.PolicyARNs,
		TransitiveTagKeys: c.Spec.TransitiveTagKeys,
	}
	if c.Spec.Duration != nil {
		request.Duration = c.Spec.Duration.Duration
	}
	if request.SessionName == "" {
		request.SessionName = credential.SessionName(c.Namespace, c.Name)
	}
	for _, tag := range c.Spec.Tags {
		var value string
		if tag.Value != nil {
			value = *tag.Value
		}
		request.Tags = append(request.Tags, credential.Tag{Key: tag.Key, Value: value})
	}
	policy, invalid := compact(c.Spec.Policy)
	request.Policy = policy
	return request, invalid
}

// compact returns a policy without white space: less of what STS counts, and free of what some servers read wrongly in a form.
func compact(policy string) (string, *failure.Failure) {
	if policy == "" {
		return "", nil
	}
	var compacted bytes.Buffer
	if err := json.Compact(&compacted, []byte(policy)); err != nil {
		return policy, &failure.Failure{
			Condition: v1alpha1.ConditionIssued,
			Reason:    v1alpha1.ReasonMalformedPolicy,
			Message:   fmt.Sprintf("spec.policy is not JSON: %s. STS was not asked.", err),
			Retry:     failure.Never,
		}
	}
	return compacted.String(), nil
}
