package render

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/reason"
)

func TestCheckRendersAnUnchangedTemplateOnce(t *testing.T) {
	for name, text := range map[string]v1alpha1.DataTemplate{"a valid template": "{{.Region}}", "a template that fails": "{{.Nowhere}}"} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			template := v1alpha1.SecretTemplate{Data: map[string]v1alpha1.DataTemplate{t.Name(): text}}
			executions := 0
			counted := func() *reason.Error {
				executions++
				return check(template)
			}
			for range 100 {
				g.Expect(remember(Hash(template), counted)).To(Equal(check(template)))
			}
			g.Expect(executions).To(Equal(1))
			template.Data["other"] = "{{.AccountID}}"
			_ = remember(Hash(template), counted)
			g.Expect(executions).To(Equal(2), "the template changed")
		})
	}
}

func TestCheckReadsItsVerdicts(t *testing.T) {
	g := NewWithT(t)
	template := v1alpha1.SecretTemplate{Data: map[string]v1alpha1.DataTemplate{t.Name(): "{{.Region}}"}}
	verdict := &reason.Error{Message: "A remembered verdict."}
	verdicts.Add(Hash(template), verdict)
	g.Expect(Check(template)).To(BeIdenticalTo(verdict))
}

func TestRememberedVerdictsAreBounded(t *testing.T) {
	for i := range 3 * maxVerdicts {
		_ = remember(fmt.Sprint(i), func() *reason.Error { return nil })
	}
	NewWithT(t).Expect(verdicts.Len()).To(Equal(maxVerdicts))
}
