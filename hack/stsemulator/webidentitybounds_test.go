package stsemulator_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/stsemulator"
)

func TestBoundsOfAWebIdentity(t *testing.T) {
	i := newIssuer(t)
	e := serveIssuer(t, i, stsemulator.Options{})
	token := i.token(t, "ec", nil, claimsOf(nil))
	const constraint = "failed to satisfy constraint: Member must have "
	for name, tc := range map[string]struct {
		change func(*sts.AssumeRoleWithWebIdentityInput)
		want   string
	}{
		"900 s":   {change: func(in *sts.AssumeRoleWithWebIdentityInput) { in.DurationSeconds = aws.Int32(900) }},
		"43200 s": {change: func(in *sts.AssumeRoleWithWebIdentityInput) { in.DurationSeconds = aws.Int32(43200) }},
		"899 s": {
			change: func(in *sts.AssumeRoleWithWebIdentityInput) { in.DurationSeconds = aws.Int32(899) },
			want:   "1 validation error detected: Value '899' at 'durationSeconds' " + constraint + "value greater than or equal to 900",
		},
		"43201 s": {
			change: func(in *sts.AssumeRoleWithWebIdentityInput) { in.DurationSeconds = aws.Int32(43201) },
			want:   "1 validation error detected: Value '43201' at 'durationSeconds' " + constraint + "value less than or equal to 43200",
		},
		"a token of 3 characters, which is not repeated": {
			change: func(in *sts.AssumeRoleWithWebIdentityInput) { in.WebIdentityToken = aws.String("abc") },
			want:   "1 validation error detected: Value at 'webIdentityToken' " + constraint + "length greater than or equal to 4",
		},
		"a token of 4 characters": {
			change: func(in *sts.AssumeRoleWithWebIdentityInput) { in.WebIdentityToken = aws.String("abcd") },
			want:   "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
		},
		"a token of 20000 characters": {
			change: func(in *sts.AssumeRoleWithWebIdentityInput) {
				in.WebIdentityToken = aws.String(strings.Repeat("a", 20000))
			},
			want: "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
		},
		"a token of 20001 characters": {
			change: func(in *sts.AssumeRoleWithWebIdentityInput) {
				in.WebIdentityToken = aws.String(strings.Repeat("a", 20001))
			},
			want: "1 validation error detected: Value at 'webIdentityToken' " + constraint + "length less than or equal to 20000",
		},
		"a session name of 1 character": {
			change: func(in *sts.AssumeRoleWithWebIdentityInput) { in.RoleSessionName = aws.String("a") },
			want:   "1 validation error detected: Value 'a' at 'roleSessionName' " + constraint + "length greater than or equal to 2",
		},
		"a policy that is none": {
			change: func(in *sts.AssumeRoleWithWebIdentityInput) { in.Policy = aws.String("{}") },
			want:   "Syntax errors in policy.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := webIdentity(token)
			tc.change(in)
			_, err := e.exchange(t, in)
			if tc.want == "" {
				NewWithT(t).Expect(err).NotTo(HaveOccurred())
				return
			}
			NewWithT(t).Expect(failureOf(t, err).Message).To(Equal(tc.want))
		})
	}
	g := NewWithT(t)
	short := stsemulator.Role{Name: "ServiceAccount", Trust: []stsemulator.Trust{trustShop()}}
	g.Expect(e.PutRole("123456789012", short)).To(Succeed())
	in := webIdentity(token)
	in.DurationSeconds = aws.Int32(3601)
	_, err := e.exchange(t, in)
	g.Expect(failureOf(t, err).Message).To(Equal("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."))
}
