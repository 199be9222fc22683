package stsemulator_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	. "github.com/onsi/gomega"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	onPremisesARN = "arn:aws:iam::123456789012:role/OnPremises"
	anchorARN     = "arn:aws:rolesanywhere:eu-west-1:123456789012:trust-anchor/7a6c4b2e-0f5d-4c3b-9a81-2d1e0f9c8b7a"
	profileARN    = "arn:aws:rolesanywhere:eu-west-1:123456789012:profile/0d5f3b1a-6e2c-4f7d-8b90-1c2d3e4f5a6b"
)

// serveAnchor serves an emulator with a role, a profile and a trust anchor of the CA.
func serveAnchor(t *testing.T, a authority, opts stsemulator.Options) emulator {
	t.Helper()
	g := NewWithT(t)
	e := serve(t, opts)
	g.Expect(e.PutTrustAnchor(stsemulator.TrustAnchor{ARN: anchorARN, Certificates: a.pem()})).To(Succeed())
	g.Expect(e.PutProfile(onPremisesProfile())).To(Succeed())
	g.Expect(e.PutRole("123456789012", stsemulator.Role{
		Name: "OnPremises", MaxSessionDuration: 43200, MayAssume: []string{"*"}, Trust: []stsemulator.Trust{trustOperator()},
	})).To(Succeed())
	return e
}

func onPremisesProfile(change ...func(*stsemulator.Profile)) stsemulator.Profile {
	p := stsemulator.Profile{ARN: profileARN, RoleARNs: []string{onPremisesARN, readerARN}, DurationSeconds: 43200}
	for _, f := range change {
		f(&p)
	}
	return p
}

func trustOperator(change ...func(*stsemulator.Trust)) stsemulator.Trust {
	trust := stsemulator.Trust{
		Service: "rolesanywhere.amazonaws.com",
		StringEquals: map[string][]string{
			"aws:PrincipalTag/x509Subject/CN": {"rolecredential-operator"}, "aws:SourceArn": {anchorARN}, "aws:SourceAccount": {"123456789012"},
			"sts:SourceIdentity": {"rolecredential-operator"},
		},
		StringLike: map[string][]string{"aws:PrincipalTag/x509Issuer/O": {"Exam*"}, "aws:PrincipalTag/x509SAN/URI": {"spiffe://example.com/*"}},
	}
	for _, f := range change {
		f(&trust)
	}
	return trust
}

type createSessionResult struct {
	CredentialSet []struct {
		AssumedRoleUser struct{ ARN, AssumedRoleID string }
		Credentials     struct {
			AccessKeyID, SecretAccessKey, SessionToken string
			Expiration                                 time.Time
		}
		PackedPolicySize        int
		RoleARN, SourceIdentity string
	}
	SubjectARN string
}

func (r createSessionResult) credentials() aws.Credentials {
	c := r.CredentialSet[0].Credentials
	return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
}

// createSession fails the test unless a session is issued.
func (e emulator) createSession(t *testing.T, a attempt) createSessionResult {
	t.Helper()
	g := NewWithT(t)
	status, body, header := send(t, a.request(t, e))
	g.Expect(status).To(Equal(http.StatusCreated), body)
	g.Expect(header.Get("Content-Type")).To(Equal("application/json"))
	var result createSessionResult
	g.Expect(json.Unmarshal([]byte(body), &result)).To(Succeed())
	g.Expect(result.CredentialSet).To(HaveLen(1))
	return result
}

// refusal is an error response of CreateSession.
type refusal struct {
	Status        int
	Code, Message string
}

func (e emulator) refused(t *testing.T, a attempt) refusal {
	t.Helper()
	status, body, header := send(t, a.request(t, e))
	var answer struct{ Message string }
	NewWithT(t).Expect(json.Unmarshal([]byte(body), &answer)).To(Succeed(), body)
	return refusal{status, header.Get("X-Amzn-Errortype"), answer.Message}
}

