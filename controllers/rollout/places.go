package rollout

import "sync"

// Places bounds how many workloads of the cluster are in the middle of a restart. It is memory only: what was under way when the
// manager ended is found again by the first look at each credential's readers, and until all had theirs no place is free.
type Places struct {
	// Max is how many there are.
	Max int

	mu      sync.Mutex
	taken   map[string]struct{}
	awaited map[string]struct{}
}

// Await keeps all places until a credential was looked at.
func (p *Places) Await(credential string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.awaited == nil {
		p.awaited = map[string]struct{}{}
	}
	p.awaited[credential] = struct{}{}
}

// Seen ends waiting for a credential.
func (p *Places) Seen(credential string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.awaited, credential)
}

// Free is how many places there are to be taken.
func (p *Places) Free() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.free()
}

func (p *Places) free() int {
	if len(p.awaited) > 0 {
		return 0
	}
	return max(0, p.Max-len(p.taken))
}

// Take takes a place for a workload that is to be restarted. It is false if none is free.
func (p *Places) Take(workload string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, has := p.taken[workload]; has {
		return true
	}
	if p.free() == 0 {
		return false
	}
	p.put(workload)
	return true
}

// Hold takes a place for a workload that was found in the middle of a restart, though there may be none.
func (p *Places) Hold(workload string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(workload)
}

func (p *Places) put(workload string) {
	if p.taken == nil {
		p.taken = map[string]struct{}{}
	}
	p.taken[workload] = struct{}{}
}

// Leave gives a workload's place back. It is false if it had none.
func (p *Places) Leave(workload string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, had := p.taken[workload]
	delete(p.taken, workload)
	return had
}

// Taken is how many workloads are in the middle of a restart.
func (p *Places) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.taken)
}
