package stsemulator_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/stsemulator"
)

func webIdentity(token string) *sts.AssumeRoleWithWebIdentityInput {
	return &sts.AssumeRoleWithWebIdentityInput{RoleArn: aws.String(accountARN), RoleSessionName: aws.String("shop.s3-reader"), WebIdentityToken: &token}
}

// exchange calls without any credentials.
func (e emulator) exchange(t *testing.T, in *sts.AssumeRoleWithWebIdentityInput) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	t.Helper()
	client := sts.New(sts.Options{BaseEndpoint: aws.String(e.endpoint.URL), Region: region, Retryer: aws.NopRetryer{}})
	return client.AssumeRoleWithWebIdentity(t.Context(), in)
}

func TestTokenIsExchangedForASessionOfARole(t *testing.T) {
	i := newIssuer(t)
	for name, key := range map[string]string{"signed by RS256": "rsa", "signed by ES256": "ec"} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := serveIssuer(t, i, stsemulator.Options{})
			in := webIdentity(i.token(t, key, nil, claimsOf(nil)))
			in.DurationSeconds, in.Policy = aws.Int32(43200), aws.String(`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`)
			out, err := e.exchange(t, in)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(*out.SubjectFromWebIdentityToken).To(Equal(readerSub))
			g.Expect(*out.Audience).To(Equal("sts.amazonaws.com"))
			g.Expect(*out.Provider).To(Equal(providerARN))
			g.Expect(*out.AssumedRoleUser.Arn).To(Equal("arn:aws:sts::123456789012:assumed-role/ServiceAccount/shop.s3-reader"))
			g.Expect(*out.AssumedRoleUser.AssumedRoleId).To(MatchRegexp(`^AROA[A-Z2-7]{17}:shop\.s3-reader$`))
			g.Expect(*out.PackedPolicySize).To(BeNumerically("==", 3))
			g.Expect(*out.Credentials.Expiration).To(BeTemporally("==", start.Add(12*time.Hour)))
			creds := sessionCredentials(out.Credentials)
			me, err := e.client(creds).GetCallerIdentity(t.Context(), nil)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(me.Arn).To(Equal(out.AssumedRoleUser.Arn))
			session, _ := e.Session(creds.AccessKeyID)
			g.Expect(session.Action).To(Equal("AssumeRoleWithWebIdentity"))
			g.Expect(session.CallerARN).To(Equal(providerARN))
			g.Expect(session.Subject).To(Equal(readerSub))
			g.Expect(session.Audience).To(Equal("sts.amazonaws.com"))

			call := e.Calls()[0]
			g.Expect(call.AccessKeyID+call.CallerARN).To(BeEmpty(), "the call is unsigned")
			recorded, err := json.Marshal([]any{e.Calls(), e.Sessions()})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(recorded)).NotTo(ContainSubstring(strings.Split(*in.WebIdentityToken, ".")[1]))
		})
	}
}

