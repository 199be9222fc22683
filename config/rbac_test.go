package config_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// grants are what rules allow, as "verb group/resource", and where they stand.
type grants map[string]string

// marker is what the code says that it needs, in the form of controller-gen.
var marker = regexp.MustCompile(`(?m)^// \+kubebuilder:rbac:groups=(\S*),resources=(\S+),verbs=(\S+)$`)

// asked are the grants that the code's markers ask for.
func asked(g *WithT) grants {
	found := grants{}
	g.Expect(filepath.WalkDir(filepath.Join("..", "controllers"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		markers := marker.FindAllStringSubmatch(string(text), -1)
		if !strings.HasSuffix(path, "_test.go") {
			g.Expect(markers).To(HaveLen(strings.Count(string(text), "// +kubebuilder:rbac")), path)
		}
		for _, m := range markers {
			for group := range strings.SplitSeq(m[1], ";") {
				for resource := range strings.SplitSeq(m[2], ";") {
					for verb := range strings.SplitSeq(m[3], ";") {
						found[verb+" "+strings.Trim(group, `"`)+"/"+resource] = path
					}
				}
			}
		}
		return nil
	})).To(Succeed())
	return found
}

// given are the grants of a ClusterRole.
func given(g *WithT, role *unstructured.Unstructured) grants {
	var typed rbacv1.ClusterRole
	g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(role.Object, &typed)).To(Succeed())
	found := grants{}
	for _, rule := range typed.Rules {
		g.Expect(rule.ResourceNames).To(BeEmpty())
		g.Expect(rule.NonResourceURLs).To(BeEmpty())
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					g.Expect(found).NotTo(HaveKey(verb + " " + group + "/" + resource))
					found[verb+" "+group+"/"+resource] = role.GetName()
				}
			}
		}
	}
	return found
}

func TestManagerRolesMatchMarkersInCode(t *testing.T) {
	g := NewWithT(t)
	installed := kustomize(t, "default")
	inNamespaces := given(g, installed["ClusterRole//rolecredential-manager-role"])
	inNone := given(g, installed["ClusterRole//rolecredential-manager-cluster-role"])
	needed := asked(g)
	g.Expect(needed).NotTo(BeEmpty())
	for grant, where := range needed {
		_, one := inNamespaces[grant]
		_, other := inNone[grant]
		g.Expect(one != other).To(BeTrue(), "%s, which %s asks for, is to stand in one of the two roles in config/rbac/manager_role.yaml", grant, where)
	}
	for _, role := range []grants{inNamespaces, inNone} {
		for grant, where := range role {
			g.Expect(needed).To(HaveKey(grant), where)
		}
	}
}

func TestEachRBACRuleHasAComment(t *testing.T) {
	g := NewWithT(t)
	rule := regexp.MustCompile(`^- (apiGroups|nonResourceURLs):`)
	rules := 0
	g.Expect(filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		lines := strings.Split(string(text), "\n")
		for i, line := range lines {
			if rule.MatchString(line) {
				rules++
				g.Expect(lines[i-1]).To(HavePrefix("# "), "%s:%d", path, i+1)
			}
		}
		return err
	})).To(Succeed())
	g.Expect(rules).To(BeNumerically(">", 30))
}
