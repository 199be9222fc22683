package main

import (
	"context"
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
		{"much is done", usage{100 * mib, 60 * mib}, 0},
		{"it is over", usage{101 * mib, 60 * mib}, 1},
		{"there is nothing to give back", usage{102 * mib, 3 * mib}, 1},
		{"a little is done all the time", usage{108 * mib, 30 * mib}, 2},
		{"much is done again", usage{222 * mib, 60 * mib}, 2},
	} {
		tick <- time.Time{}
		looks <- look.usage
		tick <- time.Time{} // comes after what that look led to
		g.Expect(released).To(Equal(look.want), look.what)
		looks <- usage{look.usage.allocated, 0}
	}
	stop()
	ended.Wait()
}

func TestWhatIsSpareIsTheRuntimesOwnFigure(t *testing.T) {
	g := NewWithT(t)
	before := readUsage()
	garbage := make([]byte, 2*spareMemory)
	g.Expect(readUsage().allocated - before.allocated).To(BeNumerically(">=", len(garbage)))
	debug.FreeOSMemory()
	g.Expect(readUsage().spare).To(BeNumerically("<", spareMemory))
}
