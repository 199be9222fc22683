package credential

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/identity"
	"rolecredential.dev/operator/controllers/limit"
	"rolecredential.dev/operator/controllers/request"
	"rolecredential.dev/operator/controllers/secretstore"
	"rolecredential.dev/operator/controllers/telemetry"
	"rolecredential.dev/operator/controllers/testkit"
)

// The faults of a request of the operator. After a crash, nothing of the process has an effect any more, and a new process starts with
// empty memory.
const (
	none         = "none"
	forbidden403 = "403"
	conflict409  = "409"
	error500     = "500"
	timeout      = "timeout before the request"
	answerLost   = "answer lost"
	crashBefore  = "crash before"
	crashAfter   = "crash after"
	stsThrottles = "STS throttles"
	stsDenies    = "STS denies"
)

var errCrashed = errors.New("the process crashed")

// world is one run: an API server, STS, a process of the operator, and everything else that changes objects or the time.
type world struct {
	*memoryAPI
	choices   *choices
	clock     *clocktesting.FakePassiveClock
	stsOffset time.Duration // how far the clock of STS is ahead
	sessions  map[string]stsSession
	codes     map[string]usedCode // MFA codes
	// distrusts is true if the role's trust policy denies the calls.
	distrusts bool
	process   *process
	// events are the watch events since the last reconcile. pending is true if an event or an error has enqueued the credential, and
	// requeueAt is when a timer does. dispatchAt is when the limiter may reserve a call for it. Both are zero for never.
	events                []event.UpdateEvent
	pending               bool
	requeueAt, dispatchAt time.Time
	// quiet ends the disturbances.
	quiet bool
	// steps counts reconciles since the last disturbance, which was at disturbedAt. calls, secretWrites and statusWrites count requests
	// since the disturbances ended; a takeover is no secretWrite.
	steps, calls, secretWrites, statusWrites int
	disturbedAt                              time.Time
	// called and interfered are true if STS was called, and if someone else acted, since the reconcile began.
	called, interfered bool
	// violation is the first thing that the operator must not do.
	violation error
}

// process is one start of the operator.
type process struct {
	world       *world
	credentials *Reconciler[*v1alpha1.RoleCredential]
	crashed     bool
	skew        time.Duration // as measured at the last call
	measured    bool
}

var (
	exploredScheme = func() *runtime.Scheme {
		scheme, err := testkit.Scheme()
		if err != nil {
			panic(err)
		}
		return scheme
	}()
	credentialKey = client.ObjectKeyFromObject(testkit.Reader())
	discardingLog = log.IntoContext(context.Background(), logr.Discard())
)

// newWorld returns a world with the objects that a credential needs, and a started operator that has not reconciled yet.
func newWorld(c *choices) *world {
	w := &world{
		memoryAPI: &memoryAPI{scheme: exploredScheme, objects: map[objectKey]client.Object{}},
		choices:   c, clock: clocktesting.NewFakePassiveClock(testkit.Start), disturbedAt: testkit.Start,
		sessions: map[string]stsSession{}, codes: map[string]usedCode{},
	}
	w.changed = func(before, after client.Object) {
		w.events = append(w.events, event.UpdateEvent{ObjectOld: before, ObjectNew: after})
	}
	for _, object := range testkit.World() {
		w.put(object)
	}
	w.start()
	return w
}

// start starts a process of the operator with empty memory. Its watches list all objects, so that the credential is enqueued.
func (w *world) start() {
	metrics, err := telemetry.NewMetrics(prometheus.NewRegistry(), w.clock)
	if err != nil {
		panic(err)
	}
	p := &process{world: w}
	api := operatorClient{w.memoryAPI, p}
	p.credentials = &Reconciler[*v1alpha1.RoleCredential]{
		Kind: request.RoleCredential, Client: api, Secrets: &secretstore.Store{Client: api, APIReader: liveReader{api}}, Devices: &identity.Devices{},
		Limits: &limit.Limiter{DefaultQPS: 100, Slots: 4}, Events: telemetry.Events{Recorder: &events.FakeRecorder{}}, Metrics: metrics, Clock: w.clock,
		Identities: &identity.Resolver{
			Reader: api, APIReader: liveReader{api}, Watch: testkit.NoWatch{}, Clock: w.clock, Tokens: identity.NewTokens(api, w.clock),
			NewSTS: func(request.Key, aws.Config) identity.STS { return p },
		},
	}
	w.process, w.events, w.pending, w.dispatchAt = p, nil, true, time.Time{}
}

// disturb chooses one of the faults or of the possible actions of others before something happens, and carries out an action. It returns
// none if it chose none, or if the disturbances have ended.
func (w *world) disturb(before string, faults ...string) string {
	if w.quiet || w.choices.over() {
		return none
	}
	options := append([]string{none}, faults...)
	for i := range actions {
		if actions[i].possible(w) {
			options = append(options, actions[i].name)
		}
	}
	chosen := w.choices.choose(before, options)
	if chosen != none {
		w.disturbed()
	}
	if do, ok := actionsByName[chosen]; ok {
		w.interfered = true
		do(w)
	}
	return chosen
}

