package v1alpha1

// Condition types of a credential: one per step of the way from the spec to a usable Secret.
const (
	// ConditionAuthorized is True when the identity exists, its configuration can work, and one of its rules allows this
	// namespace this request.
	ConditionAuthorized = "Authorized"
	// ConditionIssued is True when STS answered the last call for this spec with a credential.
	ConditionIssued = "Issued"
	// ConditionReady is True when the Secret holds unexpired credentials of this spec: usable now. It speaks of the Secret,
	// not of the last attempt: a refresh that fails while the old credential lives leaves it True. An identity is Ready when
	// its configuration can work and STS knows its caller.
	ConditionReady = "Ready"
	// ConditionRolledOut is there only if spec.rollout asks for restarts. It is True when no pod of the workloads concerned holds
	// an earlier credential than the Secret does. It is Unknown, with a reason of Ready, while the Secret holds none to restart
	// onto.
	ConditionRolledOut = "RolledOut"
)

// ConditionClockInSync of an identity is True when the clocks of STS and of the operator agree within a minute. Schedules follow
// the clock of STS either way.
const ConditionClockInSync = "ClockInSync"

// ReasonInSync is the reason of ConditionClockInSync when it is True; [ReasonClockSkew] is it when not.
const ReasonInSync = "InSync"

// Reasons of ConditionAuthorized.
const (
	// ReasonAllowed: a rule of the identity allows the request.
	ReasonAllowed = "Allowed"
	// ReasonIdentityNotFound: identityRef names an identity that does not exist.
	ReasonIdentityNotFound = "IdentityNotFound"
	// ReasonIdentityNotReady: the identity's configuration cannot work: a Secret or a key of it is missing, or its endpoint
	// or CA bundle is invalid. A failed GetCallerIdentity is not such a case.
	ReasonIdentityNotReady = "IdentityNotReady"
	// ReasonNotAllowed: no rule of the identity allows this namespace this role, call or session name.
	ReasonNotAllowed = "NotAllowed"
	// ReasonDurationNotAllowed: a rule allows the request, but not for that long.
	ReasonDurationNotAllowed = "DurationNotAllowed"
)

// Reasons of ConditionIssued. [ReasonIssued] is also the reason of a Ready credential.
const (
	// ReasonIssued: STS issued the credential.
	ReasonIssued = "Issued"
	// ReasonNotAttempted: STS was not called for this spec; another condition says why.
	ReasonNotAttempted = "NotAttempted"
	// ReasonWrongSourceType: the identity's credentials are temporary, and STS takes the call from an IAM user's own access key
	// only. It was not asked.
	ReasonWrongSourceType = "WrongSourceType"
	// ReasonInvalidMFA: the Secret of the MFA device's seed, or its key, does not exist, or holds no seed.
	ReasonInvalidMFA = "InvalidMFA"
	// ReasonTokenNotIssued: the API server issued no token for the service account that the credential names, or none that may be
	// shown to STS. STS was not asked.
	ReasonTokenNotIssued = "TokenNotIssued"
	// ReasonAccessDenied: STS knows the caller and refuses it the role.
	ReasonAccessDenied = "AccessDenied"
	// ReasonInvalidSourceCredentials: STS does not accept the identity's own credentials, or they cannot be had.
	ReasonInvalidSourceCredentials = "InvalidSourceCredentials"
	// ReasonInvalidRequest: STS rejected a value of the request, or the server does not support the call or an optional field of
	// it. Without status.failedCall STS could only reject the request, and the operator did not call it. Of an identity: its
	// region or a hop of its chain has no name that AWS knows, or STS rejected a hop so.
	ReasonInvalidRequest = "InvalidRequest"
	// ReasonInvalidTags: spec.tags has a key that only an identity may set, or more tags than STS takes together with the
	// identity's. The operator did not call STS.
	ReasonInvalidTags = "InvalidTags"
	// ReasonUnsupportedField: the spec has a field that AssumeRoleWithWebIdentity does not take. The operator did not call STS.
	ReasonUnsupportedField = "UnsupportedField"
	// ReasonWrongPartition: a role, policy or MFA device, or of an identity a hop of its chain, is of another AWS partition than
	// the identity's region. The operator did not call STS.
	ReasonWrongPartition = "WrongPartition"
	// ReasonPolicyTooLarge: session policies and tags together exceed the packed size that STS allows.
	ReasonPolicyTooLarge = "PolicyTooLarge"
	// ReasonMalformedPolicy: the session policy is not JSON, or not an IAM policy.
	ReasonMalformedPolicy = "MalformedPolicy"
	// ReasonRegionDisabled: STS is not activated for the caller's account in the identity's region.
	ReasonRegionDisabled = "RegionDisabled"
	// ReasonClockSkew: STS rejected the time of the request's signature.
	ReasonClockSkew = "ClockSkew"
	// ReasonThrottled: STS answers that it is asked too often.
	ReasonThrottled = "Throttled"
	// ReasonSTSUnreachable: STS could not be reached, or did not answer in time.
	ReasonSTSUnreachable = "STSUnreachable"
	// ReasonSTSError: the server returned an error that has no reason of its own here, or an answer that is not of STS.
	ReasonSTSError = "STSError"
	// ReasonSecretNotWritten: STS issued a credential, which was dropped because the API server refused the Secret, or the
	// formats or data of the spec cannot hold it.
	ReasonSecretNotWritten = "SecretNotWritten"
)

