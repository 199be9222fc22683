package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rolecredential.dev/operator/hack/cluster"
	"rolecredential.dev/operator/hack/program"
	"rolecredential.dev/operator/hack/usage"
)

// manager is a manager's process, which may be restarted.
type manager struct {
	*cluster.Process
	log string
	// peak is the largest resident set in bytes, and cpu the CPU time, of earlier processes.
	peak float64
	cpu  time.Duration
}

// startManager starts a manager as the manifests do. GOMEMLIMIT is the container's memory limit there.
func (w *world) startManager() (*manager, error) {
	w.started++
	log := filepath.Join(w.Dir, fmt.Sprintf("manager-%d.log", w.started))
	process, err := w.StartManager(log, []string{fmt.Sprintf("GOMEMLIMIT=%d", memoryLimit)}, w.manager, w.kubeconfig, "--metrics-bind-address=0", "--allow-namespaced-endpoints")
	if err != nil {
		return nil, err
	}
	w.cleanups.Add(process.Stop)
	return &manager{Process: process, log: log}, nil
}

// restartLeader kills the leader after a while, so that it releases no lease, and starts it again.
func (w *world) restartLeader(ctx context.Context, after time.Duration) error {
	if program.Sleep(ctx, after) != nil {
		return nil //nolint:nilerr // the attack is over
	}
	i, err := w.leader()
	if err != nil {
		return err
	}
	w.led = i
	old := w.managers[i]
	if err := sample(old); err != nil {
		return err
	}
	old.Kill()
	started, err := w.startManager()
	if err != nil {
		return err
	}
	started.peak, started.cpu = old.peak, old.cpu
	w.managers[i] = started
	return nil
}

// leader returns the index of the manager that leads. Both have the same host name, so only their logs distinguish them.
func (w *world) leader() (int, error) {
	for i, m := range w.managers {
		log, err := os.ReadFile(m.log)
		if err != nil {
			return 0, err
		}
		if strings.Contains(strings.ToLower(string(log)), "successfully acquired lease") {
			return i, nil
		}
	}
	return 0, errors.New("no manager leads")
}

// sample adds a process's memory and CPU time to its manager's. It fails for a process that ended.
func sample(m *manager) error {
	memory, err := usage.Memory(m.Pid())
	if err != nil {
		return err
	}
	cpu, err := usage.CPU(m.Pid())
	if err != nil {
		return err
	}
	m.peak, m.cpu = max(m.peak, memory.Peak), m.cpu+cpu
	return nil
}

// resident returns the larger resident set of the managers, in bytes.
func (w *world) resident() (largest float64, err error) {
	for _, m := range w.managers {
		memory, err := usage.Memory(m.Pid())
		if err != nil {
			return 0, err
		}
		largest = max(largest, memory.Now)
	}
	return largest, nil
}

// usage writes the managers' memory and CPU time into a measurement. The first is the one that led when the attack began.
func (w *world) usage(m *measurement) error {
	for i, found := range w.managers {
		select {
		case <-found.Exited():
			m.died = append(m.died, found.State())
		default:
			if err := sample(found); err != nil {
				return err
			}
		}
		m.cpu += found.cpu
		if i == w.led {
			m.leader = found.peak
		} else {
			m.standby = found.peak
		}
	}
	return nil
}
