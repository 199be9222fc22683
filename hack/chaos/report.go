package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
)

// result is the content of result.json.
type result struct {
	Seed   uint64
	Time   string
	Faults map[string]string
	// Invariants are the results by invariant.
	Invariants map[string]string
	// Broken names the invariants that did not hold.
	Broken []string
}

// report prints the results and writes result.json. It returns whether all invariants held.
func (c *chaos) report() (passed bool, err error) {
	r := result{Seed: c.seed, Time: c.time.String(), Faults: map[string]string{}, Invariants: map[string]string{}, Broken: []string{}}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "\nFAULT\tTIMES\tEFFECTS\n")
	for _, name := range slices.Sorted(maps.Keys(c.faultCounts)) {
		count := c.faultCounts[name]
		fmt.Fprintf(table, "%s\t%d\t%s\n", name, count.times, count.effects)
		r.Faults[name] = fmt.Sprintf("%d times: %s", count.times, count.effects)
	}
	fmt.Fprintf(table, "\n\tINVARIANT\tCHECKS\tBROKEN\tWORST\n")
	for _, row := range c.results.Rows() {
		verdict := "HELD"
		switch {
		case row.Broken > 0:
			verdict = "BROKEN"
			r.Broken = append(r.Broken, string(row.Invariant))
		case row.Checks == 0:
			verdict = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\n", verdict, row.Invariant, row.Checks, row.Broken, row.Worst)
		r.Invariants[string(row.Invariant)] = fmt.Sprintf("%s: %d checks, %d broken; worst: %s", verdict, row.Checks, row.Broken, row.Worst)
	}
	if err := table.Flush(); err != nil {
		return false, err
	}
	starts := 0
	for _, m := range c.managers {
		_, n := m.status()
		starts += n
	}
	fmt.Fprintf(c.out, "\n%d credentials were issued to Secrets; STS was called %d times; %d managers were started.\n", c.observer.Issued(), len(c.sts.Calls()), starts)
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return false, err
	}
	return len(r.Broken) == 0, os.WriteFile(filepath.Join(c.dir, "result.json"), append(text, '\n'), 0o644)
}
