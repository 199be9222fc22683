package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"rolecredential.dev/operator/hack/chaos/wallclock"
	"rolecredential.dev/operator/hack/cluster"
)

// manager is one of the two, and is started again whenever it ends.
type manager struct {
	name, path, kubeconfig, metrics, log string

	cluster *cluster.Cluster
	clock   wallclock.Clock
	proxy   *proxy
	// changed is called when its process or what it reports has changed.
	changed func()

	mu      sync.Mutex
	process *cluster.Process
	// starts counts its processes, and last is what the present one reported last, zero before it does.
	starts int
	last   reading
}

// reading is what a manager tells of itself.
type reading struct {
	leads                           bool
	goroutines, connections, series int
	resident                        int64 // bytes
}

// newManager makes a manager that is not started yet. Its kubeconfig is another, by way of a proxy.
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
	m.metrics, errs[0] = freeAddress()
	m.clock, errs[1] = wallclock.New(filepath.Join(c.Dir, name+".clock"))
	errs[2] = clientcmd.WriteToFile(*kubeconfig, m.kubeconfig)
	return m, errors.Join(errs[:]...)
}

// freeAddress is one of loopback that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// concurrency is how many credentials of a kind a manager deals with at a time.
const concurrency = 20

// keep starts the manager, and again whenever it ends, until the context does.
func (m *manager) keep(ctx context.Context) error {
	for ctx.Err() == nil {
		process, err := m.cluster.StartProcess(m.log, []string{m.clock.Environment()}, m.path,
			"--kubeconfig="+m.kubeconfig, "--leader-elect", "--leader-election-namespace="+cluster.OperatorNamespace,
			"--health-probe-bind-address=0", "--metrics-bind-address="+m.metrics, "--metrics-secure=false",
			"--allow-namespaced-endpoints", "--concurrency="+strconv.Itoa(concurrency),
		)
		if err != nil {
			return err
		}
		m.is(process)
		select {
		case <-process.Ended(): // whatever ended it
			m.is(nil)
			pause(ctx, 300*time.Millisecond)
		case <-ctx.Done():
			return process.End()
		}
	}
	return nil
}

func (m *manager) is(process *cluster.Process) {
	m.mu.Lock()
	m.process, m.last = process, reading{}
	if process != nil {
		m.starts++
	}
	m.mu.Unlock()
	m.changed()
}

// kill ends the manager's process at once.
func (m *manager) kill() bool {
	m.mu.Lock()
	process := m.process
	m.mu.Unlock()
	if process != nil {
		process.Kill()
	}
	return process != nil
}

// now is what the manager told last, and how many processes there were before.
func (m *manager) now() (reading, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, m.starts
}

// follow reads the manager's metrics until the context ends.
func (m *manager) follow(ctx context.Context) {
	for ctx.Err() == nil {
		_, before := m.now()
		text, err := get(ctx, "http://"+m.metrics+"/metrics")
		if err == nil {
			m.mu.Lock()
			if m.starts == before && m.process != nil {
				m.last = read(text)
			}
			m.mu.Unlock()
			m.changed()
		}
		pause(ctx, 500*time.Millisecond)
	}
}

// read takes a reading from the text of metrics.
func read(text string) (r reading) {
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

func (r reading) String() string {
	return fmt.Sprintf("%d goroutines, %d open files, %d series, %d MiB", r.goroutines, r.connections, r.series, r.resident>>20)
}

// least is what a manager tells, where that is less than what it told before.
func (r reading) least(m *manager) reading {
	now, _ := m.now()
	if r.goroutines == 0 {
		return now
	}
	return reading{
		leads: now.leads, goroutines: min(r.goroutines, now.goroutines), connections: min(r.connections, now.connections),
		series: min(r.series, now.series), resident: min(r.resident, now.resident),
	}
}
