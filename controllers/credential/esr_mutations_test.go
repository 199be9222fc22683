package credential

import (
	"os"
	"os/exec"
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
			explorer := filepath.Join(t.TempDir(), "explorer")
			g.Expect(m.BuildTest(t.Context(), root, t.TempDir(), explorer, "./controllers/credential")).To(Succeed())
			cmd := exec.CommandContext(t.Context(), explorer, "-test.run=TestReconciliationIsEventuallyStable")
			cmd.Env = append(os.Environ(), "ESR_SCENARIO="+m.Head["Scenario"])
			if pairs := m.Head["Pairs"]; pairs != "" {
				cmd.Env = append(cmd.Env, "ESR_PAIRS="+pairs)
			}
			output, err := cmd.CombinedOutput()
			g.Expect(err).To(BeAssignableToTypeOf(&exec.ExitError{}), string(output))
			g.Expect(string(output)).To(ContainSubstring(m.Head["Violation"]))
			t.Log(string(output))
		})
	}
}
