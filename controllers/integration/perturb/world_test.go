package perturb_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/controllers/telemetry"
	"rolecredential.dev/operator/hack/stsemulator"
	"rolecredential.dev/operator/hack/testbed"
)

const operatorARN = "arn:aws:iam::210987654321:user/operator"

// Bounds of waits. No assertion depends on forever. A process that waits for an event that is held does not reconcile, so that blocked is how
// long it is given.
const (
	forever = time.Minute
	blocked = 300 * time.Millisecond
	poll    = 20 * time.Millisecond
)

// world is one run of a scenario. The namespace, the identity and the Secret of its source have its name.
type world struct {
	*WithT
	t     *testing.T
	name  string
	clock *clocktesting.FakeClock
	sts   *stsemulator.Server
	url   string                // of STS
	key   stsemulator.AccessKey // of the source, at first
	plan  plan
	// touchesSecret makes each tick enqueue rollouts too.
	touchesSecret bool
	// round is how much time passes when only a timer can help: as long as an MFA code is valid, or more.
	round time.Duration
	ends  sync.Once
	// collects is that of the scenario, and collected the number of deleted Secrets.
	collects  bool
	collected int

	mu           sync.Mutex
	changeSignal chan struct{} // closed at the next change of what is below
	*process
	tick      int
	recording bool
	step      int
	// changes are the successful writes and the calls while recording, and frames the delivered events. counts has the requests of each
	// name, and requests all.
	changes  []change
	frames   []string
	counts   map[string]int
	requests int
	// withheld are the kinds whose events wait, and gaps those of which the process sees only the result.
	withheld map[string]bool
	gaps     map[string]gap
	// disturbed is true once the plan's point was reached, and violation the first thing that must not happen.
	disturbed bool
	violation error
}

// change is a successful write, or a call of STS, which has no revision.
type change struct {
	what, fields string
	step         int
	revision     uint64
}

// actor returns whose reconcile made the change.
func (c change) actor() string {
	if strings.Contains(c.what, "Identity") {
		return "identity"
	}
	return "credential"
}

// gap is what the process did not see of a kind: all events up to a revision. The versions are those of the objects at its end.
type gap struct {
	until    uint64
	versions stream
}

// process is one start of the operator.
type process struct {
	world *world
	stop  context.CancelFunc
	ended chan error

	// snapshot is the revision of the state that the process starts with, empty for the present. watchList is whether the API server
	// knows WatchList.
	snapshot  string
	watchList bool

	crashed bool
	streams map[string]stream
	codes   map[string]bool // used MFA codes
	// running counts the reconciles that have not returned, and started those of each credential. tick is the last that was delivered,
	// and startedBefore what had started until then.
	running                int
	ticks                  int
	started, startedBefore map[string]int
}

var worlds atomic.Int64

// setup is locked while a manager is set up: it replaces its predecessor's metrics in the registry of the program.
var setup sync.Mutex

// newWorld creates a namespace, an identity and its source, and starts the operator.
func newWorld(t *testing.T, p plan) *world {
	t.Helper()
	w := &world{
		WithT: NewWithT(t), t: t, plan: p, round: 30 * time.Second, name: fmt.Sprint("world-", worlds.Add(1)), changeSignal: make(chan struct{}),
		clock:  clocktesting.NewFakeClock(clock.RealClock{}.Now().Truncate(30 * time.Second)),
		counts: map[string]int{}, withheld: map[string]bool{}, gaps: map[string]gap{},
	}
	config, err := stsemulator.DefaultConfig()
	w.Expect(err).NotTo(HaveOccurred())
	w.sts, err = stsemulator.New(config, stsemulator.Options{Clock: w.clock, SignatureClock: clock.RealClock{}})
	w.Expect(err).NotTo(HaveOccurred())
	server := httptest.NewServer(w)
	w.url = server.URL
	t.Cleanup(server.Close)
	t.Cleanup(w.end)
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.name, Labels: map[string]string{"aws": "yes"}}})
	w.key = w.sts.AccessKeys(operatorARN)[0]
	w.putKey(w.key)
	w.create(w.identity())
	w.start("", true)
	return w
}

// end stops the operator and deletes the objects.
func (w *world) end() { w.ends.Do(w.cleanUp) }

func (w *world) cleanUp() {
	w.crash()
	_ = w.wait()
	ctx := context.Background()
	for _, object := range []client.Object{w.identity(), w.source()} {
		if err := client.IgnoreNotFound(admin.Delete(ctx, object)); err != nil {
			w.t.Error(err)
		}
	}
	for _, kind := range []client.Object{&v1alpha1.RoleCredential{}, &corev1.Secret{}} {
		if err := admin.DeleteAllOf(ctx, kind, client.InNamespace(w.name)); err != nil {
			w.t.Error(err)
		}
	}
}

