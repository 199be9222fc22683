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

// grants maps permissions, as "verb group/resource", to the file or role that contains them.
type grants map[string]string

// marker matches controller-gen's RBAC markers.
var marker = regexp.MustCompile(`(?m)^// \+kubebuilder:rbac:groups=(\S*),resources=(\S+),verbs=(\S+)$`)

// markerGrants returns the grants of the code's RBAC markers.
func markerGrants(g *WithT) grants {
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

// roleGrants returns the grants of a ClusterRole.
func roleGrants(g *WithT, role *unstructured.Unstructured) grants {
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
	namespacedGrants := roleGrants(g, installed["ClusterRole//rolecredential-manager-role"])
	clusterGrants := roleGrants(g, installed["ClusterRole//rolecredential-manager-cluster-role"])
	needed := markerGrants(g)
	g.Expect(needed).NotTo(BeEmpty())
	for grant, file := range needed {
		_, one := namespacedGrants[grant]
		_, other := clusterGrants[grant]
		g.Expect(one != other).To(BeTrue(), "%s, which %s requires, must be in exactly one of the two roles in config/rbac/manager_role.yaml", grant, file)
	}
	for _, role := range []grants{namespacedGrants, clusterGrants} {
		for grant, file := range role {
			g.Expect(needed).To(HaveKey(grant), file)
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
