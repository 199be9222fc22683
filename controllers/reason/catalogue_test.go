package reason_test

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/testkit"
)

var subject = reason.Subject{
	Identity: "ClusterIdentity default",
	Caller:   "arn:aws:iam::210987654321:user/operator",
	Call:     v1alpha1.CallAssumeRole,
	RoleARN:  "arn:aws:iam::123456789012:role/S3Reader",
}

const code = "TheCode"

var answer = reason.Answer{Code: code, Status: 418}

// catalogue says of each reason what its message must name, and a word of what to do.
var catalogue = map[string]struct{ names, advice []string }{
	v1alpha1.ReasonAccessDenied: {
		names:  []string{subject.Identity, subject.Caller, "AssumeRole", subject.RoleARN},
		advice: []string{"Check", "trust policy", "sts:TagSession", "sts:SetSourceIdentity", "sts:ExternalId", "spec.externalID", "the caller's own policies"},
	},
	v1alpha1.ReasonInvalidSourceCredentials: {names: []string{subject.Identity, code}, advice: []string{"Fix the identity's source", "tried at once"}},
	v1alpha1.ReasonInvalidRequest: {
		names:  []string{code, subject.RoleARN},
		advice: []string{"Check", "MaxSessionDuration", "1h", "sessionName", "externalID", "policyARNs", "tags", "event"},
	},
	v1alpha1.ReasonPolicyTooLarge:  {names: []string{"policies and tags"}, advice: []string{"Shorten", "fewer policyARNs or tags"}},
	v1alpha1.ReasonMalformedPolicy: {names: []string{"spec.policy"}, advice: []string{"Check", "no Principal"}},
	v1alpha1.ReasonRegionDisabled:  {names: []string{subject.Identity, subject.Caller}, advice: []string{"Activate", "choose another region"}},
	v1alpha1.ReasonClockSkew:       {names: []string{"clock"}, advice: []string{"Set the clock"}},
	v1alpha1.ReasonThrottled:       {names: []string{subject.Identity, subject.Caller}, advice: []string{"lower rate"}},
	v1alpha1.ReasonSTSUnreachable:  {names: []string{subject.Identity}, advice: []string{"Check", "region and endpoint", "DNS", "NetworkPolicies", "event"}},
	v1alpha1.ReasonSTSError:        {names: []string{"AssumeRole", code}, advice: []string{"retries", "event"}},
}

func TestDeniedAssumeRoleBehindACertificateNamesTheSourceIdentity(t *testing.T) {
	g := NewWithT(t)
	const needed = "must also allow sts:SetSourceIdentity"
	for _, hop := range []bool{false, true} {
		s := subject
		s.Hop = hop
		message := func() string { return reason.STS(v1alpha1.ReasonAccessDenied, answer, s, nil).Message }
		g.Expect(message()).NotTo(ContainSubstring(needed))
		s.HasSourceIdentity = true
		g.Expect(message()).To(ContainSubstring(needed))
		s.Call = v1alpha1.CallCreateSession
		g.Expect(message()).NotTo(ContainSubstring(needed))
	}
}

func TestEveryReasonWhySTSFailsIsInTheCatalogue(t *testing.T) {
	g := NewWithT(t)
	g.Expect(slices.Collect(maps.Keys(catalogue))).To(ConsistOf(testkit.ReasonsOfSTS(t, "../..")))
}

func TestEveryMessageNamesWhatIsWrongAndSaysWhatToDo(t *testing.T) {
	fallback := reason.STS("AReasonThatNobodyKnows", answer, subject, nil).Message
	for code, tc := range catalogue {
		t.Run(code, func(t *testing.T) {
			g := NewWithT(t)
			cause := errors.New("as STS said it")
			f := reason.STS(code, answer, subject, cause)
			g.Expect(f.Condition).To(Equal(v1alpha1.ConditionIssued))
			g.Expect(f.Reason).To(Equal(code))
			g.Expect(f.Retry).To(Equal(reason.Backoff), "what AWS refuses may change unseen")
			g.Expect(f.Cause).To(BeIdenticalTo(cause))
			if code != v1alpha1.ReasonSTSUnreachable { // where nothing answered
				g.Expect(f.Message).To(ContainSubstring("(TheCode, HTTP 418)"))
			}
			for _, part := range slices.Concat(tc.names, tc.advice) {
				g.Expect(f.Message).To(ContainSubstring(part))
			}
			g.Expect(f.Message).To(HaveSuffix("."))
			g.Expect(len(f.Message)).To(BeNumerically("<", 1024))
			if code != v1alpha1.ReasonSTSError {
				g.Expect(f.Message).NotTo(Equal(fallback), "it has no text of its own")
			}
		})
	}
}

