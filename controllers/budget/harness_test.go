package budget_test

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"rolecredential.dev/operator/controllers/budget"
)

var (
	start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	hub   = budget.Key{Kind: "ClusterIdentity", NamespacedName: types.NamespacedName{Name: "hub"}}
	spoke = budget.Key{Kind: "ClusterIdentity", NamespacedName: types.NamespacedName{Name: "spoke"}}
)

func object(name string) budget.Key {
	return budget.Key{Kind: "RoleCredential", NamespacedName: types.NamespacedName{Namespace: "shop", Name: name}}
}

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// lives is a credential of the present spec that ends so many seconds after the start.
func lives(seconds float64) budget.Held { return budget.Held{Until: at(seconds)} }

// ask is one object that wants to call.
type ask struct {
	name string
	// from is when it first asks, in seconds after the start.
	from float64
	held budget.Held
}

// served is when an object was let call.
type served struct {
	ask
	at time.Time
}

// run lets objects ask and come back as they are told, until all have been served.
func run(b *budget.Budget, identity budget.Key, asks ...ask) (all []served) {
	type visit struct {
		ask
		at time.Time
	}
	var coming []visit
	for _, a := range asks {
		coming = append(coming, visit{a, at(a.from)})
	}
	for visits := 0; len(coming) > 0; visits++ {
		if visits == 1000*len(asks) {
			panic(fmt.Sprintf("%d objects are still not served after %d visits", len(coming), visits))
		}
		next := 0
		for i := range coming {
			if coming[i].at.Before(coming[next].at) {
				next = i
			}
		}
		v := coming[next]
		wait := b.Take(v.at, identity, object(v.name), v.held)
		if wait == 0 {
			all = append(all, served(v))
			coming = slices.Delete(coming, next, next+1)
			continue
		}
		coming[next].at = v.at.Add(wait)
	}
	return all
}

func names(all []served) (names []string) {
	for _, s := range all {
		names = append(names, s.name)
	}
	return names
}

// spent is a budget whose identity has no token left at a time.
func spent(perSecond int, now time.Time) *budget.Budget {
	b := &budget.Budget{Default: perSecond}
	for range max(1, perSecond) {
		b.Spend(now, hub)
	}
	return b
}

// level of an identity, zero if it has none.
func level(b *budget.Budget, now time.Time, identity budget.Key) budget.Level {
	levels := b.Levels(now)
	i := slices.IndexFunc(levels, func(l budget.Level) bool { return l.Identity == identity })
	if i < 0 {
		return budget.Level{}
	}
	return levels[i]
}

// most is how many of some times are within any window of a length.
func most(times []time.Time, window time.Duration) (most int) {
	times = slices.SortedFunc(slices.Values(times), time.Time.Compare)
	first := 0
	for last := range times {
		for times[last].Sub(times[first]) > window {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}
