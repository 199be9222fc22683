// Package readers finds the pods that use a credential's Secret, and tells which credential each of them holds. It is pure.
package readers

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
)

// Holds is what a container holds of a credential.
type Holds string

// What a container may hold.
const (
	// Current: the credential that is in the Secret now.
	Current Holds = "current"
	// Following: the Secret changed a moment ago, and the kubelet brings the change.
	Following Holds = "following"
	// Either: the current one, or the one before: the container started just when the Secret changed.
	Either Holds = "either"
	// Earlier: a credential that was in the Secret before.
	Earlier Holds = "earlier"
	// Expired: an earlier one, which has expired.
	Expired Holds = "expired"
	// Nothing: the container is not running. When it starts, it gets what is in the Secret then.
	Nothing Holds = "nothing"
)

// Ways in which a container gets what is in a Secret.
const (
	EnvFrom = "envFrom"
	Env     = "env"
	Volume  = "volume"
	// SubPath is a volume mounted by subPath, which no change of the Secret reaches (Kubernetes documentation, 'Secrets').
	SubPath = "volume, subPath"
)

// Reader is one way in which one container of a pod uses the Secret.
type Reader struct {
	Pod       string `json:"pod"`
	Owner     string `json:"owner,omitempty"`
	Container string `json:"container"`
	By        string `json:"by"`
	Holds     Holds  `json:"holds"`
	// Since is when the container started, if it runs.
	Since *time.Time `json:"since,omitempty"`
	// Until is when an earlier credential expires. If it is not Known, that is at the latest, and if the credential was issued for
	// as long as the current one.
	Until *time.Time `json:"until,omitempty"`
	Known bool       `json:"known,omitempty"`
}

// Issued is the credential in a Secret.
type Issued struct {
	Secret, AccessKeyID string
	// At and Expiration are zero if there is none.
	At, Expiration time.Time
	// PreviousAt and PreviousExpiration are of the credential in the Secret before; zero if that is not known.
	PreviousAt, PreviousExpiration time.Time
}

// settle is for how long after an issue a container that starts may still get the credential before: as long as the operator
// takes it to be before it restarts anything.
const settle = 30 * time.Second

// follows is how long a kubelet takes at most to bring a change of a Secret to a volume: its syncFrequency, a minute by default,
// and the delay of its watch.
const follows = 2 * time.Minute

// Find returns the readers among pods of the Secret's namespace, by pod and container. Pods that have ended read nothing.
func Find(pods []corev1.Pod, issued Issued, now time.Time) []Reader {
	found := []Reader{}
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		volumes := volumesOf(pod, issued.Secret)
		for _, container := range containers(pod) {
			for _, by := range ways(container, volumes, issued.Secret) {
				reader := Reader{Pod: pod.Name, Owner: owner(pod), Container: container.Name, By: by}
				reader.hold(container.started, issued, now)
				if reader.Holds != Nothing && stampOf(pod)[issued.Secret] == issued.AccessKeyID && issued.AccessKeyID != "" {
					reader.Holds, reader.Until, reader.Known = Current, nil, false
				}
				if container.init && reader.Holds == Nothing {
					continue // it ran, or will run, and ends
				}
				found = append(found, reader)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b Reader) int { return strings.Compare(a.Pod, b.Pod) })
	return found
}

// hold says what a container holds that runs since a time, nil for one that does not run.
func (r *Reader) hold(since *time.Time, issued Issued, now time.Time) {
	r.Since = since
	switch {
	case since == nil || issued.At.IsZero():
		r.Holds = Nothing
	case r.By == Volume && now.Sub(issued.At) < follows && since.Before(issued.At):
		r.Holds = Following
	case r.By == Volume, !since.Before(issued.At) && (issued.PreviousAt.IsZero() || !since.Before(issued.At.Add(settle))):
		r.Holds = Current
	case !since.Before(issued.At):
		r.Holds, r.Until, r.Known = Either, &issued.PreviousExpiration, true
	default:
		until := since.Add(issued.Expiration.Sub(issued.At))
		if r.Known = !issued.PreviousAt.IsZero() && !since.Before(issued.PreviousAt); r.Known {
			until = issued.PreviousExpiration
		}
		r.Holds, r.Until = Earlier, &until
		if !now.Before(until) {
			r.Holds = Expired
		}
	}
}

// stampOf reads the access key ids of the credentials that a pod starts with, by Secret, from the annotation by which the operator
// restarts workloads.
func stampOf(pod corev1.Pod) (stamp map[string]string) {
	_ = json.Unmarshal([]byte(pod.Annotations[v1alpha1.CredentialsAnnotation]), &stamp) // of what is none there is nothing
	return stamp
}

// container is one of a pod's containers of any sort.
type container struct {
	corev1.Container
	init    bool
	started *time.Time
}

func containers(pod corev1.Pod) []container {
	started := map[string]*time.Time{}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses) {
		if running := status.State.Running; running != nil {
			started[status.Name] = &running.StartedAt.Time
		}
	}
	var all []container
	for _, c := range pod.Spec.InitContainers {
		all = append(all, container{Container: c, init: true, started: started[c.Name]})
	}
	for _, c := range pod.Spec.Containers {
		all = append(all, container{Container: c, started: started[c.Name]})
	}
	for _, c := range pod.Spec.EphemeralContainers {
		all = append(all, container{Container: corev1.Container(c.EphemeralContainerCommon), init: true, started: started[c.Name]})
	}
	return all
}

// volumesOf names the volumes of a pod that hold the Secret.
func volumesOf(pod corev1.Pod, secret string) (names []string) {
	for _, volume := range pod.Spec.Volumes {
		holds := volume.Secret != nil && volume.Secret.SecretName == secret
		if volume.Projected != nil {
			holds = slices.ContainsFunc(volume.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.Secret != nil && s.Secret.Name == secret })
		}
		if holds {
			names = append(names, volume.Name)
		}
	}
	return names
}

// ways are those in which a container uses a Secret.
func ways(c container, volumes []string, secret string) (by []string) {
	if slices.ContainsFunc(c.EnvFrom, func(e corev1.EnvFromSource) bool { return e.SecretRef != nil && e.SecretRef.Name == secret }) {
		by = append(by, EnvFrom)
	}
	if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
		return e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && e.ValueFrom.SecretKeyRef.Name == secret
	}) {
		by = append(by, Env)
	}
	for _, mount := range c.VolumeMounts {
		way := Volume
		if mount.SubPath != "" || mount.SubPathExpr != "" {
			way = SubPath
		}
		if slices.Contains(volumes, mount.Name) && !slices.Contains(by, way) {
			by = append(by, way)
		}
	}
	return by
}

// owner is the controller of a pod, as kubectl names it.
func owner(pod corev1.Pod) string {
	controller := metav1.GetControllerOf(&pod)
	if controller == nil {
		return ""
	}
	return controller.Kind + "/" + controller.Name
}
