package readers_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

var (
	at     = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)
	issued = readers.Issued{Secret: "s3-reader", At: at, Expiration: at.Add(time.Hour)}
	now    = at.Add(20 * time.Minute)
)

func envFrom(secret string) corev1.Container {
	return corev1.Container{Name: "app", EnvFrom: []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{}}, {SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}},
	}}
}

func env(secret string) corev1.Container {
	return corev1.Container{Name: "app", Env: []corev1.EnvVar{{Name: "PLAIN"}, {Name: "AWS_ACCESS_KEY_ID", ValueFrom: &corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: "AWS_ACCESS_KEY_ID"},
	}}}}
}

func mounting(subPath string) corev1.Container {
	return corev1.Container{Name: "app", VolumeMounts: []corev1.VolumeMount{{Name: "aws", SubPath: subPath}}}
}

func secretVolume(secret string) corev1.Volume {
	return corev1.Volume{Name: "aws", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}
}

func projected(secret string) corev1.Volume {
	return corev1.Volume{Name: "aws", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ConfigMap: &corev1.ConfigMapProjection{}}, {Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}},
	}}}}
}

// running returns a pod whose container runs since a time.
func running(since time.Time, c corev1.Container, volumes ...corev1.Volume) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-0"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{c}, Volumes: volumes},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{Name: c.Name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(since)}}},
		}},
	}
}

func TestFindReturnsTheCredentialThatAContainerHolds(t *testing.T) {
	before, after := at.Add(-10*time.Minute), at.Add(time.Minute)
	for name, tc := range map[string]struct {
		pod   corev1.Pod
		by    readers.Way
		holds readers.Holds
		until time.Time
		now   time.Time
	}{
		"it started after the refresh, with envFrom":                    {pod: running(after, envFrom("s3-reader")), by: readers.EnvFrom, holds: readers.Current},
		"it started at the refresh":                                     {pod: running(at, envFrom("s3-reader")), by: readers.EnvFrom, holds: readers.Current},
		"it started before the refresh":                                 {pod: running(before, envFrom("s3-reader")), by: readers.EnvFrom, holds: readers.Earlier, until: before.Add(time.Hour)},
		"it started before the refresh, and its credential has expired": {pod: running(before, envFrom("s3-reader")), by: readers.EnvFrom, holds: readers.Expired, until: before.Add(time.Hour), now: before.Add(time.Hour)},
		"it started before the refresh, with a single variable":         {pod: running(before, env("s3-reader")), by: readers.Env, holds: readers.Earlier, until: before.Add(time.Hour)},
		"a volume":           {pod: running(before, mounting(""), secretVolume("s3-reader")), by: readers.Volume, holds: readers.Current},
		"a projected volume": {pod: running(before, mounting(""), projected("s3-reader")), by: readers.Volume, holds: readers.Current},
		"a volume within two minutes of the refresh": {pod: running(before, mounting(""), secretVolume("s3-reader")), by: readers.Volume, holds: readers.Following, now: at.Add(30 * time.Second)},
		"a volume, and it started after the refresh": {pod: running(after, mounting(""), secretVolume("s3-reader")), by: readers.Volume, holds: readers.Current, now: at.Add(90 * time.Second)},
		"a volume mounted by subPath":                {pod: running(before, mounting("credentials"), secretVolume("s3-reader")), by: readers.SubPath, holds: readers.Earlier, until: before.Add(time.Hour)},
		"it does not run":                            {pod: corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{envFrom("s3-reader")}}}, by: readers.EnvFrom, holds: readers.Nothing},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if tc.now.IsZero() {
				tc.now = now
			}
			found := readers.Find([]corev1.Pod{tc.pod}, issued, tc.now)
			g.Expect(found).To(HaveLen(1))
			g.Expect(found[0].By).To(Equal(tc.by))
			g.Expect(found[0].Holds).To(Equal(tc.holds))
			if tc.until.IsZero() {
				g.Expect(found[0].Until).To(BeNil())
			} else {
				g.Expect(*found[0].Until).To(BeTemporally("==", tc.until))
			}
		})
	}
}