func TestTokenValidation(t *testing.T) {
	i, otherIssuer := newIssuer(t), newIssuer(t)
	const (
		noJWT    = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
		noKey    = "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"
		noAccess = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
		rejected = "The identity provider (IdP) reported that authentication failed. This might be because the claim is invalid."
	)
	good := i.token(t, "rsa", nil, claimsOf(nil))
	changed := func(changes map[string]any) string { return i.token(t, "ec", nil, claimsOf(changes)) }
	header := func(changes map[string]any) string { return i.token(t, "rsa", changes, claimsOf(nil)) }
	unix := func(d time.Duration) int64 { return start.Add(d).Unix() }
	for name, tc := range map[string]struct {
		token string
		want  failure // empty if the token is accepted
	}{
		"a text that is no token":         {"opaque", failure{400, "InvalidIdentityToken", noJWT}},
		"parts that are no JSON":          {"e30.e30x.e30", failure{400, "InvalidIdentityToken", noJWT}},
		"no algorithm at all":             {header(map[string]any{"alg": "none"}), failure{400, "InvalidIdentityToken", noJWT}},
		"an algorithm of a shared secret": {header(map[string]any{"alg": "HS256"}), failure{400, "InvalidIdentityToken", noJWT}},
		"a key of another kind":           {header(map[string]any{"kid": "ec"}), failure{400, "InvalidIdentityToken", noKey}},
		"a key that is not there":         {header(map[string]any{"kid": "old"}), failure{400, "InvalidIdentityToken", noKey}},
		"another issuer's key, RS256":     {otherIssuer.token(t, "rsa", nil, claimsOf(nil)), failure{400, "InvalidIdentityToken", "Token signature invalid"}},
		"another issuer's key, ES256":     {otherIssuer.token(t, "ec", nil, claimsOf(nil)), failure{400, "InvalidIdentityToken", "Token signature invalid"}},
		"a signature cut short":           {good[:len(good)-8], failure{400, "InvalidIdentityToken", "Token signature invalid"}},
		"claims changed once signed": {
			strings.Split(good, ".")[0] + "." + strings.Split(changed(map[string]any{"sub": "root"}), ".")[1] + "." + strings.Split(good, ".")[2],
			failure{400, "InvalidIdentityToken", "Token signature invalid"},
		},
		"an issuer that the account does not know": {
			changed(map[string]any{"iss": "https://elsewhere.example"}),
			failure{400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for https://elsewhere.example"},
		},
		"an issuer but for its last slash": {
			changed(map[string]any{"iss": issuerURL + "/"}),
			failure{400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for " + issuerURL + "/"},
		},
		"an audience that the provider does not list": {changed(map[string]any{"aud": "vault"}), failure{400, "InvalidIdentityToken", "Incorrect token audience"}},
		"no audience": {changed(map[string]any{"aud": nil}), failure{400, "InvalidIdentityToken", "Incorrect token audience"}},
		"an audience that the provider lists and the role does not": {changed(map[string]any{"aud": "other"}), failure{403, "AccessDenied", noAccess}},
		"an audience as a string":                                   {token: changed(map[string]any{"aud": "sts.amazonaws.com"})},
		"an audience among others":                                  {token: changed(map[string]any{"aud": []string{"vault", "sts.amazonaws.com"}})},
		"a subject that the role does not trust":                    {changed(map[string]any{"sub": "system:serviceaccount:prod:reader"}), failure{403, "AccessDenied", noAccess}},
		"a subject that looks like one it trusts":                   {changed(map[string]any{"sub": "x:system:serviceaccount:shop:reader"}), failure{403, "AccessDenied", noAccess}},
		"a subject of the role's other pattern":                     {token: changed(map[string]any{"sub": "system:serviceaccount:bakery:oven"})},
		"no subject":                                                {changed(map[string]any{"sub": nil}), failure{403, "IDPRejectedClaim", rejected}},
		"no expiration":                                             {changed(map[string]any{"exp": nil}), failure{403, "IDPRejectedClaim", rejected}},
		"issued in the future":                                      {changed(map[string]any{"iat": unix(time.Second)}), failure{403, "IDPRejectedClaim", rejected}},
		"not valid yet":                                             {changed(map[string]any{"nbf": unix(time.Second)}), failure{403, "IDPRejectedClaim", rejected}},
		"neither time of issue nor of beginning":                    {token: changed(map[string]any{"iat": nil, "nbf": nil})},
		"a second before it expires":                                {token: changed(map[string]any{"exp": unix(time.Second)})},
		"expired this second": {
			changed(map[string]any{"exp": unix(0)}),
			failure{400, "ExpiredTokenException", "Token expired: current date/time 1767323045 must be before the expiration date/time1767323045"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := serveIssuer(t, i, stsemulator.Options{})
			_, err := e.exchange(t, webIdentity(tc.token))
			if tc.want == (failure{}) {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(failureOf(t, err)).To(Equal(tc.want))
			g.Expect(e.Sessions()).To(BeEmpty())
		})
	}
}

func TestRolesAllowedToAWebIdentity(t *testing.T) {
	i := newIssuer(t)
	e := serveIssuer(t, i, stsemulator.Options{})
	token := i.token(t, "ec", nil, claimsOf(nil))
	denied := failure{403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"}
	equal := trustShop()
	equal.StringLike, equal.StringEquals = nil, map[string][]string{issuerName + ":sub": {"system:serviceaccount:shop:*"}}
	exact := trustShop()
	exact.StringLike, exact.StringEquals = nil, map[string][]string{issuerName + ":sub": {readerSub}}
	otherKey := trustShop()
	otherKey.StringLike = map[string][]string{"cluster.example/two:sub": {"*"}}
	otherIssuer := trustShop()
	otherIssuer.Federated = "arn:aws:iam::123456789012:oidc-provider/cluster.example/two"
	otherAction := trustShop()
	otherAction.Actions = []string{"sts:AssumeRole"}
	thisAction := trustShop()
	thisAction.Actions = []string{"sts:AssumeRoleWithWebIdentity"}
	for name, tc := range map[string]struct {
		trust []stsemulator.Trust
		want  failure
	}{
		"a role whose conditions fit":              {trust: []stsemulator.Trust{trustShop()}},
		"a role that trusts every token":           {trust: []stsemulator.Trust{{Federated: providerARN}}},
		"a role that trusts the very subject":      {trust: []stsemulator.Trust{exact}},
		"a role of two statements":                 {trust: []stsemulator.Trust{otherIssuer, exact}},
		"a role for this action":                   {trust: []stsemulator.Trust{thisAction}},
		"a '*' means nothing to StringEquals":      {trust: []stsemulator.Trust{equal}, want: denied},
		"a condition on a key that is not there":   {trust: []stsemulator.Trust{otherKey}, want: denied},
		"a role that trusts another issuer":        {trust: []stsemulator.Trust{otherIssuer}, want: denied},
		"a role for another action":                {trust: []stsemulator.Trust{otherAction}, want: denied},
		"a role that trusts everybody who signs":   {trust: []stsemulator.Trust{{Principal: "*"}}, want: denied},
		"a role that trusts the account's callers": {trust: []stsemulator.Trust{{Principal: "123456789012"}}, want: denied},
		"a role that trusts no caller":             {want: denied},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(e.SetTrust(accountARN, tc.trust...)).To(Succeed())
			_, err := e.exchange(t, webIdentity(token))
			if tc.want == (failure{}) {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(failureOf(t, err)).To(Equal(tc.want))
		})
	}
	failureFor := func(roleARN string) failure {
		in := webIdentity(token)
		in.RoleArn = &roleARN
		_, err := e.exchange(t, in)
		return failureOf(t, err)
	}
	g := NewWithT(t)
	g.Expect(failureFor("arn:aws:iam::123456789012:role/Missing")).To(Equal(denied))
	g.Expect(failureFor(hubARN)).To(Equal(failure{400, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for " + issuerURL}))
	g.Expect(failureFor("arn:aws:iam::123456789012:user/operator")).To(Equal(failure{400, "ValidationError", "Request ARN is invalid"}))

	g.Expect(e.SetTrust(accountARN, trustShop())).To(Succeed())
	_, err := e.client(operatorKey).AssumeRole(t.Context(), input(accountARN))
	g.Expect(failureOf(t, err).Message).To(Equal("User: "+operatorARN+" is not authorized to perform: sts:AssumeRole on resource: "+accountARN), "a role for tokens is not for users")
}

func TestSessionOfAWebIdentityStartsAChain(t *testing.T) {
	g := NewWithT(t)
	i := newIssuer(t)
	e := serveIssuer(t, i, stsemulator.Options{})
	out, err := e.exchange(t, webIdentity(i.token(t, "ec", nil, claimsOf(nil))))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out.Credentials.Expiration.Sub(start)).To(Equal(time.Hour))
	g.Expect(e.SetTrust(longARN, stsemulator.Trust{Principal: accountARN})).To(Succeed())
	in := input(longARN)
	creds := sessionCredentials(out.Credentials)
	e.assume(t, creds, in)
	in.DurationSeconds = aws.Int32(3601)
	_, err = e.client(creds).AssumeRole(t.Context(), in)
	g.Expect(failureOf(t, err).Message).To(Equal("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."))
}
