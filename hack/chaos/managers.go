package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"rolecredential.dev/operator/hack/chaos/wallclock"
	"rolecredential.dev/operator/hack/cluster"
	"rolecredential.dev/operator/hack/program"
)

// manager is one of the two managers. It is restarted when it exits.
type manager struct {
	name, path, kubeconfig, metrics, log string

	cluster *cluster.Cluster
	clock   wallclock.Clock
	proxy   *proxy
	// changed is called after a change of its process or its metrics.
	changed func()

	mu      sync.Mutex
	process *cluster.Process
	// starts counts its processes.
	starts int
	// last is what the present process reported last, zero before its first report.
	last usage
}

// usage is what a manager's metrics report.
type usage struct {
	leads                           bool
	goroutines, connections, series int
	resident                        int64 // bytes
}

// newManager returns a manager that is not started yet. It changes the kubeconfig to use the proxy.
func newManager(name, path, logs string, kubeconfig *clientcmdapi.Config, c *cluster.Cluster, p *proxy) (*manager, error) {
	m := &manager{
		name: name, path: path, proxy: p, cluster: c,
		kubeconfig: filepath.Join(c.Dir, name+".kubeconfig"), log: filepath.Join(logs, name+".log"),
	}
	p.manager = m
	for _, server := range kubeconfig.Clusters {
		server.Server = p.server.URL
		server.CertificateAuthorityData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	}
	var errs [3]error
	m.metrics, errs[0] = program.FreeAddress()
	m.clock, errs[1] = wallclock.New(filepath.Join(c.Dir, name+".clock"))
	errs[2] = clientcmd.WriteToFile(*kubeconfig, m.kubeconfig)
	return m, errors.Join(errs[:]...)
}

// concurrency is each manager's flag --concurrency.
const concurrency = 20

// run starts the manager, and restarts it when it exits, until the context ends.
func (m *manager) run(ctx context.Context) error {
	for ctx.Err() == nil {
		process, err := m.cluster.StartManager(m.log, []string{m.clock.Environment()}, m.path, m.kubeconfig,
			"--metrics-bind-address="+m.metrics, "--metrics-secure=false", "--allow-namespaced-endpoints", "--concurrency="+strconv.Itoa(concurrency))
		if err != nil {
			return err
		}
		m.setProcess(process)
		select {
		case <-process.Exited():
			m.setProcess(nil)
			sleep(ctx, 300*time.Millisecond)
		case <-ctx.Done():
			return process.Stop()
		}
	}
	return nil
}

func (m *manager) setProcess(process *cluster.Process) {
	m.mu.Lock()
	m.process, m.last = process, usage{}
	if process != nil {
		m.starts++
	}
	m.mu.Unlock()
	m.changed()
}

// kill kills the manager's process. It returns false if there is none.
func (m *manager) kill() bool {
	m.mu.Lock()
	process := m.process
	m.mu.Unlock()
	if process != nil {
		process.Kill()
	}
	return process != nil
}

// status returns the manager's last report, and how often its process was started.
func (m *manager) status() (usage, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, m.starts
}

// pollMetrics reads the manager's metrics until the context ends.
func (m *manager) pollMetrics(ctx context.Context) {
	for ctx.Err() == nil {
		_, before := m.status()
		text, err := get(ctx, "http://"+m.metrics+"/metrics")
		if err == nil {
			m.mu.Lock()
			if m.starts == before && m.process != nil {
				m.last = parseUsage(text)
			}
			m.mu.Unlock()
			m.changed()
		}
		sleep(ctx, 500*time.Millisecond)
	}
}

// parseUsage parses metrics in the Prometheus text format.
func parseUsage(text string) (r usage) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		r.series++
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		switch {
		case strings.HasPrefix(name, "leader_election_master_status"):
			r.leads = number == 1
		case name == "go_goroutines":
			r.goroutines = int(number)
		case name == "process_open_fds":
			r.connections = int(number)
		case name == "process_resident_memory_bytes":
			r.resident = int64(number)
		}
	}
	return r
}

func (r usage) String() string {
	return fmt.Sprintf("%d goroutines, %d open files, %d series, %d MiB", r.goroutines, r.connections, r.series, r.resident>>20)
}

// least returns the least of each resource of two reports. A report without goroutines is empty.
func (r usage) least(other usage) usage {
	if r.goroutines == 0 {
		return other
	}
	return usage{
		leads: other.leads, goroutines: min(r.goroutines, other.goroutines), connections: min(r.connections, other.connections),
		series: min(r.series, other.series), resident: min(r.resident, other.resident),
	}
}

func (r usage) plus(other usage) usage {
	return usage{
		goroutines: r.goroutines + other.goroutines, connections: r.connections + other.connections,
		series: r.series + other.series, resident: r.resident + other.resident,
	}
}

// within returns whether no resource exceeds its limit.
func (r usage) within(limit usage) bool {
	return r.goroutines <= limit.goroutines && r.connections <= limit.connections && r.series <= limit.series && r.resident <= limit.resident
}
