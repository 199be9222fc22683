// Package readers finds the pods that use a credential's Secret, and decides which credential each of them holds. The
// operator and the kubectl plugin share it, so that both count the same pods.
package readers

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Holds describes the credential that a container has.
type Holds string

// The values of Holds.
const (
	// Current: the credential in the Secret.
	Current Holds = "current"
	// Following: the Secret changed recently, and the kubelet is updating the volume.
	Following Holds = "following"
	// Either: the current or the previous one; the container started just when the Secret changed.
	Either Holds = "either"
	// Earlier: a previous credential.
	Earlier Holds = "earlier"
	// Expired: a previous credential that has expired.
	Expired Holds = "expired"
	// Nothing: the container is not running. It will start with the current content of the Secret.
	Nothing Holds = "nothing"
)

// Reader is one way in which one container of a pod uses the Secret.
type Reader struct {
	Pod       string `json:"pod"`
	Owner     string `json:"owner,omitempty"`
	Container string `json:"container"`
	By        Way    `json:"by"`
	Holds     Holds  `json:"holds"`
	// Since is when the container started, if it runs.
	Since *time.Time `json:"since,omitempty"`
	// Until is when an earlier credential expires. If it is not Known, Until is the latest possible time, on the
	// assumption that the credential had the lifetime of the current one.
	Until *time.Time `json:"until,omitempty"`
	Known bool       `json:"known,omitempty"`
}

// Issued is the credential in a Secret.
type Issued struct {
	// ID is the credential's access key ID, or its other name in a [Stamp].
	Secret, ID string
	// At and Expiration are zero if there is none.
	At, Expiration time.Time
	// PreviousAt and PreviousExpiration are the times of the previous credential; zero if they are not known.
	PreviousAt, PreviousExpiration time.Time
}

// PropagationDelay is how long after an issue a starting container may still get the previous credential: until STS has
// answered, the operator has written the Secret, and the node's kubelet has observed it.
const PropagationDelay = 30 * time.Second

// follows is the longest time that a kubelet needs to update a volume: its syncFrequency, a minute by default, and
// the delay of its watch.
const follows = 2 * time.Minute

// Find returns the readers among pods of the Secret's namespace, by pod and container.
func Find(pods []corev1.Pod, issued Issued, now time.Time) []Reader {
	found := []Reader{}
	for i := range pods {
		pod := &pods[i]
		if !Active(pod) {
			continue
		}
		for _, use := range Uses(pod) {
			if use.Secret != issued.Secret || use.terminates && use.Started == nil {
				continue
			}
			reader := Reader{Pod: pod.Name, Owner: owner(pod), Container: use.Container, By: use.By, Since: use.Started}
			reader.assess(issued, ParseStamp(pod.Annotations), now)
			found = append(found, reader)
		}
	}
	slices.SortStableFunc(found, func(a, b Reader) int { return strings.Compare(a.Pod, b.Pod) })
	return found
}

// assess sets the Holds of a reader in a pod with a stamp.
func (r *Reader) assess(issued Issued, stamp Stamp, now time.Time) {
	switch {
	case r.Since == nil || issued.At.IsZero():
		r.Holds = Nothing
		return
	case !r.By.AtStart():
		r.Holds = Current
		if now.Sub(issued.At) < follows && r.Since.Before(issued.At) && !issued.names(stamp) {
			r.Holds = Following
		}
		return
	}
	var until time.Time
	r.Holds, until, r.Known = issued.HeldSince(*r.Since, stamp)
	if r.Holds == Current {
		return
	}
	if !r.Known {
		until = r.Since.Add(issued.Expiration.Sub(issued.At))
	}
	r.Until = &until
	if r.Holds == Earlier && !now.Before(until) {
		r.Holds = Expired
	}
}

// HeldSince returns the credential of a container that started at a time, in a pod with this stamp, if it keeps the
// Secret's content from its start: Current, Either or Earlier. Unless it is Current, until is the expiry of the
// previous credential, if that is known.
func (i Issued) HeldSince(started time.Time, stamp Stamp) (holds Holds, until time.Time, known bool) {
	hasPrevious := !i.PreviousAt.IsZero()
	since := i.At
	if hasPrevious { // otherwise there was no previous credential
		since = since.Add(PropagationDelay)
	}
	switch {
	case i.names(stamp), !started.Before(since):
		return Current, time.Time{}, false
	case !started.Before(i.At):
		return Either, i.PreviousExpiration, true
	case hasPrevious && !started.Before(i.PreviousAt):
		return Earlier, i.PreviousExpiration, true
	default:
		return Earlier, time.Time{}, false
	}
}

// names reports whether a stamp contains this credential.
func (i Issued) names(stamp Stamp) bool { return i.ID != "" && stamp[i.Secret] == i.ID }

// owner is the controller of a pod, as kubectl names it.
func owner(pod *corev1.Pod) string {
	controller := metav1.GetControllerOf(pod)
	if controller == nil {
		return ""
	}
	return controller.Kind + "/" + controller.Name
}
