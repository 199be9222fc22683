package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// tidyEvery is how often it is looked whether there is memory to give back.
	tidyEvery = 5 * time.Second
	// What is kept for nothing is worth a collection if it is more than spareMemory, in bytes, and than one part in spareShare of
	// what is in use.
	spareMemory, spareShare = 4 << 20, 4
	// busyMemory is how much is allocated between two looks while there is much to do: what would be given back is needed again at once.
	busyMemory = 8 << 20
)

// usage is how much memory was allocated since the start, how much was in use when it was last collected, and how much is kept for
// nothing now, in bytes.
type usage struct{ allocated, live, spare uint64 }

// readUsage reads the metrics of the Go runtime.
func readUsage() usage {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(samples)
	allocated, free, objects, live := samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64(), samples[3].Value.Uint64()
	return usage{allocated, live, free + objects - min(live, objects)}
}

// tidy gives memory back to the system once a burst of work is over, until the context ends. The Go runtime by itself keeps as much
// again as is in use, which for thousands of credentials is most of what the manager takes.
func tidy(ctx context.Context, tick <-chan time.Time, read func() usage, release func()) {
	before := read()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		now := read()
		if now.spare > max(spareMemory, now.live/spareShare) && now.allocated-before.allocated < busyMemory {
			release()
		}
		before = now
	}
}

// tidyMemory is tidy of this process's memory.
func tidyMemory(ctx context.Context) {
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	tidy(ctx, ticker.C, readUsage, func() {
		debug.FreeOSMemory()
		debug.FreeOSMemory() // what pools hold outlives the first collection (sync.Pool)
	})
}
