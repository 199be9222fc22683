package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reissue"
	"rolecredential.dev/operator/hack/program"
)

// attack is what a tenant does with the role edit in its namespace.
type attack struct {
	name, does string
	// before runs before the victim starts.
	before func(context.Context, *world) error
	// during runs repeatedly during the attack, from several goroutines. The number counts the calls.
	during func(ctx context.Context, w *world, n int64) error
	// pause is the time between two requests of a goroutine.
	pause time.Duration
	// restart is true if the attack must last until the victim's workload is restarted.
	restart bool
	// qps is the limit of STS calls per second of the identity that the attacker and the victim share; defaultQPS if zero.
	qps int32
	// most is the most that the attack may cause.
	most bounds
}

// defaultQPS is low, so that a few calls of the attacker would delay the victim's.
const defaultQPS = 2

func (a attack) setUp(ctx context.Context, w *world) error {
	if a.before == nil {
		return nil
	}
	return a.before(ctx, w)
}

// attackers is the number of concurrent requests of the attacker.
const attackers = 4

// attack repeats the attack until the context is done. The API server may reject single requests, for instance for conflicts.
func (a attack) attack(ctx context.Context, w *world) error {
	var calls, failures atomic.Int64
	var last atomic.Pointer[error]
	var group sync.WaitGroup
	for range attackers {
		group.Go(func() {
			for ctx.Err() == nil {
				n, pause := calls.Add(1), a.pause
				if err := a.during(ctx, w, n); err != nil && ctx.Err() == nil {
					failures.Add(1)
					last.Store(&err)
					pause = max(pause, 50*time.Millisecond)
				}
				_ = program.Sleep(ctx, pause)
			}
		})
	}
	group.Wait()
	if total, failed := calls.Load(), failures.Load(); failed > total*9/10 {
		return fmt.Errorf("%d of %d requests failed, the last one with: %w", failed, total, *last.Load())
	}
	return nil
}

const mebibyte = 1 << 20

var attacks = []attack{{
	name: "labelled-secrets", does: "600 Secrets with the operator's label and 250 KB of annotations",
	during: labelledSecrets,
}, {
	name: "large-workloads", does: "120 pods and 30 Deployments with 1.2 MB of arguments, and a rollout that discovers workloads",
	during: largeWorkloads, restart: true,
	most: bounds{growth: 160 * mebibyte}, // a page of 24 MB is read, and decoded, beside the garbage of the page before it
}, {
	name: "many-labels", does: "four credentials whose labels of 0.6 MB change all the time",
	before: ownCredentials(4, nil), during: manyLabels,
}, {
	name: "many-service-accounts", does: "an Identity with eight hops, and four credentials whose serviceAccountName changes all the time",
	before: manyHops, during: manyServiceAccounts, most: bounds{growth: 32 * mebibyte},
}, {
	name: "forged-expiry", does: "12 Secrets whose records always say that the credentials expire in 3 seconds",
	before: ownCredentials(12, nil), during: forgedExpiry,
}, {
	name: "costly-templates", does: "20 credentials with the most expensive templates, refreshed 20 times a second",
	before: ownCredentials(20, costlyTemplates), during: refresh(20), pause: attackers * time.Second / 20,
	most: bounds{cpu: 0.3},
}, {
	name: "unsettled-workloads", does: "five Deployments that never settle, with forged stamps",
	before: unsettledWorkloads, during: touchWorkloads, pause: time.Second, restart: true,
}, {
	name: "changing-identity", does: "five Identities that change all the time",
	before: ownKey, during: changingIdentity,
	most: bounds{calls: 150}, // five in 5 s, for 90 s, and as many more after the restart
}, {
	name: "flipping-refusals", does: "a credential that is refused for another reason all the time",
	before: ownCredentials(1, nil), during: flippingRefusals,
	most: bounds{events: 40}, // ten at once and one a minute, of each manager
}, {
	name: "deleted-again", does: "10 credentials that are deleted, created and changed all the time",
	before: ownCredentials(10, nil), during: deletedAgain, pause: 100 * time.Millisecond, qps: 20,
	most: bounds{calls: 250}, // of each credential about 10 in half a minute, and as many after the restart
}, {
	name: "hanging-sts", does: "40 credentials of four Identities whose STS never answers",
	before: hangingIdentities, during: refresh(40),
	most: bounds{hanging: 24}, // a quarter of 48 calls, and as many connections that are being closed
}}

func credential(i int) *v1alpha1.RoleCredential {
	c := &v1alpha1.RoleCredential{ObjectMeta: metav1.ObjectMeta{Namespace: attackerNamespace, Name: fmt.Sprintf("c-%d", i)}}
	c.Spec.RoleARN = attackerRole
	return c
}

