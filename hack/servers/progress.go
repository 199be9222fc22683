package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progress tells how far the builds are: on a terminal in one line that is written anew each second,
// elsewhere in a line every 15 seconds.
type progress struct {
	log      io.Writer
	name     string
	terminal bool

	mu       sync.Mutex
	all      []binary
	done     int
	start    time.Time
	lastDone time.Time

	quit    chan struct{}
	stopped sync.WaitGroup
}

func startProgress(log io.Writer, of pinned, todo []binary) *progress {
	now := time.Now()
	p := &progress{log: log, name: of.name, terminal: isTerminal(log), all: todo, start: now, lastDone: now, quit: make(chan struct{})}
	fmt.Fprintf(log, "%s: building %s %s for %s: "+
		"about %s on two cores, this once\n", of.name, of.title, of.version, of.use, brief(usual(todo)))
	p.show("")

	every := 15 * time.Second
	if p.terminal {
		every = time.Second
	}
	p.stopped.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-p.quit:
				return
			case <-tick.C:
				p.show("")
			}
		}
	})
	return p
}

// finished marks the binary under way as built.
func (p *progress) finished() {
	p.mu.Lock()
	b, took := p.all[p.done], time.Since(p.lastDone)
	p.done++
	p.lastDone = time.Now()
	p.mu.Unlock()
	p.show(fmt.Sprintf("%s built in %s", b.name, brief(took)))
}

// stop ends the reports, and on a terminal the line they stand in.
func (p *progress) stop() {
	close(p.quit)
	p.stopped.Wait()
	if p.terminal {
		fmt.Fprintln(p.log)
	}
}

// show writes where the build stands, after a line of news if there is any.
func (p *progress) show(news string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	begin, end := "", "\n"
	if p.terminal {
		begin, end = "\r\x1b[K", ""
	}
	if news != "" {
		fmt.Fprintf(p.log, "%s%s: %s\n", begin, p.name, news)
	}
	if p.done == len(p.all) {
		return
	}
	did, todo := p.all[:p.done], p.all[p.done:]
	remaining := left(did, p.lastDone.Sub(p.start), todo, time.Since(p.lastDone))
	fmt.Fprintf(p.log, "%s%s: [%d/%d] %s: %s elapsed, about %s left%s", begin, p.name,
		p.done+1, len(p.all), todo[0].name, time.Since(p.start).Truncate(time.Second), brief(max(remaining, time.Second)), end)
}

// brief rounds to what an estimate deserves: five seconds, and one below ten.
func brief(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(time.Second).String()
	}
	return d.Round(5 * time.Second).String()
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
