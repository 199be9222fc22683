package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// progress reports a build: on a terminal in one line that it rewrites each second, elsewhere in a line every 15 seconds. It is
// the writer for the go command's standard error, whose lines it counts. It does not estimate the time left.
type progress struct {
	log      io.Writer
	name     string
	terminal bool
	start    time.Time

	mu         sync.Mutex
	line       []byte // not yet complete
	packages   map[string]bool
	downloaded int
	compiled   int
	other      strings.Builder

	quit    chan struct{}
	stopped sync.WaitGroup
}

func startProgress(log io.Writer, of pinned) *progress {
	p := &progress{log: log, name: of.name, terminal: isTerminal(log), start: time.Now(), quit: make(chan struct{})}
	fmt.Fprintf(log, "%s: building %s %s from source for %s, once; on two cores this takes about %d minutes\n",
		of.name, of.title, of.version, of.use, int(of.usual.Minutes()))
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
				p.show()
			}
		}
	})
	return p
}

// expect takes the packages of the build. The go command names each one that it compiles.
func (p *progress) expect(packages []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.packages = make(map[string]bool, len(packages))
	for _, name := range packages {
		p.packages[name] = true
	}
}

func (p *progress) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = append(p.line, text...)
	for {
		line, rest, complete := bytes.Cut(p.line, []byte("\n"))
		if !complete {
			return len(text), nil
		}
		p.count(string(line))
		p.line = rest
	}
}

func (p *progress) count(line string) {
	switch {
	case strings.HasPrefix(line, "go: downloading "):
		p.downloaded++
	case p.packages[line]:
		p.compiled++
	default:
		fmt.Fprintln(&p.other, line)
	}
}

// messages returns the lines that are no progress.
func (p *progress) messages() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.other.String() + string(p.line)
}

// stop ends the reports, and the line on a terminal.
func (p *progress) stop() {
	close(p.quit)
	p.stopped.Wait()
	p.show()
	if p.terminal {
		fmt.Fprintln(p.log)
	}
}

func (p *progress) show() {
	begin, end := "", "\n"
	if p.terminal {
		begin, end = "\r\x1b[K", ""
	}
	fmt.Fprintf(p.log, "%s%s: %s, after %s%s", begin, p.name, p.state(), time.Since(p.start).Truncate(time.Second), end)
}

// state says how far the build is. The go command does not name packages that its cache holds, so the count may stay below the total.
func (p *progress) state() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.packages == nil {
		return fmt.Sprintf("downloaded %d modules", p.downloaded)
	}
	return fmt.Sprintf("compiled %d of at most %d packages", p.compiled, len(p.packages))
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}
