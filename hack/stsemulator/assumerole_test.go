package stsemulator_test

import (
	"encoding/json"
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

func TestAssumeRoleResponse(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	in := input(readerARN)
	in.DurationSeconds = aws.Int32(900)
	creds, out := e.assume(t, operatorKey, in)

	g.Expect(creds.AccessKeyID).To(MatchRegexp(`^ASIA[A-Z2-7]{16}$`))
	g.Expect(creds.SecretAccessKey).To(MatchRegexp(`^[A-Za-z0-9+/]{40}$`))
	g.Expect(creds.SessionToken).To(HaveLen(1024))
	g.Expect(*out.Credentials.Expiration).To(BeTemporally("==", start.Add(15*time.Minute)))
	g.Expect(*out.AssumedRoleUser.Arn).To(Equal("arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader"))
	g.Expect(*out.AssumedRoleUser.AssumedRoleId).To(MatchRegexp(`^AROA[A-Z2-7]{17}:shop\.s3-reader$`))
	g.Expect(out.PackedPolicySize).To(BeNil())
	g.Expect(out.SourceIdentity).To(BeNil())

	me, err := e.client(creds).GetCallerIdentity(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(*me.Arn).To(Equal(*out.AssumedRoleUser.Arn))
	g.Expect(*me.UserId).To(Equal(*out.AssumedRoleUser.AssumedRoleId))
	g.Expect(*me.Account).To(Equal("123456789012"))
}

func TestSessionsOfARoleShareItsIDAndHaveDifferentKeys(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	one, first := e.assume(t, operatorKey, input(readerARN))
	two, second := e.assume(t, operatorKey, input(readerARN))
	g.Expect(*first.AssumedRoleUser.AssumedRoleId).To(Equal(*second.AssumedRoleUser.AssumedRoleId))
	g.Expect(one.AccessKeyID).NotTo(Equal(two.AccessKeyID))
	g.Expect(one.SessionToken).NotTo(Equal(two.SessionToken))
}

func TestGetCallerIdentityOfAUser(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	me, err := e.client(operatorKey).GetCallerIdentity(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(*me.Arn).To(Equal(operatorARN))
	g.Expect(*me.UserId).To(MatchRegexp(`^AIDA[A-Z2-7]{17}$`))
	g.Expect(*me.Account).To(Equal("210987654321"))
}

// TestBounds uses a role that allows all parameters. wantError is empty for parameters that AWS accepts.
func TestBounds(t *testing.T) {
	const pattern = "Member must satisfy regular expression pattern: "
	atLeast := func(n int) string { return fmt.Sprintf("Member must have length greater than or equal to %d", n) }
	atMost := func(n int) string { return fmt.Sprintf("Member must have length less than or equal to %d", n) }
	violation := func(value, field, constraint string) string {
		return "1 validation error detected: Value '" + value + "' at '" + field + "' failed to satisfy constraint: " + constraint
	}
	repeat := strings.Repeat
	policyOf := func(n int) string {
		const empty = `{"Statement":{"Effect":"Allow","Action":"*","Resource":""}}`
		return strings.Replace(empty, `""`, `"`+repeat("x", n-len(empty))+`"`, 1)
	}
	tag := func(key, value string) []types.Tag { return []types.Tag{{Key: &key, Value: &value}} }
	tags := func(n int) []types.Tag {
		var tags []types.Tag
		for i := range n {
			tags = append(tags, tag(fmt.Sprint("k", i), "v")...)
		}
		return tags
	}
	arns := func(n int, arn string) []types.PolicyDescriptorType {
		var arns []types.PolicyDescriptorType
		for range n {
			arns = append(arns, types.PolicyDescriptorType{Arn: &arn})
		}
		return arns
	}
	const readOnly = "arn:aws:iam::aws:policy/ReadOnlyAccess"

	cases := map[string]struct {
		change      func(*sts.AssumeRoleInput)
		wantCode    string
		wantMessage string
	}{
		"a session name of 2 characters is taken":  {change: func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("ab") }},
		"a session name of 64 characters is taken": {change: func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String(repeat("n", 64)) }},
		"a session name of 1 character is too short": {
			change:   func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("a") },
			wantCode: "ValidationError", wantMessage: violation("a", "roleSessionName", atLeast(2)),
		},
		"a session name of 65 characters is too long": {
			change:   func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String(repeat("n", 65)) },
			wantCode: "ValidationError", wantMessage: violation(repeat("n", 65), "roleSessionName", atMost(64)),
		},
		"a session name has no slash": {
			change:   func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("shop/reader") },
			wantCode: "ValidationError", wantMessage: violation("shop/reader", "roleSessionName", pattern+`[\w+=,.@-]*`),
		},
		"a role ARN of 20 characters is looked up": {
			change:   func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("arn:aws:iam:::role/x") },
			wantCode: "AccessDenied", wantMessage: "User: " + operatorARN + " is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam:::role/x",
		},
		"a role ARN of 19 characters is too short": {
			change:   func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("arn:aws:iam:::role/") },
			wantCode: "ValidationError", wantMessage: violation("arn:aws:iam:::role/", "roleArn", atLeast(20)),
		},
		"a role ARN of 2048 characters is looked up": {
			change:   func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("arn:aws:iam:::role/" + repeat("x", 2029)) },
			wantCode: "AccessDenied", wantMessage: "User: " + operatorARN + " is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam:::role/" + repeat("x", 2029),
		},
		"a role ARN of 2049 characters is too long": {
			change:   func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("arn:aws:iam:::role/" + repeat("x", 2030)) },
			wantCode: "ValidationError", wantMessage: violation("arn:aws:iam:::role/"+repeat("x", 2030), "roleArn", atMost(2048)),
		},
		"an ARN of something else is no role": {
			change:   func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("arn:aws:iam::123456789012:user/operator") },
			wantCode: "ValidationError", wantMessage: "Request ARN is invalid",
		},
		"an external id of 2 characters is taken":    {change: func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("a:") }},
		"an external id of 1224 characters is taken": {change: func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String(repeat("/", 1224)) }},
		"an external id of 1 character is too short": {
			change:   func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("a") },
			wantCode: "ValidationError", wantMessage: violation("a", "externalId", atLeast(2)),
		},
		"an external id of 1225 characters is too long": {
			change:   func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String(repeat("e", 1225)) },
			wantCode: "ValidationError", wantMessage: violation(repeat("e", 1225), "externalId", atMost(1224)),
		},
		"an external id has no blank": {
			change:   func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("a b") },
			wantCode: "ValidationError", wantMessage: violation("a b", "externalId", pattern+`[\w+=,.@:\/-]*`),
		},
		"a source identity of 2 characters is taken":  {change: func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("al") }},
		"a source identity of 64 characters is taken": {change: func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String(repeat("a", 64)) }},
		"a source identity of 1 character is too short": {
			change:   func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("a") },
			wantCode: "ValidationError", wantMessage: violation("a", "sourceIdentity", atLeast(2)),
		},
		"a source identity of 65 characters is too long": {
			change:   func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String(repeat("a", 65)) },
			wantCode: "ValidationError", wantMessage: violation(repeat("a", 65), "sourceIdentity", atMost(64)),
		},
		"a source identity does not begin with aws:": {
			change:   func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("aws:alice") },
			wantCode: "ValidationError", wantMessage: violation("aws:alice", "sourceIdentity", pattern+`[\w+=,.@-]*`),
		},
		"a policy of 2048 characters is taken": {change: func(in *sts.AssumeRoleInput) { in.Policy = aws.String(policyOf(2048)) }},
		"a policy of 2049 characters is too long": {
			change:   func(in *sts.AssumeRoleInput) { in.Policy = aws.String(policyOf(2049)) },
			wantCode: "ValidationError", wantMessage: violation(policyOf(2049), "policy", atMost(2048)),
		},
		"an empty policy is too short and no policy": {
			change:   func(in *sts.AssumeRoleInput) { in.Policy = aws.String("") },
			wantCode: "ValidationError",
			wantMessage: "2 validation errors detected: Value '' at 'policy' failed to satisfy constraint: " + pattern + `[\u0009\u000A\u000D\u0020-\u00FF]+` +
				"; Value '' at 'policy' failed to satisfy constraint: " + atLeast(1),
		},
		"a policy may hold a tab, line ends and Latin-1": {change: func(in *sts.AssumeRoleInput) {
			in.Policy = aws.String("{\r\n\t\"Statement\": [{\"Effect\": \"Deny\", \"NotAction\": \"s3:*\", \"NotResource\": \"ÿ\"}]}")
		}},
		"a policy holds no character above U+00FF": {
			change:   func(in *sts.AssumeRoleInput) { in.Policy = aws.String(`{"Statement":"Ā"}`) },
			wantCode: "ValidationError", wantMessage: violation(`{"Statement":"Ā"}`, "policy", pattern+`[\u0009\u000A\u000D\u0020-\u00FF]+`),
		},
		"a policy holds no other control character": {
			change:   func(in *sts.AssumeRoleInput) { in.Policy = aws.String("{}\v") },
			wantCode: "ValidationError", wantMessage: violation("{}\uFFFD", "policy", pattern+`[\u0009\u000A\u000D\u0020-\u00FF]+`),
		},
		"10 policy ARNs are taken": {change: func(in *sts.AssumeRoleInput) { in.PolicyArns = arns(10, readOnly) }},
		"11 policy ARNs are too many": {
			change:   func(in *sts.AssumeRoleInput) { in.PolicyArns = arns(11, readOnly) },
			wantCode: "ValidationError", wantMessage: violation("[...]", "policyArns", atMost(10)),
		},
		"a policy ARN of 19 characters is too short": {
			change:   func(in *sts.AssumeRoleInput) { in.PolicyArns = arns(1, "arn:aws:iam::aws:po") },
			wantCode: "ValidationError", wantMessage: violation("arn:aws:iam::aws:po", "policyArns.1.member.arn", atLeast(20)),
		},
		"50 tags are taken": {change: func(in *sts.AssumeRoleInput) { in.Tags = tags(50) }},
		"51 tags are too many": {
			change:   func(in *sts.AssumeRoleInput) { in.Tags = tags(51) },
			wantCode: "ValidationError", wantMessage: violation("[...]", "tags", atMost(50)),
		},
		"a tag's key of 128 and value of 256 characters are taken": {
			change: func(in *sts.AssumeRoleInput) { in.Tags = tag(repeat("k", 128), repeat("v", 256)) },
		},
		"a tag's value may be empty": {change: func(in *sts.AssumeRoleInput) { in.Tags = tag("k", "") }},
		"a tag's key of 129 characters is too long": {
			change:   func(in *sts.AssumeRoleInput) { in.Tags = tag(repeat("k", 129), "v") },
			wantCode: "ValidationError", wantMessage: violation(repeat("k", 129), "tags.1.member.key", atMost(128)),
		},
		"a tag's value of 257 characters is too long": {
			change:   func(in *sts.AssumeRoleInput) { in.Tags = tag("k", repeat("v", 257)) },
			wantCode: "ValidationError", wantMessage: violation(repeat("v", 257), "tags.1.member.value", atMost(256)),
		},
		"a tag's value has no comma": {
			change:   func(in *sts.AssumeRoleInput) { in.Tags = tag("k", "a,b") },
			wantCode: "ValidationError", wantMessage: violation("a,b", "tags.1.member.value", pattern+`[\p{L}\p{Z}\p{N}_.:/=+\-@]*`),
		},
		"a tag's key does not begin with aws:": {
			change:   func(in *sts.AssumeRoleInput) { in.Tags = tag("AWS:team", "v") },
			wantCode: "InvalidParameterValue", wantMessage: "aws: prefixed tag key names are not allowed for external use.",
		},
		"two tags do not differ by case alone": {
			change:   func(in *sts.AssumeRoleInput) { in.Tags = append(tag("Team", "a"), tag("team", "b")...) },
			wantCode: "InvalidParameterValue", wantMessage: "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
		},
		"a transitive key is among the tags, whatever its case": {
			change: func(in *sts.AssumeRoleInput) {
				in.Tags, in.TransitiveTagKeys = tag("Team", "a"), []string{"team"}
			},
		},
		"a transitive key is not taken without its tag": {
			change: func(in *sts.AssumeRoleInput) {
				in.Tags, in.TransitiveTagKeys = tag("team", "a"), []string{"unit"}
			},
			wantCode: "InvalidParameterValue", wantMessage: "The specified transitive tag key must be included in the requested tags.",
		},
		"a duration of 900 s is taken":   {change: func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(900) }},
		"a duration of 43200 s is taken": {change: func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(43200) }},
		"a duration of 899 s is too short": {
			change:      func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(899) },
			wantCode:    "ValidationError",
			wantMessage: violation("899", "durationSeconds", "Member must have value greater than or equal to 900"),
		},
		"a duration of 43201 s is too long": {
			change:      func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(43201) },
			wantCode:    "ValidationError",
			wantMessage: violation("43201", "durationSeconds", "Member must have value less than or equal to 43200"),
		},
		"all violations are reported": {
			change: func(in *sts.AssumeRoleInput) {
				in.RoleSessionName, in.ExternalId = aws.String("/"), aws.String("e")
			},
			wantCode: "ValidationError",
			wantMessage: "3 validation errors detected: Value '/' at 'roleSessionName' failed to satisfy constraint: " + pattern + `[\w+=,.@-]*` +
				"; Value '/' at 'roleSessionName' failed to satisfy constraint: " + atLeast(2) +
				"; Value 'e' at 'externalId' failed to satisfy constraint: " + atLeast(2),
		},
	}
	e := serve(t, stsemulator.Options{})
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := input(longARN)
			tc.change(in)
			_, err := e.client(operatorKey).AssumeRole(t.Context(), in)
			if tc.wantCode == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			got := failureOf(t, err)
			g.Expect(got.Code).To(Equal(tc.wantCode))
			g.Expect(got.Message).To(Equal(tc.wantMessage))
		})
	}
}

