package stsemulator_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/stsemulator"
)

const (
	operatorMFA  = "arn:aws:iam::210987654321:mfa/operator"
	operatorSeed = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	guardedARN   = "arn:aws:iam::123456789012:role/Guarded"

	badSerial  = "MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user."
	badCode    = "MultiFactorAuthentication failed with invalid MFA one time pass code. "
	halfOfBoth = "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code."
)

func code(t *testing.T, seed string, at time.Time) *string {
	t.Helper()
	shown, err := stsemulator.MFACode(seed, at)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return &shown
}

func withMFA(serial string, code *string) *sts.GetSessionTokenInput {
	return &sts.GetSessionTokenInput{SerialNumber: &serial, TokenCode: code}
}

func TestCodeIsValidForThreeSteps(t *testing.T) {
	for name, tc := range map[string]struct {
		drift time.Duration
		seed  string
		taken bool
	}{
		"a clock that is right":          {taken: true},
		"a clock a step behind":          {drift: -30 * time.Second, taken: true},
		"a clock one step fast":          {drift: 30 * time.Second, taken: true},
		"a clock two steps behind":       {drift: -60 * time.Second},
		"a clock two steps fast":         {drift: 60 * time.Second},
		"a wrong seed, at the same time": {seed: "KRUGS4ZANFZSA3TPOQQHI2DFEBZWKZLE"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := serve(t, stsemulator.Options{})
			if tc.seed == "" {
				tc.seed = operatorSeed
			}
			_, err := e.client(operatorKey).GetSessionToken(t.Context(), withMFA(operatorMFA, code(t, tc.seed, start.Add(tc.drift))))
			if tc.taken {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(failureOf(t, err)).To(Equal(failure{Status: 403, Code: "AccessDenied", Message: badCode}))
		})
	}
}

func TestCodeIsValidOnce(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	present, next := code(t, operatorSeed, start), code(t, operatorSeed, start.Add(30*time.Second))
	get := func(code *string) error {
		_, err := e.client(operatorKey).GetSessionToken(t.Context(), withMFA(operatorMFA, code))
		return err
	}
	again := failure{Status: 403, Code: "AccessDenied", Message: badCode}
	g.Expect(get(present)).To(Succeed())
	g.Expect(failureOf(t, get(present))).To(Equal(again))
	in := input(guardedARN)
	in.SerialNumber, in.TokenCode = aws.String(operatorMFA), present
	_, err := e.client(operatorKey).AssumeRole(t.Context(), in)
	g.Expect(failureOf(t, err)).To(Equal(again), "whatever the call")
	g.Expect(get(next)).To(Succeed(), "another step is another code")

	e.clock.SetTime(start.Add(30 * time.Second))
	g.Expect(failureOf(t, get(present))).To(Equal(again), "the step before")
	g.Expect(failureOf(t, get(next))).To(Equal(again), "the present step")
	g.Expect(get(code(t, operatorSeed, e.clock.Now().Add(30*time.Second)))).To(Succeed())
	e.clock.SetTime(start.Add(time.Hour))
	g.Expect(get(code(t, operatorSeed, e.clock.Now()))).To(Succeed())
}

func TestCodeRequiresTheSerialNumberOfTheCallersDevice(t *testing.T) {
	e := serve(t, stsemulator.Options{})
	other, err := e.PutMFADevice("arn:aws:iam::210987654321:user/powerless", stsemulator.MFADevice{Name: "other", Seed: operatorSeed})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, tc := range map[string]struct {
		serial, code *string
		want         string
	}{
		"a device of another user":   {serial: &other, code: code(t, operatorSeed, start), want: badSerial},
		"a device that is not there": {serial: aws.String(operatorMFA + "2"), code: code(t, operatorSeed, start), want: badSerial},
		"a device and no code":       {serial: aws.String(operatorMFA), want: halfOfBoth},
		"a code and no device":       {code: code(t, operatorSeed, start), want: halfOfBoth},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			in := input(guardedARN)
			in.SerialNumber, in.TokenCode = tc.serial, tc.code
			_, err := e.client(operatorKey).AssumeRole(t.Context(), in)
			g.Expect(failureOf(t, err)).To(Equal(failure{Status: 403, Code: "AccessDenied", Message: tc.want}))
			_, err = e.client(operatorKey).GetSessionToken(t.Context(), &sts.GetSessionTokenInput{SerialNumber: tc.serial, TokenCode: tc.code})
			g.Expect(failureOf(t, err)).To(Equal(failure{Status: 403, Code: "AccessDenied", Message: tc.want}))
		})
	}
	g := NewWithT(t)
	hub, _ := e.assume(t, operatorKey, input(hubARN))
	in := input(spokeARN)
	in.SerialNumber, in.TokenCode = aws.String(operatorMFA), code(t, operatorSeed, start)
	_, err = e.client(hub).AssumeRole(t.Context(), in)
	g.Expect(failureOf(t, err).Message).To(Equal(badSerial), "a role has no device")
}