func TestRecordOfThePreviousCredentialMakesItsExpiryKnown(t *testing.T) {
	known := issued
	known.ID, known.PreviousAt, known.PreviousExpiration = "ASIANEW", at.Add(-40*time.Minute), at.Add(20*time.Minute+time.Second)
	stamped := running(at.Add(-time.Minute), envFrom("s3-reader"))
	stamped.Annotations = map[string]string{v1alpha1.CredentialsAnnotation: `{"s3-reader":"ASIANEW"}`}
	previously := running(at.Add(-time.Minute), envFrom("s3-reader"))
	previously.Annotations = map[string]string{v1alpha1.CredentialsAnnotation: `{"s3-reader":"ASIAOLD"}`}
	invalid := running(at.Add(-time.Minute), envFrom("s3-reader"))
	invalid.Annotations = map[string]string{v1alpha1.CredentialsAnnotation: `none`}
	for name, tc := range map[string]struct {
		pod   corev1.Pod
		holds readers.Holds
		until time.Time
		known bool
	}{
		"it started with the previous credential":     {pod: running(at.Add(-time.Minute), envFrom("s3-reader")), holds: readers.Earlier, until: known.PreviousExpiration, known: true},
		"it started before the previous credential":   {pod: running(at.Add(-50*time.Minute), envFrom("s3-reader")), holds: readers.Expired, until: at.Add(10 * time.Minute)},
		"it started within the propagation delay":     {pod: running(at.Add(29*time.Second), envFrom("s3-reader")), holds: readers.Either, until: known.PreviousExpiration, known: true},
		"it started after the propagation delay":      {pod: running(at.Add(30*time.Second), envFrom("s3-reader")), holds: readers.Current},
		"it has the stamp of the credential":          {pod: stamped, holds: readers.Current},
		"it has the stamp of the previous credential": {pod: previously, holds: readers.Earlier, until: known.PreviousExpiration, known: true},
		"its annotation is invalid":                   {pod: invalid, holds: readers.Earlier, until: known.PreviousExpiration, known: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			found := readers.Find([]corev1.Pod{tc.pod}, known, now)
			g.Expect(found).To(HaveLen(1))
			g.Expect(found[0].Holds).To(Equal(tc.holds))
			g.Expect(found[0].Known).To(Equal(tc.known))
			if tc.until.IsZero() {
				g.Expect(found[0].Until).To(BeNil())
			} else {
				g.Expect(*found[0].Until).To(BeTemporally("==", tc.until))
			}
		})
	}
}

func TestFindIgnoresOtherPods(t *testing.T) {
	complete := running(at, envFrom("s3-reader"))
	complete.Status.Phase = corev1.PodSucceeded
	deleted := running(at, envFrom("s3-reader"))
	deleted.DeletionTimestamp = &metav1.Time{Time: now}
	ranOnce := corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{envFrom("s3-reader")}, Containers: []corev1.Container{{Name: "other"}}}}
	for name, pod := range map[string]corev1.Pod{
		"it uses another Secret":              running(at, envFrom("other")),
		"it mounts another Secret":            running(at, mounting(""), secretVolume("other")),
		"no container mounts the volume":      running(at, corev1.Container{Name: "app"}, secretVolume("s3-reader")),
		"the pod is complete":                 complete,
		"the pod is being deleted":            deleted,
		"an init container that does not run": ranOnce,
	} {
		t.Run(name, func(t *testing.T) { NewWithT(t).Expect(readers.Find([]corev1.Pod{pod}, issued, now)).To(BeEmpty()) })
	}
}

func TestFindListsEachUseOfEachContainer(t *testing.T) {
	g := NewWithT(t)
	both := envFrom("s3-reader")
	both.VolumeMounts = []corev1.VolumeMount{{Name: "aws"}, {Name: "aws", SubPath: "x"}, {Name: "aws", MountPath: "/again"}}
	second := running(at, both, secretVolume("s3-reader"))
	second.Name = "web-1"
	controller := true
	second.OwnerReferences = []metav1.OwnerReference{{Kind: "StatefulSet", Name: "web", Controller: &controller}}
	sidecar := running(at, corev1.Container{Name: "main"})
	sidecar.Spec.InitContainers = []corev1.Container{envFrom("s3-reader")}
	sidecar.Status.InitContainerStatuses = running(at, envFrom("")).Status.ContainerStatuses

	var got []string
	for _, r := range readers.Find([]corev1.Pod{second, sidecar}, issued, now) {
		got = append(got, r.Pod+" "+r.Container+" "+string(r.By)+" "+r.Owner)
	}
	g.Expect(got).To(Equal([]string{"web-0 app envFrom ", "web-1 app envFrom StatefulSet/web", "web-1 app volume StatefulSet/web", "web-1 app volume, subPath StatefulSet/web"}))
}

func TestNoContainerHoldsACredentialBeforeTheIssue(t *testing.T) {
	g := NewWithT(t)
	found := readers.Find([]corev1.Pod{running(at, envFrom("s3-reader"))}, readers.Issued{Secret: "s3-reader"}, now)
	g.Expect(found).To(HaveLen(1))
	g.Expect(found[0].Holds).To(Equal(readers.Nothing))
}