func TestMissingParametersAreNull(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	form := map[string][]string{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {readerARN}, "DurationSeconds": {"soon"}}
	status, body, _ := send(t, e.signedRequest(t, operatorKey, form, "sts", region))
	g.Expect(status).To(Equal(400))
	g.Expect(body).To(ContainSubstring("Value null at &#39;roleSessionName&#39; failed to satisfy constraint: Member must not be null"))
	g.Expect(body).To(ContainSubstring("Value &#39;soon&#39; at &#39;durationSeconds&#39; failed to satisfy constraint: Member must be an integer"))
}

func tagged(key, value string) func(*sts.AssumeRoleInput) {
	return func(in *sts.AssumeRoleInput) { in.Tags = []types.Tag{{Key: &key, Value: &value}} }
}

func TestRolesAllowedToAUser(t *testing.T) {
	const powerlessARN = "arn:aws:iam::210987654321:user/powerless"
	powerlessKey := aws.Credentials{AccessKeyID: "AKIAI44QH8DHBEXAMPLE", SecretAccessKey: "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"}
	denied := func(user, action, role string) string {
		return "User: " + user + " is not authorized to perform: " + action + " on resource: " + role
	}
	role := func(name string) string { return "arn:aws:iam::123456789012:role/" + name }
	cases := map[string]struct {
		caller  aws.Credentials
		role    string
		change  func(*sts.AssumeRoleInput)
		wantARN string
		want    string
	}{
		"a role that trusts the user":                {role: role("S3Reader"), wantARN: "S3Reader"},
		"a role that trusts the user's account":      {role: role("LongRunning"), wantARN: "LongRunning"},
		"a role with a path is named without it":     {role: role("team/S3Writer"), wantARN: "S3Writer"},
		"a role with a path is not found without it": {role: role("S3Writer"), want: denied(operatorARN, "sts:AssumeRole", role("S3Writer"))},
		"a role of a pattern":                        {role: role("bench-42"), wantARN: "bench-42"},
		"a role beside the pattern":                  {role: role("prod-bench-42"), want: denied(operatorARN, "sts:AssumeRole", role("prod-bench-42"))},
		"a role that trusts no caller":               {role: role("Nobody"), want: denied(operatorARN, "sts:AssumeRole", role("Nobody"))},
		"a role that trusts another role":            {role: role("Spoke"), want: denied(operatorARN, "sts:AssumeRole", role("Spoke"))},
		"a role that does not exist":                 {role: role("Missing"), want: denied(operatorARN, "sts:AssumeRole", role("Missing"))},
		"a role of an account that does not exist":   {role: "arn:aws:iam::999999999999:role/R", want: denied(operatorARN, "sts:AssumeRole", "arn:aws:iam::999999999999:role/R")},
		"a role of another partition":                {role: "arn:aws-cn:iam::123456789012:role/S3Reader", want: denied(operatorARN, "sts:AssumeRole", "arn:aws-cn:iam::123456789012:role/S3Reader")},
		"a user whose own policy does not allow it":  {caller: powerlessKey, role: role("S3Reader"), want: denied(powerlessARN, "sts:AssumeRole", role("S3Reader"))},
		"the required external ID":                   {role: partnerARN, change: func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("k8s") }, wantARN: "Partner"},
		"no external ID where one is required":       {role: partnerARN, want: denied(operatorARN, "sts:AssumeRole", partnerARN)},
		"a wrong external ID": {
			role: partnerARN, change: func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("K8S") },
			want: denied(operatorARN, "sts:AssumeRole", partnerARN),
		},
		"an external ID that the role does not require": {role: role("S3Reader"), change: func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("any") }, wantARN: "S3Reader"},
		"a role that takes no tags": {
			role: role("Untagged"), change: func(in *sts.AssumeRoleInput) { in.Tags = []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}} },
			want: denied(operatorARN, "sts:TagSession", role("Untagged")),
		},
		"a role that takes no source identity": {
			role: role("Untagged"), change: func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("alice") },
			want: denied(operatorARN, "sts:SetSourceIdentity", role("Untagged")),
		},
		"a request with neither":       {role: role("Untagged"), wantARN: "Untagged"},
		"the required tag":             {role: role("Tagged"), change: tagged("Team", "shop"), wantARN: "Tagged"},
		"no tag where one is required": {role: role("Tagged"), want: denied(operatorARN, "sts:AssumeRole", role("Tagged"))},
		"another value of the required tag": {
			role: role("Tagged"), change: tagged("Team", "lab"),
			want: denied(operatorARN, "sts:AssumeRole", role("Tagged")),
		},
		"the required session name": {role: role("Named"), wantARN: "Named"},
		"another session name than the required one": {
			role: role("OtherwiseNamed"), want: denied(operatorARN, "sts:AssumeRole", role("OtherwiseNamed")),
		},
	}
	e := serve(t, stsemulator.Options{})
	for name, condition := range map[string]stsemulator.Trust{
		"Tagged":         {StringEquals: map[string][]string{"aws:RequestTag/Team": {"shop"}}},
		"Named":          {StringLike: map[string][]string{"sts:RoleSessionName": {"shop.*"}}},
		"OtherwiseNamed": {StringLike: map[string][]string{"sts:RoleSessionName": {"lab.*"}}},
	} {
		condition.Principal = operatorARN
		NewWithT(t).Expect(e.PutRole("123456789012", stsemulator.Role{Name: name, Trust: []stsemulator.Trust{condition}})).To(Succeed())
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := input(tc.role)
			if tc.change != nil {
				tc.change(in)
			}
			if tc.caller.AccessKeyID == "" {
				tc.caller = operatorKey
			}
			out, err := e.client(tc.caller).AssumeRole(t.Context(), in)
			if tc.want != "" {
				g.Expect(failureOf(t, err)).To(Equal(failure{Status: 403, Code: "AccessDenied", Message: tc.want}))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(*out.AssumedRoleUser.Arn).To(Equal("arn:aws:sts::123456789012:assumed-role/" + tc.wantARN + "/shop.s3-reader"))
		})
	}
}

