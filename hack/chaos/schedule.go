package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// A period is a burst of faults, and then time to recover.
const (
	period   = 75 * time.Second
	burst    = 42 * time.Second
	perBurst = 6
	// shortest and longest are the bounds of a fault's duration, unless it lasts throughout a burst.
	shortest, longest = 4 * time.Second, 12 * time.Second
)

// occurrence is a fault at a time.
type occurrence struct {
	fault *fault
	at    time.Duration // since the start
	lasts time.Duration
	// seed is the seed of the fault's random choices.
	seed uint64
	// burst counts bursts from 0.
	burst int
}

// schedule returns random occurrences of faults. The same seed, time and faults give the same schedule. Faults that kill managers come in
// the first half only, so that leaks have time to show in the second. Each fault comes once before any comes again.
func schedule(rng *rand.Rand, total time.Duration, faults []*fault) (occurrences []occurrence, err error) {
	var killers, others []*fault
	for _, f := range faults {
		if f.kills {
			killers = append(killers, f)
		} else {
			others = append(others, f)
		}
	}
	if len(faults) == 0 {
		return nil, fmt.Errorf("there are no faults to choose from")
	}
	bursts := max(1, int(total/period))
	nextKiller, nextOther := shuffled(rng, killers), shuffled(rng, others)
	for n := range bursts {
		start := time.Duration(n) * max(period, total/time.Duration(bursts))
		for slot := range perBurst {
			next := nextOther
			if len(others) == 0 || (len(killers) > 0 && n < (bursts+1)/2 && slot%2 == 0) {
				next = nextKiller
			}
			space := (burst - shortest) / perBurst
			lasts := shortest + time.Duration(rng.Int64N(int64(longest-shortest)))
			at := time.Duration(slot)*space + time.Duration(rng.Int64N(int64(space)))
			f := next()
			if f.throughout {
				lasts = burst
			}
			occurrences = append(occurrences, occurrence{
				fault: f, at: start + at, lasts: min(lasts, burst-at).Truncate(time.Second / 10), seed: rng.Uint64(), burst: n,
			})
		}
	}
	return occurrences, nil
}

// shuffled returns a function that returns the faults in random order, again and again.
func shuffled(rng *rand.Rand, faults []*fault) func() *fault {
	var left []*fault
	return func() *fault {
		if len(left) == 0 {
			left = append(left, faults...)
			rng.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		}
		next := left[0]
		left = left[1:]
		return next
	}
}

// random returns a generator of the same numbers for the same seed and stream.
func random(seed, stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, stream)) //nolint:gosec // it has to be reproducible
}