// start starts a process that watches this world only.
func (w *world) start(snapshot string, watchList bool) {
	w.t.Helper()
	p := &process{
		world: w, snapshot: snapshot, watchList: watchList, ended: make(chan error, 1),
		streams: map[string]stream{}, codes: map[string]bool{}, started: map[string]int{}, startedBefore: map[string]int{},
	}
	config := rest.CopyConfig(operatorConfig)
	config.ContentType = runtime.ContentTypeJSON
	config.Wrap(func(server http.RoundTripper) http.RoundTripper { return gate{p, server} })
	options, err := controllers.ManagerOptions(controllers.Options{Namespaces: []string{w.name}})
	w.Expect(err).NotTo(HaveOccurred())
	own := cache.ByObject{Field: fields.OneTermEqualSelector(metav1.ObjectNameField, w.name)}
	options.Cache.ByObject[&v1alpha1.ClusterIdentity{}], options.Cache.ByObject[&corev1.Namespace{}] = own, own
	options.MapperProvider = func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mapper, nil }
	options.Metrics, options.HealthProbeBindAddress = metricsserver.Options{BindAddress: "0"}, "0"
	options.Controller = ctrlconfig.Controller{SkipNameValidation: new(true)}
	options.Logger = controllers.NewLogger(zap.Options{DestWriter: logOutput(), Level: zapcore.InfoLevel})
	setup.Lock()
	defer setup.Unlock()
	mgr, err := ctrl.NewManager(config, options)
	w.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	w.Expect(controllers.Setup(ctx, mgr, controllers.Options{Namespaces: []string{w.name}, Clock: w.clock, Concurrency: 4, Spans: spans{process: p}})).To(Succeed())
	w.mu.Lock()
	w.process = p
	w.mu.Unlock()
	go func() { p.ended <- mgr.Start(ctx) }()
}

// logOutput is where the operator's log goes: to standard error if only one plan runs.
func logOutput() io.Writer {
	if os.Getenv("PERTURB_PLAN") != "" {
		return os.Stderr
	}
	return io.Discard
}

func (w *world) current() *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.process
}

func (p *process) hasCrashed() bool {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	return p.crashed
}

// crash ends the process. None of its requests has an effect from now on.
func (p *process) crash() {
	p.world.mu.Lock()
	p.crashed = true
	p.world.announce()
	p.world.mu.Unlock()
	p.stop()
}

// wait waits until the manager of a crashed process has returned.
func (p *process) wait() error {
	err := <-p.ended
	p.ended <- err
	if err != nil {
		return fmt.Errorf("the manager: %w", err)
	}
	return nil
}

// revive starts the next process after a crash.
func (w *world) revive() error {
	if !w.hasCrashed() {
		return nil
	}
	if err := w.wait(); err != nil {
		return err
	}
	w.start("", true)
	return nil
}

// useCode records an MFA code. A process must not use one twice.
func (p *process) useCode(code string) error {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	if p.codes[code] {
		return errors.New("the operator used an MFA code twice")
	}
	p.codes[code] = true
	return nil
}

// spans counts reconciles by their spans.
type spans struct {
	embedded.TracerProvider
	*process
}

// Tracer implements trace.TracerProvider.
func (s spans) Tracer(string, ...trace.TracerOption) trace.Tracer { return tracer{process: s.process} }

type tracer struct {
	embedded.Tracer
	*process
}

// Start counts a reconcile as running until its span ends.
func (t tracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	started := trace.NewSpanStartConfig(options...)
	attributes := attribute.NewSet(started.Attributes()...)
	object, ok := attributes.Value(telemetry.TraceName)
	if !ok { // a call of STS
		return ctx, noop.Span{}
	}
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	t.running++
	if strings.HasPrefix(name, "issue ") {
		t.started[object.AsString()]++
	}
	return ctx, &span{process: t.process}
}

type span struct {
	noop.Span
	*process
}

func (s *span) End(...trace.SpanEndOption) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.running--
	s.world.announce()
}

// announce ends all waits, which check again. The caller has locked mu.
func (w *world) announce() {
	close(w.changeSignal)
	w.changeSignal = make(chan struct{})
}

// await waits until a condition holds, and returns false if it does not in time. The condition runs with mu locked.
func (w *world) await(limit time.Duration, holds func() bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		w.mu.Lock()
		done, changeSignal := holds(), w.changeSignal
		w.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changeSignal:
		case <-ctx.Done():
			return false
		}
	}
}

// open begins a stream of a kind. A watch that begins again continues it.
func (p *process) open(kind string) {
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	if p.streams[kind] == nil {
		p.streams[kind] = stream{}
	}
}

// tickLabel is a label of the namespace. Each new value makes the operator reconcile all credentials.
const tickLabel = "tick"

// ticked records that a process is about to see a tick.
func (p *process) ticked(label string) {
	tick, err := strconv.Atoi(label)
	if err != nil {
		return
	}
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	if tick > p.ticks {
		p.ticks, p.startedBefore = tick, maps.Clone(p.started)
	}
}

// catchUp waits until the process has seen all changes, except those that are held.
func (w *world) catchUp() bool {
	for range forever / poll {
		want := map[string]stream{}
		for _, kind := range []string{"RoleCredential", "Secret", "ClusterIdentity", "Namespace", sourceSecret} {
			want[kind], _ = w.versions(kind)
		}
		if w.await(poll, func() bool {
			for kind, versions := range want {
				observed, open := w.streams[kind]
				if !w.withheld[kind] && !maps.Equal(observed, versions) && (open || kind != sourceSecret) {
					return w.crashed
				}
			}
			return true
		}) {
			return true
		}
	}
	return false
}