func denied(message string) refusal {
	return refusal{http.StatusForbidden, "AccessDeniedException", message}
}

func TestCertificateIsExchangedForASessionOfARole(t *testing.T) {
	for name, key := range map[string]func(*testing.T) crypto.Signer{"RSA 2048": rsaKey, "P-256": ecKey(elliptic.P256()), "P-384": ecKey(elliptic.P384())} {
		for _, chained := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " with an intermediate"}[chained], func(t *testing.T) {
				g := NewWithT(t)
				root := newAuthority(t)
				issuer, chain := root, []*x509.Certificate(nil)
				if chained {
					issuer = root.intermediate(t)
					chain = []*x509.Certificate{issuer.certificate}
				}
				e := serveAnchor(t, root, stsemulator.Options{})
				a := attempt{key: key(t), chain: chain, inQuery: chained, body: map[string]any{"durationSeconds": 43200}}
				a.certificate = issuer.issue(t, a.key.Public())
				result := e.createSession(t, a)

				set := result.CredentialSet[0]
				g.Expect(set.AssumedRoleUser.ARN).To(Equal("arn:aws:sts::123456789012:assumed-role/OnPremises/0102030405"))
				g.Expect(set.AssumedRoleUser.AssumedRoleID).To(MatchRegexp(`^AROA[A-Z2-7]{17}:0102030405$`))
				g.Expect(set.Credentials.Expiration).To(BeTemporally("==", start.Add(12*time.Hour)))
				g.Expect(set.RoleARN + " " + set.SourceIdentity).To(Equal(onPremisesARN + " rolecredential-operator"))
				g.Expect(set.PackedPolicySize).To(BeNumerically(">", 0), "the certificate's attributes are session tags")
				g.Expect(result.SubjectARN).To(MatchRegexp(`^arn:aws:rolesanywhere:eu-west-1:123456789012:subject/[0-9a-f-]{36}$`))
				me, err := e.client(result.credentials()).GetCallerIdentity(t.Context(), nil)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(*me.Arn).To(Equal(set.AssumedRoleUser.ARN))
			})
		}
	}
}

func TestCreateSessionIsRecorded(t *testing.T) {
	g := NewWithT(t)
	root := newAuthority(t)
	e := serveAnchor(t, root, stsemulator.Options{})
	g.Expect(e.PutProfile(onPremisesProfile(func(p *stsemulator.Profile) { p.AcceptRoleSessionName = true }))).To(Succeed())
	a := root.attempt(t)
	a.body = map[string]any{"durationSeconds": 900, "roleSessionName": "shop.s3-reader"}
	result := e.createSession(t, a)
	g.Expect(result.CredentialSet[0].AssumedRoleUser.ARN).To(HaveSuffix(":assumed-role/OnPremises/shop.s3-reader"))

	call := e.lastCall(t)
	g.Expect(call.Action).To(Equal("CreateSession"))
	g.Expect(call.Parameters).To(Equal(url.Values{
		"profileArn": {profileARN}, "roleArn": {onPremisesARN}, "trustAnchorArn": {anchorARN}, "durationSeconds": {"900"}, "roleSessionName": {"shop.s3-reader"},
	}))
	g.Expect(call.AccessKeyID).To(Equal("4328719365"), "the serial number 0x0102030405")
	g.Expect([]any{call.Status, call.Region, call.CallerARN}).To(Equal([]any{201, "eu-west-1", result.SubjectARN}))
	session, ok := e.Session(call.IssuedAccessKeyID)
	g.Expect(ok).To(BeTrue())
	g.Expect([]string{session.Action, session.CallerARN, session.RoleARN, session.SourceIdentity}).
		To(Equal([]string{"CreateSession", result.SubjectARN, onPremisesARN, "rolecredential-operator"}))
	g.Expect(session.Subject).To(ContainSubstring("CN=rolecredential-operator"))
	g.Expect(session.Tags).To(Equal(map[string]string{
		"x509Subject/CN": "rolecredential-operator", "x509Subject/O": "Example", "x509Issuer/CN": "Root", "x509Issuer/O": "Example",
		"x509SAN/DNS": "operator.example.com", "x509SAN/URI": "spiffe://example.com/operator",
	}))
}

