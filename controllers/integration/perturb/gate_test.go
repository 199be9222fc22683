package perturb_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
)

// gate is between a process and the API server. It sees each request, and each event of a watch.
type gate struct {
	*process
	server http.RoundTripper
}

var (
	errCrashed = errors.New("the process has crashed")
	errLost    = errors.New("the answer is lost")
)

// kinds are the kinds of the requests that the gate recognizes, by resource. It passes on all others.
var kinds = map[string]func() client.Object{
	"secrets":           func() client.Object { return &corev1.Secret{} },
	"namespaces":        func() client.Object { return &corev1.Namespace{} },
	"deployments":       func() client.Object { return &appsv1.Deployment{} },
	"rolecredentials":   func() client.Object { return &v1alpha1.RoleCredential{} },
	"clusteridentities": func() client.Object { return &v1alpha1.ClusterIdentity{} },
}

// sourceSecret is the kind of watches of one Secret by name, which are those of identities' sources.
const sourceSecret = "source Secret"

// target is what a request is for. new is nil for a kind that the gate does not recognize.
type target struct {
	new             func() client.Object
	namespace       string
	name, subobject string
}

func targetOf(path string) (t target) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		parts = parts[3:]
	default:
		return t
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		t.namespace, parts = parts[1], parts[2:]
	}
	t.new = kinds[parts[0]]
	parts = append(parts, "", "")
	t.name, t.subobject = parts[1], parts[2]
	return t
}

// RoundTrip implements http.RoundTripper.
func (g gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if g.hasCrashed() {
		return nil, errCrashed
	}
	r = r.Clone(r.Context())
	r.Header.Set("Accept", inJSON(r.Header.Get("Accept")))
	to, query := targetOf(r.URL.Path), r.URL.Query()
	switch {
	case to.new == nil:
		return g.server.RoundTrip(r)
	case r.Method != http.MethodGet:
		return g.write(r, to)
	case query.Get("sendInitialEvents") != "" && g.snapshot != "":
		return g.watchFromSnapshot(r, to, query)
	case query.Get("watch") != "":
		return g.watch(r, streamOf(to, query), nil)
	case query.Get("resourceVersion") == "0" && to.name == "" && g.snapshot != "":
		return g.listSnapshot(r, to, query)
	}
	return g.server.RoundTrip(r)
}

func inJSON(accept string) string {
	retained := slices.DeleteFunc(strings.Split(accept, ","), func(media string) bool {
		return strings.HasPrefix(strings.TrimSpace(media), "application/vnd.kubernetes.protobuf")
	})
	return strings.Join(retained, ",")
}

// write makes a write, disturbed as planned.
func (g gate) write(r *http.Request, to target) (*http.Response, error) {
	w := g.world
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	write, err := writeOf(r, to, body)
	if err != nil {
		return nil, err
	}
	before := w.lookUp(write.Object)
	if before != nil {
		write.Stored = to.new()
		w.violate("reading an object", runtime.DefaultUnstructuredConverter.FromUnstructured(before.Object, write.Stored))
	}
	what := fmt.Sprintf("%s %s %s", write.Verb, testkit.KindName(write.Object), w.neutral(write.Object.GetName()))
	w.violate(what, write.Permitted())
	w.violate(what, w.holdsSession(write))
	action := w.reached(what)
	if action == crashBefore {
		g.crash()
		return nil, errCrashed
	}
	response, err := g.server.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(answer))
	if response.StatusCode < http.StatusMultipleChoices {
		w.recordChange(what, before, answer)
	}
	w.passed(action)
	switch action {
	case crashAfter:
		g.crash()
		return nil, errCrashed
	case answerLost:
		return nil, errLost
	}
	return response, nil
}

// writeOf returns what a request changes.
func writeOf(r *http.Request, to target, body []byte) (testkit.Write, error) {
	write := testkit.Write{Object: to.new(), Content: body}
	switch r.Method {
	case http.MethodPost:
		write.Verb = "create"
	case http.MethodPut:
		write.Verb = strings.TrimSpace("update " + to.subobject)
	case http.MethodPatch:
		if write.Verb = "patch"; r.Header.Get("Content-Type") == string(types.ApplyYAMLPatchType) {
			write.Verb = "apply"
		}
	case http.MethodDelete:
		var options metav1.DeleteOptions
		err := json.Unmarshal(body, &options)
		if write.Verb = "delete"; options.Preconditions != nil {
			write.Preconditions = *options.Preconditions
		}
		write.Object.SetNamespace(to.namespace)
		write.Object.SetName(to.name)
		return write, err
	}
	return write, json.Unmarshal(body, write.Object)
}

