package rollout

import "sync"

// Places limits how many workloads of the cluster restart at the same time. It is kept in memory only. After a start
// of the manager, no place is free until each credential's workloads have been checked, which finds the restarts in
// progress.
type Places struct {
	// Max is the limit.
	Max int

	mu      sync.Mutex
	taken   map[string]struct{}
	awaited map[string]struct{}
}

// Await blocks all places until a credential's workloads are checked.
func (p *Places) Await(credential string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.awaited == nil {
		p.awaited = map[string]struct{}{}
	}
	p.awaited[credential] = struct{}{}
}

// MarkChecked stops waiting for a credential.
func (p *Places) MarkChecked(credential string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.awaited, credential)
}

// Free returns the number of free places.
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

// Take acquires a place for a workload. It returns false if none is free.
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

// Hold acquires a place for a workload that already restarts, even beyond the limit.
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

// Release releases a workload's place. It returns false if the workload had none.
func (p *Places) Release(workload string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, had := p.taken[workload]
	delete(p.taken, workload)
	return had
}

// Taken returns the number of workloads that restart.
func (p *Places) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.taken)
}