// reconcileAll makes the operator reconcile all credentials, and waits until it has done so or has crashed. It returns false if the operator
// does not reconcile, because it waits for an event that is held.
func (w *world) reconcileAll() bool {
	w.t.Helper()
	w.tick++
	if w.touchesSecret && w.secret("app") != nil {
		w.patch(w.appSecret(), `{"metadata":{"annotations":{%q:"%d"}}}`, tickLabel, w.tick)
	}
	if !w.catchUp() {
		return false
	}
	w.patch(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.name}}, `{"metadata":{"labels":{%q:"%d"}}}`, tickLabel, w.tick)
	credentials, _ := w.versions("RoleCredential")
	done := func() bool {
		for name := range credentials {
			if w.started[name] <= w.startedBefore[name] {
				return w.crashed
			}
		}
		return w.crashed || w.running == 0 && w.ticks == w.tick
	}
	w.await(forever, func() bool { return done() || len(w.withheld) > 0 })
	return w.await(blocked, done)
}

// maxRounds bounds a waitUntil. Most take two.
const maxRounds = 30

// waitUntil waits until the operator has nothing left to do and the state is as expected. It passes the time if only that can help.
func (w *world) waitUntil(expected func() error) (problem error) {
	for range maxRounds {
		if err := w.revive(); err != nil {
			return err
		}
		if w.collects {
			w.collectGarbage()
		}
		before, _ := w.count()
		done := w.reconcileAll()
		done = done && w.reconcileAll() // an event of the first reconcile may have enqueued another
		after, withheld := w.count()
		switch {
		case withheld:
			w.release()
			continue
		case !done:
			return errors.New("the operator does not reconcile")
		case w.hasCrashed() || after != before:
			continue
		}
		if problem = expected(); problem == nil {
			return nil
		}
		w.clock.Step(w.round)
	}
	return fmt.Errorf("the operator does not settle: %w", problem)
}

// count returns the number of requests so far, and whether events are held.
func (w *world) count() (requests int, withheld bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests, len(w.withheld) > 0
}

// withhold makes the events of kinds wait.
func (w *world) withhold(kinds ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, kind := range kinds {
		w.withheld[kind] = true
	}
}

func (w *world) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.withheld)
	w.announce()
}

// Helpers of the scenarios.

func (w *world) create(object client.Object) {
	w.t.Helper()
	object.SetResourceVersion("")
	w.Expect(admin.Create(context.Background(), object)).To(Succeed())
}

func (w *world) remove(object client.Object) {
	w.t.Helper()
	w.Expect(admin.Delete(context.Background(), object)).To(Succeed())
}

func (w *world) patch(object client.Object, format string, args ...any) {
	w.t.Helper()
	w.Expect(admin.Patch(context.Background(), object, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, format, args...)))).To(Succeed())
}

// identity returns the identity as it is created.
func (w *world) identity() *v1alpha1.ClusterIdentity {
	return &v1alpha1.ClusterIdentity{ObjectMeta: metav1.ObjectMeta{Name: w.name}, Spec: v1alpha1.ClusterIdentitySpec{
		IdentitySettings: v1alpha1.IdentitySettings{Region: "eu-west-1", Endpoint: w.url},

		Source: v1alpha1.ClusterIdentitySource{AccessKey: &v1alpha1.AccessKeySource{SecretRef: v1alpha1.SecretReference{Namespace: testbed.OperatorNamespace, Name: w.name}}},
		Allow:  &[]v1alpha1.AllowRule{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"aws": "yes"}}, RoleARNs: []string{"*"}}},
	}}
}

func (w *world) source() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testbed.OperatorNamespace, Name: w.name}}
}

// putKey writes an access key into the Secret of the source.
func (w *world) putKey(key stsemulator.AccessKey) {
	w.t.Helper()
	source := w.source()
	_, err := ctrl.CreateOrUpdate(context.Background(), admin, source, func() error {
		source.Data = map[string][]byte{"AWS_ACCESS_KEY_ID": []byte(key.ID), "AWS_SECRET_ACCESS_KEY": []byte(key.Secret)}
		return nil
	})
	w.Expect(err).NotTo(HaveOccurred())
}

// credential returns a credential as it is created.
func (w *world) credential(name string) *v1alpha1.RoleCredential {
	c := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: w.name, Name: name}}
	c.Spec.RoleARN, c.Spec.IdentityRef.Name = "arn:aws:iam::123456789012:role/S3Reader", w.name
	return c
}

// secret returns a Secret; nil if it does not exist.
func (w *world) secret(name string) *corev1.Secret {
	w.t.Helper()
	secret := &corev1.Secret{}
	err := admin.Get(context.Background(), client.ObjectKey{Namespace: w.name, Name: name}, secret)
	w.Expect(client.IgnoreNotFound(err)).To(Succeed())
	if err != nil {
		return nil
	}
	return secret
}