// frame is an event of a watch.
type frame struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

func (f frame) meta() metav1.ObjectMeta {
	var object metav1.PartialObjectMetadata
	if err := json.Unmarshal(f.Object, &object); err != nil { // an error of the API server has no metadata
		return metav1.ObjectMeta{}
	}
	return object.ObjectMeta
}

// stream is what a process has seen of one kind: the resource version of each object, by name.
type stream map[string]string

func streamOf(to target, query url.Values) string {
	kind := testkit.KindName(to.new())
	if kind == "Secret" && query.Get("fieldSelector") != "" {
		return sourceSecret
	}
	return kind
}

// watch passes on the events of a watch, after some of its own. It holds and drops them as planned, except those of a list with which the
// watch begins: without it, a process does not start.
func (g gate) watch(r *http.Request, kind string, first []frame) (*http.Response, error) {
	response, err := g.server.RoundTrip(r)
	if err != nil || response.StatusCode != http.StatusOK {
		return response, err
	}
	events := response.Body
	reader, writer := io.Pipe()
	response.Body = watchBody{reader, events}
	g.open(kind)
	go func() {
		for _, f := range first {
			if err := g.deliver(kind, f, writer); err != nil {
				_ = writer.CloseWithError(err)
				return
			}
		}
		listing := r.URL.Query().Get("sendInitialEvents") != ""
		for decoder := json.NewDecoder(events); ; {
			var f frame
			err := decoder.Decode(&f)
			switch {
			case err != nil:
			case listing:
				listing = f.meta().Annotations[metav1.InitialEventsAnnotationKey] == ""
				err = g.deliver(kind, f, writer)
			default:
				err = g.pass(kind, f, writer)
			}
			if err != nil {
				_ = writer.CloseWithError(err)
				return
			}
		}
	}()
	return response, nil
}

// watchBody is the body of a watch.
type watchBody struct {
	*io.PipeReader
	events io.Closer
}

func (b watchBody) Close() error { return errors.Join(b.PipeReader.Close(), b.events.Close()) }

// pass waits while the kind is held, and delivers an event unless the operator must not see it.
func (g gate) pass(kind string, f frame, to io.Writer) error {
	w := g.world
	if !w.await(forever, func() bool { return g.crashed || !w.withheld[kind] }) {
		w.violate("an event of "+kind, errors.New("it is held for too long"))
	}
	if g.hasCrashed() {
		return errCrashed
	}
	if f.Type != "BOOKMARK" {
		f.Type = g.typeAfterGap(kind, f)
	}
	if f.Type == "" {
		return nil
	}
	return g.deliver(kind, f, to)
}

// typeAfterGap returns the type of the event with which a new list shows what happened while the process saw nothing; empty for none.
func (g gate) typeAfterGap(kind string, f frame) string {
	w, at := g.world, f.meta()
	w.mu.Lock()
	defer w.mu.Unlock()
	gap, ok := w.gaps[kind]
	if !ok || revision(at.ResourceVersion) > gap.until {
		return f.Type
	}
	_, known := g.streams[kind][at.Name]
	last, exists := gap.versions[at.Name]
	switch {
	case exists && last != at.ResourceVersion, !exists && (f.Type != "DELETED" || !known):
		return ""
	case exists && known:
		return "MODIFIED"
	case exists:
		return "ADDED"
	}
	return f.Type
}

// deliver gives an event to the process.
func (g gate) deliver(kind string, f frame, to io.Writer) error {
	w, at := g.world, f.meta()
	if kind == "Namespace" {
		g.ticked(at.Labels[tickLabel])
	}
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if _, err := to.Write(append(text, '\n')); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch f.Type {
	case "ADDED", "MODIFIED":
		g.streams[kind][at.Name] = at.ResourceVersion
	case "DELETED":
		delete(g.streams[kind], at.Name)
	default:
		return nil
	}
	if ticks := kind == "Namespace" || kind == "Secret" && w.touchesSecret; w.recording && !ticks {
		w.frames = append(w.frames, fmt.Sprintf("%s %s %s", f.Type, kind, w.neutral(at.Name)))
	}
	w.announce()
	return nil
}

