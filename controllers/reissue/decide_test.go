package reissue_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/ptr"

	"rolecredential.dev/operator/controllers/reissue"
)

// fresh returns a Secret that matches the spec, half an hour before its earliest refresh.
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

func TestDecideReturnsTheReason(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*reissue.Desired, *reissue.Observed)
		after  time.Duration
		want   reissue.Reason
	}{
		"a fresh Secret": {want: reissue.NotDue},
		"no Secret":      {change: func(_ *reissue.Desired, o *reissue.Observed) { *o = reissue.Observed{} }, want: reissue.Missing},
		"an adopted Secret": {
			change: func(_ *reissue.Desired, o *reissue.Observed) {
				*o = reissue.Observed{Ownership: reissue.Adopted}
			},
			want: reissue.Missing,
		},
		"an adopted Secret with a valid record": {
			change: func(_ *reissue.Desired, o *reissue.Observed) { o.Ownership = reissue.Adopted },
			want:   reissue.Missing,
		},
		"an edited Secret": {
			change: func(_ *reissue.Desired, o *reissue.Observed) { o.Record = nil },
			want:   reissue.Tampered,
		},
		"the Secret of a former credential, with a current record": {
			change: func(_ *reissue.Desired, o *reissue.Observed) { o.Ownership = reissue.Former },
			want:   reissue.NotDue,
		},
		"a record that expired a year ago": {after: time.Hour + 365*24*time.Hour, want: reissue.Due},
		"a record that expired earlier":    {after: time.Hour + 365*24*time.Hour + 1, want: reissue.Tampered},
		"a record that was issued in the far future": {
			after: -365*24*time.Hour - 1, want: reissue.Tampered,
		},
		"another request": {
			change: func(w *reissue.Desired, _ *reissue.Observed) { w.RequestHash = "other" },
			want:   reissue.OtherRequest,
		},
		"another identity": {
			change: func(w *reissue.Desired, _ *reissue.Observed) { w.IssuerHash = "other" },
			want:   reissue.OtherIssuer,
		},
		"an unknown identity": {
			change: func(w *reissue.Desired, _ *reissue.Observed) { w.IssuerHash = "" },
			want:   reissue.NotDue,
		},
		"another template": {
			change: func(w *reissue.Desired, _ *reissue.Observed) { w.TemplateHash = "other" },
			want:   reissue.OtherTemplate,
		},
		"another refresh request": {
			change: func(w *reissue.Desired, _ *reissue.Observed) { w.RefreshRequest = "tuesday" },
			want:   reissue.RefreshRequested,
		},
		"the first refresh request": {
			change: func(_ *reissue.Desired, o *reissue.Observed) { o.Record.RefreshRequest = "" },
			want:   reissue.RefreshRequested,
		},
		"a removed refresh request": {
			change: func(w *reissue.Desired, _ *reissue.Observed) { w.RefreshRequest = "" },
			want:   reissue.NotDue,
		},
		"the refresh time":      {after: 40 * time.Minute, want: reissue.Due},
		"an expired credential": {after: time.Hour, want: reissue.Due},
		"a longer refreshBefore": {
			change: func(w *reissue.Desired, _ *reissue.Observed) { w.RefreshBefore = ptr.To(55 * time.Minute) },
			after:  10 * time.Minute,
			want:   reissue.Due,
		},
		"a clock that is a minute behind":    {after: -time.Minute, want: reissue.NotDue},
		"a clock that is ten minutes behind": {after: -10 * time.Minute, want: reissue.Due},
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

func TestCredentialIsDueAtItsRefreshTime(t *testing.T) {
	g := NewWithT(t)
	w, o := fresh()
	due := w.RefreshAt(*o.Record)
	g.Expect(reissue.Decide(due.Add(-time.Nanosecond), w, o)).To(Equal(reissue.NotDue))
	g.Expect(reissue.Decide(due, w, o)).To(Equal(reissue.Due))
}

func TestDecideReturnsTheFirstOfSeveralReasons(t *testing.T) {
	g := NewWithT(t)
	w, o := fresh()
	sound := o.Record
	o = reissue.Observed{}
	w.RequestHash, w.IssuerHash, w.TemplateHash, w.RefreshRequest = "other", "other", "other", "tuesday"
	now := sound.Expiration.Add(time.Hour)
	for _, step := range []struct {
		want reissue.Reason
		fix  func()
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
		step.fix()
	}
}

func TestReasonsThatAreRepairsOrCurrent(t *testing.T) {
	for why, tc := range map[reissue.Reason]struct{ repair, current bool }{
		reissue.NotDue:           {current: true},
		reissue.Missing:          {repair: true},
		reissue.Tampered:         {repair: true},
		reissue.OtherRequest:     {},
		reissue.OtherIssuer:      {},
		reissue.OtherTemplate:    {},
		reissue.RefreshRequested: {current: true},
		reissue.Due:              {current: true},
	} {
		t.Run("due because "+string(why), func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(why.IsRepair()).To(Equal(tc.repair))
			g.Expect(why.Current()).To(Equal(tc.current))
		})
	}
}
