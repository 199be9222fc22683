package main

import (
	"testing"

	. "github.com/onsi/gomega"
)

func TestTheNamespacesToWatchAreNamedOneByOne(t *testing.T) {
	for name, tc := range map[string]struct {
		value   string
		want    []string
		wantErr string
	}{
		"one":                           {value: "shop", want: []string{"shop"}},
		"two, with a space":             {value: "shop, team-a", want: []string{"shop", "team-a"}},
		"none, which does not mean all": {value: "", wantErr: "not a namespace's name"},
		"an empty one among them":       {value: "shop,", wantErr: "not a namespace's name"},
		"a pattern":                     {value: "team-*", wantErr: "not a namespace's name"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var f flags
			err := f.watchNamespaces(tc.value)
			if tc.wantErr != "" {
				g.Expect(err).To(MatchError(ContainSubstring(tc.wantErr)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(f.namespaces).To(Equal(tc.want))
		})
	}
}
