package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/cel-go/cel"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/api/v1alpha1"
)

func TestKstatusOfEachState(t *testing.T) {
	for kind, states := range statesByKind(t) {
		for name, s := range states {
			t.Run(kind+": "+name, func(t *testing.T) {
				g := NewWithT(t)
				result, err := status.Compute(s.object(t, kind))
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(result.Status.String()).To(Equal(s.flux))
			})
		}
	}
}

// shownManifest returns the manifest of a kind in docs/integrations.md.
func shownManifest(t *testing.T, kind string, manifest any) {
	t.Helper()
	g := NewWithT(t)
	page, err := os.ReadFile(filepath.Join("..", "docs", "integrations.md"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, block := range regexp.MustCompile("(?s)\n```yaml.*?\n(.*?)\n```\n").FindAllSubmatch(page, -1) {
		if strings.Contains(string(block[1]), "\nkind: "+kind+"\n") {
			g.Expect(yaml.Unmarshal(block[1], manifest)).To(Succeed())
			return
		}
	}
	t.Fatalf("docs/integrations.md has no manifest of kind %s", kind)
}

// evaluate evaluates a CEL expression as Flux and kro do, and returns its value or its error.
func evaluate(t *testing.T, expression string, variables map[string]any) (bool, error) {
	t.Helper()
	g := NewWithT(t)
	env, err := cel.NewEnv(cel.CrossTypeNumericComparisons(true), cel.OptionalTypes())
	g.Expect(err).NotTo(HaveOccurred())
	ast, issues := env.Parse(expression)
	g.Expect(issues.Err()).NotTo(HaveOccurred(), expression)
	program, err := env.Program(ast)
	g.Expect(err).NotTo(HaveOccurred())
	value, _, err := program.ContextEval(t.Context(), variables)
	if err != nil {
		return false, err
	}
	g.Expect(value.Value()).To(BeAssignableToTypeOf(true), expression)
	return value.Value().(bool), nil
}

// Flux compares status.observedGeneration first, and then evaluates failed and current. An error is reported and the object checked again.
func TestFluxHealthCheckExpressionsOfEachState(t *testing.T) {
	var kustomization struct {
		Spec struct {
			HealthCheckExprs []struct{ APIVersion, Kind, Current, Failed string }
		}
	}
	shownManifest(t, "Kustomization", &kustomization)
	NewWithT(t).Expect(kustomization.Spec.HealthCheckExprs).To(HaveLen(1))
	exprs := kustomization.Spec.HealthCheckExprs[0]
	NewWithT(t).Expect(exprs.APIVersion + " " + exprs.Kind).To(Equal(v1alpha1.GroupVersion.String() + " RoleCredential"))
	for name, s := range credentialStates(t) {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			object := s.object(t, exprs.Kind)
			failed, failedErr := evaluate(t, exprs.Failed, object.Object)
			current, currentErr := evaluate(t, exprs.Current, object.Object)
			switch {
			case s.observedGeneration != 0 && s.observedGeneration != s.generation:
				g.Expect(s.fluxWithExprs).To(Equal("InProgress"))
			case failedErr != nil || currentErr != nil:
				g.Expect(failedErr).To(MatchError(ContainSubstring(s.fluxWithExprs)))
			case failed:
				g.Expect(s.fluxWithExprs).To(Equal("Failed"))
			case current:
				g.Expect(s.fluxWithExprs).To(Equal("Current"))
			default:
				g.Expect(s.fluxWithExprs).To(Equal("InProgress"))
			}
		})
	}
}

// A resource of kro is ready in the same states as for Flux.
func TestKroReadyWhenOfEachState(t *testing.T) {
	var graph struct {
		Spec struct {
			Resources []struct {
				ID        string
				ReadyWhen []string
			}
		}
	}
	shownManifest(t, "ResourceGraphDefinition", &graph)
	tested := 0
	for _, resource := range graph.Spec.Resources {
		if resource.ID != "credential" {
			continue
		}
		NewWithT(t).Expect(resource.ReadyWhen).To(HaveLen(1))
		expression := strings.TrimSuffix(strings.TrimPrefix(resource.ReadyWhen[0], "${"), "}")
		for name, s := range credentialStates(t) {
			tested++
			t.Run(name, func(t *testing.T) {
				ready, err := evaluate(t, expression, map[string]any{"credential": s.object(t, "RoleCredential").Object})
				if err != nil { // no status yet: kro waits
					ready = false
				}
				NewWithT(t).Expect(ready).To(Equal(s.fluxWithExprs == "Current"))
			})
		}
	}
	NewWithT(t).Expect(tested).To(BeNumerically(">", 40))
}
