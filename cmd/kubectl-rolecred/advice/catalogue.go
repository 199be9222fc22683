package advice

import (
	"cmp"

	"rolecredential.dev/operator/api/v1alpha1"
)

// catalogue maps each reason of the API to its guidance.
var catalogue map[string]func(Situation) guidance

func init() { //nolint:funlen // a table. A literal would be an initialization cycle: identityNotReady uses the catalogue
	catalogue = map[string]func(Situation) guidance{
		v1alpha1.ReasonAllowed:       noProblem("A rule of the identity allows the request."),
		v1alpha1.ReasonIssued:        noProblem("STS issued session credentials for the current spec."),
		v1alpha1.ReasonVerified:      noProblem("STS confirmed the identity's caller."),
		v1alpha1.ReasonNotVerifiable: noProblem("The identity's configuration is valid, but its caller cannot be verified. Either its endpoint has no GetCallerIdentity, or the source itself reaches the role of each credential, with a token or certificate."),
		v1alpha1.ReasonInSync:        noProblem("The clocks of STS and of the operator agree."),

		v1alpha1.ReasonIdentityNotFound:   identityNotFound,
		v1alpha1.ReasonIdentityNotReady:   identityNotReady,
		v1alpha1.ReasonNotAllowed:         notAllowed,
		v1alpha1.ReasonDurationNotAllowed: durationNotAllowed,

		v1alpha1.ReasonNotAttempted:             notAttempted,
		v1alpha1.ReasonWrongSourceType:          wrongSourceType,
		v1alpha1.ReasonInvalidMFA:               invalidMFA,
		v1alpha1.ReasonTokenNotIssued:           tokenNotIssued,
		v1alpha1.ReasonTokenExpired:             tokenNotCurrent,
		v1alpha1.ReasonTokenNotYetValid:         tokenNotCurrent,
		v1alpha1.ReasonClientRejected:           clientRejected,
		v1alpha1.ReasonProviderUnreachable:      providerUnreachable,
		v1alpha1.ReasonProviderError:            providerError,
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
		v1alpha1.ReasonNotIssued:       seeOtherConditions("STS has issued no session credentials yet."),
		v1alpha1.ReasonExpired:         seeOtherConditions("The session credentials in the Secret have expired, and no refresh has replaced them."),
		v1alpha1.ReasonOutdated:        seeOtherConditions("The Secret holds valid session credentials, but of an earlier spec."),
		v1alpha1.ReasonInvalidTemplate: invalidTemplate,
		v1alpha1.ReasonSuspended:       suspended,

		v1alpha1.ReasonRolledOut:         noProblem("No running pod is stale."),
		v1alpha1.ReasonRestarting:        noProblem("The operator restarts workloads with stale pods, a few at a time, before the earlier credentials expire. It does so after each refresh."),
		v1alpha1.ReasonTargetNotFound:    targetNotFound,
		v1alpha1.ReasonForbidden:         rolloutForbidden,
		v1alpha1.ReasonContended:         contended,
		v1alpha1.ReasonDiscoveryTooLarge: discoveryTooLarge,
		v1alpha1.ReasonPodsOutdated:      podsOutdated,

		v1alpha1.ReasonSecretNotFound:  secretNotFound,
		v1alpha1.ReasonSecretForbidden: secretForbidden,
		v1alpha1.ReasonInvalidSecret:   invalidSecret,
		v1alpha1.ReasonInvalidCABundle: invalidCABundle,

		v1alpha1.ReasonCertificateUsable:      noProblem("The certificate in the Secret of the identity's source is valid."),
		v1alpha1.ReasonCertificateExpired:     wrongTime("The certificate in the Secret of the identity's source, or one of its intermediates, has expired."),
		v1alpha1.ReasonCertificateNotYetValid: wrongTime("The certificate in the Secret of the identity's source, or one of its intermediates, is not valid yet."),
		v1alpha1.ReasonInvalidEndpoint:        invalidEndpoint,
	}
}

func noProblem(means string) func(Situation) guidance {
	return func(Situation) guidance { return guidance{means: means} }
}

// seeOtherConditions returns guidance for a reason that another condition explains.
func seeOtherConditions(means string) func(Situation) guidance {
	return func(Situation) guidance {
		return guidance{means: means, cluster: []Step{
			{Do: "Read the conditions Authorized and Issued, which say why. If both are True, check that the operator runs.", Copy: operatorRuns},
		}}
	}
}

// operatorRuns lists the operator's pods in any namespace.
const operatorRuns = "kubectl get pods -A -l app.kubernetes.io/name=rolecredential,app.kubernetes.io/component=manager"

// operator is the user name of the operator's service account in the manifests.
const operator = "system:serviceaccount:rolecredential-system:rolecredential-manager"

// patch returns a command that patches the credential's spec.
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
	return Step{Do: "Read the answer of STS in the last event.", Copy: command}
}

func (s Situation) namespace() string {
	if s.Credential == nil {
		return cmp.Or(s.Ref.Namespace, "NAMESPACE")
	}
	return s.Credential.GetNamespace()
}

// otherIdentity is the step of setting another identity in the credential.
func (s Situation) otherIdentity(which string) Step {
	return Step{Do: "Or set identityRef to another identity" + which + ".", Copy: s.patch(`{"identityRef":{"name":"NAME"}}`)}
}
