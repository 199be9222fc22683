package main

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/labels"
)

func TestWhichCredentialsASelectorSelects(t *testing.T) {
	for name, tc := range map[string]struct {
		value   string
		want    []string // of shards a and b, and of credentials without a shard
		wantErr string
	}{
		"those of a shard":                 {value: "shard=a", want: []string{"a"}},
		"all others":                       {value: "shard notin (a)", want: []string{"b", ""}},
		"those of none":                    {value: "!shard", want: []string{""}},
		"nothing, which does not mean all": {value: "", wantErr: "no label"},
		"a space, which does not either":   {value: " ", wantErr: "no label"},
		"what is no selector":              {value: "shard=(a", wantErr: "unable to parse"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var f flags
			err := f.selectLabels(tc.value)
			if tc.wantErr != "" {
				g.Expect(err).To(MatchError(ContainSubstring(tc.wantErr)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			var got []string
			for _, shard := range []string{"a", "b", ""} {
				worn := labels.Set{}
				if shard != "" {
					worn["shard"] = shard
				}
				if f.selected.Matches(worn) {
					got = append(got, shard)
				}
			}
			g.Expect(got).To(Equal(tc.want))
		})
	}
}

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
