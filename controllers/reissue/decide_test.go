package reissue_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"rolecredential.dev/operator/controllers/reissue"
)

// fresh is a Secret just as it is wanted, half an hour before its refresh at the earliest.
func fresh() (reissue.Desired, reissue.Observed) {
	w := reissue.Desired{
		RequestHash: "request", TemplateHash: "template", IssuerHash: "issuer", RefreshRequest: "monday",
		RefreshBefore: ptr.To(20 * time.Minute), Key: "shop/s3-reader",
	}
	return w, reissue.Observed{Ownership: reissue.Ours, Record: &reissue.Record{
		RequestHash: "request", TemplateHash: "template", IssuerHash: "issuer", RefreshRequest: "monday",
		IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour),
	}}
}

func TestWhyACredentialIsDue(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*reissue.Desired, *reissue.Observed)
		after  time.Duration
		want   reissue.Reason
	}{
		"nothing is to be done for what is fresh": {want: reissue.NotDue},
		"there is no Secret":                      {change: func(_ *reissue.Desired, o *reissue.Observed) { *o = reissue.Observed{} }, want: reissue.Missing},
		"the Secret was handed over": {
			change: func(_ *reissue.Desired, o *reissue.Observed) {
				*o = reissue.Observed{Ownership: reissue.Adopted}
			},
			want: reissue.Missing,
		},
		"the Secret was handed over by one who knows our annotations": {
			change: func(_ *reissue.Desired, o *reissue.Observed) { o.Ownership = reissue.Adopted },
			want:   reissue.Missing,
		},
		"the Secret does not hold what was written": {
			change: func(_ *reissue.Desired, o *reissue.Observed) { o.Record = nil },
			want:   reissue.Tampered,
		},
		"a former credential left the Secret, with a current record": {
			change: func(_ *reissue.Desired, o *reissue.Observed) { o.Ownership = reissue.Former },
			want:   reissue.NotDue,
		},
		"the record says that the credential expired a year ago": {after: time.Hour + 365*24*time.Hour, want: reissue.Due},
		"the record says that the credential expired earlier":    {after: time.Hour + 365*24*time.Hour + 1, want: reissue.Tampered},
		"the record says that the credential was issued in the far future": {
			after: -365*24*time.Hour - 1, want: reissue.Tampered,
		},
		"the spec asks for something else": {
			change: func(w *reissue.Desired, _ *reissue.Observed) { w.RequestHash = "other" },
			want:   reissue.OtherRequest,
		},
		"the identity is another": {
			change: func(w *reissue.Desired, _ *reissue.Observed) { w.IssuerHash = "other" },
			want:   reissue.OtherIssuer,
		},
		"the identity is not known": {
			change: func(w *reissue.Desired, _ *reissue.Observed) { w.IssuerHash = "" },
			want:   reissue.NotDue,
		},
		"the template is another": {
			change: func(w *reissue.Desired, _ *reissue.Observed) { w.TemplateHash = "other" },
			want:   reissue.OtherTemplate,
		},
		"a refresh is asked for": {
			change: func(w *reissue.Desired, _ *reissue.Observed) { w.RefreshRequest = "tuesday" },
			want:   reissue.RefreshRequested,
		},
		"a refresh is asked for the first time": {
			change: func(_ *reissue.Desired, o *reissue.Observed) { o.Record.RefreshRequest = "" },
			want:   reissue.RefreshRequested,
		},
		"the request to refresh is taken away": {
			change: func(w *reissue.Desired, _ *reissue.Observed) { w.RefreshRequest = "" },
			want:   reissue.NotDue,
		},
		"the time has come": {after: 40 * time.Minute, want: reissue.Due},
		"it has expired":    {after: time.Hour, want: reissue.Due},
		"a longer refreshBefore has passed already": {
			change: func(w *reissue.Desired, _ *reissue.Observed) { w.RefreshBefore = ptr.To(55 * time.Minute) },
			after:  10 * time.Minute,
			want:   reissue.Due,
		},
		"it was issued in a moment, by a clock that is a little behind": {after: -time.Minute, want: reissue.NotDue},
		"it was issued in ten minutes: the operator's clock is behind":  {after: -10 * time.Minute, want: reissue.Due},
	} {
		t.Run(name, func(t *testing.T) {
			w, o := fresh()
			if tc.change != nil {
				tc.change(&w, &o)
			}
			NewWithT(t).Expect(reissue.Decide(issuedAt.Add(tc.after), w, o)).To(Equal(tc.want))
		})
	}
}

func TestACredentialIsDueFromTheSecondItIsDueAt(t *testing.T) {
	g := NewWithT(t)
	w, o := fresh()
	due := w.RefreshAt(*o.Record)
	g.Expect(reissue.Decide(due.Add(-time.Nanosecond), w, o)).To(Equal(reissue.NotDue))
	g.Expect(reissue.Decide(due, w, o)).To(Equal(reissue.Due))
}

func TestOfSeveralReasonsTheFirstIsGiven(t *testing.T) {
	g := NewWithT(t)
	w, o := fresh()
	sound := o.Record
	o = reissue.Observed{}
	w.RequestHash, w.IssuerHash, w.TemplateHash, w.RefreshRequest = "other", "other", "other", "tuesday"
	now := sound.Expiration.Add(time.Hour)
	for _, step := range []struct {
		want reissue.Reason
		mend func()
	}{
		{reissue.Missing, func() { o.Ownership = reissue.Ours }},
		{reissue.Tampered, func() { o.Record = sound }},
		{reissue.OtherRequest, func() { w.RequestHash = sound.RequestHash }},
		{reissue.OtherIssuer, func() { w.IssuerHash = sound.IssuerHash }},
		{reissue.OtherTemplate, func() { w.TemplateHash = sound.TemplateHash }},
		{reissue.RefreshRequested, func() { w.RefreshRequest = sound.RefreshRequest }},
		{reissue.Due, func() { now = sound.IssuedAt }},
		{reissue.NotDue, func() {}},
	} {
		g.Expect(reissue.Decide(now, w, o)).To(Equal(step.want))
		step.mend()
	}
}

func TestWhatAReasonMeans(t *testing.T) {
	for why, tc := range map[reissue.Reason]struct{ mends, current bool }{
		reissue.NotDue:           {current: true},
		reissue.Missing:          {mends: true},
		reissue.Tampered:         {mends: true},
		reissue.OtherRequest:     {},
		reissue.OtherIssuer:      {},
		reissue.OtherTemplate:    {},
		reissue.RefreshRequested: {current: true},
		reissue.Due:              {current: true},
	} {
		t.Run("due because "+string(why), func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(why.IsRepair()).To(Equal(tc.mends))
			g.Expect(why.Current()).To(Equal(tc.current))
		})
	}
}
