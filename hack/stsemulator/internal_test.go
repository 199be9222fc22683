package stsemulator

import (
	"errors"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestSignatureIsValidWithinFifteenMinutes(t *testing.T) {
	for name, tc := range map[string]struct {
		date, want string
	}{
		"fifteen minutes old":               {date: "20260102T114500Z"},
		"fifteen minutes and a second old":  {date: "20260102T114459Z", want: "Signature expired: 20260102T114459Z is now earlier than 20260102T114500Z (20260102T120000Z - 15 min.)"},
		"fifteen minutes in the future":     {date: "20260102T121500Z"},
		"fifteen minutes and a second more": {date: "20260102T121501Z", want: "Signature not yet current: 20260102T121501Z is still later than 20260102T121500Z (20260102T120000Z + 15 min.)"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := checkDate(tc.date, noon)
			if tc.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			var got *apiError
			g.Expect(errors.As(err, &got)).To(BeTrue())
			g.Expect(*got).To(Equal(apiError{Code: "SignatureDoesNotMatch", Status: 403, Message: tc.want}))
		})
	}
}

func TestGlobsAreAnchored(t *testing.T) {
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "a/b:c", true},
		{"a", "a", true}, {"a", "ab", false}, {"a", "ba", false},
		{"a*", "ab", true}, {"a*", "ba", false}, {"*a", "ba", true}, {"*a", "ab", false},
		{"a*c*e", "abcde", true}, {"a*c*e", "abcd", false}, {"a**", "a", true},
	} {
		NewWithT(t).Expect(glob(tc.pattern, tc.s)).To(Equal(tc.want), "%q of %q", tc.pattern, tc.s)
	}
}

func TestExpiredSessionsAreDeletedAfterAnHour(t *testing.T) {
	g := NewWithT(t)
	var s sessions
	add := func(id string, now time.Time) {
		s.add(&storedSession{Session: Session{AccessKeyID: id, Issued: now, Expiration: now.Add(time.Minute)}}, now)
	}
	for i := range minSweep {
		add(fmt.Sprint("old", i), noon)
	}
	add("recent", noon.Add(time.Hour))
	g.Expect(s.list()).To(HaveLen(minSweep+1), "none is expired for an hour yet")
	for i := range minSweep {
		add(fmt.Sprint("new", i), noon.Add(time.Hour+2*time.Minute))
	}
	g.Expect(s.list()).To(HaveLen(minSweep+1), "those of noon are gone")
	_, ok := s.find("recent")
	g.Expect(ok).To(BeTrue())
}

func TestRecordedCallsAreBounded(t *testing.T) {
	g := NewWithT(t)
	var l ledger
	for i := range maxCalls + 1 {
		l.add(Call{Status: i})
	}
	calls := l.list()
	g.Expect(calls).To(HaveLen(maxCalls - maxCalls/10 + 1))
	g.Expect(calls[len(calls)-1].Status).To(Equal(maxCalls), "the newest is kept")
}

func TestPackedPolicySize(t *testing.T) {
	for name, tc := range map[string]struct {
		policy string
		arns   []string
		tags   map[string]string
		want   int
	}{
		"nothing":                     {want: 0},
		"the least":                   {tags: map[string]string{"a": ""}, want: 1},
		"blanks of JSON do not count": {policy: "{ \"a\" :\n 1 }", want: 1},
		"a tag of the greatest size":  {tags: map[string]string{string(make([]byte, 128)): string(make([]byte, 256))}, want: 76},
		"text that is no JSON":        {policy: "{                   ", want: 1},
		"policy ARNs":                 {arns: []string{string(make([]byte, 2048))}, want: 100},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(packedPolicySize(tc.policy, tc.arns, tc.tags)).To(Equal(tc.want))
		})
	}
}

// The times, and the last six digits of the codes, of RFC 6238, appendix B.
func TestMFACodesMatchRFC6238(t *testing.T) {
	for seconds, want := range map[int64]string{
		59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130",
	} {
		got, err := MFACode("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", time.Unix(seconds, 0))
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		NewWithT(t).Expect(got).To(Equal(want), "at %d", seconds)
	}
	_, err := MFACode("no base32", noon)
	NewWithT(t).Expect(err).To(HaveOccurred())
}
