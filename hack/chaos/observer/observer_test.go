package observer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

var expected = Expected{Kind: "RoleCredential", Namespace: "shop", Name: "reader", Identity: "one"}

// observed returns an Observer of one Ready credential, whose session expires in a minute.
func observed() *Observer {
	o := New(Options{
		Results: &Results{}, Disruptions: &Disruptions{}, STSNow: time.Now,
		Limits: Limits{ReadyLag: 5 * time.Second, Settle: 2 * time.Second, RefreshSlack: time.Second},
	})
	o.Expect(expected)
	o.CredentialObserved(&unstructured.Unstructured{Object: map[string]any{
		"kind": "RoleCredential", "metadata": map[string]any{"namespace": "shop", "name": "reader"},
		"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}},
	}})
	o.setSession(o.credentials[types.NamespacedName{Namespace: "shop", Name: "reader"}], &session{AccessKeyID: "ASIAONE", Issued: time.Now(), Expiration: time.Now().Add(time.Minute)}, "")
	return o
}

// pass checks all credentials at the rate of Check, for a duration.
func (o *Observer) pass(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(Interval) {
		o.checkAll()
	}
}

func (o *Observer) broken() (broken []Invariant) {
	for _, row := range o.Results.Rows() {
		if row.Broken > 0 {
			broken = append(broken, row.Invariant)
		}
	}
	return broken
}

func TestObserverBreachesByTimeline(t *testing.T) {
	for name, tc := range map[string]struct {
		events func(*Observer)
		want   []Invariant
	}{
		"the operator refreshes in time": {func(o *Observer) {
			o.pass(50 * time.Second)
			c := o.credentials[types.NamespacedName{Namespace: "shop", Name: "reader"}]
			o.setSession(c, &session{AccessKeyID: "ASIATWO", Issued: time.Now(), Expiration: time.Now().Add(time.Minute)}, "")
			o.pass(30 * time.Second)
		}, nil},
		"a credential expires and stays Ready":                      {func(o *Observer) { o.pass(70 * time.Second) }, []Invariant{ReadyIsTrue, RefreshedInTime}},
		"a credential expires and is Ready for less than the limit": {func(o *Observer) { o.pass(64 * time.Second) }, []Invariant{RefreshedInTime}},
		"STS is down while the credential is due": {func(o *Observer) {
			o.pass(30 * time.Second)
			o.Disruptions.Begin(STS)
			o.pass(34 * time.Second)
		}, nil},
		"STS is reachable for more than a tenth of the lifetime": {func(o *Observer) {
			o.pass(30 * time.Second)
			o.Disruptions.Begin(STS)
			o.pass(22 * time.Second)
			o.Disruptions.End(STS, 0)
			o.pass(10 * time.Second)
		}, []Invariant{RefreshedInTime}},
		"STS is reachable for less than a tenth of the lifetime": {func(o *Observer) {
			o.pass(30 * time.Second)
			o.Disruptions.Begin(STS)
			o.pass(25 * time.Second)
			o.Disruptions.End(STS, 0)
			o.pass(8 * time.Second)
		}, nil},
		"the identity is broken": {func(o *Observer) {
			o.Disruptions.Begin(IdentityOf("one"))
			o.pass(64 * time.Second)
		}, nil},
		"the identity has no token left": {func(o *Observer) {
			b := &Bucket{Results: o.Results, Disruptions: o.Disruptions, Rates: map[string]float64{"one": 5}, Retries: 3}
			callTimes(b, 4)
			for range 62 {
				o.pass(time.Second)
				callTimes(b, 5)
			}
		}, nil},
		"the identity has a token left each second": {func(o *Observer) {
			b := &Bucket{Results: o.Results, Disruptions: o.Disruptions, Rates: map[string]float64{"one": 5}, Retries: 3}
			for range 62 {
				o.pass(time.Second)
				callTimes(b, 3)
			}
		}, []Invariant{RefreshedInTime}},
		"no manager leads, then another does, within the settle time": {func(o *Observer) {
			o.pass(30 * time.Second)
			o.Disruptions.Begin(Leader)
			o.pass(40 * time.Second)
			o.Disruptions.End(Leader, 0)
			o.pass(6 * time.Second)
		}, nil},
		"the new leader does not correct Ready": {func(o *Observer) {
			o.pass(30 * time.Second)
			o.Disruptions.Begin(Leader)
			o.pass(40 * time.Second)
			o.Disruptions.End(Leader, 0)
			o.pass(8 * time.Second)
		}, []Invariant{ReadyIsTrue}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				o := observed()
				tc.events(o)
				g.Expect(o.broken()).To(Equal(tc.want))
			})
		})
	}
}

func TestObserverReportsAChangedForeignSecretOnce(t *testing.T) {
	g := NewWithT(t)
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"accessKeyID":"ASIATWO","issued":%[1]q,"expiration":%[1]q}`, time.Now().Add(time.Hour).Format(time.RFC3339))
	}))
	defer sts.Close()
	o := observed()
	o.SessionURL = sts.URL
	c := o.credentials[types.NamespacedName{Namespace: "shop", Name: "reader"}]
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "reader", UID: "planted", ResourceVersion: "1",
		OwnerReferences: []metav1.OwnerReference{{Kind: "RoleCredential", Name: "reader", Controller: new(true)}},
	}}
	o.ForeignCreated("planted", "1")
	o.SecretObserved(t.Context(), secret)
	g.Expect(o.broken()).To(BeEmpty())
	g.Expect(c.defect).To(Equal("the Secret is foreign"))
	for _, version := range []string{"2", "3"} {
		secret.ResourceVersion = version
		o.SecretObserved(t.Context(), secret)
		g.Expect(o.Results.row(ForeignUnchanged).Broken).To(Equal(1))
		g.Expect(c.defect).To(BeEmpty())
		g.Expect(c.usable(time.Now())).To(BeTrue())
	}
}

func TestBucketReportsCallsBeyondTheRateLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		events func(*Bucket)
		want   []Invariant
	}{
		"as many calls as tokens":             {func(b *Bucket) { callTimes(b, 5) }, nil},
		"as many calls as tokens and retries": {func(b *Bucket) { callTimes(b, 8) }, nil},
		"one call more":                       {func(b *Bucket) { callTimes(b, 9) }, []Invariant{WithinRateLimit}},
		"as many calls as new tokens, a second later": {func(b *Bucket) {
			callTimes(b, 8)
			time.Sleep(time.Second)
			callTimes(b, 5)
		}, nil},
		"more calls than new tokens, half a second later": {func(b *Bucket) {
			callTimes(b, 8)
			time.Sleep(500 * time.Millisecond)
			callTimes(b, 5)
		}, []Invariant{WithinRateLimit}},
		"calls of a new leader": {func(b *Bucket) {
			b.SetLeaders(1)
			callTimes(b, 8)
			b.SetLeaders(0)
			b.SetLeaders(1)
			callTimes(b, 5)
		}, nil},
		"a call of an unknown caller": {func(b *Bucket) { b.RecordCall("two") }, []Invariant{WithinRateLimit}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				b := &Bucket{Results: &Results{}, Rates: map[string]float64{"one": 5}, Retries: 3}
				tc.events(b)
				o := &Observer{Options: Options{Results: b.Results}}
				g.Expect(o.broken()).To(Equal(tc.want))
			})
		})
	}
}

func callTimes(b *Bucket, n int) {
	for range n {
		b.RecordCall("one")
	}
}
