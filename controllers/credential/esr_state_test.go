package credential

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/testkit"
)

// matches returns nil if the state is what the spec describes, or if the environment forbids that and a condition says so.
func (w *world) matches() error {
	cred := w.credential()
	if cred == nil || w.terminating() {
		return nil
	}
	ready := meta.FindStatusCondition(cred.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil {
		return errors.New("no condition Ready")
	}
	if ready.ObservedGeneration != cred.Generation {
		return fmt.Errorf("the condition Ready is of generation %d, not %d", ready.ObservedGeneration, cred.Generation)
	}
	problem := w.upToDate(cred)
	if ready.Status != metav1.ConditionTrue {
		problem = fmt.Errorf("the condition Ready has the reason %s: %s", ready.Reason, ready.Message)
	}
	forbidden := w.forbidden()
	switch {
	case len(forbidden) > 0 && !hasReason(cred, forbidden...):
		return fmt.Errorf("no condition has one of the reasons %v: %v", forbidden, testkit.States(cred.Status.Conditions))
	case len(forbidden) > 0:
		return nil
	case problem != nil && w.denied() != "" && hasReason(cred, w.denied()):
		return nil
	}
	return problem
}

// falselyReady returns an error if the condition Ready is True for the present spec and must not be.
func (w *world) falselyReady() error {
	cred := w.credential()
	if cred == nil || w.terminating() {
		return nil
	}
	ready := meta.FindStatusCondition(cred.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != cred.Generation {
		return nil
	}
	if err := w.mayBeReady(cred); err != nil {
		return fmt.Errorf("the condition Ready is True: %w", err)
	}
	return nil
}

// forbidden returns the reasons why the Secret cannot be brought up to date; none if it can. The conditions show one of them at once.
func (w *world) forbidden() (reasons []string) {
	cred, secret, by := w.credential(), w.secret(), w.identity()
	switch {
	case by == nil:
		reasons = append(reasons, v1alpha1.ReasonIdentityNotFound)
	case !w.hasSource():
		reasons = append(reasons, v1alpha1.ReasonIdentityNotReady)
	case (*by.Spec.Allow)[0].Namespaces[0] != credentialKey.Namespace:
		reasons = append(reasons, v1alpha1.ReasonNotAllowed)
	}
	if secret != nil && (ptr.Deref(secret.Immutable, false) ||
		!metav1.IsControlledBy(secret, cred) && secret.Annotations[v1alpha1.AdoptAnnotation] == "" && !leftByFormer(secret)) {
		reasons = append(reasons, v1alpha1.ReasonSecretConflict)
	}
	if cred.Spec.Secret.Data != nil {
		reasons = append(reasons, v1alpha1.ReasonInvalidTemplate)
	}
	if cred.Spec.Suspend {
		reasons = append(reasons, v1alpha1.ReasonSuspended)
	}
	return reasons
}

// denied returns the reason why no call of STS succeeds; empty if calls succeed. The conditions show it from the next call on.
func (w *world) denied() string {
	switch {
	case w.usesMFA() && !w.hasSeed():
		return v1alpha1.ReasonInvalidMFA
	case w.distrusts:
		return v1alpha1.ReasonAccessDenied
	}
	return ""
}

// leftByFormer reports whether a former credential of the same name left a Secret with a session. The operator takes it over. Another
// Secret of a former credential stays until the garbage collector deletes it.
func leftByFormer(secret *corev1.Secret) bool {
	record, ok := reissue.ParseRecord(secret.Annotations)
	return ok && record.MatchesData(secret.Data) && cached(secret)
}

// hasReason reports whether a condition has one of the reasons.
func hasReason(cred *v1alpha1.RoleCredential, reasons ...string) bool {
	return slices.ContainsFunc(cred.Status.Conditions, func(c metav1.Condition) bool { return slices.Contains(reasons, c.Reason) })
}

// upToDate returns nil if the Secret and the status are what the spec describes, and the credential owns nothing else.
func (w *world) upToDate(cred *v1alpha1.RoleCredential) error {
	if err := w.mayBeReady(cred); err != nil {
		return err
	}
	secret := w.secret()
	if err := w.validSession(secret, w.stsNow()); err != nil {
		return err
	}
	session := w.sessions[string(secret.Data["AWS_ACCESS_KEY_ID"])]
	want := []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
	if len(cred.Spec.Secret.Formats) > 1 {
		want = append(want, "AWS_REGION", "AWS_DEFAULT_REGION")
	}
	slices.Sort(want)
	got := slices.Sorted(maps.Keys(secret.Data))
	switch {
	case !metav1.IsControlledBy(secret, cred):
		return errors.New("a former credential controls the Secret")
	case !slices.Equal(got, want):
		return fmt.Errorf("the Secret's keys are %v", got)
	case !cred.Status.Expiration.Equal(&metav1.Time{Time: session.Expiration}):
		return errors.New("the status reports another expiration")
	case cred.Annotations[v1alpha1.RefreshAnnotation] != "" && cred.Status.LastHandledRefreshRequest != cred.Annotations[v1alpha1.RefreshAnnotation]:
		return errors.New("the refresh request was not handled")
	}
	for _, owned := range w.secrets(credentialKey.Namespace) {
		// The operator does not see a Secret without its label. The garbage collector deletes that with the credential.
		if cached(owned) && metav1.IsControlledBy(owned, cred) && owned.Name != secret.Name {
			return fmt.Errorf("the credential still owns Secret %s", owned.Name)
		}
	}
	return nil
}

// mayBeReady returns nil if the condition Ready may be True: the Secret holds a valid session of the credential's request, and the
// credential controls it or could not take it over. The operator knows the clock of STS from its last call, while the identity is usable.
func (w *world) mayBeReady(cred *v1alpha1.RoleCredential) error {
	secret := w.secret()
	if secret == nil || !metav1.IsControlledBy(secret, cred) && !leftByFormer(secret) {
		return errors.New("the credential has no Secret")
	}
	requested, _ := request.RoleCredential.Request(cred)
	if w.sessions[string(secret.Data["AWS_ACCESS_KEY_ID"])].hash != requested.Hash() {
		return errors.New("the session is of another request")
	}
	now := w.clock.Now()
	if w.hasIdentity() && w.hasSource() {
		now = now.Add(w.process.skew)
	}
	return w.validSession(secret, now)
}

// validSession returns nil if a Secret holds all three values of one session that STS issued and that has not expired at a time.
func (w *world) validSession(secret *corev1.Secret, now time.Time) error {
	if secret == nil {
		return errors.New("there is no Secret")
	}
	session, ok := w.sessions[string(secret.Data["AWS_ACCESS_KEY_ID"])]
	switch {
	case !ok || string(secret.Data["AWS_SECRET_ACCESS_KEY"]) != string(session.SecretAccessKey) || string(secret.Data["AWS_SESSION_TOKEN"]) != string(session.SessionToken):
		return errors.New("the Secret does not hold one session of STS")
	case !now.Before(session.Expiration):
		return errors.New("the session has expired")
	}
	return nil
}

// checkWrite counts a write. It checks that the operator may make it, that it replaces no valid session, and that Ready=True is true.
func (w *world) checkWrite(write testkit.Write) {
	write.Stored = w.objects[keyOf(write.Object)]
	err := write.Permitted()
	if cred, ok := write.Object.(*v1alpha1.RoleCredential); ok {
		w.statusWrites++
		if !w.interfered && meta.IsStatusConditionTrue(cred.Status.Conditions, v1alpha1.ConditionReady) {
			err = errors.Join(err, w.mayBeReady(cred))
		}
	} else if !isTakeover(write) {
		w.secretWrites++
		err = errors.Join(err, w.keepsSession(write))
	}
	if err != nil && w.violation == nil {
		w.violation = fmt.Errorf("%s of %s %s: %w", write.Verb, testkit.KindName(write.Object), write.Object.GetName(), err)
	}
}

// isTakeover reports whether an update changes no data of a Secret, or is rejected because another client changed or deleted the Secret.
func isTakeover(write testkit.Write) bool {
	written, ok := write.Object.(*corev1.Secret)
	stored, exists := write.Stored.(*corev1.Secret)
	return ok && write.Verb == "update" &&
		(!exists || written.ResourceVersion != stored.ResourceVersion || maps.EqualFunc(written.Data, stored.Data, bytes.Equal))
}

// keepsSession returns an error if a delete leaves no valid session, or if other data than that of a valid session is written.
func (w *world) keepsSession(write testkit.Write) error {
	if write.Verb != "delete" {
		written, _ := write.Object.(*corev1.Secret)
		return w.validSession(written, w.stsNow())
	}
	if err := w.validSession(w.secret(), w.stsNow()); err != nil && !w.interfered {
		return fmt.Errorf("the Secret that replaces this one: %w", err)
	}
	return nil
}

// reconcileUntilIdle reconciles until the state matches and nothing is pending. It passes the time when only a timer can help. Ready must not be True
// meanwhile if it is wrong.
func (w *world) reconcileUntilIdle() error {
	for {
		var err error
		if !w.pending {
			if err := w.falselyReady(); err != nil {
				return err
			}
			if err = w.matches(); err == nil {
				return nil
			}
			if w.nextEvent().IsZero() {
				return fmt.Errorf("nothing is scheduled: %w", err)
			}
			w.wait()
			if passed := w.clock.Now().Sub(w.disturbedAt); passed > maxTime {
				return fmt.Errorf("no match after %v: %w", passed, err)
			}
			if !w.pending { // the limiter had no call to reserve
				continue
			}
		}
		if w.steps >= maxSteps {
			return fmt.Errorf("no match after %d reconciles: %w", w.steps, errors.Join(err, w.matches()))
		}
		w.reconcile()
		if w.violation != nil {
			return w.violation
		}
	}
}

// Bounds of three lifetimes of an hour, each refreshed after 40 minutes at the latest. While STS denies the calls, the longest wait between
// two is 5 minutes, and the first waits are shorter.
const (
	lifetimes      = 3 * time.Hour
	maxRefreshes   = 6
	maxDeniedCalls = 3 * 20
)

// staysSo passes three lifetimes without a disturbance, and checks each state and the number of requests.
func (w *world) staysSo() error {
	w.calls, w.secretWrites, w.statusWrites = 0, 0, 0
	for end := w.clock.Now().Add(lifetimes); !w.nextEvent().IsZero() && w.nextEvent().Before(end); {
		w.wait()
		w.disturbed()
		if err := w.reconcileUntilIdle(); err != nil {
			return fmt.Errorf("after a lifetime: %w", err)
		}
	}
	if err := w.withinBounds(); err != nil {
		return fmt.Errorf("%w: %d calls, %d writes of Secrets and %d of statuses in three lifetimes", err, w.calls, w.secretWrites, w.statusWrites)
	}
	return nil
}

// withinBounds checks the number of requests in three lifetimes. If no session can be issued, one write of the status sets Ready to False at
// the expiry, and one may report a takeover that is retried. One call with an MFA code may fail: the code depends on the clock, which the
// operator measures with a call.
func (w *world) withinBounds() error {
	switch {
	case !w.exists() || w.terminating() || len(w.forbidden()) > 0:
		if w.calls+w.secretWrites > 0 || w.statusWrites > 2 {
			return errors.New("the environment forbids them")
		}
	case w.denied() != "":
		if w.calls > maxDeniedCalls || w.secretWrites > 0 || w.statusWrites > 3 {
			return errors.New("STS denies the calls")
		}
	case w.calls == 0 || w.calls > maxRefreshes || w.secretWrites != w.calls && (!w.usesMFA() || w.secretWrites != w.calls-1) || w.statusWrites > w.calls+2:
		return errors.New("more or fewer than the refreshes need")
	}
	return nil
}