func TestSignatureOfACertificateIsVerified(t *testing.T) {
	root := newAuthority(t)
	other := newAuthority(t)
	for name, tc := range map[string]struct {
		change func(*testing.T, *attempt)
		want   string
	}{
		"another key":             {func(t *testing.T, a *attempt) { a.key = ecKey(elliptic.P256())(t) }, "The signature does not match."},
		"another algorithm":       {func(_ *testing.T, a *attempt) { a.algorithm = "AWS4-X509-RSA-SHA256" }, "The signature does not match."},
		"an algorithm of STS":     {func(_ *testing.T, a *attempt) { a.algorithm = "AWS4-HMAC-SHA256" }, `Unsupported signing algorithm "AWS4-HMAC-SHA256".`},
		"an algorithm of ML-DSA":  {func(_ *testing.T, a *attempt) { a.algorithm = "AWS4-X509-MLDSA65" }, `Unsupported signing algorithm "AWS4-X509-MLDSA65".`},
		"a changed body":          {after(func(r *http.Request) { replaceBody(r, `{"durationSeconds":43200}`) }), "The signature does not match."},
		"a changed query":         {after(func(r *http.Request) { r.URL.RawQuery += "&x=1" }), "The signature does not match."},
		"a changed header":        {after(func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }), "The signature does not match."},
		"an unsigned AWS header":  {after(func(r *http.Request) { r.Header.Set("X-Amz-Other", "x") }), "The header x-amz-other is not signed."},
		"an unsigned certificate": {func(_ *testing.T, a *attempt) { a.unsigned = "x-amz-x509" }, "The header x-amz-x509 is not signed."},
		"an unsigned date":        {func(_ *testing.T, a *attempt) { a.unsigned = "x-amz-date" }, "The header x-amz-date is not signed."},
		"an unsigned host":        {func(_ *testing.T, a *attempt) { a.unsigned = "host" }, "The header host is not signed."},
		"an unsigned chain": {func(_ *testing.T, a *attempt) {
			a.chain, a.unsigned = []*x509.Certificate{root.certificate}, "x-amz-x509-chain"
		}, "The header x-amz-x509-chain is not signed."},
		"another serial number":   {func(_ *testing.T, a *attempt) { a.serial = "0102030405" }, "The credential scope does not start with the certificate's serial number."},
		"another service":         {func(_ *testing.T, a *attempt) { a.service = "sts" }, "The credential scope is not of this date and service."},
		"another certificate":     {after(func(r *http.Request) { r.Header.Set("X-Amz-X509", encodeChain(other.issue(t, other.key.Public()))) }), "The signature does not match."},
		"no certificate":          {after(func(r *http.Request) { r.Header.Del("X-Amz-X509") }), "A certificate cannot be parsed."},
		"a certificate in PEM":    {after(func(r *http.Request) { r.Header.Set("X-Amz-X509", "-----BEGIN CERTIFICATE-----") }), "A certificate is not the base64 of DER."},
		"no signature":            {after(func(r *http.Request) { r.Header.Del("Authorization") }), `Unsupported signing algorithm "".`},
		"five minutes old":        {func(_ *testing.T, a *attempt) { a.at = start.Add(-5 * time.Minute) }, ""},
		"older":                   {func(_ *testing.T, a *attempt) { a.at = start.Add(-5*time.Minute - time.Second) }, "Signature expired: 20260102T025904Z is now earlier than 20260102T025905Z"},
		"five minutes ahead":      {func(_ *testing.T, a *attempt) { a.at = start.Add(5 * time.Minute) }, ""},
		"further ahead":           {func(_ *testing.T, a *attempt) { a.at = start.Add(5*time.Minute + time.Second) }, "Signature not yet current: 20260102T030906Z is still later than 20260102T030905Z"},
		"a chain of six":          {func(_ *testing.T, a *attempt) { a.chain = slices.Repeat([]*x509.Certificate{root.certificate}, 6) }, "X-Amz-X509-Chain holds more than 5 certificates."},
		"an anchor of its region": {func(_ *testing.T, _ *attempt) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := serveAnchor(t, root, stsemulator.Options{SignatureClock: clocktesting.NewFakePassiveClock(start)})
			a := root.attempt(t)
			a.at, a.inQuery = start, true
			tc.change(t, &a)
			if tc.want == "" {
				e.createSession(t, a)
				return
			}
			NewWithT(t).Expect(e.refused(t, a)).To(Equal(denied(tc.want)))
			NewWithT(t).Expect(e.Sessions()).To(BeEmpty())
		})
	}
}

