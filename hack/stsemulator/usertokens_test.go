package stsemulator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/stsemulator"
)

func (e emulator) sessionToken(t *testing.T, in *sts.GetSessionTokenInput) aws.Credentials {
	t.Helper()
	out, err := e.client(operatorKey).GetSessionToken(t.Context(), in)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return sessionCredentials(out.Credentials)
}

func federated(name string) *sts.GetFederationTokenInput {
	return &sts.GetFederationTokenInput{Name: &name}
}

func (e emulator) federate(t *testing.T, in *sts.GetFederationTokenInput) (aws.Credentials, *sts.GetFederationTokenOutput) {
	t.Helper()
	out, err := e.client(operatorKey).GetFederationToken(t.Context(), in)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return sessionCredentials(out.Credentials), out
}

func TestSessionTokenHasTheUsersIdentity(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	me, err := e.client(operatorKey).GetCallerIdentity(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	out, err := e.client(operatorKey).GetSessionToken(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out.Credentials.Expiration.Sub(start)).To(Equal(12 * time.Hour))
	creds := sessionCredentials(out.Credentials)
	still, err := e.client(creds).GetCallerIdentity(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(still.Arn).To(Equal(me.Arn))
	g.Expect(still.UserId).To(Equal(me.UserId))
	g.Expect(still.Account).To(Equal(me.Account))
	g.Expect(e.Sessions()).To(Equal([]stsemulator.Session{{
		Action: "GetSessionToken", AccessKeyID: creds.AccessKeyID, ARN: operatorARN, UserID: *me.UserId, CallerARN: operatorARN,
		Issued: start, Expiration: start.Add(12 * time.Hour),
	}}))

	e.clock.SetTime(start.Add(12 * time.Hour))
	_, err = e.client(creds).GetCallerIdentity(t.Context(), nil)
	g.Expect(failureOf(t, err).Code).To(Equal("ExpiredToken"))
}

func TestFederationTokenHasTheFederatedUsersIdentity(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	in := federated("alice")
	in.Policy = aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)
	in.PolicyArns = []types.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")}}
	in.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("shop")}}
	creds, out := e.federate(t, in)
	g.Expect(*out.FederatedUser.Arn).To(Equal("arn:aws:sts::210987654321:federated-user/alice"))
	g.Expect(*out.FederatedUser.FederatedUserId).To(Equal("210987654321:alice"))
	g.Expect(*out.PackedPolicySize).To(BeNumerically("==", 9))
	g.Expect(out.Credentials.Expiration.Sub(start)).To(Equal(12 * time.Hour))
	me, err := e.client(creds).GetCallerIdentity(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(*me.Arn).To(Equal(*out.FederatedUser.Arn))
	g.Expect(*me.UserId).To(Equal(*out.FederatedUser.FederatedUserId))
	session, ok := e.Session(creds.AccessKeyID)
	g.Expect(ok).To(BeTrue())
	g.Expect(session.Action).To(Equal("GetFederationToken"))
	g.Expect(session.Policy).To(Equal(*in.Policy))
	g.Expect(session.PolicyARNs).To(Equal([]string{"arn:aws:iam::aws:policy/ReadOnlyAccess"}))
	g.Expect(session.Tags).To(Equal(map[string]string{"team": "shop"}))

	_, bare := e.federate(t, federated("bob"))
	g.Expect(bare.PackedPolicySize).To(BeNil())
	in.Tags = []types.Tag{{Key: aws.String("a"), Value: aws.String(strings.Repeat("v", 256))}, {Key: aws.String("b"), Value: aws.String(strings.Repeat("v", 256))}}
	_, err = e.client(operatorKey).GetFederationToken(t.Context(), in)
	g.Expect(failureOf(t, err).Code).To(Equal("PackedPolicyTooLarge"))
}

// The caller is a row of the table 'which call, which source'.
func TestCallsAllowedToEachKindOfSession(t *testing.T) {
	e := serve(t, stsemulator.Options{})
	role, _ := e.assume(t, operatorKey, input(hubARN))
	user := e.sessionToken(t, nil)
	fed, _ := e.federate(t, federated("alice"))
	const (
		noSession = "Cannot call GetSessionToken with session credentials"
		noFed     = "Cannot call GetFederationToken with session credentials"
	)
	for name, tc := range map[string]struct {
		caller                          aws.Credentials
		role                            string
		assumeRole, session, federation string // the reason of the denial; empty if allowed
	}{
		"a user":           {caller: operatorKey, role: readerARN},
		"a role's session": {caller: role, role: spokeARN, session: noSession, federation: noFed},
		"a user's session": {caller: user, role: readerARN, session: noSession, federation: noFed},
		"a federated user": {
			caller: fed, role: readerARN, session: noSession, federation: noFed,
			assumeRole: "User: arn:aws:sts::210987654321:federated-user/alice is not authorized to perform: sts:AssumeRole on resource: " + readerARN,
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := e.client(tc.caller)
			_, identity := client.GetCallerIdentity(t.Context(), nil)
			_, assumeRole := client.AssumeRole(t.Context(), input(tc.role))
			_, session := client.GetSessionToken(t.Context(), nil)
			_, federation := client.GetFederationToken(t.Context(), federated("alice"))
			for _, call := range []struct {
				err  error
				want string
			}{{identity, ""}, {assumeRole, tc.assumeRole}, {session, tc.session}, {federation, tc.federation}} {
				if call.want == "" {
					NewWithT(t).Expect(call.err).NotTo(HaveOccurred())
					continue
				}
				NewWithT(t).Expect(failureOf(t, call.err)).To(Equal(failure{Status: 403, Code: "AccessDenied", Message: call.want}))
			}
		})
	}
}