func TestDurations(t *testing.T) {
	const (
		overRole  = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
		overChain = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
	)
	e := serve(t, stsemulator.Options{})
	hub, _ := e.assume(t, operatorKey, input(hubARN))
	cases := map[string]struct {
		caller       aws.Credentials
		role         string
		seconds      *int32
		wantLifetime time.Duration
		want         string
	}{
		"an hour by default":                     {caller: operatorKey, role: longARN, wantLifetime: time.Hour},
		"the whole MaxSessionDuration of a role": {caller: operatorKey, role: longARN, seconds: aws.Int32(43200), wantLifetime: 12 * time.Hour},
		"MaxSessionDuration is an hour by default": {
			caller: operatorKey, role: readerARN, seconds: aws.Int32(3600), wantLifetime: time.Hour,
		},
		"more than MaxSessionDuration":            {caller: operatorKey, role: readerARN, seconds: aws.Int32(3601), want: overRole},
		"an hour over a chain":                    {caller: hub, role: spokeARN, seconds: aws.Int32(3600), wantLifetime: time.Hour},
		"more than an hour over a chain":          {caller: hub, role: spokeARN, seconds: aws.Int32(3601), want: overChain},
		"by default an hour over a chain as well": {caller: hub, role: spokeARN, wantLifetime: time.Hour},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := input(tc.role)
			in.DurationSeconds = tc.seconds
			out, err := e.client(tc.caller).AssumeRole(t.Context(), in)
			if tc.want != "" {
				g.Expect(failureOf(t, err)).To(Equal(failure{Status: 400, Code: "ValidationError", Message: tc.want}))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(out.Credentials.Expiration.Sub(e.clock.Now())).To(Equal(tc.wantLifetime))
		})
	}
}