// listSnapshot lists an earlier state.
func (g gate) listSnapshot(r *http.Request, to target, query url.Values) (*http.Response, error) {
	response, frames, err := g.snapshotOf(r, query)
	if err != nil || frames == nil {
		return response, err
	}
	kind := streamOf(to, query)
	g.open(kind)
	g.world.mu.Lock()
	defer g.world.mu.Unlock()
	for _, f := range frames {
		g.streams[kind][f.meta().Name] = f.meta().ResourceVersion
	}
	return response, nil
}

// snapshotOf lists an earlier state, and returns its objects as events too.
func (g gate) snapshotOf(r *http.Request, query url.Values) (*http.Response, []frame, error) {
	for _, option := range []string{"watch", "sendInitialEvents", "allowWatchBookmarks", "timeoutSeconds", "timeout"} {
		query.Del(option)
	}
	query.Set("resourceVersion", g.snapshot)
	query.Set("resourceVersionMatch", string(metav1.ResourceVersionMatchExact))
	query.Del("limit")
	r = r.Clone(r.Context())
	r.URL.RawQuery = query.Encode()
	r.Header.Set("Accept", strings.ReplaceAll(r.Header.Get("Accept"), "as=PartialObjectMetadata;", "as=PartialObjectMetadataList;"))
	response, err := g.server.RoundTrip(r)
	if err != nil || response.StatusCode != http.StatusOK {
		return response, nil, err
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	list := &unstructured.UnstructuredList{}
	frames := []frame{}
	err = list.UnmarshalJSON(body)
	for i := range list.Items {
		item, failed := list.Items[i].MarshalJSON()
		frames, err = append(frames, frame{"ADDED", item}), errors.Join(err, failed)
	}
	return response, frames, err
}

// watchFromSnapshot answers a watch that begins with a list with an earlier state. Without WatchList, it rejects the watch as an API server
// that does not know it.
func (g gate) watchFromSnapshot(r *http.Request, to target, query url.Values) (*http.Response, error) {
	if !g.watchList {
		answer := httptest.NewRecorder()
		answer.Header().Set("Content-Type", "application/json")
		answer.WriteHeader(http.StatusUnprocessableEntity)
		_, err := answer.WriteString(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,"message":"no WatchList"}`)
		return answer.Result(), err
	}
	kind := streamOf(to, query)
	watched := r.Clone(r.Context())
	response, frames, err := g.snapshotOf(r, r.URL.Query())
	if err != nil || frames == nil {
		return response, err
	}
	apiVersion, kindName := "meta.k8s.io/v1", "PartialObjectMetadata"
	if !strings.Contains(r.Header.Get("Accept"), kindName) {
		apiVersion, kindName = v1alpha1.GroupVersion.String(), kind
	}
	frames = append(frames, frame{"BOOKMARK", fmt.Appendf(nil, `{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":%q,"annotations":{%q:"true"}}}`,
		kindName, apiVersion, g.snapshot, metav1.InitialEventsAnnotationKey)})
	for _, option := range []string{"sendInitialEvents", "resourceVersionMatch"} {
		query.Del(option)
	}
	query.Set("resourceVersion", g.snapshot)
	watched.URL.RawQuery = query.Encode()
	return g.watch(watched, kind, frames)
}

// revision returns a resource version as a number; zero if it is none.
func revision(version string) uint64 {
	number, _ := strconv.ParseUint(version, 10, 64)
	return number
}

// ServeHTTP is between all processes and STS.
func (w *world) ServeHTTP(answer http.ResponseWriter, r *http.Request) {
	p := w.current()
	body, err := io.ReadAll(r.Body)
	if err != nil || p == nil || p.hasCrashed() {
		panic(http.ErrAbortHandler) // closes the connection
	}
	form, _ := url.ParseQuery(string(body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	what := strings.TrimSpace("call " + form.Get("Action") + " " + w.neutral(form.Get("RoleSessionName")))
	action := w.reached(what)
	if action == crashBefore {
		p.crash()
		panic(http.ErrAbortHandler)
	}
	if code := form.Get("TokenCode"); code != "" {
		w.violate(what, p.useCode(code))
	}
	given := httptest.NewRecorder()
	w.sts.ServeHTTP(given, r)
	if given.Code == http.StatusOK {
		w.recordChange(what, nil, nil)
	}
	switch action {
	case crashAfter:
		p.crash()
		panic(http.ErrAbortHandler)
	case answerLost:
		panic(http.ErrAbortHandler)
	}
	maps.Copy(answer.Header(), given.Header())
	answer.WriteHeader(given.Code)
	_, _ = answer.Write(given.Body.Bytes())
}