func TestCertificateMustBeOfTheTrustAnchor(t *testing.T) {
	root := newAuthority(t)
	middle := root.intermediate(t)
	key := ecKey(elliptic.P256())(t)
	const untrusted, insufficient = "Untrusted signing certificate", "Untrusted certificate. Insufficient certificate"
	const expired = "Untrusted certificate. Certificate expired or not yet valid"
	for name, tc := range map[string]struct {
		issuer authority
		chain  []*x509.Certificate
		change func(*x509.Certificate)
		want   string
	}{
		"of the anchor":               {issuer: root},
		"of an intermediate":          {issuer: middle, chain: []*x509.Certificate{middle.certificate}},
		"of another CA":               {issuer: newAuthority(t), want: untrusted},
		"without its intermediate":    {issuer: middle, want: untrusted},
		"signed by a leaf":            {issuer: authority{root.issue(t, key.Public()), key}, chain: []*x509.Certificate{root.issue(t, key.Public())}, want: untrusted},
		"expired":                     {issuer: root, change: func(c *x509.Certificate) { c.NotAfter = start.Add(-time.Second) }, want: expired},
		"not yet valid":               {issuer: root, change: func(c *x509.Certificate) { c.NotBefore = start.Add(time.Second) }, want: expired},
		"a CA":                        {issuer: root, change: func(c *x509.Certificate) { c.IsCA = true; c.KeyUsage |= x509.KeyUsageCertSign }, want: insufficient},
		"without a digital signature": {issuer: root, change: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, want: insufficient},
		"without basic constraints":   {issuer: root, change: func(c *x509.Certificate) { c.BasicConstraintsValid = false }, want: insufficient},
		"for servers only":            {issuer: root, change: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }},
	} {
		t.Run(name, func(t *testing.T) {
			e := serveAnchor(t, root, stsemulator.Options{})
			var changes []func(*x509.Certificate)
			if tc.change != nil {
				changes = append(changes, tc.change)
			}
			a := attempt{key: key, certificate: tc.issuer.issue(t, key.Public(), changes...), chain: tc.chain}
			if tc.want == "" {
				e.createSession(t, a)
				return
			}
			NewWithT(t).Expect(e.refused(t, a)).To(Equal(denied(tc.want)))
		})
	}
}

func TestExpiredAnchorAdmitsNoCertificate(t *testing.T) {
	g := NewWithT(t)
	root := newAuthority(t)
	e := serveAnchor(t, root, stsemulator.Options{})
	a := root.attempt(t)
	a.certificate = root.issue(t, a.key.Public(), func(c *x509.Certificate) { c.NotAfter = root.certificate.NotAfter.AddDate(1, 0, 0) })
	e.createSession(t, a)
	e.clock.SetTime(root.certificate.NotAfter.Add(time.Second))
	g.Expect(e.refused(t, a)).To(Equal(denied("Untrusted signing certificate")))
}

