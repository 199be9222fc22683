package stsemulator

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
)

const (
	// sessionsPath is the path of CreateSession. STS answers on all other paths.
	sessionsPath         = "/sessions"
	actionCreateSession  = "CreateSession"
	rolesAnywhereService = "rolesanywhere.amazonaws.com"
)

var createSessionBounds = []bound{
	{name: "profileArn", required: true, min: 1, max: 1011, pattern: arnPattern},
	{name: "roleArn", required: true, min: 1, max: 1011, pattern: arnPattern},
	{name: "trustAnchorArn", required: true, min: 1, max: 1011, pattern: arnPattern},
	{name: "durationSeconds", integer: true, min: 900, max: 43200},
	{name: "roleSessionName", min: 2, max: 64, pattern: namePattern},
}

// serveCreateSession answers CreateSession of IAM Roles Anywhere (IAM Roles Anywhere User Guide, 'IAM Roles Anywhere CreateSession API').
//
// AWS documents no messages of its errors. "Untrusted signing certificate", "Untrusted certificate. Insufficient certificate", "Not
// authorized to set roleSessionName" and "Unable to assume role for ..." are AWS's, as users report them. All other messages, and the
// codes of a wrong signature or date, are the emulator's: a client must not depend on them.
func (s *Server) serveCreateSession(w http.ResponseWriter, r *http.Request, body []byte) {
	parameters, parametersErr := createSessionParameters(r.URL.Query(), body)
	auth, authErr := parseX509Authorization(r.Header)
	call, done := s.begin(w, r, jsonFormat, Call{
		Action: actionCreateSession, Parameters: parameters, AccessKeyID: auth.accessKeyID, Region: auth.region,
	})
	if done {
		return
	}
	result, err := s.createSession(r, body, auth, call, errors.Join(parametersErr, authErr))
	if err != nil {
		s.answerError(w, call, err, jsonFormat)
		return
	}
	answer, err := json.Marshal(result)
	if err != nil {
		s.answerError(w, call, err, jsonFormat)
		return
	}
	s.answer(w, call, jsonFormat, http.StatusCreated, "", answer)
}

// createSessionParameters returns the parameters of a request. The three ARNs may be in the query or in the body.
func createSessionParameters(query url.Values, body []byte) (url.Values, error) {
	var in struct {
		ProfileARN      string `json:"profileArn"`
		RoleARN         string `json:"roleArn"`
		TrustAnchorARN  string `json:"trustAnchorArn"`
		DurationSeconds *int   `json:"durationSeconds"`
		RoleSessionName string `json:"roleSessionName"`
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, newError("SerializationException", "The request body is not the JSON of CreateSession.")
		}
	}
	parameters := url.Values{}
	for name, value := range map[string]string{
		"profileArn": in.ProfileARN, "roleArn": in.RoleARN, "trustAnchorArn": in.TrustAnchorARN, "roleSessionName": in.RoleSessionName,
	} {
		if name != "roleSessionName" && query.Has(name) {
			value = query.Get(name)
		}
		if value != "" {
			parameters.Set(name, value)
		}
	}
	if in.DurationSeconds != nil {
		parameters.Set("durationSeconds", strconv.Itoa(*in.DurationSeconds))
	}
	return parameters, nil
}

