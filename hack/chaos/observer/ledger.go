package observer

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Invariant is what must always hold.
type Invariant string

// The invariants, in the order in which they are told.
const (
	// Whole: the three keys of a Secret are of one session that STS issued for that very object.
	Whole Invariant = "no Secret holds a mixture of two credentials"
	// Honest: Ready=True stands on no expired, foreign or missing Secret for more than some seconds, while a manager leads and reaches the API server.
	Honest Invariant = "Ready=True stands on no expired or foreign Secret"
	// Untouched: nobody but the program itself changes the foreign Secrets that it makes.
	Untouched Invariant = "no foreign Secret is changed"
	// Alive: no credential expires of which the last third of its life had a tenth of its life in which STS could be reached.
	Alive Invariant = "no credential expires that could be refreshed"
	// Within: no identity makes more calls than its bucket of tokens gives.
	Within Invariant = "calls of STS stay within the bucket"
	// Recovered: all are Ready within some time after the last fault.
	Recovered Invariant = "once faults end, all are Ready"
	// Tight: goroutines, connections and series are as many as before.
	Tight Invariant = "no goroutine, connection or series leaks"
	// Level: memory is about as much as before.
	Level Invariant = "memory returns to its level"
)

// Invariants are all, in the order in which they are told.
var Invariants = []Invariant{Whole, Honest, Untouched, Alive, Within, Recovered, Tight, Level}

// Row is what became of an invariant.
type Row struct {
	Invariant Invariant
	// Checks is how often it was looked at, and Broken how often it did not hold.
	Checks, Broken int
	// Worst is the value that came nearest to its limit, in words.
	Worst string
	// Told are the first breaches.
	Told []string

	nearest float64
}

// Ledger keeps what became of the invariants.
type Ledger struct {
	// OnBreach is told of each breach as it comes.
	OnBreach func(Invariant, string)

	mu   sync.Mutex
	rows map[Invariant]*Row
}

const maxTold = 20

// Check holds a value against its limit: it must not be more. The words are those of the worst value, and of a breach.
func (l *Ledger) Check(invariant Invariant, value, limit float64, words func() string) {
	l.mu.Lock()
	row := l.row(invariant)
	row.Checks++
	nearness := value - limit
	if limit > 0 {
		nearness = value / limit
	}
	if row.Worst == "" || nearness > row.nearest {
		row.Worst, row.nearest = words(), nearness
	}
	broken := value > limit
	if broken {
		row.Broken++
		if len(row.Told) < maxTold {
			row.Told = append(row.Told, time.Now().Format(time.TimeOnly)+" "+words())
		}
	}
	told := l.OnBreach != nil && broken && row.Broken <= maxTold
	l.mu.Unlock()
	if told {
		l.OnBreach(invariant, words())
	}
}

func (l *Ledger) row(invariant Invariant) *Row {
	if l.rows == nil {
		l.rows = map[Invariant]*Row{}
	}
	row, ok := l.rows[invariant]
	if !ok {
		row = &Row{Invariant: invariant}
		l.rows[invariant] = row
	}
	return row
}

// Holds tells whether something is so, as [Ledger.Check] does of what has no measure.
func (l *Ledger) Holds(invariant Invariant, holds bool, words func() string) {
	value := 0.0
	if !holds {
		value = 1
	}
	l.Check(invariant, value, 0, func() string {
		if holds {
			return "none"
		}
		return words()
	})
}

// Rows are all invariants, those that were not looked at too.
func (l *Ledger) Rows() []Row {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows := make([]Row, 0, len(Invariants))
	for _, invariant := range Invariants {
		row := *l.row(invariant)
		row.Told = slices.Clone(row.Told)
		rows = append(rows, row)
	}
	return rows
}

func round(d time.Duration) string {
	return fmt.Sprint(d.Round(100 * time.Millisecond))
}
