package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/labels"
)

func TestSelectorSelectsCredentials(t *testing.T) {
	for name, tc := range map[string]struct {
		value   string
		want    []string // of shards a and b, and of credentials without a shard
		wantErr string
	}{
		"a shard":             {value: "shard=a", want: []string{"a"}},
		"all others":          {value: "shard notin (a)", want: []string{"b", ""}},
		"without the label":   {value: "!shard", want: []string{""}},
		"an empty selector":   {value: "", wantErr: "selector is empty"},
		"a space":             {value: " ", wantErr: "selector is empty"},
		"an invalid selector": {value: "shard=(a", wantErr: "unable to parse"},
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
				set := labels.Set{}
				if shard != "" {
					set["shard"] = shard
				}
				if f.Selector.Matches(set) {
					got = append(got, shard)
				}
			}
			g.Expect(got).To(Equal(tc.want))
		})
	}
}

func TestWatchNamespacesRejectsEmptyAndPatterns(t *testing.T) {
	for name, tc := range map[string]struct {
		value   string
		want    []string
		wantErr string
	}{
		"one":                     {value: "shop", want: []string{"shop"}},
		"two, with a space":       {value: "shop, team-a", want: []string{"shop", "team-a"}},
		"an empty value":          {value: "", wantErr: "not a valid namespace name"},
		"an empty one among them": {value: "shop,", wantErr: "not a valid namespace name"},
		"a pattern":               {value: "team-*", wantErr: "not a valid namespace name"},
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
			g.Expect(f.Namespaces).To(Equal(tc.want))
		})
	}
}

// The table of docs/installation.md states the default of each flag.
func TestDocsStateTheDefaultsOfFlags(t *testing.T) {
	g := NewWithT(t)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "installation.md"))
	g.Expect(err).NotTo(HaveOccurred())
	set := flag.NewFlagSet("manager", flag.ContinueOnError)
	bind(set)
	words := map[string]string{"false": "off", "": "all"} // how the table states these defaults
	rows := regexp.MustCompile("(?m)^\\| (`--[^|]*`) \\| ([^|]*) \\|").FindAllStringSubmatch(string(page), -1)
	checked := 0
	for _, row := range rows {
		var defaults []string
		for _, name := range regexp.MustCompile("`--([a-z-]+)`").FindAllStringSubmatch(row[1], -1) {
			f := set.Lookup(name[1])
			if f == nil { // a flag of zap, which is not bound here
				continue
			}
			checked++
			value := f.DefValue
			if word, ok := words[value]; ok {
				value = word
			}
			if !slices.Contains(defaults, value) {
				defaults = append(defaults, value)
			}
		}
		if defaults != nil {
			g.Expect(row[2]).To(Equal(strings.Join(defaults, ", ")), row[1])
		}
	}
	g.Expect(checked).To(BeNumerically(">=", 10))
}
