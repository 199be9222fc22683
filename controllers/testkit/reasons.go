package testkit

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
)

var (
	groupOfReasons = regexp.MustCompile(`^Reasons of ([^,.]+)`)
	linkToReason   = regexp.MustCompile(`\[(Reason\w+)\]`)
)

// Reasons returns the reasons that the API declares, by the condition that the comment on their group names, such as "ConditionIssued" or
// "an identity's ConditionReady". A condition also has the reasons of other groups to which its comment links. Root is the module's folder.
func Reasons(t *testing.T, root string) map[string][]string {
	t.Helper()
	g := NewWithT(t)
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "api", "v1alpha1", "conditions.go"), nil, parser.ParseComments)
	g.Expect(err).NotTo(HaveOccurred())
	values, groups, links := map[string]string{}, map[string][]string{}, map[string][]string{}
	for _, declaration := range file.Decls {
		group, ok := declaration.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		title := groupOfReasons.FindStringSubmatch(group.Doc.Text())
		for _, spec := range group.Specs {
			value := spec.(*ast.ValueSpec)
			name := value.Names[0].Name
			if !strings.HasPrefix(name, "Reason") {
				continue
			}
			g.Expect(title).NotTo(BeNil(), "%s is in a group without the comment 'Reasons of …'", name)
			values[name], err = strconv.Unquote(value.Values[0].(*ast.BasicLit).Value)
			g.Expect(err).NotTo(HaveOccurred())
			groups[title[1]] = append(groups[title[1]], values[name])
		}
		if title == nil {
			continue
		}
		for _, link := range linkToReason.FindAllStringSubmatch(group.Doc.Text(), -1) {
			links[title[1]] = append(links[title[1]], link[1])
		}
	}
	for condition, names := range links {
		for _, name := range names {
			if reason := values[name]; !slices.Contains(groups[condition], reason) {
				groups[condition] = append(groups[condition], reason)
			}
		}
	}
	g.Expect(len(values)).To(BeNumerically(">", 40))
	return groups
}

// AllReasons returns all reasons that the API declares, sorted.
func AllReasons(t *testing.T, root string) []string {
	t.Helper()
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(slices.Collect(maps.Values(Reasons(t, root)))...))))
}

// notOfSTS are the reasons of ConditionIssued for which STS was not called, or did not fail.
var notOfSTS = []string{
	v1alpha1.ReasonIssued, v1alpha1.ReasonNotAttempted, v1alpha1.ReasonWrongSourceType, v1alpha1.ReasonInvalidMFA, v1alpha1.ReasonSecretNotWritten,
	v1alpha1.ReasonInvalidTags, v1alpha1.ReasonUnsupportedField, v1alpha1.ReasonWrongPartition,
	v1alpha1.ReasonTokenNotIssued, v1alpha1.ReasonTokenExpired, v1alpha1.ReasonTokenNotYetValid,
	v1alpha1.ReasonClientRejected, v1alpha1.ReasonProviderUnreachable, v1alpha1.ReasonProviderError,
}

// ReasonsOfSTS returns the reasons of ConditionIssued that say how a call of STS failed.
func ReasonsOfSTS(t *testing.T, root string) []string {
	t.Helper()
	issued := Reasons(t, root)["ConditionIssued"]
	NewWithT(t).Expect(issued).To(ContainElements(notOfSTS))
	return slices.DeleteFunc(issued, func(reason string) bool { return slices.Contains(notOfSTS, reason) })
}
