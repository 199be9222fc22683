package advice

import (
	"cmp"

	"rolecredential.dev/operator/api/v1alpha1"
)

// catalogue has an answer to every reason of the API.
var catalogue map[string]func(Situation) answer

func init() { // the answers use the catalogue themselves
	catalogue = map[string]func(Situation) answer{
		v1alpha1.ReasonAllowed:       well("A rule of the identity allows the request."),
		v1alpha1.ReasonIssued:        well("STS issued the credential that the spec asks for."),
		v1alpha1.ReasonVerified:      well("STS knows the identity's caller."),
		v1alpha1.ReasonNotVerifiable: well("The identity's configuration can work, and there is no more to tell: its server has no GetCallerIdentity, or each credential calls STS as a service account of its own."),
		v1alpha1.ReasonInSync:        well("The clocks of STS and of the operator agree."),

		v1alpha1.ReasonIdentityNotFound:   identityNotFound,
		v1alpha1.ReasonIdentityNotReady:   identityNotReady,
		v1alpha1.ReasonNotAllowed:         notAllowed,
		v1alpha1.ReasonDurationNotAllowed: durationNotAllowed,

		v1alpha1.ReasonNotAttempted:             notAttempted,
		v1alpha1.ReasonWrongSourceType:          wrongSourceType,
		v1alpha1.ReasonInvalidMFA:               invalidMFA,
		v1alpha1.ReasonTokenNotIssued:           tokenNotIssued,
		v1alpha1.ReasonAccessDenied:             accessDenied,
		v1alpha1.ReasonInvalidSourceCredentials: invalidSourceCredentials,
		v1alpha1.ReasonInvalidRequest:           invalidRequest,
		v1alpha1.ReasonInvalidTags:              invalidTags,
		v1alpha1.ReasonUnsupportedField:         unsupportedField,
		v1alpha1.ReasonWrongPartition:           wrongPartition,
		v1alpha1.ReasonPolicyTooLarge:           policyTooLarge,
		v1alpha1.ReasonMalformedPolicy:          malformedPolicy,
		v1alpha1.ReasonRegionDisabled:           regionDisabled,
		v1alpha1.ReasonClockSkew:                clockSkew,
		v1alpha1.ReasonThrottled:                throttled,
		v1alpha1.ReasonSTSUnreachable:           stsUnreachable,
		v1alpha1.ReasonSTSError:                 stsError,
		v1alpha1.ReasonSecretNotWritten:         secretNotWritten,

		v1alpha1.ReasonSecretConflict:  secretConflict,
		v1alpha1.ReasonNotIssued:       pointing("There is no credential yet."),
		v1alpha1.ReasonExpired:         pointing("The credential in the Secret has expired, and no new one came in its place."),
		v1alpha1.ReasonOutdated:        pointing("The Secret holds a valid credential, but of an earlier spec."),
		v1alpha1.ReasonInvalidTemplate: invalidTemplate,
		v1alpha1.ReasonSuspended:       suspended,

		v1alpha1.ReasonRolledOut:      well("No running pod holds an earlier credential."),
		v1alpha1.ReasonRestarting:     well("Workloads whose pods hold an earlier credential are restarted, a few at a time, before it expires. It is so after each refresh."),
		v1alpha1.ReasonTargetNotFound: targetNotFound,
		v1alpha1.ReasonForbidden:      rolloutForbidden,
		v1alpha1.ReasonContended:      contended,
		v1alpha1.ReasonPodsOutdated:   podsOutdated,

		v1alpha1.ReasonSecretNotFound:  secretNotFound,
		v1alpha1.ReasonSecretForbidden: secretForbidden,
		v1alpha1.ReasonInvalidSecret:   invalidSecret,
		v1alpha1.ReasonInvalidCABundle: invalidCABundle,
		v1alpha1.ReasonInvalidEndpoint: invalidEndpoint,
	}
}

func well(means string) func(Situation) answer {
	return func(Situation) answer { return answer{means: means} }
}

// pointing is of a reason that another condition explains.
func pointing(means string) func(Situation) answer {
	return func(Situation) answer {
		return answer{means: means, here: []Step{
			{Do: "See the conditions Authorized and Issued, which say why. If both are True, the operator has not come to it yet: see whether it runs.", Copy: operatorRuns},
		}}
	}
}

// operatorRuns shows the operator, wherever it was installed.
const operatorRuns = "kubectl get pods -A -l app.kubernetes.io/name=rolecredential,app.kubernetes.io/component=manager"

// operator is the operator's service account, where the manifests put it.
const operator = "system:serviceaccount:rolecredential-system:rolecredential-manager"

// patch is a command that changes the credential's spec.
func (s Situation) patch(spec string) string {
	return kubectl("patch", s.subject(), "-n", s.namespace(), "--type=merge", "--patch", `{"spec":`+spec+`}`)
}

func (s Situation) edit() string {
	if s.Credential == nil {
		return s.editIdentity()
	}
	return kubectl("edit", s.subject(), "-n", s.namespace())
}

func (s Situation) editIdentity() string {
	return kubectl(append([]string{"edit"}, s.Ref.Args()...)...)
}

func (s Situation) events() Step {
	command := kubectl("events", "--for="+s.subject(), "-n", s.namespace())
	if args := s.Ref.Args(); s.Credential == nil {
		command = kubectl(append([]string{"events", "--for=" + args[0]}, args[1:]...)...)
	}
	return Step{Do: "Read what STS said: it is in the last event.", Copy: command}
}

func (s Situation) namespace() string {
	if s.Credential == nil {
		return cmp.Or(s.Ref.Namespace, "NAMESPACE")
	}
	return s.Credential.GetNamespace()
}

// otherIdentity is the step of naming another identity.
func (s Situation) otherIdentity(which string) Step {
	return Step{Do: "Or have the credential name another identity" + which + ".", Copy: s.patch(`{"identityRef":{"name":"NAME"}}`)}
}
