package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestQuoteKeepsArguments(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"plain arguments":               {[]string{"get", "secret", "-n", "shop"}, "get secret -n shop"},
		"the value of a flag":           {[]string{`--patch={"a":"b"}`}, `--patch='{"a":"b"}'`},
		"a value with an equals sign":   {[]string{"--for=jsonpath={.status.x}=2"}, "--for='jsonpath={.status.x}=2'"},
		"a quote":                       {[]string{"it's"}, `'it'\''s'`},
		"an equals sign without a flag": {[]string{"a b=c"}, "'a b=c'"},
		"a line break":                  {[]string{"a\nb"}, "'a\nb'"},
	} {
		t.Run(name, func(t *testing.T) {
			got := quote(tc.args)
			if got != tc.want {
				t.Fatalf("quote(%q) = %s, want %s", tc.args, got, tc.want)
			}
			read, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s\\0' "+got).Output()
			if err != nil {
				t.Fatal(err)
			}
			if args := strings.Split(strings.TrimSuffix(string(read), "\x00"), "\x00"); !slices.Equal(args, tc.args) {
				t.Errorf("a shell reads %s as %q, want %q", got, args, tc.args)
			}
		})
	}
}
