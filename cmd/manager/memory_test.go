package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestMemoryIsGivenBackOnceABurstIsOver(t *testing.T) {
	g := NewWithT(t)
	ctx, stop := context.WithCancel(t.Context())
	tick, looks := make(chan time.Time), make(chan usage)
	var released int
	var ended sync.WaitGroup
	ended.Go(func() { tidy(ctx, tick, func() usage { return <-looks }, func() { released++ }) })
	const mib = 1 << 20
	looks <- usage{}
	for _, look := range []struct {
		what  string
		usage usage
		want  int
	}{
		{"much is done", usage{100 * mib, 10 * mib, 60 * mib}, 0},
		{"it is over", usage{101 * mib, 10 * mib, 60 * mib}, 1},
		{"there is nothing to give back", usage{102 * mib, 10 * mib, 3 * mib}, 1},
		{"a little is done all the time", usage{108 * mib, 10 * mib, 5 * mib}, 2},
		{"it is little of what is in use", usage{109 * mib, 40 * mib, 9 * mib}, 2},
		{"it is much also of that", usage{110 * mib, 40 * mib, 11 * mib}, 3},
		{"much is done again", usage{222 * mib, 10 * mib, 60 * mib}, 3},
	} {
		tick <- time.Time{}
		looks <- look.usage
		tick <- time.Time{} // comes after what that look led to
		g.Expect(released).To(Equal(look.want), look.what)
		looks <- usage{look.usage.allocated, look.usage.live, 0}
	}
	stop()
	ended.Wait()
}

func TestWhatIsSpareIsTheRuntimesOwnFigure(t *testing.T) {
	g := NewWithT(t)
	before := readUsage()
	kept := make([]byte, 2*spareMemory)
	g.Expect(readUsage().allocated - before.allocated).To(BeNumerically(">=", len(kept)))
	debug.FreeOSMemory()
	after := readUsage()
	g.Expect(after.live).To(BeNumerically(">=", len(kept)))
	g.Expect(after.spare).To(BeNumerically("<", spareMemory))
	runtime.KeepAlive(kept)
}
