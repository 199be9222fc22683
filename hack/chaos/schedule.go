package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// A period is a storm, in which faults come one upon another, and then a calm, in which all has to become well again.
const (
	period   = 75 * time.Second
	storm    = 42 * time.Second
	perStorm = 6
	// Faults last so long, unless they are over sooner, or last throughout a storm.
	shortest, longest = 4 * time.Second, 12 * time.Second
)

// occurrence is a fault at its time.
type occurrence struct {
	fault *fault
	at    time.Duration // since the beginning
	lasts time.Duration
	// seed is of what the fault draws itself.
	seed uint64
	// storm counts storms from 0.
	storm int
}

// schedule draws when which fault comes. The same seed, time and faults make the same schedule. What ends managers comes in the
// first half only, so that what leaks has time to show in the second; and all of that half is drawn before any comes again.
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
	storms := max(1, int(total/period))
	drawKiller, drawOther := bag(rng, killers), bag(rng, others)
	for n := range storms {
		start := time.Duration(n) * max(period, total/time.Duration(storms))
		for slot := range perStorm {
			draw := drawOther
			if len(others) == 0 || (len(killers) > 0 && n < (storms+1)/2 && slot%2 == 0) {
				draw = drawKiller
			}
			space := (storm - shortest) / perStorm
			lasts := shortest + time.Duration(rng.Int64N(int64(longest-shortest)))
			at := time.Duration(slot)*space + time.Duration(rng.Int64N(int64(space)))
			f := draw()
			if f.throughout {
				lasts = storm
			}
			occurrences = append(occurrences, occurrence{
				fault: f, at: start + at, lasts: min(lasts, storm-at).Truncate(time.Second / 10), seed: rng.Uint64(), storm: n,
			})
		}
	}
	return occurrences, nil
}

// bag draws from a shuffled list, and shuffles it again when all are drawn.
func bag(rng *rand.Rand, faults []*fault) func() *fault {
	var left []*fault
	return func() *fault {
		if len(left) == 0 {
			left = append(left, faults...)
			rng.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		}
		drawn := left[0]
		left = left[1:]
		return drawn
	}
}

// random is what is drawn from a seed, always the same.
func random(seed, stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, stream)) //nolint:gosec // it is to be guessed
}