func TestProfileAndTrustPolicyDecide(t *testing.T) {
	root := newAuthority(t)
	const unable = "Unable to assume role for " + onPremisesARN
	trust := func(change func(*stsemulator.Trust)) func(*testing.T, emulator, *attempt) {
		return func(t *testing.T, e emulator, _ *attempt) {
			NewWithT(t).Expect(e.SetTrust(onPremisesARN, trustOperator(change))).To(Succeed())
		}
	}
	profile := func(change func(*stsemulator.Profile)) func(*testing.T, emulator, *attempt) {
		return func(t *testing.T, e emulator, _ *attempt) {
			NewWithT(t).Expect(e.PutProfile(onPremisesProfile(change))).To(Succeed())
		}
	}
	body := func(name string, value any) func(*testing.T, emulator, *attempt) {
		return func(_ *testing.T, _ emulator, a *attempt) { a.body = map[string]any{name: value} }
	}
	for name, tc := range map[string]struct {
		change func(*testing.T, emulator, *attempt)
		want   refusal
	}{
		"an unknown anchor": {body("trustAnchorArn", anchorARN+"0"), refusal{404, "ResourceNotFoundException", "Trust anchor not found: " + anchorARN + "0"}},
		"another region":    {func(_ *testing.T, _ emulator, a *attempt) { a.region = "eu-west-2" }, refusal{404, "ResourceNotFoundException", "Trust anchor not found: " + anchorARN}},
		"a disabled anchor": {func(t *testing.T, e emulator, _ *attempt) {
			NewWithT(t).Expect(e.PutTrustAnchor(stsemulator.TrustAnchor{ARN: anchorARN, Certificates: root.pem(), Disabled: true})).To(Succeed())
		}, denied("The trust anchor is disabled.")},
		"an unknown profile":                   {body("profileArn", profileARN+"0"), refusal{404, "ResourceNotFoundException", "Profile not found: " + profileARN + "0"}},
		"a disabled profile":                   {profile(func(p *stsemulator.Profile) { p.Disabled = true }), denied("The profile is disabled.")},
		"another role":                         {profile(func(p *stsemulator.Profile) { p.RoleARNs = []string{readerARN} }), denied("The profile does not list the role " + onPremisesARN)},
		"a session name":                       {body("roleSessionName", "mine"), denied("Not authorized to set roleSessionName.")},
		"a role without trust":                 {body("roleArn", readerARN), denied("Unable to assume role for " + readerARN)},
		"another common name":                  {trust(func(t *stsemulator.Trust) { t.StringEquals["aws:PrincipalTag/x509Subject/CN"] = []string{"other"} }), denied(unable)},
		"a trust policy for another anchor":    {trust(func(t *stsemulator.Trust) { t.StringEquals["aws:SourceArn"] = []string{anchorARN + "0"} }), denied(unable)},
		"a tag that is not in the certificate": {trust(func(t *stsemulator.Trust) { t.StringEquals["aws:PrincipalTag/x509Subject/OU"] = []string{""} }), denied(unable)},
		"no sts:TagSession":                    {trust(func(t *stsemulator.Trust) { t.Actions = []string{"sts:AssumeRole", "sts:SetSourceIdentity"} }), denied(unable)},
		"no sts:SetSourceIdentity":             {trust(func(t *stsemulator.Trust) { t.Actions = []string{"sts:AssumeRole", "sts:TagSession"} }), denied(unable)},
		"no sts:AssumeRole":                    {trust(func(t *stsemulator.Trust) { t.Actions = []string{"sts:TagSession", "sts:SetSourceIdentity"} }), denied(unable)},
		"a longer duration than the role allows": {func(t *testing.T, e emulator, a *attempt) {
			NewWithT(t).Expect(e.PutRole("123456789012", stsemulator.Role{Name: "OnPremises", Trust: []stsemulator.Trust{trustOperator()}})).To(Succeed())
			a.body = map[string]any{"durationSeconds": 3601}
		}, denied(unable + "\nThe requested DurationSeconds exceeds the MaxSessionDuration set for this role.")},
		"too short a duration": {body("durationSeconds", 899), refusal{400, "ValidationException", "1 validation error detected: Value '899' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to 900"}},
		"too long a duration":  {body("durationSeconds", 43201), refusal{400, "ValidationException", "1 validation error detected: Value '43201' at 'durationSeconds' failed to satisfy constraint: Member must have value less than or equal to 43200"}},
		"no role":              {body("roleArn", ""), refusal{400, "ValidationException", "1 validation error detected: Value null at 'roleArn' failed to satisfy constraint: Member must not be null"}},
		"a duration as text":   {body("durationSeconds", "900"), refusal{400, "SerializationException", "The request body is not the JSON of CreateSession."}},
	} {
		t.Run(name, func(t *testing.T) {
			e := serveAnchor(t, root, stsemulator.Options{})
			a := root.attempt(t)
			tc.change(t, e, &a)
			NewWithT(t).Expect(e.refused(t, a)).To(Equal(tc.want))
			NewWithT(t).Expect(e.Sessions()).To(BeEmpty())
		})
	}
}

