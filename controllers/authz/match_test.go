package authz_test

import (
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"pgregory.net/rapid"

	"rolecredential.dev/operator/controllers/authz"
)

func TestMatchTreatsOnlyStarAsWildcard(t *testing.T) {
	for name, tc := range map[string]struct {
		pattern string
		yes, no []string
	}{
		"a name without a star": {
			"team-a", []string{"team-a"}, []string{"", "team", "team-ab", "xteam-a", "Team-a", "team-a ", "team-a\n"},
		},
		"a pattern is anchored at its beginning":     {"*-prod", []string{"shop-prod", "-prod"}, []string{"shop-prod-admin", "prod"}},
		"a pattern is anchored at its end":           {"prod-*", []string{"prod-shop", "prod-"}, []string{"my-prod-shop", "prod"}},
		"a star in the middle":                       {"a*z", []string{"az", "a-z", "azz", "a*z"}, []string{"a", "z", "azy", "xaz"}},
		"several stars":                              {"*a*b*", []string{"ab", "xaxbx", "aab", "ba-b"}, []string{"ba", "a", "b", ""}},
		"pieces come in their order":                 {"a*b*c", []string{"abc", "abbc", "a-b-c"}, []string{"acb", "ac", "abcb"}},
		"pieces do not overlap":                      {"a*a", []string{"aa", "aba", "aaa"}, []string{"a", "", "ab"}},
		"pieces do not overlap in the middle":        {"ab*ba", []string{"abba", "ab-ba", "ababa"}, []string{"aba", "ab", "ba"}},
		"the last piece is looked for at the end":    {"*ab*ab", []string{"abab", "ab-ab", "xabxab", "ababab"}, []string{"ab", "abxa", "aab"}},
		"two stars are as one":                       {"a**b", []string{"ab", "a-b"}, []string{"a", "b"}},
		"a star matches everything, also empty text": {"*", []string{"", "shop", "*"}, nil},
		"an empty pattern":                           {"", []string{""}, []string{"shop", "*"}},
		"a star matches more than a star":            {"a*", []string{"a*", "ab"}, []string{"b*"}},
		"nothing of a regular expression is special": {
			"a.b+[c]?(d|e)^$", []string{"a.b+[c]?(d|e)^$"}, []string{"axb+[c]?(d|e)^$", "abbc", "a.bcd"},
		},
		"nothing of a shell pattern is special": {"team-?", []string{"team-?"}, []string{"team-a"}},
		"characters of more than a byte":        {"é*", []string{"é", "éa"}, []string{"e", "\xc3"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for _, s := range tc.yes {
				g.Expect(authz.Match(tc.pattern, s)).To(BeTrue(), "%q should match %q", tc.pattern, s)
			}
			for _, s := range tc.no {
				g.Expect(authz.Match(tc.pattern, s)).To(BeFalse(), "%q should not match %q", tc.pattern, s)
			}
		})
	}
}

func TestMatchEqualsAnchoredRegularExpression(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringOfN(rapid.SampledFrom([]rune("ab*.")), 0, 8, -1).Draw(t, "pattern")
		s := rapid.StringOfN(rapid.SampledFrom([]rune("ab.")), 0, 12, -1).Draw(t, "s")
		if rapid.Bool().Draw(t, "fill the stars in") { // otherwise almost nothing would match
			s = strings.ReplaceAll(pattern, "*", s)
		}
		oracle := regexp.MustCompile(`\A(?s:` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `)\z`)
		if got, want := authz.Match(pattern, s), oracle.MatchString(s); got != want {
			t.Fatalf("Match(%q, %q) = %t", pattern, s, got)
		}
	})
}

// A pattern matcher that backtracks takes hours for a long name and many stars.
func TestMatchDoesNotBacktrack(t *testing.T) {
	NewWithT(t).Expect(authz.Match(strings.Repeat("a*", 1000)+"b", strings.Repeat("a", 2048))).To(BeFalse())
}