// disturbed records that something has changed, so that reconciles and time count from now on.
func (w *world) disturbed() { w.steps, w.disturbedAt = 0, w.clock.Now() }

// read makes a read of the process, disturbed as chosen.
func (p *process) read(what string, do func() error) error {
	if p.crashed {
		return errCrashed
	}
	switch p.world.disturb(what, error500, crashBefore) {
	case error500:
		return apierrors.NewInternalError(errors.New("etcd is unavailable"))
	case crashBefore:
		p.crashed = true
		return errCrashed
	}
	return do()
}

// write makes a write of the process, disturbed as chosen.
func (p *process) write(write testkit.Write, do func() error) error {
	if p.crashed {
		return errCrashed
	}
	w, resource := p.world, resource(write.Object)
	chosen := w.disturb(write.Verb+" "+resource.Resource, forbidden403, conflict409, error500, timeout, answerLost, crashBefore, crashAfter)
	switch chosen {
	case forbidden403:
		return apierrors.NewForbidden(resource, write.Object.GetName(), errors.New("an admission policy"))
	case conflict409:
		return apierrors.NewConflict(resource, write.Object.GetName(), errChanged)
	case error500:
		return apierrors.NewInternalError(errors.New("etcd is unavailable"))
	case timeout:
		return context.DeadlineExceeded
	case crashBefore:
		p.crashed = true
		return errCrashed
	}
	w.checkWrite(write)
	err := do()
	switch {
	case chosen == answerLost && err == nil:
		return context.DeadlineExceeded
	case chosen == crashAfter:
		p.crashed = true
		return errCrashed
	}
	return err
}

// deliver gives the watch events to the operator's predicates, as the manager does. An event without an object before is a creation, and
// one without an object after it a deletion.
func (w *world) deliver() {
	events := w.events
	w.events = nil
	for _, e := range events {
		changed := e.ObjectNew
		if changed == nil {
			changed = e.ObjectOld
		}
		switch secret, ok := changed.(*corev1.Secret); {
		case ok && secret.Namespace == credentialKey.Namespace:
			w.pending = w.secretChanged(e) || w.pending
		case e.ObjectOld == nil || e.ObjectNew == nil || ok: // the source's Secret has a watch of its own
			w.pending = true
		case testkit.KindName(changed) == "RoleCredential":
			w.pending = credentialChanged.Update(e) || w.pending
		case testkit.KindName(changed) == "ClusterIdentity":
			w.pending = identity.SpecChanged.Update(e) || w.pending
		case testkit.KindName(changed) == "Namespace":
			w.pending = (predicate.LabelChangedPredicate{}).Update(e) || w.pending
		}
	}
}

// secretChanged reports whether a change of a Secret enqueues the credential. The cache holds only Secrets with the operator's label, so
// that the loss of the label is a deletion.
func (w *world) secretChanged(e event.UpdateEvent) (enqueued bool) {
	accept := ignoreOwnWrites(w.process.credentials.Secrets)
	var named []client.Object
	for _, observed := range []client.Object{e.ObjectOld, e.ObjectNew} {
		if observed != nil && cached(observed) {
			named = append(named, observed)
		}
	}
	switch {
	case len(named) == 0:
		return false
	case e.ObjectNew == nil || !cached(e.ObjectNew):
		enqueued = accept.Delete(event.DeleteEvent{Object: named[0]})
	case len(named) == 1:
		enqueued = accept.Create(event.CreateEvent{Object: named[0]})
	default:
		enqueued = accept.Update(e)
	}
	for _, secret := range named {
		if name, ok := secretstore.CredentialOf("RoleCredential", secret); ok && name == credentialKey.Name {
			return enqueued
		}
	}
	return false
}

// reconcile reconciles the credential once, and starts a new process after a crash. The watch events of its writes arrive afterwards.
func (w *world) reconcile() {
	w.pending, w.requeueAt, w.called, w.interfered = false, time.Time{}, false, false
	w.steps++
	result, err := w.process.credentials.Reconcile(discardingLog, reconcile.Request{NamespacedName: credentialKey})
	switch {
	case w.process.crashed:
		w.start()
	case err != nil:
		w.pending = true // controller-runtime's backoff begins at 5 ms
	case result.RequeueAfter > 0:
		w.requeueAt = w.clock.Now().Add(result.RequeueAfter)
	}
	w.dispatch()
	w.deliver()
}

// dispatch enqueues the credential if the limiter has reserved a call for it, as the Dispatcher does.
func (w *world) dispatch() {
	ready, next := w.process.credentials.Limits.Ready(w.clock.Now())
	w.pending, w.dispatchAt = w.pending || len(ready) > 0, next
}

// nextEvent is when something happens next without a change; zero for never.
func (w *world) nextEvent() time.Time {
	if w.requeueAt.IsZero() || !w.dispatchAt.IsZero() && w.dispatchAt.Before(w.requeueAt) {
		return w.dispatchAt
	}
	return w.requeueAt
}

// wait moves the clock to the next timer.
func (w *world) wait() {
	if next := w.nextEvent(); next.After(w.clock.Now()) {
		w.clock.SetTime(next)
	}
	w.dispatch()
	w.pending = w.pending || !w.requeueAt.IsZero() && !w.requeueAt.After(w.clock.Now())
}
