package observer

import (
	"fmt"
	"sync"
	"time"
)

// Invariant is a guarantee that holds at all times.
type Invariant string

// The invariants, in the order of the report.
const (
	// SecretConsistent: the three keys of a Secret are of one session, which STS issued for the Secret's owner.
	SecretConsistent Invariant = "no Secret holds a mixture of two credentials"
	// ReadyIsTrue: no credential with an expired, foreign or missing Secret stays Ready for more than some seconds, while a manager leads
	// and reaches the API server.
	ReadyIsTrue Invariant = "Ready=True stands on no expired or foreign Secret"
	// ForeignUnchanged: only this program changes the foreign Secrets that it creates.
	ForeignUnchanged Invariant = "no foreign Secret is changed"
	// RefreshedInTime: no credential expires if the operator could reach STS for a tenth of the lifetime within its last third.
	RefreshedInTime Invariant = "no credential expires that could be refreshed"
	// WithinRateLimit: no identity makes more calls than its token bucket allows.
	WithinRateLimit Invariant = "calls of STS stay within the bucket"
	// Recovered: all credentials are Ready within a bound after the last fault.
	Recovered Invariant = "once faults end, all are Ready"
	// NoLeak: goroutines, connections and series return to their number before the first fault.
	NoLeak Invariant = "no goroutine, connection or series leaks"
	// MemoryStable: the memory in use returns to its amount before the first fault.
	MemoryStable Invariant = "memory returns to its level"
)

// Invariants are all invariants, in the order of the report.
var Invariants = []Invariant{
	SecretConsistent, ReadyIsTrue, ForeignUnchanged, RefreshedInTime, WithinRateLimit, Recovered, NoLeak, MemoryStable,
}

// Row is the result of one invariant.
type Row struct {
	Invariant Invariant
	// Checks is the number of checks, and Broken the number of those that failed.
	Checks, Broken int
	// Worst describes the value that came closest to its limit or exceeded it most.
	Worst string

	worst float64
}

// Results are the results of all checks.
type Results struct {
	// OnBreach, if set, is called for the first breaches of each invariant.
	OnBreach func(invariant Invariant, description string)

	mu   sync.Mutex
	rows map[Invariant]*Row
}

const maxReported = 20

// Check records that an invariant holds if the value is at most the limit. describe is called for the worst value and for a breach.
func (r *Results) Check(invariant Invariant, value, limit float64, describe func() string) {
	r.mu.Lock()
	row := r.row(invariant)
	row.Checks++
	badness := value - limit
	if limit > 0 {
		badness = value / limit
	}
	if row.Worst == "" || badness > row.worst {
		row.Worst, row.worst = describe(), badness
	}
	broken := value > limit
	if broken {
		row.Broken++
	}
	report := r.OnBreach != nil && broken && row.Broken <= maxReported
	r.mu.Unlock()
	if report {
		r.OnBreach(invariant, describe())
	}
}

func (r *Results) row(invariant Invariant) *Row {
	if r.rows == nil {
		r.rows = map[Invariant]*Row{}
	}
	row, ok := r.rows[invariant]
	if !ok {
		row = &Row{Invariant: invariant}
		r.rows[invariant] = row
	}
	return row
}

// CheckTrue is [Results.Check] for a condition.
func (r *Results) CheckTrue(invariant Invariant, ok bool, describe func() string) {
	if ok {
		r.Check(invariant, 0, 0, func() string { return "none" })
		return
	}
	r.Check(invariant, 1, 0, describe)
}

// Rows returns the results of all invariants, including those without a check.
func (r *Results) Rows() []Row {
	r.mu.Lock()
	defer r.mu.Unlock()
	rows := make([]Row, 0, len(Invariants))
	for _, invariant := range Invariants {
		rows = append(rows, *r.row(invariant))
	}
	return rows
}

func round(d time.Duration) string {
	return fmt.Sprint(d.Round(100 * time.Millisecond))
}