// Reasons of a credential's ConditionReady.
const (
	// ReasonSecretConflict: a Secret of that name exists and is not this credential's; it is left alone.
	ReasonSecretConflict = "SecretConflict"
	// ReasonNotIssued: there is no Secret yet; Authorized and Issued say why.
	ReasonNotIssued = "NotIssued"
	// ReasonExpired: the Secret's credential has expired.
	ReasonExpired = "Expired"
	// ReasonOutdated: the Secret holds a valid credential, but of an earlier spec.
	ReasonOutdated = "Outdated"
	// ReasonInvalidTemplate: the Secret cannot be written as the spec describes it.
	ReasonInvalidTemplate = "InvalidTemplate"
	// ReasonSuspended: spec.suspend is set. The status tells whether the Secret is still usable.
	ReasonSuspended = "Suspended"
)

// Reasons of ConditionRolledOut, beside [ReasonNotIssued] and [ReasonExpired].
const (
	// ReasonRolledOut: no pod holds an earlier credential.
	ReasonRolledOut = "RolledOut"
	// ReasonRestarting: workloads are being restarted, or will be in time, a few at once.
	ReasonRestarting = "Restarting"
	// ReasonTargetNotFound: spec.rollout names a workload that does not exist.
	ReasonTargetNotFound = "TargetNotFound"
	// ReasonForbidden: the operator may not read or restart the workloads; the ClusterRole for it can be left out.
	ReasonForbidden = "Forbidden"
	// ReasonContended: something keeps taking the annotation back that restarts a workload, so that it is left alone.
	ReasonContended = "Contended"
	// ReasonPodsOutdated: pods hold an earlier credential and are not going to be restarted, or were not in time.
	ReasonPodsOutdated = "PodsOutdated"
)

// Reasons of an identity's ConditionReady, beside [ReasonInvalidSourceCredentials], [ReasonAccessDenied], [ReasonInvalidRequest],
// [ReasonWrongPartition], [ReasonRegionDisabled], [ReasonClockSkew], [ReasonThrottled], [ReasonSTSUnreachable] and [ReasonSTSError].
const (
	// ReasonVerified: GetCallerIdentity answered; the status says who the caller is.
	ReasonVerified = "Verified"
	// ReasonNotVerifiable: the configuration can work, and there is no more to tell: this STS-compatible server has no
	// GetCallerIdentity, or each credential calls STS as a service account of its own.
	ReasonNotVerifiable = "NotVerifiable"
	// ReasonSecretNotFound: the source's Secret does not exist.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonSecretForbidden: the operator's RBAC does not let it read the source's Secret.
	ReasonSecretForbidden = "SecretForbidden"
	// ReasonInvalidSecret: the source's Secret lacks a key, or a key of it is empty.
	ReasonInvalidSecret = "InvalidSecret"
	// ReasonInvalidCABundle: caBundle holds no certificate that can be read.
	ReasonInvalidCABundle = "InvalidCABundle"
	// ReasonInvalidEndpoint: the endpoint is not the URL of a server.
	ReasonInvalidEndpoint = "InvalidEndpoint"
)