// ownCredentials creates n credentials.
func ownCredentials(n int, change func(*v1alpha1.RoleCredential)) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		for i := range n {
			c := credential(i)
			if change != nil {
				change(c)
			}
			if err := w.attacker.Create(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}
}

// refresh requests a refresh of one of n credentials.
func refresh(n int64) func(context.Context, *world, int64) error {
	return func(ctx context.Context, w *world, call int64) error {
		return patch(ctx, w, credential(int(call%n)), fmt.Sprintf(`{"metadata":{"annotations":{%q:"%d"}}}`, v1alpha1.RefreshAnnotation, call))
	}
}

func patch(ctx context.Context, w *world, object client.Object, merge string) error {
	return w.attacker.Patch(ctx, object, client.RawPatch("application/merge-patch+json", []byte(merge)))
}

func labelledSecrets(ctx context.Context, w *world, n int64) error {
	return client.IgnoreAlreadyExists(w.attacker.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: attackerNamespace, Name: fmt.Sprintf("fat-%d", n%600), Labels: map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue},
		Annotations: map[string]string{"x": strings.Repeat("A", 250_000)},
	}}))
}

func largeWorkloads(ctx context.Context, w *world, n int64) error {
	if n == 1 {
		c := credential(0)
		c.Spec.Rollout = &v1alpha1.Rollout{Discover: true}
		if err := w.attacker.Create(ctx, c); err != nil {
			return err
		}
	}
	if n > 150 {
		return refresh(1)(ctx, w, n)
	}
	labels := map[string]string{"app": fmt.Sprint("fat-", n)}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "main", Image: "x", Args: []string{strings.Repeat("A", 1_200_000)},
	}}}}
	if n%5 != 0 { // discovery reads pods
		return w.attacker.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: attackerNamespace, Name: labels["app"], Labels: labels}, Spec: template.Spec})
	}
	return w.attacker.Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: attackerNamespace, Name: labels["app"]}, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template,
	}})
}

// manyLabels gives one of four credentials new labels of 0.6 MB. The managed fields have the same size.
func manyLabels(ctx context.Context, w *world, n int64) error {
	labels := make(map[string]string, 1_700)
	for i := range 1_700 {
		labels[fmt.Sprintf("%0253d/l-%d-%d", i, n, i)] = strings.Repeat("v", 63)
	}
	value, err := json.Marshal(labels)
	if err != nil {
		return err
	}
	replace := client.RawPatch(types.JSONPatchType, fmt.Appendf(nil, `[{"op":"add","path":"/metadata/labels","value":%s}]`, value))
	return w.attacker.Patch(ctx, credential(int(n%4)), replace)
}

func manyHops(ctx context.Context, w *world) error {
	identity := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: attackerNamespace, Name: "hops"}}
	identity.Spec.Region, identity.Spec.Endpoint = "eu-west-1", w.stsURL
	identity.Spec.Source.ServiceAccount = &v1alpha1.ServiceAccountSource{}
	for i := range 8 {
		hop := v1alpha1.Hop{RoleARN: fmt.Sprintf("%s-%d", attackerRole, i)}
		for tag := range 50 {
			if i > 0 { // a token authenticates the first call, which takes no tags
				hop.Tags = append(hop.Tags, v1alpha1.Tag{Key: fmt.Sprint("t-", tag), Value: new("v")})
			}
		}
		identity.Spec.Chain = append(identity.Spec.Chain, hop)
	}
	if err := w.attacker.Create(ctx, identity); err != nil {
		return err
	}
	return ownCredentials(4, func(c *v1alpha1.RoleCredential) {
		c.Spec.Suspend = true
		c.Spec.IdentityRef = v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindIdentity, Name: "hops"}
	})(ctx, w)
}

func manyServiceAccounts(ctx context.Context, w *world, n int64) error {
	return patch(ctx, w, credential(int(n%4)), fmt.Sprintf(`{"spec":{"serviceAccountName":"a%d","suspend":%t}}`, n, n%3 == 0))
}

func forgedExpiry(ctx context.Context, w *world, n int64) error {
	secret := &corev1.Secret{}
	if err := w.attacker.Get(ctx, client.ObjectKey{Namespace: attackerNamespace, Name: fmt.Sprintf("c-%d", n%12)}, secret); err != nil {
		return err
	}
	record, ok := reissue.ParseRecord(secret.Annotations)
	if !ok {
		return nil
	}
	record.IssuedAt, record.Expiration = time.Now().Add(-time.Hour).Truncate(time.Second), time.Now().Add(3*time.Second).Truncate(time.Second)
	maps.Copy(secret.Annotations, record.WithChecksum(secret.Data).Annotations())
	return w.attacker.Update(ctx, secret)
}

