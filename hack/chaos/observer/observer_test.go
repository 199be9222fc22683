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

var wanted = Wanted{Kind: "RoleCredential", Namespace: "shop", Name: "reader", Identity: "one"}

// observed is an Observer of one credential that is Ready, with a session that lives for a minute and is no good after that.
func observed() *Observer {
	o := New(Options{
		Ledger: &Ledger{}, Weather: &Weather{}, STSNow: time.Now,
		Limits: Limits{Honest: 5 * time.Second, Settle: 2 * time.Second, Tenth: time.Second},
	})
	o.Expect(wanted)
	o.SawCredential(&unstructured.Unstructured{Object: map[string]any{
		"kind": "RoleCredential", "metadata": map[string]any{"namespace": "shop", "name": "reader"},
		"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}},
	}})
	o.hold(o.credentials[types.NamespacedName{Namespace: "shop", Name: "reader"}], &session{AccessKeyID: "ASIAONE", Issued: time.Now(), Expiration: time.Now().Add(time.Minute)}, "")
	return o
}

// pass looks at all as often as Watch does, for a while.
func (o *Observer) pass(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(Interval) {
		o.look()
	}
}

func (o *Observer) broken() (broken []Invariant) {
	for _, row := range o.Ledger.Rows() {
		if row.Broken > 0 {
			broken = append(broken, row.Invariant)
		}
	}
	return broken
}

func TestWhatIsHeldAgainstTheOperator(t *testing.T) {
	for name, tc := range map[string]struct {
		happens func(*Observer)
		want    []Invariant
	}{
		"it refreshes in time": {func(o *Observer) {
			o.pass(50 * time.Second)
			c := o.credentials[types.NamespacedName{Namespace: "shop", Name: "reader"}]
			o.hold(c, &session{AccessKeyID: "ASIATWO", Issued: time.Now(), Expiration: time.Now().Add(time.Minute)}, "")
			o.pass(30 * time.Second)
		}, nil},
		"it lets a credential expire, and says Ready":        {func(o *Observer) { o.pass(70 * time.Second) }, []Invariant{Honest, Alive}},
		"it lets one expire, and has some seconds to say so": {func(o *Observer) { o.pass(64 * time.Second) }, []Invariant{Alive}},
		"STS is down while the credential is due": {func(o *Observer) {
			o.pass(30 * time.Second)
			o.Weather.Begin(OfSTS)
			o.pass(34 * time.Second)
		}, nil},
		"STS is back for a tenth of its life and more": {func(o *Observer) {
			o.pass(30 * time.Second)
			o.Weather.Begin(OfSTS)
			o.pass(22 * time.Second)
			o.Weather.End(0, OfSTS)
			o.pass(10 * time.Second)
		}, []Invariant{Alive}},
		"STS is back for less": {func(o *Observer) {
			o.pass(30 * time.Second)
			o.Weather.Begin(OfSTS)
			o.pass(25 * time.Second)
			o.Weather.End(0, OfSTS)
			o.pass(8 * time.Second)
		}, nil},
		"its identity is broken": {func(o *Observer) {
			o.Weather.Begin("identity one")
			o.pass(64 * time.Second)
		}, nil},
		"its identity has no token to spare": {func(o *Observer) {
			b := &Bucket{Ledger: o.Ledger, Weather: o.Weather, Rates: map[string]float64{"one": 5}, Unasked: 3}
			times(b, 4)
			for range 62 {
				o.pass(time.Second)
				times(b, 5)
			}
		}, nil},
		"its identity has a token to spare each second": {func(o *Observer) {
			b := &Bucket{Ledger: o.Ledger, Weather: o.Weather, Rates: map[string]float64{"one": 5}, Unasked: 3}
			for range 62 {
				o.pass(time.Second)
				times(b, 3)
			}
		}, []Invariant{Alive}},
		"nobody leads, and then another does": {func(o *Observer) {
			o.pass(30 * time.Second)
			o.Weather.Begin(OfLeader)
			o.pass(40 * time.Second)
			o.Weather.End(0, OfLeader)
			o.pass(6 * time.Second)
		}, nil},
		"who leads then does not mend it": {func(o *Observer) {
			o.pass(30 * time.Second)
			o.Weather.Begin(OfLeader)
			o.pass(40 * time.Second)
			o.Weather.End(0, OfLeader)
			o.pass(8 * time.Second)
		}, []Invariant{Honest}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				o := observed()
				tc.happens(o)
				g.Expect(o.broken()).To(Equal(tc.want))
			})
		})
	}
}

func TestAForeignSecretThatWasTakenOverIsToldOnceAndIsNotForeignAnyMore(t *testing.T) {
	g := NewWithT(t)
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"accessKeyID":"ASIATWO","issued":%[1]q,"expiration":%[1]q}`, time.Now().Add(time.Hour).Format(time.RFC3339))
	}))
	defer sts.Close()
	o := observed()
	o.Holder = sts.URL
	c := o.credentials[types.NamespacedName{Namespace: "shop", Name: "reader"}]
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "reader", UID: "planted", ResourceVersion: "1",
		OwnerReferences: []metav1.OwnerReference{{Kind: "RoleCredential", Name: "reader", Controller: new(true)}},
	}}
	o.Foreign("planted", "1")
	o.SawSecret(t.Context(), secret)
	g.Expect(o.broken()).To(BeEmpty())
	g.Expect(c.fault).To(Equal("the Secret is foreign"))
	for _, version := range []string{"2", "3"} {
		secret.ResourceVersion = version
		o.SawSecret(t.Context(), secret)
		g.Expect(o.Ledger.row(Untouched).Broken).To(Equal(1))
		g.Expect(c.fault).To(BeEmpty())
		g.Expect(c.good(time.Now())).To(BeTrue())
	}
}

func TestCallsBeyondABucketAreTold(t *testing.T) {
	for name, tc := range map[string]struct {
		happens func(*Bucket)
		want    []Invariant
	}{
		"as many as there are tokens":            {func(b *Bucket) { times(b, 5) }, nil},
		"and those that are paid for afterwards": {func(b *Bucket) { times(b, 8) }, nil},
		"more than that":                         {func(b *Bucket) { times(b, 9) }, []Invariant{Within}},
		"as many again, when there are tokens again": {func(b *Bucket) {
			times(b, 8)
			time.Sleep(time.Second)
			times(b, 5)
		}, nil},
		"as many again, too soon": {func(b *Bucket) {
			times(b, 8)
			time.Sleep(500 * time.Millisecond)
			times(b, 5)
		}, []Invariant{Within}},
		"as many again, by a new leader": {func(b *Bucket) {
			b.Lead(1)
			times(b, 8)
			b.Lead(0)
			b.Lead(1)
			times(b, 5)
		}, nil},
		"one as nobody that is known": {func(b *Bucket) { b.Called("two") }, []Invariant{Within}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				b := &Bucket{Ledger: &Ledger{}, Rates: map[string]float64{"one": 5}, Unasked: 3}
				tc.happens(b)
				o := &Observer{Options: Options{Ledger: b.Ledger}}
				g.Expect(o.broken()).To(Equal(tc.want))
			})
		})
	}
}

func times(b *Bucket, n int) {
	for range n {
		b.Called("one")
	}
}
