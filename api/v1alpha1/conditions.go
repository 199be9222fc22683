package v1alpha1

// Condition types of a credential, one for each step from the spec to a usable Secret.
const (
	// ConditionAuthorized is True when the identity exists and is usable, and one of its rules allows the request of
	// this namespace.
	ConditionAuthorized = "Authorized"
	// ConditionIssued is True when the last STS call for this spec issued a credential.
	ConditionIssued = "Issued"
	// ConditionReady is True when the Secret holds unexpired credentials of this spec. It describes the Secret, not
	// the last attempt: when a refresh fails, it stays True until the old credential expires. An identity is Ready
	// when its configuration is valid and GetCallerIdentity succeeds.
	ConditionReady = "Ready"
	// ConditionRolledOut exists only if spec.rollout is set. It is True when no pod of the workloads holds an earlier
	// credential than the Secret does. It is Unknown while the credential is not authorized, with the reason of
	// Authorized, and while the Secret has no usable credential, with the reason of Ready.
	ConditionRolledOut = "RolledOut"
)

// ConditionClockInSync of an identity is True when the clocks of STS and of the operator agree within a minute.
// Schedules follow the clock of STS in both cases.
const ConditionClockInSync = "ClockInSync"

// Reasons of ConditionClockInSync, beside [ReasonClockSkew].
const (
	// ReasonInSync: the clocks agree.
	ReasonInSync = "InSync"
)

// ConditionCertificateValid of an identity with source.x509 is True when the certificate in its Secret is usable now. It
// does not report whether IAM Roles Anywhere accepts it. It is absent while the operator has read no Secret.
const ConditionCertificateValid = "CertificateValid"

// Reasons of ConditionCertificateValid, beside [ReasonInvalidSecret]. When it is False, ConditionReady has the same reason.
const (
	// ReasonCertificateUsable: the certificate, its key and its chain are valid.
	ReasonCertificateUsable = "CertificateUsable"
	// ReasonCertificateExpired: the certificate or an intermediate has expired.
	ReasonCertificateExpired = "CertificateExpired"
	// ReasonCertificateNotYetValid: the certificate or an intermediate is not valid yet.
	ReasonCertificateNotYetValid = "CertificateNotYetValid"
)

// Reasons of ConditionAuthorized.
const (
	// ReasonAllowed: a rule of the identity allows the request.
	ReasonAllowed = "Allowed"
	// ReasonIdentityNotFound: identityRef names an identity that does not exist.
	ReasonIdentityNotFound = "IdentityNotFound"
	// ReasonIdentityNotReady: the identity's configuration is not usable: a Secret or a key of it is missing, or the
	// endpoint or CA bundle is invalid. A failed GetCallerIdentity does not cause it.
	ReasonIdentityNotReady = "IdentityNotReady"
	// ReasonNotAllowed: no rule of the identity allows this namespace this role, call or session name.
	ReasonNotAllowed = "NotAllowed"
	// ReasonDurationNotAllowed: a rule allows the request, but not its duration.
	ReasonDurationNotAllowed = "DurationNotAllowed"
)

// Reasons of ConditionIssued. [ReasonIssued] is also the reason of a Ready credential.
const (
	// ReasonIssued: STS issued the credential.
	ReasonIssued = "Issued"
	// ReasonNotAttempted: the operator did not call STS for this spec; the message says why, or names the condition that does.
	ReasonNotAttempted = "NotAttempted"
	// ReasonWrongSourceType: the identity's credentials are temporary, but the call requires an IAM user's own access
	// key. The operator did not call STS.
	ReasonWrongSourceType = "WrongSourceType"
	// ReasonInvalidMFA: the Secret of the MFA device's seed or its key does not exist, or contains no valid seed.
	ReasonInvalidMFA = "InvalidMFA"
	// ReasonTokenNotIssued: the API server issued no token for the service account that the credential names, or one
	// that the operator must not send to STS. The operator did not call STS.
	ReasonTokenNotIssued = "TokenNotIssued"
	// ReasonTokenExpired: the token of the identity's source has expired by the clock of STS. The operator did not call STS.
	ReasonTokenExpired = "TokenExpired"
	// ReasonTokenNotYetValid: the token of the identity's source is not valid yet by the clock of STS. The operator did not
	// call STS.
	ReasonTokenNotYetValid = "TokenNotYetValid"
	// ReasonClientRejected: the OIDC provider rejected the client or its secret. The operator did not call STS.
	ReasonClientRejected = "ClientRejected"
	// ReasonProviderUnreachable: the connection to the OIDC provider failed or timed out. The operator did not call STS.
	ReasonProviderUnreachable = "ProviderUnreachable"
	// ReasonProviderError: the OIDC provider returned an error, or no token that the operator can send to STS. The operator
	// did not call STS.
	ReasonProviderError = "ProviderError"
	// ReasonAccessDenied: STS denied the caller access to the role or the call.
	ReasonAccessDenied = "AccessDenied"
	// ReasonInvalidSourceCredentials: STS rejected the identity's own credentials, or the source provides none.
	ReasonInvalidSourceCredentials = "InvalidSourceCredentials"
	// ReasonInvalidRequest: STS rejected a value of the request, or the server does not support the call or an
	// optional field of it. Without status.failedCall, the operator found the value invalid and did not call STS. On
	// an identity: its region or a hop of its chain is not valid, or STS rejected a hop.
	ReasonInvalidRequest = "InvalidRequest"
	// ReasonInvalidTags: spec.tags has a key that only an identity may set, or has more tags than STS accepts
	// together with the identity's. The operator did not call STS.
	ReasonInvalidTags = "InvalidTags"
	// ReasonUnsupportedField: the spec has a field that AssumeRoleWithWebIdentity or CreateSession does not take. The operator
	// did not call STS.
	ReasonUnsupportedField = "UnsupportedField"
	// ReasonWrongPartition: a role, policy or MFA device, or a hop of the identity's chain, is in another AWS
	// partition than the identity's region. The operator did not call STS.
	ReasonWrongPartition = "WrongPartition"
	// ReasonPolicyTooLarge: session policies and tags together exceed the packed size limit of STS.
	ReasonPolicyTooLarge = "PolicyTooLarge"
	// ReasonMalformedPolicy: the session policy is not JSON, or not an IAM policy.
	ReasonMalformedPolicy = "MalformedPolicy"
	// ReasonRegionDisabled: STS is not activated for the caller's account in the identity's region.
	ReasonRegionDisabled = "RegionDisabled"
	// ReasonClockSkew: STS rejected the request because the operator's clock is off.
	ReasonClockSkew = "ClockSkew"
	// ReasonThrottled: STS throttled the request.
	ReasonThrottled = "Throttled"
	// ReasonSTSUnreachable: the connection to STS failed or timed out.
	ReasonSTSUnreachable = "STSUnreachable"
	// ReasonSTSError: the server returned an error without a specific reason here, or a response that is not valid
	// for STS.
	ReasonSTSError = "STSError"
	// ReasonSecretNotWritten: STS issued a credential, but the API server rejected the Secret, or the formats or data
	// of the spec cannot represent it. The operator dropped the credential.
	ReasonSecretNotWritten = "SecretNotWritten"
)

