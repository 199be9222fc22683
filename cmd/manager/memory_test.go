package main

import (
	"runtime/debug"
	"testing"

	. "github.com/onsi/gomega"
)

func TestHeapGrowthIsBoundedUnlessGOGCIsSet(t *testing.T) {
	for name, tc := range map[string]struct {
		gogc string
		want int
	}{
		"without GOGC, gcPercent applies": {"", gcPercent},
		"with GOGC, its value applies":    {"80", 80},
	} {
		t.Run(name, func(t *testing.T) {
			before := debug.SetGCPercent(80)
			t.Cleanup(func() { debug.SetGCPercent(before) })
			boundHeap(func(string) string { return tc.gogc })
			NewWithT(t).Expect(debug.SetGCPercent(80)).To(Equal(tc.want))
		})
	}
}
