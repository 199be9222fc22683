package telemetry_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/telemetry"
)

// recorder collects events.
type recorder struct{ events []event }

type event struct {
	object                          runtime.Object
	eventType, reason, action, note string
}

func (r *recorder) Eventf(regarding, _ runtime.Object, eventType, reason, action, note string, args ...any) {
	r.events = append(r.events, event{regarding, eventType, reason, action, fmt.Sprintf(note, args...)})
}

var (
	object  client.Object = &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader"}}
	own     client.Object = &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "own"}}
	cluster client.Object = &v1alpha1.ClusterIdentity{ObjectMeta: metav1.ObjectMeta{Name: "default"}}

	errSource = &reason.Error{Cause: &reason.SourceError{Err: errors.New("open /var/run/token")}}
)

func TestEventContents(t *testing.T) {
	for name, tc := range map[string]struct {
		write func(telemetry.Events)
		want  event
	}{
		"a normal state": {
			func(e telemetry.Events) {
				e.Changed(object, telemetry.ActionIssue, v1alpha1.ReasonIssued, "All is well.")
			},
			event{object, corev1.EventTypeNormal, "Issued", "Issue", "All is well."},
		},
		"a failure with its cause": {
			func(e telemetry.Events) {
				e.Failed(object, telemetry.ActionVerify, v1alpha1.ReasonThrottled, "Too often.", &reason.Error{Cause: errors.New("Rate exceeded")})
			},
			event{object, corev1.EventTypeWarning, "Throttled", "Verify", "Too often. (Rate exceeded)"},
		},
		"a failure without a cause": {
			func(e telemetry.Events) {
				e.Failed(object, telemetry.ActionIssue, v1alpha1.ReasonNotAllowed, "No rule.", &reason.Error{Message: "another"})
			},
			event{object, corev1.EventTypeWarning, "NotAllowed", "Issue", "No rule."},
		},
		"a failed source of a credential's identity": {
			func(e telemetry.Events) {
				e.Failed(object, telemetry.ActionIssue, v1alpha1.ReasonInvalidSourceCredentials, "No credentials.", errSource)
			},
			event{object, corev1.EventTypeWarning, "InvalidSourceCredentials", "Issue", "No credentials."},
		},
		"a failed source of a namespace's own identity": {
			func(e telemetry.Events) {
				e.Failed(own, telemetry.ActionVerify, v1alpha1.ReasonInvalidSourceCredentials, "No credentials.", errSource)
			},
			event{own, corev1.EventTypeWarning, "InvalidSourceCredentials", "Verify", "No credentials. (source credentials: open /var/run/token)"},
		},
		"a failure of an identity of the cluster, whose events are in the namespace default": {
			func(e telemetry.Events) {
				e.Failed(cluster, telemetry.ActionVerify, v1alpha1.ReasonThrottled, "Too often.", &reason.Error{Cause: errors.New("Rate exceeded")})
			},
			event{cluster, corev1.EventTypeWarning, "Throttled", "Verify", "Too often."},
		},
		"a bad state without a failure": {
			func(e telemetry.Events) {
				e.Failed(object, telemetry.ActionIssue, v1alpha1.ReasonExpired, "It has expired.", nil)
			},
			event{object, corev1.EventTypeWarning, "Expired", "Issue", "It has expired."},
		},
		"text that looks like a format": {
			func(e telemetry.Events) {
				e.Failed(object, telemetry.ActionIssue, v1alpha1.ReasonSTSError, "100%s %d%%", &reason.Error{Cause: errors.New("%!v %n")})
			},
			event{object, corev1.EventTypeWarning, "STSError", "Issue", "100%s %d%% (%!v %n)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var r recorder
			tc.write(telemetry.Events{Recorder: &r})
			NewWithT(t).Expect(r.events).To(Equal([]event{tc.want}))
		})
	}
}