func TestSessionExpiresAtTheReturnedTime(t *testing.T) {
	for name, tc := range map[string]struct {
		fraction float64
		seconds  int32
		want     time.Duration
	}{
		"the requested duration":                {seconds: 900, want: 15 * time.Minute},
		"a hundredth of the requested duration": {fraction: 0.01, seconds: 900, want: 9 * time.Second},
		"cut to whole seconds":                  {fraction: 0.0025, seconds: 1000, want: 2 * time.Second},
		"a second at least":                     {fraction: 0.000001, seconds: 900, want: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := serve(t, stsemulator.Options{LifetimeFraction: tc.fraction})
			in := input(readerARN)
			in.DurationSeconds = &tc.seconds
			creds, out := e.assume(t, operatorKey, in)
			g.Expect(out.Credentials.Expiration.Sub(start)).To(Equal(tc.want))

			e.clock.SetTime(out.Credentials.Expiration.Add(-time.Millisecond))
			_, err := e.client(creds).GetCallerIdentity(t.Context(), nil)
			g.Expect(err).NotTo(HaveOccurred())

			e.clock.SetTime(*out.Credentials.Expiration)
			_, err = e.client(creds).GetCallerIdentity(t.Context(), nil)
			g.Expect(failureOf(t, err)).To(Equal(failure{Status: 403, Code: "ExpiredToken", Message: "The security token included in the request is expired"}))
		})
	}
}

