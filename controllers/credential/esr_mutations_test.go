package credential

import (
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/mutation"
)

// TestEachMutationIsFound checks that each patch of testdata/mutations compiles. With ESR_MUTATIONS, it also checks that the explorer finds
// the defect: a run of the patch's scenario has its violation. Its line Pairs replaces ESR_PAIRS.
func TestEachMutationIsFound(t *testing.T) {
	root := filepath.Join("..", "..")
	mutations, err := mutation.Read(filepath.Join("testdata", "mutations"), "Scenario", "Violation")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, m := range mutations {
		t.Run(m.Name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(scenarios).To(HaveKey(m.Head["Scenario"]))
			if os.Getenv("ESR_MUTATIONS") == "" {
				g.Expect(m.Compile(t.Context(), root, t.TempDir())).To(Succeed())
				return
			}
			env := []string{"ESR_SCENARIO=" + m.Head["Scenario"]}
			if pairs := m.Head["Pairs"]; pairs != "" {
				env = append(env, "ESR_PAIRS="+pairs)
			}
			g.Expect(m.Test(t.Context(), root, t.TempDir(), "./controllers/credential", "TestReconciliationIsEventuallyStable", env...)).To(Succeed())
		})
	}
}
