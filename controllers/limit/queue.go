package limit

import (
	"container/list"

	"rolecredential.dev/operator/controllers/request"
)

// Class is how urgent a request is. A queue serves a class only when no request of an earlier one can be served.
type Class int

const (
	// Expiring is for credentials that expire soon.
	Expiring Class = iota
	// Missing is for credentials that are not issued yet, that have expired, or whose spec changed.
	Missing
	// Routine is for refreshes that can wait.
	Routine

	classes
)

// queue holds the requests that wait for one identity. Within a class it serves namespaces in turn, and within a namespace the oldest
// request first, so that the requests of a namespace wait for at most one request of each other namespace.
type queue struct {
	byCredential map[request.Key]*list.Element
	classes      [classes]turns
}

// turns holds the requests of one class.
type turns struct {
	// namespaces is in the order in which they are served. Each element is a *namespaceRequests.
	namespaces list.List
	byName     map[string]*list.Element
}

// namespaceRequests holds the requests of one namespace, oldest first. Each element is a Request.
type namespaceRequests struct {
	name     string
	requests list.List
}

func (q *queue) len() int { return len(q.byCredential) }

// add adds a request, or changes the one of the same credential. It loses its position if its class changes.
func (q *queue) add(r Request) {
	if element, ok := q.byCredential[r.Credential]; ok {
		if element.Value.(Request).Class == r.Class {
			element.Value = r
			return
		}
		q.remove(r.Credential)
	}
	if q.byCredential == nil {
		q.byCredential = map[request.Key]*list.Element{}
	}
	q.byCredential[r.Credential] = q.classes[r.Class].add(r)
}

// remove removes the request of a credential, and reports whether there was one.
func (q *queue) remove(credential request.Key) {
	element, ok := q.byCredential[credential]
	if !ok {
		return
	}
	delete(q.byCredential, credential)
	q.classes[element.Value.(Request).Class].remove(element)
}

// next returns the request to serve next among the namespaces that have a slot.
func (q *queue) next(hasSlot func(namespace string) bool) (Request, bool) {
	for i := range q.classes {
		for n := q.classes[i].namespaces.Front(); n != nil; n = n.Next() {
			if namespace := n.Value.(*namespaceRequests); hasSlot(namespace.name) {
				return namespace.requests.Front().Value.(Request), true
			}
		}
	}
	return Request{}, false
}

func (t *turns) add(r Request) *list.Element {
	name := r.Credential.Namespace
	n, ok := t.byName[name]
	if !ok {
		if t.byName == nil {
			t.byName = map[string]*list.Element{}
		}
		n = t.namespaces.PushBack(&namespaceRequests{name: name})
		t.byName[name] = n
	}
	return n.Value.(*namespaceRequests).requests.PushBack(r)
}

// remove removes a request. Its namespace is served last from now on.
func (t *turns) remove(element *list.Element) {
	n := t.byName[element.Value.(Request).Credential.Namespace]
	namespace := n.Value.(*namespaceRequests)
	served := namespace.requests.Front() == element
	namespace.requests.Remove(element)
	switch {
	case namespace.requests.Len() == 0:
		t.namespaces.Remove(n)
		delete(t.byName, namespace.name)
	case served:
		t.namespaces.MoveToBack(n)
	}
}