func TestProfileBoundsDurationOfSession(t *testing.T) {
	root := newAuthority(t)
	for name, tc := range map[string]struct {
		profile int
		body    map[string]any
		want    time.Duration
	}{
		"the profile's default":               {0, nil, time.Hour},
		"the profile's, since none requested": {7200, nil, 2 * time.Hour},
		"the requested, since it is shorter":  {7200, map[string]any{"durationSeconds": 900}, 15 * time.Minute},
		"the profile's, since it is shorter":  {900, map[string]any{"durationSeconds": 43200}, 15 * time.Minute},
		"twelve hours":                        {43200, map[string]any{"durationSeconds": 43200}, 12 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := serveAnchor(t, root, stsemulator.Options{})
			g.Expect(e.PutProfile(onPremisesProfile(func(p *stsemulator.Profile) { p.DurationSeconds = tc.profile }))).To(Succeed())
			a := root.attempt(t)
			a.body = tc.body
			g.Expect(e.createSession(t, a).CredentialSet[0].Credentials.Expiration).To(BeTemporally("==", start.Add(tc.want)))
		})
	}
}

// A session of CreateSession is a role session: AssumeRole with it is role chaining, and the source identity stays set.
func TestAssumeRoleWithSessionOfCertificateIsChained(t *testing.T) {
	g := NewWithT(t)
	root := newAuthority(t)
	e := serveAnchor(t, root, stsemulator.Options{})
	creds := e.createSession(t, root.attempt(t)).credentials()
	spoke := stsemulator.Trust{Principal: onPremisesARN, Actions: []string{"sts:AssumeRole"}}
	g.Expect(e.SetTrust(spokeARN, spoke)).To(Succeed())
	_, err := e.client(creds).AssumeRole(t.Context(), input(spokeARN))
	g.Expect(failureOf(t, err).Message).To(HaveSuffix("is not authorized to perform: sts:SetSourceIdentity on resource: " + spokeARN))

	spoke.Actions = append(spoke.Actions, "sts:SetSourceIdentity")
	g.Expect(e.SetTrust(spokeARN, spoke)).To(Succeed())
	in := input(spokeARN)
	in.DurationSeconds = aws.Int32(3601)
	_, err = e.client(creds).AssumeRole(t.Context(), in)
	g.Expect(failureOf(t, err).Message).To(ContainSubstring("1 hour session limit for roles assumed by role chaining"))
	in.DurationSeconds = aws.Int32(3600)
	_, out := e.assume(t, creds, in)
	g.Expect(*out.SourceIdentity).To(Equal("rolecredential-operator"))
	session, _ := e.Session(*out.Credentials.AccessKeyId)
	g.Expect(session.Tags).To(BeEmpty(), "the certificate's tags are not transitive")
}