func TestUserSessionIsNotRoleChaining(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	in := input(longARN)
	in.DurationSeconds = aws.Int32(43200)
	_, out := e.assume(t, e.sessionToken(t, nil), in)
	g.Expect(out.Credentials.Expiration.Sub(start)).To(Equal(12 * time.Hour))
}

func TestFederatedUsersAllowedByPolicy(t *testing.T) {
	g := NewWithT(t)
	cfg, err := stsemulator.ParseConfig([]byte(`{accounts: [{id: "210987654321", users: [{name: u, accessKeys: [{}], mayFederate: ["shop-*"]}]}]}`))
	g.Expect(err).NotTo(HaveOccurred())
	e := serveConfig(t, cfg, stsemulator.Options{})
	keys := e.AccessKeys("arn:aws:iam::210987654321:user/u")
	client := e.client(aws.Credentials{AccessKeyID: keys[0].ID, SecretAccessKey: keys[0].Secret})
	_, err = client.GetFederationToken(t.Context(), federated("shop-reader"))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = client.GetFederationToken(t.Context(), federated("my-shop-reader"))
	g.Expect(failureOf(t, err)).To(Equal(failure{403, "AccessDenied", "User: arn:aws:iam::210987654321:user/u is not authorized to perform: " +
		"sts:GetFederationToken on resource: arn:aws:sts::210987654321:federated-user/my-shop-reader"}))
}