func TestRoleCanRequireMFA(t *testing.T) {
	denied := failure{403, "AccessDenied", "User: " + operatorARN + " is not authorized to perform: sts:AssumeRole on resource: " + guardedARN}
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	_, err := e.client(operatorKey).AssumeRole(t.Context(), input(guardedARN))
	g.Expect(failureOf(t, err)).To(Equal(denied))

	in := input(guardedARN)
	in.SerialNumber, in.TokenCode = aws.String(operatorMFA), code(t, operatorSeed, start)
	guarded, _ := e.assume(t, operatorKey, in)
	session, _ := e.Session(guarded.AccessKeyID)
	g.Expect(session.MFA).To(BeTrue())

	plain, err := e.client(operatorKey).GetSessionToken(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = e.client(sessionCredentials(plain.Credentials)).AssumeRole(t.Context(), input(guardedARN))
	g.Expect(failureOf(t, err)).To(Equal(denied), "a session without MFA")

	e.clock.SetTime(start.Add(30 * time.Second))
	strong, err := e.client(operatorKey).GetSessionToken(t.Context(), withMFA(operatorMFA, code(t, operatorSeed, e.clock.Now())))
	g.Expect(err).NotTo(HaveOccurred())
	e.assume(t, sessionCredentials(strong.Credentials), input(guardedARN))
}

func TestRoleSessionDoesNotCountAsMFA(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	g.Expect(e.SetTrust(spokeARN, stsemulator.Trust{Principal: hubARN, RequireMFA: true})).To(Succeed())
	in := input(hubARN)
	in.SerialNumber, in.TokenCode = aws.String(operatorMFA), code(t, operatorSeed, start)
	hub, _ := e.assume(t, operatorKey, in)
	_, err := e.client(hub).AssumeRole(t.Context(), input(spokeARN))
	g.Expect(failureOf(t, err).Code).To(Equal("AccessDenied"))
}

func TestDevicesCanBeAddedAndDeleted(t *testing.T) {
	g := NewWithT(t)
	e := serve(t, stsemulator.Options{})
	var answer map[string]string
	const seed = "kruG S4ZA"
	g.Expect(e.admin(t, "PUT", "mfa", map[string]any{"userARN": operatorARN, "device": stsemulator.MFADevice{Name: "operator", Seed: seed}}, &answer)).To(Equal(400))
	g.Expect(answer["error"]).To(Equal(`MFA device "operator": seed must be at least 16 characters of base32`))
	const other = "krugs4zanfzsa3tpoqqhi2dfebzwkzle"
	g.Expect(e.admin(t, "PUT", "mfa", map[string]any{"userARN": operatorARN, "device": stsemulator.MFADevice{Name: "operator", Seed: other}}, &answer)).To(Equal(200))
	g.Expect(answer["serialNumber"]).To(Equal(operatorMFA))
	_, err := e.client(operatorKey).GetSessionToken(t.Context(), withMFA(operatorMFA, code(t, operatorSeed, start)))
	g.Expect(failureOf(t, err).Message).To(Equal(badCode), "the seed is another")
	_, err = e.client(operatorKey).GetSessionToken(t.Context(), withMFA(operatorMFA, code(t, other, start)))
	g.Expect(err).NotTo(HaveOccurred())

	g.Expect(e.admin(t, "DELETE", "mfa?serial="+operatorMFA, nil, nil)).To(Equal(204))
	g.Expect(e.admin(t, "DELETE", "mfa?serial="+operatorMFA, nil, nil)).To(Equal(400))
	_, err = e.client(operatorKey).GetSessionToken(t.Context(), withMFA(operatorMFA, code(t, other, start)))
	g.Expect(failureOf(t, err).Message).To(Equal(badSerial))

	_, err = e.PutMFADevice("arn:aws:iam::210987654321:user/unknown", stsemulator.MFADevice{Name: "x", Seed: operatorSeed})
	g.Expect(err).To(MatchError(`no user "arn:aws:iam::210987654321:user/unknown"`))
	_, err = e.PutMFADevice(operatorARN, stsemulator.MFADevice{Name: "x y", Seed: operatorSeed})
	g.Expect(err).To(MatchError(ContainSubstring("name must be")))
	_, err = e.PutMFADevice(operatorARN, stsemulator.MFADevice{Name: "mine", Seed: operatorSeed})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = e.PutMFADevice("arn:aws:iam::210987654321:user/powerless", stsemulator.MFADevice{Name: "mine", Seed: operatorSeed})
	g.Expect(err).To(MatchError(ContainSubstring("is another user's")))
}