func TestFaultsApplyToCreateSession(t *testing.T) {
	g := NewWithT(t)
	root := newAuthority(t)
	e := serveAnchor(t, root, stsemulator.Options{})
	set := func(f stsemulator.Fault) {
		f.Times, f.Action, f.RoleARN = 1, "CreateSession", onPremisesARN
		_, err := e.SetFault(f)
		g.Expect(err).NotTo(HaveOccurred())
	}
	set(stsemulator.Fault{Kind: stsemulator.FaultError, Code: "ThrottlingException"})
	e.assume(t, operatorKey, input(readerARN)) // another action
	g.Expect(e.refused(t, root.attempt(t))).To(Equal(refusal{http.StatusTooManyRequests, "ThrottlingException", "Rate exceeded"}))
	g.Expect(e.lastCall(t).Faults).To(Equal([]stsemulator.FaultKind{stsemulator.FaultError}))
	set(stsemulator.Fault{Kind: stsemulator.FaultGarbage})
	status, body, header := send(t, root.attempt(t).request(t, e))
	g.Expect([]any{status, header.Get("Content-Type")}).To(Equal([]any{200, "application/json"}))
	g.Expect(json.Valid([]byte(body))).To(BeFalse())
	e.createSession(t, root.attempt(t))
}

func TestMinIOHasNoCreateSession(t *testing.T) {
	g := NewWithT(t)
	root := newAuthority(t)
	e := serveAnchor(t, root, stsemulator.Options{Flavour: stsemulator.FlavourMinIO})
	status, body, _ := send(t, root.attempt(t).request(t, e))
	g.Expect(status).To(Equal(http.StatusBadRequest), body)
	g.Expect(e.lastCall(t).Action).NotTo(Equal("CreateSession"))
}

func TestInvalidAnchorsAndProfilesAreRejected(t *testing.T) {
	root := newAuthority(t)
	leaf := authority{root.issue(t, root.key.Public()), root.key}
	const elsewhere = "arn:aws:rolesanywhere:eu-west-1:999999999999:trust-anchor/a"
	for name, tc := range map[string]struct {
		anchor  *stsemulator.TrustAnchor
		profile *stsemulator.Profile
		want    string
	}{
		"an anchor of an unknown account":   {anchor: &stsemulator.TrustAnchor{ARN: elsewhere, Certificates: root.pem()}, want: "no account of"},
		"an anchor with a profile's ARN":    {anchor: &stsemulator.TrustAnchor{ARN: profileARN, Certificates: root.pem()}, want: "arn must be of a trust anchor of the account"},
		"an anchor without a certificate":   {anchor: &stsemulator.TrustAnchor{ARN: anchorARN}, want: "certificates must hold a certificate in PEM"},
		"an anchor that is not a CA":        {anchor: &stsemulator.TrustAnchor{ARN: anchorARN, Certificates: leaf.pem()}, want: "a certificate is not of a CA"},
		"a profile with an anchor's ARN":    {profile: &stsemulator.Profile{ARN: anchorARN}, want: "arn must be of a profile of the account"},
		"a profile with too short sessions": {profile: &stsemulator.Profile{ARN: profileARN, DurationSeconds: 899}, want: "durationSeconds must be 900 to 43200"},
		"a profile with too long sessions":  {profile: &stsemulator.Profile{ARN: profileARN, DurationSeconds: 43201}, want: "durationSeconds must be 900 to 43200"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := serve(t, stsemulator.Options{})
			if tc.anchor != nil {
				g.Expect(e.PutTrustAnchor(*tc.anchor)).To(MatchError(ContainSubstring(tc.want)))
				return
			}
			g.Expect(e.PutProfile(*tc.profile)).To(MatchError(ContainSubstring(tc.want)))
		})
	}
}

func rsaKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return key
}

func ecKey(curve elliptic.Curve) func(*testing.T) crypto.Signer {
	return func(t *testing.T) crypto.Signer {
		t.Helper()
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		return key
	}
}

var serial = big.NewInt(0x0102030405)