func TestBoundsOfUsersTokens(t *testing.T) {
	const durations = "failed to satisfy constraint: Member must have value "
	tags := func(n int) []types.Tag {
		tags := make([]types.Tag, n)
		for i := range tags {
			tags[i] = types.Tag{Key: aws.String(fmt.Sprint("k", i)), Value: aws.String("")}
		}
		return tags
	}
	policyOf := func(n int) *string {
		const empty = `{"Statement":{"Effect":"Allow","Action":"*","Resource":""}}`
		return aws.String(strings.Replace(empty, `""`, `"`+strings.Repeat("x", n-len(empty))+`"`, 1))
	}
	arns := func(n int) []types.PolicyDescriptorType {
		arns := make([]types.PolicyDescriptorType, n)
		for i := range arns {
			arns[i].Arn = aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")
		}
		return arns
	}
	e := serve(t, stsemulator.Options{})
	session := func(in sts.GetSessionTokenInput) func(*testing.T) error {
		return func(t *testing.T) error {
			_, err := e.client(operatorKey).GetSessionToken(t.Context(), &in)
			return err
		}
	}
	federation := func(in sts.GetFederationTokenInput) func(*testing.T) error {
		return func(t *testing.T) error {
			if in.Name == nil {
				in.Name = aws.String("alice")
			}
			_, err := e.client(operatorKey).GetFederationToken(t.Context(), &in)
			return err
		}
	}
	for name, tc := range map[string]struct {
		call func(*testing.T) error
		want string // empty if the parameters are accepted
	}{
		"a session of 900 s":                      {call: session(sts.GetSessionTokenInput{DurationSeconds: aws.Int32(900)})},
		"a session of 899 s":                      {call: session(sts.GetSessionTokenInput{DurationSeconds: aws.Int32(899)}), want: durations + "greater than or equal to 900"},
		"a session of 129600 s":                   {call: session(sts.GetSessionTokenInput{DurationSeconds: aws.Int32(129600)})},
		"a session of 129601 s":                   {call: session(sts.GetSessionTokenInput{DurationSeconds: aws.Int32(129601)}), want: durations + "less than or equal to 129600"},
		"a serial number of 8 characters":         {call: session(sts.GetSessionTokenInput{SerialNumber: aws.String("GAHT1234"), TokenCode: aws.String("123456")}), want: "'serialNumber' failed to satisfy constraint: Member must have length greater than or equal to 9"},
		"a serial number of 257 characters":       {call: session(sts.GetSessionTokenInput{SerialNumber: aws.String(strings.Repeat("s", 257)), TokenCode: aws.String("123456")}), want: "'serialNumber' failed to satisfy constraint: Member must have length less than or equal to 256"},
		"a serial number with a blank":            {call: session(sts.GetSessionTokenInput{SerialNumber: aws.String("GAHT 12345"), TokenCode: aws.String("123456")}), want: `Member must satisfy regular expression pattern: [\w+=/:,.@-]*`},
		"a code of 5 digits":                      {call: session(sts.GetSessionTokenInput{SerialNumber: aws.String(operatorMFA), TokenCode: aws.String("12345")}), want: "'tokenCode' failed to satisfy constraint: Member must have length greater than or equal to 6"},
		"a code of 7 digits":                      {call: session(sts.GetSessionTokenInput{SerialNumber: aws.String(operatorMFA), TokenCode: aws.String("1234567")}), want: "'tokenCode' failed to satisfy constraint: Member must have length less than or equal to 6"},
		"a code of letters":                       {call: session(sts.GetSessionTokenInput{SerialNumber: aws.String(operatorMFA), TokenCode: aws.String("abcdef")}), want: `Member must satisfy regular expression pattern: [\d]*`},
		"a federation of 900 s":                   {call: federation(sts.GetFederationTokenInput{DurationSeconds: aws.Int32(900)})},
		"a federation of 899 s":                   {call: federation(sts.GetFederationTokenInput{DurationSeconds: aws.Int32(899)}), want: durations + "greater than or equal to 900"},
		"a federation of 129600 s":                {call: federation(sts.GetFederationTokenInput{DurationSeconds: aws.Int32(129600)})},
		"a federation of 129601 s":                {call: federation(sts.GetFederationTokenInput{DurationSeconds: aws.Int32(129601)}), want: durations + "less than or equal to 129600"},
		"a federated user of 2 characters":        {call: federation(sts.GetFederationTokenInput{Name: aws.String("al")})},
		"a federated user of 1 character":         {call: federation(sts.GetFederationTokenInput{Name: aws.String("a")}), want: "'name' failed to satisfy constraint: Member must have length greater than or equal to 2"},
		"a federated user of 32 characters":       {call: federation(sts.GetFederationTokenInput{Name: aws.String(strings.Repeat("a", 32))})},
		"a federated user of 33 characters":       {call: federation(sts.GetFederationTokenInput{Name: aws.String(strings.Repeat("a", 33))}), want: "'name' failed to satisfy constraint: Member must have length less than or equal to 32"},
		"a federated user with a slash":           {call: federation(sts.GetFederationTokenInput{Name: aws.String("a/b")}), want: `Member must satisfy regular expression pattern: [\w+=,.@-]*`},
		"a federation's policy of 2048":           {call: federation(sts.GetFederationTokenInput{Policy: policyOf(2048)})},
		"a federation's policy of 2049":           {call: federation(sts.GetFederationTokenInput{Policy: policyOf(2049)}), want: "'policy' failed to satisfy constraint: Member must have length less than or equal to 2048"},
		"a federation's policy that is none":      {call: federation(sts.GetFederationTokenInput{Policy: aws.String("{}")}), want: "Syntax errors in policy."},
		"a federation with 10 policy ARNs":        {call: federation(sts.GetFederationTokenInput{PolicyArns: arns(10)})},
		"a federation with 11 policy ARNs":        {call: federation(sts.GetFederationTokenInput{PolicyArns: arns(11)}), want: "'policyArns' failed to satisfy constraint: Member must have length less than or equal to 10"},
		"a federation with 51 tags":               {call: federation(sts.GetFederationTokenInput{Tags: tags(51)}), want: "'tags' failed to satisfy constraint: Member must have length less than or equal to 50"},
		"a federation with 50 tags":               {call: federation(sts.GetFederationTokenInput{Tags: tags(50)})},
		"a federation with a tag of AWS's prefix": {call: federation(sts.GetFederationTokenInput{Tags: []types.Tag{{Key: aws.String("aws:x"), Value: aws.String("")}}}), want: "aws: prefixed tag key names are not allowed for external use."},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.call(t)
			if tc.want == "" {
				NewWithT(t).Expect(err).NotTo(HaveOccurred())
				return
			}
			got := failureOf(t, err)
			NewWithT(t).Expect(got.Status).To(Equal(400))
			NewWithT(t).Expect(got.Message).To(ContainSubstring(tc.want))
		})
	}
}

func TestUserTokensInADisabledRegion(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	chinese := e.AccessKeys("arn:aws-cn:iam::111122223333:user/operator")[0]
	key := aws.Credentials{AccessKeyID: chinese.ID, SecretAccessKey: chinese.Secret}
	_, err := e.client(key, func(o *sts.Options) { o.Region = "cn-northwest-1" }).GetSessionToken(t.Context(), nil)
	g.Expect(failureOf(t, err).Code).To(Equal("RegionDisabledException"))
	_, err = e.client(key, func(o *sts.Options) { o.Region = "cn-north-1" }).GetSessionToken(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
}