func TestEventsOfAnObjectAndOfANamespaceAreBounded(t *testing.T) {
	credential := func(namespace string, n int) client.Object {
		return &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint(n), UID: types.UID(fmt.Sprint(namespace, n))}}
	}
	for name, tc := range map[string]struct {
		write func(e telemetry.Events, n int)
		after time.Duration
		want  int
		limit string // the bound that is hit
	}{
		"a credential that flips between two refusals": {
			write: func(e telemetry.Events, n int) {
				e.Failed(credential("lab", 1), telemetry.ActionIssue, []string{"IdentityNotFound", "NotAllowed"}[n%2], "Refused.", nil)
			},
			want: 10, limit: telemetry.LimitObjectEvents,
		},
		"the same, ten minutes later": {
			write: func(e telemetry.Events, _ int) {
				e.Failed(credential("lab", 1), telemetry.ActionIssue, "NotAllowed", "Refused.", nil)
			},
			after: 10 * time.Minute,
			want:  20, limit: telemetry.LimitObjectEvents,
		},
		"many credentials of one namespace that fail": {
			write: func(e telemetry.Events, n int) {
				e.Failed(credential("lab", n), telemetry.ActionIssue, "Throttled", "Throttled.", nil)
			},
			want: 100, limit: telemetry.LimitNamespaceEvents,
		},
		"credentials of many namespaces that fail": {
			write: func(e telemetry.Events, n int) {
				e.Failed(credential(fmt.Sprint(n), 1), telemetry.ActionIssue, "Throttled", "Throttled.", nil)
			},
			want: 500,
		},
		"credentials of many namespaces that are issued": {
			write: func(e telemetry.Events, n int) {
				e.Changed(credential(fmt.Sprint(n), 1), telemetry.ActionIssue, "Issued", "Issued.")
			},
			want: 25,
		},
		"the same, two seconds later": {
			write: func(e telemetry.Events, n int) {
				e.Changed(credential(fmt.Sprint(n), 1), telemetry.ActionIssue, "Issued", "Issued.")
			},
			after: 2 * time.Second,
			want:  27,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var r recorder
			hits := map[string]int{}
			now := clocktesting.NewFakePassiveClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
			e := telemetry.NewEvents(&r, now, func(limit string) { hits[limit]++ })
			written := func() {
				for n := range 500 {
					tc.write(e, n)
				}
			}
			written()
			if tc.after > 0 {
				now.SetTime(now.Now().Add(tc.after))
				written()
			}
			g.Expect(r.events).To(HaveLen(tc.want))
			if tc.limit == "" {
				g.Expect(hits).To(BeEmpty())
				return
			}
			g.Expect(hits).To(HaveLen(1))
			g.Expect(hits[tc.limit]).To(BeNumerically(">=", 400))
		})
	}
}

func TestEventsNameNoVersionOfTheirObject(t *testing.T) {
	g := NewWithT(t)
	var r recorder
	for version := range 2 {
		written := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader", ResourceVersion: fmt.Sprint(version)}}
		telemetry.Events{Recorder: &r}.Failed(written, telemetry.ActionIssue, "Throttled", "Throttled.", nil)
		g.Expect(written.ResourceVersion).To(Equal(fmt.Sprint(version)), "the object itself does not change")
	}
	g.Expect(r.events[0]).To(Equal(r.events[1]), "the client makes a series of equal events")
}

func TestEventNotesAreCutToTheAPIServersLimit(t *testing.T) {
	const most = 1024
	for name, tc := range map[string]struct{ message, want string }{
		"just as long":                       {strings.Repeat("a", most), strings.Repeat("a", most)},
		"one byte longer":                    {strings.Repeat("a", most+1), strings.Repeat("a", most-3) + "…"},
		"far longer":                         {strings.Repeat("a", 1<<20), strings.Repeat("a", most-3) + "…"},
		"cut at a character's first byte":    {strings.Repeat("a", most-3) + strings.Repeat("é", 9), strings.Repeat("a", most-3) + "…"},
		"cut within a character":             {strings.Repeat("a", most-4) + strings.Repeat("é", 9), strings.Repeat("a", most-4) + "…"},
		"just as long, of longer characters": {strings.Repeat("é", most/2), strings.Repeat("é", most/2)},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var r recorder
			telemetry.Events{Recorder: &r}.Changed(object, telemetry.ActionIssue, v1alpha1.ReasonIssued, tc.message)
			telemetry.Events{Recorder: &r}.Failed(object, telemetry.ActionIssue, v1alpha1.ReasonSTSError, "", &reason.Error{Cause: errors.New(tc.message)})
			g.Expect(r.events).To(HaveLen(2))
			g.Expect(r.events[0].note).To(Equal(tc.want))
			for _, e := range r.events {
				g.Expect(len(e.note)).To(BeNumerically("<=", most))
				g.Expect(utf8.ValidString(e.note)).To(BeTrue())
			}
		})
	}
}
