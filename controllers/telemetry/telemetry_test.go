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
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/telemetry"
)

// recorder keeps events as the real one would write them.
type recorder struct{ events []event }

type event struct {
	object                          runtime.Object
	eventType, reason, action, note string
}

func (r *recorder) Eventf(regarding, _ runtime.Object, eventType, reason, action, note string, args ...any) {
	r.events = append(r.events, event{regarding, eventType, reason, action, fmt.Sprintf(note, args...)})
}

var object client.Object = &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "s3-reader"}}

func TestWhatAnEventSays(t *testing.T) {
	for name, tc := range map[string]struct {
		write func(telemetry.Events)
		want  event
	}{
		"a good state": {
			func(e telemetry.Events) {
				e.Changed(object, telemetry.ActionIssue, v1alpha1.ReasonIssued, "All is well.")
			},
			event{object, corev1.EventTypeNormal, "Issued", "Issue", "All is well."},
		},
		"a bad state, with its cause": {
			func(e telemetry.Events) {
				e.Failed(object, telemetry.ActionVerify, v1alpha1.ReasonThrottled, "Too often.", &reason.Error{Cause: errors.New("Rate exceeded")})
			},
			event{object, corev1.EventTypeWarning, "Throttled", "Verify", "Too often. (Rate exceeded)"},
		},
		"a bad state without a cause": {
			func(e telemetry.Events) {
				e.Failed(object, telemetry.ActionIssue, v1alpha1.ReasonNotAllowed, "No rule.", &reason.Error{Message: "another"})
			},
			event{object, corev1.EventTypeWarning, "NotAllowed", "Issue", "No rule."},
		},
		"a bad state that no failure is behind": {
			func(e telemetry.Events) {
				e.Failed(object, telemetry.ActionIssue, v1alpha1.ReasonExpired, "It has expired.", nil)
			},
			event{object, corev1.EventTypeWarning, "Expired", "Issue", "It has expired."},
		},
		"words that look like a format": {
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

func TestOfManyGoodStatesAtOnceOnlySomeAreToldButOfBadOnesAll(t *testing.T) {
	g := NewWithT(t)
	var r recorder
	now := clocktesting.NewFakePassiveClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	told := func(eventType string) (n int) {
		for _, e := range r.events {
			if e.eventType == eventType {
				n++
			}
		}
		return n
	}
	e := telemetry.NewEvents(&r, now)
	for range 1000 {
		e.Changed(object, telemetry.ActionIssue, v1alpha1.ReasonIssued, "All is well.")
		e.Failed(object, telemetry.ActionIssue, v1alpha1.ReasonThrottled, "Too often.", nil)
	}
	g.Expect(told(corev1.EventTypeNormal)).To(Equal(25))
	g.Expect(told(corev1.EventTypeWarning)).To(Equal(1000))
	now.SetTime(now.Now().Add(2 * time.Second))
	for range 1000 {
		e.Changed(object, telemetry.ActionIssue, v1alpha1.ReasonIssued, "All is well.")
	}
	g.Expect(told(corev1.EventTypeNormal)).To(Equal(27))
}

func TestANoteIsNoLongerThanTheAPIServerBears(t *testing.T) {
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
