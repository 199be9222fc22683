package credential_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"rolecredential.dev/operator/controllers/credential"
)

// fresh is a Secret just as it is wanted, half an hour before its refresh at the earliest.
func fresh() (credential.Desired, credential.Observed) {
	w := credential.Desired{
		RequestHash: "request", TemplateHash: "template", IssuerHash: "issuer", RefreshRequest: "monday",
		RefreshBefore: ptr.To(20 * time.Minute), Key: "shop/s3-reader",
	}
	return w, credential.Observed{Ownership: credential.Ours, Record: &credential.Record{
		RequestHash: "request", TemplateHash: "template", IssuerHash: "issuer", RefreshRequest: "monday",
		IssuedAt: issuedAt, Expiration: issuedAt.Add(time.Hour),
	}}
}

func TestWhyACredentialIsDue(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*credential.Desired, *credential.Observed)
		after  time.Duration
		want   credential.ReissueReason
	}{
		"nothing is to be done for what is fresh": {want: credential.NotDue},
		"there is no Secret":                      {change: func(_ *credential.Desired, o *credential.Observed) { *o = credential.Observed{} }, want: credential.Missing},
		"the Secret was handed over": {
			change: func(_ *credential.Desired, o *credential.Observed) {
				*o = credential.Observed{Ownership: credential.Adopted}
			},
			want: credential.Missing,
		},
		"the Secret was handed over by one who knows our annotations": {
			change: func(_ *credential.Desired, o *credential.Observed) { o.Ownership = credential.Adopted },
			want:   credential.Missing,
		},
		"the Secret does not hold what was written": {
			change: func(_ *credential.Desired, o *credential.Observed) { o.Record = nil },
			want:   credential.Tampered,
		},
		"a former credential left the Secret, with a current record": {
			change: func(_ *credential.Desired, o *credential.Observed) { o.Ownership = credential.Former },
			want:   credential.NotDue,
		},
		"the record says that the credential expired a year ago": {after: time.Hour + 365*24*time.Hour, want: credential.Due},
		"the record says that the credential expired earlier":    {after: time.Hour + 365*24*time.Hour + 1, want: credential.Tampered},
		"the record says that the credential was issued in the far future": {
			after: -365*24*time.Hour - 1, want: credential.Tampered,
		},
		"the spec asks for something else": {
			change: func(w *credential.Desired, _ *credential.Observed) { w.RequestHash = "other" },
			want:   credential.OtherRequest,
		},
		"the identity is another": {
			change: func(w *credential.Desired, _ *credential.Observed) { w.IssuerHash = "other" },
			want:   credential.OtherIssuer,
		},
		"the identity is not known": {
			change: func(w *credential.Desired, _ *credential.Observed) { w.IssuerHash = "" },
			want:   credential.NotDue,
		},
		"the template is another": {
			change: func(w *credential.Desired, _ *credential.Observed) { w.TemplateHash = "other" },
			want:   credential.OtherTemplate,
		},
		"a refresh is asked for": {
			change: func(w *credential.Desired, _ *credential.Observed) { w.RefreshRequest = "tuesday" },
			want:   credential.RefreshRequested,
		},
		"a refresh is asked for the first time": {
			change: func(_ *credential.Desired, o *credential.Observed) { o.Record.RefreshRequest = "" },
			want:   credential.RefreshRequested,
		},
		"the request to refresh is taken away": {
			change: func(w *credential.Desired, _ *credential.Observed) { w.RefreshRequest = "" },
			want:   credential.NotDue,
		},
		"the time has come": {after: 40 * time.Minute, want: credential.Due},
		"it has expired":    {after: time.Hour, want: credential.Due},
		"a longer refreshBefore has passed already": {
			change: func(w *credential.Desired, _ *credential.Observed) { w.RefreshBefore = ptr.To(55 * time.Minute) },
			after:  10 * time.Minute,
			want:   credential.Due,
		},
		"it was issued in a moment, by a clock that is a little behind": {after: -time.Minute, want: credential.NotDue},
		"it was issued in ten minutes: the operator's clock is behind":  {after: -10 * time.Minute, want: credential.Due},
	} {
		t.Run(name, func(t *testing.T) {
			w, o := fresh()
			if tc.change != nil {
				tc.change(&w, &o)
			}
			NewWithT(t).Expect(credential.Decide(issuedAt.Add(tc.after), w, o)).To(Equal(tc.want))
		})
	}
}

func TestACredentialIsDueFromTheSecondItIsDueAt(t *testing.T) {
	g := NewWithT(t)
	w, o := fresh()
	due := w.RefreshAt(*o.Record)
	g.Expect(credential.Decide(due.Add(-time.Nanosecond), w, o)).To(Equal(credential.NotDue))
	g.Expect(credential.Decide(due, w, o)).To(Equal(credential.Due))
}

func TestOfSeveralReasonsTheFirstIsGiven(t *testing.T) {
	g := NewWithT(t)
	w, o := fresh()
	sound := o.Record
	o = credential.Observed{}
	w.RequestHash, w.IssuerHash, w.TemplateHash, w.RefreshRequest = "other", "other", "other", "tuesday"
	now := sound.Expiration.Add(time.Hour)
	for _, step := range []struct {
		want credential.ReissueReason
		mend func()
	}{
		{credential.Missing, func() { o.Ownership = credential.Ours }},
		{credential.Tampered, func() { o.Record = sound }},
		{credential.OtherRequest, func() { w.RequestHash = sound.RequestHash }},
		{credential.OtherIssuer, func() { w.IssuerHash = sound.IssuerHash }},
		{credential.OtherTemplate, func() { w.TemplateHash = sound.TemplateHash }},
		{credential.RefreshRequested, func() { w.RefreshRequest = sound.RefreshRequest }},
		{credential.Due, func() { now = sound.IssuedAt }},
		{credential.NotDue, func() {}},
	} {
		g.Expect(credential.Decide(now, w, o)).To(Equal(step.want))
		step.mend()
	}
}

func TestWhatAReasonMeans(t *testing.T) {
	for why, tc := range map[credential.ReissueReason]struct{ mends, current bool }{
		credential.NotDue:           {current: true},
		credential.Missing:          {mends: true},
		credential.Tampered:         {mends: true},
		credential.OtherRequest:     {},
		credential.OtherIssuer:      {},
		credential.OtherTemplate:    {},
		credential.RefreshRequested: {current: true},
		credential.Due:              {current: true},
	} {
		t.Run("due because "+string(why), func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(why.IsRepair()).To(Equal(tc.mends))
			g.Expect(why.Current()).To(Equal(tc.current))
		})
	}
}
