package perturb_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/mutation"
)

// TestEachMutationIsFound checks that each patch of testdata/mutations compiles. With PERTURB_MUTATIONS, it also checks that the patch's plan
// finds the defect.
func TestEachMutationIsFound(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	mutations, err := mutation.Read(filepath.Join("testdata", "mutations"), "Plan", "Violation")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, m := range mutations {
		t.Run(m.Name, func(t *testing.T) {
			g := NewWithT(t)
			scenario, _, _ := strings.Cut(m.Head["Plan"], ":")
			g.Expect(scenarios).To(HaveKey(scenario))
			if os.Getenv("PERTURB_MUTATIONS") == "" {
				g.Expect(m.Compile(t.Context(), root, t.TempDir())).To(Succeed())
				return
			}
			g.Expect(m.Test(t.Context(), root, t.TempDir(), "./controllers/integration/perturb", "TestDisturbedOperatorReachesReference", "PERTURB_PLAN="+m.Head["Plan"])).To(Succeed())
		})
	}
}