func TestSessionRecordsTheRequest(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	in := input(readerARN)
	in.Policy = aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`)
	in.PolicyArns = []types.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")}}
	in.SourceIdentity = aws.String("alice")
	in.Tags = []types.Tag{{Key: aws.String("Team"), Value: aws.String("shop")}, {Key: aws.String("env"), Value: aws.String("prod")}}
	in.TransitiveTagKeys = []string{"team"}
	creds, out := e.assume(t, operatorKey, in)

	g.Expect(*out.SourceIdentity).To(Equal("alice"))
	g.Expect(*out.PackedPolicySize).To(BeNumerically("==", 11))
	session, ok := e.Session(creds.AccessKeyID)
	g.Expect(ok).To(BeTrue())
	g.Expect(session).To(Equal(stsemulator.Session{
		Action: "AssumeRole", AccessKeyID: creds.AccessKeyID, ARN: *out.AssumedRoleUser.Arn, UserID: *out.AssumedRoleUser.AssumedRoleId,
		RoleARN: readerARN, CallerARN: operatorARN, Issued: start, Expiration: start.Add(time.Hour),
		SourceIdentity: "alice", Policy: *in.Policy, PolicyARNs: []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"},
		Tags: map[string]string{"Team": "shop", "env": "prod"}, TransitiveTagKeys: []string{"Team"}, PackedPolicySize: 11,
	}))
	g.Expect(e.Sessions()).To(Equal([]stsemulator.Session{session}))
	g.Expect(e.lastCall(t).IssuedAccessKeyID).To(Equal(creds.AccessKeyID))
}

func TestChainInheritsTransitiveTagsAndTheSourceIdentity(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	first := input(hubARN)
	first.SourceIdentity = aws.String("alice")
	first.Tags = []types.Tag{{Key: aws.String("Team"), Value: aws.String("shop")}, {Key: aws.String("step"), Value: aws.String("one")}}
	first.TransitiveTagKeys = []string{"Team"}
	hub, _ := e.assume(t, operatorKey, first)

	second := input(spokeARN)
	second.Tags = []types.Tag{{Key: aws.String("step"), Value: aws.String("two")}}
	second.TransitiveTagKeys = []string{"step"}
	spoke, out := e.assume(t, hub, second)
	g.Expect(*out.SourceIdentity).To(Equal("alice"))
	session, _ := e.Session(spoke.AccessKeyID)
	g.Expect(session.CallerARN).To(Equal("arn:aws:sts::210987654321:assumed-role/Hub/shop.s3-reader"))
	g.Expect(session.Tags).To(Equal(map[string]string{"Team": "shop", "step": "two"}))
	g.Expect(session.TransitiveTagKeys).To(Equal([]string{"Team", "step"}))

	second.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("mine")}}
	second.TransitiveTagKeys = nil
	_, err := e.client(hub).AssumeRole(t.Context(), second)
	g.Expect(failureOf(t, err)).To(Equal(failure{Status: 400, Code: "InvalidParameterValue", Message: "One of the specified transitive tag keys " +
		"can't be set because it conflicts with a transitive tag key from the calling session."}))

	second.Tags = nil
	second.SourceIdentity = aws.String("mallory")
	_, err = e.client(hub).AssumeRole(t.Context(), second)
	g.Expect(failureOf(t, err)).To(Equal(failure{Status: 400, Code: "ValidationError", Message: "The source identity is already set for this assume role session"}))
}

func TestRoleSessionPrincipalMatchesOnlyItsRole(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	g.Expect(e.PutRole("210987654321", stsemulator.Role{
		Name: "Other", MayAssume: []string{"*"}, Trust: []stsemulator.Trust{{Principal: operatorARN}},
	})).To(Succeed())
	other, out := e.assume(t, operatorKey, input("arn:aws:iam::210987654321:role/Other"))
	_, err := e.client(other).AssumeRole(t.Context(), input(spokeARN))
	g.Expect(failureOf(t, err).Code).To(Equal("AccessDenied"))

	g.Expect(e.SetTrust(spokeARN, stsemulator.Trust{Principal: *out.AssumedRoleUser.Arn})).To(Succeed())
	e.assume(t, other, input(spokeARN))
}

func TestSessionPolicyMustBeAPolicyDocument(t *testing.T) {
	for name, tc := range map[string]struct{ policy, want string }{
		"it is JSON": {
			policy: "{\n  Statement: 1}",
			want: `^Unexpected character \('S' \(code 83\)\): expected a valid value \(number, String, array, object, 'true', 'false' or 'null'\)\n` +
				` at \[Source: java\.io\.StringReader@[0-9a-f]{8}; line: 2, column: 3\]$`,
		},
		"it does not end in the middle":                  {policy: `{"Statement":`, want: `^Unexpected character`},
		"it is an object":                                {policy: `["Statement"]`, want: `^Syntax errors in policy\.$`},
		"it has a statement":                             {policy: `{"Version":"2012-10-17"}`, want: `^Syntax errors in policy\.$`},
		"its statement is an object or a list of them":   {policy: `{"Statement":[1]}`, want: `^Syntax errors in policy\.$`},
		"its statement has an effect":                    {policy: `{"Statement":{"Action":"*","Resource":"*"}}`, want: `^Syntax errors in policy\.$`},
		"its effect is to allow or to deny":              {policy: `{"Statement":{"Effect":"allow","Action":"*","Resource":"*"}}`, want: `^Syntax errors in policy\.$`},
		"it does not say both an action and a NotAction": {policy: `{"Statement":{"Effect":"Deny","Action":"*","NotAction":"*","Resource":"*"}}`, want: `^Syntax errors in policy\.$`},
		"its statement has a resource":                   {policy: `{"Statement":{"Effect":"Deny","Action":"*"}}`, want: `^Syntax errors in policy\.$`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := serve(t, stsemulator.Options{})
			in := input(readerARN)
			in.Policy = &tc.policy
			_, err := e.client(operatorKey).AssumeRole(t.Context(), in)
			got := failureOf(t, err)
			g.Expect(got.Code).To(Equal("MalformedPolicyDocument"))
			g.Expect(got.Status).To(Equal(400))
			g.Expect(got.Message).To(MatchRegexp(tc.want))
		})
	}
}

func TestPackedSizeCountsPoliciesAndTags(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	in := input(readerARN)
	big := aws.String(strings.Repeat("v", 250))
	in.Tags = []types.Tag{{Key: aws.String("a"), Value: big}, {Key: aws.String("b"), Value: big}, {Key: aws.String("c"), Value: aws.String("v")}}
	_, out := e.assume(t, operatorKey, in)
	g.Expect(*out.PackedPolicySize).To(BeNumerically("==", 100))

	in.Tags[2].Value = aws.String("vvvvv")
	_, err := e.client(operatorKey).AssumeRole(t.Context(), in)
	g.Expect(failureOf(t, err)).To(Equal(failure{Status: 400, Code: "PackedPolicyTooLarge", Message: "Packed size of session tags consumes 101% of allotted space."}))

	in.Policy = aws.String(`{"Statement":{"Effect":"Allow","Action":"*","Resource":"` + strings.Repeat("x", 1000) + `"}}`)
	_, err = e.client(operatorKey).AssumeRole(t.Context(), in)
	g.Expect(failureOf(t, err).Message).To(Equal("Packed policy consumes 153% of allotted space, please use smaller policy."))
}

func TestAssumeRoleInADisabledRegion(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	chinese := e.AccessKeys("arn:aws-cn:iam::111122223333:user/operator")
	g.Expect(chinese).To(HaveLen(1))
	key := aws.Credentials{AccessKeyID: chinese[0].ID, SecretAccessKey: chinese[0].Secret}
	in := input("arn:aws-cn:iam::111122223333:role/S3Reader")
	_, err := e.client(key, func(o *sts.Options) { o.Region = "cn-northwest-1" }).AssumeRole(t.Context(), in)
	g.Expect(failureOf(t, err)).To(Equal(failure{Status: 403, Code: "RegionDisabledException", Message: "STS is not activated in this region for account:111122223333. " +
		"Your account administrator can activate STS in this region using the IAM Console."}))

	out, err := e.client(key, func(o *sts.Options) { o.Region = "cn-north-1" }).AssumeRole(t.Context(), in)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(*out.AssumedRoleUser.Arn).To(HavePrefix("arn:aws-cn:sts::111122223333:assumed-role/S3Reader/"))
}

func TestCallsAreRecordedWithoutSecrets(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	in := input(hubARN)
	in.ExternalId = aws.String("k8s")
	hub, _ := e.assume(t, operatorKey, in)
	spoke, _ := e.assume(t, hub, input(spokeARN))
	_, err := e.client(aws.Credentials{AccessKeyID: "AKIAXXXXXXXXXXXXXXXX", SecretAccessKey: "x"}).GetCallerIdentity(t.Context(), nil)
	g.Expect(err).To(HaveOccurred())
	form := map[string][]string{"Action": {"AssumeRoleWithSAML"}, "Version": {"2011-06-15"}, "SAMLAssertion": {"eyJ.secret.token"}}
	status, body, _ := send(t, e.signedRequest(t, operatorKey, form, "sts", region))
	g.Expect(status).To(Equal(400))
	g.Expect(body).To(ContainSubstring("<Code>InvalidAction</Code><Message>Could not find operation AssumeRoleWithSAML for version 2011-06-15</Message>"))

	calls := e.Calls()
	g.Expect(calls).To(HaveLen(4))
	g.Expect(calls[0].RequestID).To(MatchRegexp(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`))
	calls[0].RequestID = ""
	g.Expect(calls[0]).To(Equal(stsemulator.Call{
		Time: start, Action: "AssumeRole", AccessKeyID: operatorKey.AccessKeyID, CallerARN: operatorARN, Region: region,
		Status: 200, IssuedAccessKeyID: hub.AccessKeyID,
		Parameters: map[string][]string{
			"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {hubARN}, "RoleSessionName": {"shop.s3-reader"}, "ExternalId": {"k8s"},
		},
	}))
	g.Expect(calls[1].CallerARN).To(Equal("arn:aws:sts::210987654321:assumed-role/Hub/shop.s3-reader"))
	g.Expect(calls[2].Status).To(Equal(403))
	g.Expect(calls[2].Code).To(Equal("InvalidClientTokenId"))
	g.Expect(calls[2].CallerARN).To(BeEmpty())
	g.Expect(calls[3].Code).To(Equal("InvalidAction"))

	recorded, err := json.Marshal([]any{calls, e.Sessions()})
	g.Expect(err).NotTo(HaveOccurred())
	for _, secret := range []string{
		operatorKey.SecretAccessKey, hub.SecretAccessKey, hub.SessionToken, spoke.SecretAccessKey, spoke.SessionToken, "eyJ.secret.token",
	} {
		g.Expect(string(recorded)).NotTo(ContainSubstring(secret))
	}

	e.ClearCalls()
	g.Expect(e.Calls()).To(BeEmpty())
}