// createSession verifies a request in AWS's order: its form, its signature, the certificate, the profile, the role's trust policy.
func (s *Server) createSession(r *http.Request, body []byte, auth authorization, call *Call, malformed error) (any, error) {
	if malformed != nil {
		return nil, malformed
	}
	if err := validate(call.Parameters, createSessionBounds); err != nil {
		return nil, asException(err)
	}
	certificates, err := certificatesOf(r.Header)
	if err != nil {
		return nil, err
	}
	if err := auth.verifyX509(r, body, certificates[0], s.options.SignatureClock.Now()); err != nil {
		return nil, err
	}
	anchor, err := s.iam.trustAnchor(call.Parameters.Get("trustAnchorArn"), auth.region)
	if err != nil {
		return nil, err
	}
	if err := anchor.verify(certificates, s.options.Clock.Now()); err != nil {
		return nil, err
	}
	profile, err := s.iam.profile(call.Parameters.Get("profileArn"), anchor)
	if err != nil {
		return nil, err
	}
	holder := certificateHolder{certificate: certificates[0], anchor: anchor}
	s.calls.update(call, func(c *Call) { c.CallerARN = holder.subjectARN() })
	return s.assumeForCertificate(request{ctx: r.Context(), region: auth.region, call: call}, holder, profile)
}

// asException gives STS's validation error the code of IAM Roles Anywhere.
func asException(err error) error {
	if e, ok := errors.AsType[*apiError](err); ok {
		return newError("ValidationException", "%s", e.Message)
	}
	return err
}

// assumeForCertificate is the AssumeRole of the service for the holder of a verified certificate. It is not role chaining.
func (s *Server) assumeForCertificate(req request, holder certificateHolder, profile Profile) (any, error) {
	parameters := req.call.Parameters
	roleARN, name := parameters.Get("roleArn"), parameters.Get("roleSessionName")
	if err := profile.admits(roleARN, name); err != nil {
		return nil, err
	}
	if name == "" {
		name = holder.sessionName()
	}
	session := Session{
		CallerARN: holder.subjectARN(), RoleARN: roleARN, Subject: holder.certificate.Subject.String(),
		SourceIdentity: holder.certificate.Subject.CommonName, Tags: holder.tags(),
	}
	role, ok := s.iam.role(roleARN)
	if !ok || !role.trustsCertificate(holder, name) {
		return nil, newError("AccessDeniedException", "Unable to assume role for %s", roleARN)
	}
	seconds := profile.durationSeconds()
	if requested, err := strconv.Atoi(parameters.Get("durationSeconds")); err == nil {
		seconds = min(seconds, requested)
	}
	if err := errors.Join(role.checkDuration(seconds, false), session.pack()); err != nil {
		return nil, newError("AccessDeniedException", "Unable to assume role for %s\n%s", roleARN, messageOf(err))
	}
	user := role.holder(name)
	return createSessionResult{
		CredentialSet: []credentialSet{{
			AssumedRoleUser: s.assumedRoleUser(user), Credentials: s.issue(req, session, user, seconds),
			PackedPolicySize: session.PackedPolicySize, RoleARN: roleARN, SourceIdentity: session.SourceIdentity,
		}},
		SubjectARN: session.CallerARN,
	}, nil
}

func messageOf(err error) string {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e.Message
	}
	return err.Error()
}

// trustsCertificate returns whether a role's trust policy allows the service all of what it does for the holder of a certificate.
func (r foundRole) trustsCertificate(holder certificateHolder, sessionName string) bool {
	who := applicant{service: rolesAnywhereService, claims: map[string]string{
		sourceARN: holder.anchor.ARN, sourceAccount: holder.anchor.accountID(),
		roleSessionName: sessionName, sourceIdentity: holder.certificate.Subject.CommonName,
	}}
	for key, value := range holder.tags() {
		who.claims[principalTag+key] = value
	}
	for _, action := range []string{actionAssumeRole, actionTagSession, actionSetSourceIdentity} {
		if !r.allows(who, action) {
			return false
		}
	}
	return true
}

type createSessionResult struct {
	CredentialSet []credentialSet `json:"credentialSet"`
	SubjectARN    string          `json:"subjectArn"`
}

type credentialSet struct {
	AssumedRoleUser  assumedRoleUser `json:"assumedRoleUser"`
	Credentials      credentials     `json:"credentials"`
	PackedPolicySize int             `json:"packedPolicySize"`
	RoleARN          string          `json:"roleArn"`
	SourceIdentity   string          `json:"sourceIdentity"`
}