// Reasons of a credential's ConditionReady.
const (
	// ReasonSecretConflict: a foreign Secret of that name exists. The operator does not change it.
	ReasonSecretConflict = "SecretConflict"
	// ReasonNotIssued: the Secret holds no credential of this object yet; Authorized and Issued report why.
	ReasonNotIssued = "NotIssued"
	// ReasonExpired: the Secret's credential has expired.
	ReasonExpired = "Expired"
	// ReasonOutdated: the Secret holds a valid credential, but of an earlier spec.
	ReasonOutdated = "Outdated"
	// ReasonInvalidTemplate: the formats or data of the spec cannot be rendered into a Secret.
	ReasonInvalidTemplate = "InvalidTemplate"
	// ReasonSuspended: spec.suspend is set. The condition's status reports whether the Secret is still usable.
	ReasonSuspended = "Suspended"
)

// Reasons of ConditionRolledOut, beside [ReasonNotIssued], [ReasonExpired] and the reasons of ConditionAuthorized.
const (
	// ReasonRolledOut: no pod holds an earlier credential.
	ReasonRolledOut = "RolledOut"
	// ReasonRestarting: the operator is restarting workloads, a few at a time.
	ReasonRestarting = "Restarting"
	// ReasonTargetNotFound: spec.rollout names a workload that does not exist.
	ReasonTargetNotFound = "TargetNotFound"
	// ReasonForbidden: the operator's RBAC does not allow it to read or restart the workloads. The ClusterRole for
	// rollouts is optional.
	ReasonForbidden = "Forbidden"
	// ReasonContended: another writer keeps removing the annotation that restarts a workload, so the operator stopped
	// restarting it.
	ReasonContended = "Contended"
	// ReasonDiscoveryTooLarge: the pods of the namespace are larger than what the operator reads to find workloads.
	ReasonDiscoveryTooLarge = "DiscoveryTooLarge"
	// ReasonPodsOutdated: pods hold an earlier credential and are not restarted, or were not restarted in time.
	ReasonPodsOutdated = "PodsOutdated"
)

// Reasons of an identity's ConditionReady, beside [ReasonInvalidSourceCredentials], [ReasonAccessDenied], [ReasonInvalidRequest],
// [ReasonWrongPartition], [ReasonRegionDisabled], [ReasonClockSkew], [ReasonThrottled], [ReasonSTSUnreachable], [ReasonSTSError],
// [ReasonTokenExpired], [ReasonTokenNotYetValid], [ReasonClientRejected], [ReasonProviderUnreachable] and [ReasonProviderError].
const (
	// ReasonVerified: GetCallerIdentity succeeded; the status reports the caller.
	ReasonVerified = "Verified"
	// ReasonNotVerifiable: the configuration is valid, but cannot be verified: the STS-compatible server has no
	// GetCallerIdentity, each credential calls STS with a web identity token, or there is no session to call it with before
	// a credential's own.
	ReasonNotVerifiable = "NotVerifiable"
	// ReasonSecretNotFound: the source's Secret does not exist.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonSecretForbidden: the operator's RBAC does not allow it to read the source's Secret.
	ReasonSecretForbidden = "SecretForbidden"
	// ReasonInvalidSecret: the source's Secret lacks a key, or its value is not what the source needs.
	ReasonInvalidSecret = "InvalidSecret"
	// ReasonInvalidCABundle: caBundle contains no valid certificate.
	ReasonInvalidCABundle = "InvalidCABundle"
	// ReasonInvalidEndpoint: the endpoint, or a URL of the source, is not a valid URL of a server, or not allowed.
	ReasonInvalidEndpoint = "InvalidEndpoint"
)
