package limit

import (
	"container/list"

	"rolecredential.dev/operator/controllers/request"
)

// Class is how urgent a request is.
type Class int

// Classes, the most urgent first.
const (
	Expiring Class = iota // credentials that expire soon
	Missing               // credentials that are not issued yet, that have expired, or whose spec changed
	Routine               // refreshes that can wait
	classes
)

// queue holds the requests that wait for one identity. It serves namespaces in turn, and within a namespace the most urgent class first
// and the oldest request of that. So the requests of a namespace wait for at most one request of each other namespace of the class.
//
// Namespaces with requests of an urgent class are served before the others, with one exception: a tenant can make its credentials look
// as if they expired soon, so a call for an expiring credential is followed by one for a namespace without any.
type queue struct {
	byCredential map[request.Key]*list.Element
	byNamespace  map[string]*namespace
	// byClass holds the namespaces, in the order in which they are served, by their most urgent class.
	byClass [classes]list.List
	last    Class // of the request that was served last
}

type namespace struct {
	requests [classes]list.List
	class    Class         // the most urgent with requests
	position *list.Element // in byClass
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
		q.byCredential, q.byNamespace, q.last = map[request.Key]*list.Element{}, map[string]*namespace{}, Routine
	}
	n, ok := q.byNamespace[r.Credential.Namespace]
	if !ok {
		n = &namespace{class: classes}
		q.byNamespace[r.Credential.Namespace] = n
	}
	q.byCredential[r.Credential] = n.requests[r.Class].PushBack(r)
	if r.Class < n.class {
		q.setClass(n, r.Class)
	}
}

// serve removes the request of a credential that is served.
func (q *queue) serve(credential request.Key) {
	q.last = q.byCredential[credential].Value.(Request).Class
	q.remove(credential)
}

// remove removes the request of a credential, if there is one. If it was the next of its namespace, that is served last from now on.
func (q *queue) remove(credential request.Key) {
	element, ok := q.byCredential[credential]
	if !ok {
		return
	}
	delete(q.byCredential, credential)
	n, class := q.byNamespace[credential.Namespace], element.Value.(Request).Class
	wasNext := class == n.class && n.requests[class].Front() == element
	n.requests[class].Remove(element)
	if !wasNext {
		return
	}
	for class < classes && n.requests[class].Len() == 0 {
		class++
	}
	q.setClass(n, class)
	if class == classes {
		delete(q.byNamespace, credential.Namespace)
	}
}

// setClass makes a namespace the last to be served among those of a class.
func (q *queue) setClass(n *namespace, class Class) {
	if n.position != nil {
		q.byClass[n.class].Remove(n.position)
	}
	n.class, n.position = class, nil
	if class < classes {
		n.position = q.byClass[class].PushBack(n)
	}
}

// next returns the request to serve next.
func (q *queue) next() (Request, bool) {
	order := [...]Class{Expiring, Missing, Routine}
	if q.last == Expiring {
		order = [...]Class{Missing, Routine, Expiring}
	}
	for _, class := range order {
		if first := q.byClass[class].Front(); first != nil {
			return first.Value.(*namespace).requests[class].Front().Value.(Request), true
		}
	}
	return Request{}, false
}