func costlyTemplates(c *v1alpha1.RoleCredential) {
	text := "{{if print" + strings.Repeat(" .SessionToken", 8) + strings.Repeat("|upper|lower", 330) + "}}{{end}}"
	c.Spec.Secret.Data = map[string]v1alpha1.DataTemplate{}
	for i := range 16 {
		c.Spec.Secret.Data[fmt.Sprint("k", i)] = v1alpha1.DataTemplate(text)
	}
}

// unsettledWorkloads forges a Secret of a credential, whose record and stamps say that five Deployments are in the middle of a restart.
func unsettledWorkloads(ctx context.Context, w *world) error {
	c := credential(0)
	c.Spec.RoleARN = "arn:aws:iam::123456789012:role/denied"
	c.Spec.Rollout = &v1alpha1.Rollout{}
	for i := range 5 {
		c.Spec.Rollout.Targets = append(c.Spec.Rollout.Targets, v1alpha1.WorkloadReference{Kind: v1alpha1.WorkloadDeployment, Name: fmt.Sprint("h-", i)})
	}
	if err := w.attacker.Create(ctx, c); err != nil {
		return err
	}
	now := time.Now().Truncate(time.Second)
	record := reissue.Record{
		Credential: "RoleCredential/" + c.Name, RequestHash: "x", IssuerHash: "x", TemplateHash: "x", IssuedAt: now, Expiration: now.Add(24 * time.Hour), AccessKeyID: "ASIAX",
	}.WithChecksum(nil)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: attackerNamespace, Name: c.Name, Labels: map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}, Annotations: record.Annotations(),
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(c, v1alpha1.GroupVersion.WithKind("RoleCredential"))},
	}}
	if err := w.attacker.Create(ctx, secret); err != nil {
		return err
	}
	for i := range 5 {
		labels := map[string]string{"app": fmt.Sprint("h-", i)}
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: attackerNamespace, Name: labels["app"]}, Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{v1alpha1.CredentialsAnnotation: `{"c-0":"ASIAX"}`}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "x"}}},
			},
		}}
		if err := w.attacker.Create(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func touchWorkloads(ctx context.Context, w *world, n int64) error {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: attackerNamespace, Name: fmt.Sprint("h-", n%5)}}
	return patch(ctx, w, d, fmt.Sprintf(`{"spec":{"minReadySeconds":%d}}`, n%100))
}

func ownKey(ctx context.Context, w *world) error {
	return w.attacker.Create(ctx, accessKey(attackerNamespace, "key"))
}

func changingIdentity(ctx context.Context, w *world, n int64) error {
	name := fmt.Sprint("own-", n%5)
	if n <= 5 {
		identity := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: attackerNamespace, Name: name}}
		identity.Spec.Region, identity.Spec.Endpoint = "eu-west-1", w.stsURL
		identity.Spec.Source.AccessKey = &v1alpha1.LocalAccessKeySource{SecretRef: v1alpha1.LocalSecretReference{Name: "key"}}
		return w.attacker.Create(ctx, identity)
	}
	return patch(ctx, w, &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Namespace: attackerNamespace, Name: name}}, fmt.Sprintf(`{"spec":{"stsQPS":%d}}`, n%20+1))
}

func flippingRefusals(ctx context.Context, w *world, n int64) error {
	name := v1alpha1.DefaultIdentityName // no rule allows the role
	if n%2 == 0 {
		name = "missing"
	}
	return patch(ctx, w, credential(0), fmt.Sprintf(`{"spec":{"roleARN":"arn:aws:iam::123456789012:role/denied","identityRef":{"name":%q}}}`, name))
}

func deletedAgain(ctx context.Context, w *world, n int64) error {
	c := credential(int(n % 10))
	switch n / 10 % 3 {
	case 0:
		if err := client.IgnoreNotFound(w.attacker.Delete(ctx, c)); err != nil {
			return err
		}
	case 1:
		return client.IgnoreAlreadyExists(w.attacker.Create(ctx, c))
	default:
		if err := patch(ctx, w, c, fmt.Sprintf(`{"spec":{"roleARN":"%s-%d"}}`, attackerRole, n)); err != nil {
			return err
		}
	}
	// No garbage collector runs here.
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: attackerNamespace, Name: c.Name}}
	return client.IgnoreNotFound(w.attacker.Delete(ctx, secret))
}