func TestInvalidRequestNamesInheritedTagsOfAnIdentityThatSetsSessionTags(t *testing.T) {
	g := NewWithT(t)
	stamped := subject
	stamped.SetsSessionTags = true
	g.Expect(reason.STS(v1alpha1.ReasonInvalidRequest, answer, stamped, nil).Message).To(And(
		ContainSubstring("kubernetes-namespace"), ContainSubstring("--disable-session-tags"), ContainSubstring("leave sessionTags out of the identity.")))
	g.Expect(reason.STS(v1alpha1.ReasonInvalidRequest, answer, subject, nil).Message).NotTo(ContainSubstring("Pod Identity"))
}

// volatile matches values that differ between two calls.
var volatile = regexp.MustCompile(`as STS said it|[0-9a-f]{8}-[0-9a-f]{4}-|\d{4}-\d{2}-\d{2}|\d{2}:\d{2}:\d{2}|0x[0-9a-f]+|%!|:\d{4,5}\b`)

func TestAMessageIsTheSameEachTime(t *testing.T) {
	for code := range catalogue {
		t.Run(code, func(t *testing.T) {
			g := NewWithT(t)
			first := reason.STS(code, answer, subject, errors.New("as STS said it first"))
			again := reason.STS(code, answer, subject, errors.New("as STS said it then"))
			g.Expect(again.Message).To(Equal(first.Message))
			g.Expect(first.Message).NotTo(MatchRegexp(volatile.String()))
		})
	}
}

func TestFailureNamesTheCallThatFailed(t *testing.T) {
	for name, tc := range map[string]struct {
		subject reason.Subject
		cause   error
		want    *v1alpha1.FailedCall
	}{
		"the credential's own role":               {subject, errors.New("refused"), &v1alpha1.FailedCall{Call: "AssumeRole", RoleARN: subject.RoleARN, CallerARN: subject.Caller}},
		"a call without a role":                   {reason.Subject{Call: "GetSessionToken"}, errors.New("refused"), &v1alpha1.FailedCall{Call: "GetSessionToken"}},
		"no call, for want of source credentials": {subject, fmt.Errorf("signing: %w", &reason.SourceError{Err: errors.New("none")}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(reason.STS(v1alpha1.ReasonAccessDenied, reason.Answer{Code: "TheCode"}, tc.subject, tc.cause).Call).To(Equal(tc.want))
		})
	}
}

func TestAMessageReadsWellWithoutWhatIsNotKnown(t *testing.T) {
	for code := range catalogue {
		if code == v1alpha1.ReasonInvalidRequest {
			continue // only of calls that ask for a role: a server that finds GetCallerIdentity invalid has none
		}
		for name, s := range map[string]reason.Subject{
			"the caller":      {Identity: subject.Identity, Call: subject.Call, RoleARN: subject.RoleARN},
			"a role":          {Identity: subject.Identity, Caller: subject.Caller, Call: "GetCallerIdentity"},
			"neither of them": {Identity: subject.Identity, Call: "GetCallerIdentity"},
		} {
			t.Run(code+" without "+name, func(t *testing.T) {
				g := NewWithT(t)
				message := reason.STS(code, reason.Answer{}, s, nil).Message
				g.Expect(message).NotTo(Or(ContainSubstring("()"), ContainSubstring("  "), ContainSubstring(" ."), ContainSubstring(" ,")))
			})
		}
	}
}
