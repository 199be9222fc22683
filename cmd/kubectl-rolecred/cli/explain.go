package cli

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/advice"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/term"
)

// explanation is why something is not Ready, or that it is.
type explanation struct {
	// Ready tells that the credential is usable and nothing keeps it from being refreshed.
	Ready bool `json:"ready"`
	// Well tells that there is nothing at all to mend.
	Well bool `json:"well"`
	advice.Explanation
	// Usable tells of a credential that is Ready although something is amiss.
	Usable string `json:"usable,omitempty"`
	// Outdated tells that the operator has not looked at the present spec yet.
	Outdated bool `json:"outdated,omitempty"`
}

func (p *plugin) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain NAME",
		Short: "Say why a credential or an identity is not Ready, and what to change",
		Long: `Say why a credential is not Ready, or why it cannot be refreshed, and what to change in the cluster and in AWS: with the
commands, and with the trust policy that would admit the caller. An identity is explained as clusterid/NAME.`,
		Example: `  kubectl rolecred explain s3-reader -n shop
  kubectl rolecred explain clusterid/default`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeNames(1),
	}
	o := addOutput(cmd, formatJSON, formatYAML)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		report, err := p.explain(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if err := p.write(o, report, func(printer *term.Printer, _ bool) { report.print(printer) }); err != nil {
			return err
		}
		if !report.Ready {
			return errNo
		}
		return nil
	}
	return cmd
}

func (p *plugin) explain(ctx context.Context, arg string) (explanation, error) {
	c, err := p.cluster()
	if err != nil {
		return explanation{}, err
	}
	if ref, ok := cluster.ParseIdentityRef(arg, c.Namespace); ok {
		identity, err := c.Identity(ctx, ref)
		if err != nil {
			return explanation{}, err
		}
		return explained(identity.Conditions, advice.Situation{Identity: &identity, Ref: ref}), nil
	}
	ref, err := cluster.ParseRef(arg)
	if err != nil {
		return explanation{}, err
	}
	found, err := c.Credential(ctx, ref)
	if err != nil {
		return explanation{}, err
	}
	situation := p.situation(ctx, c, found)
	report := explained(found.Report().Conditions, situation)
	report.Outdated = outdated(found) && len(found.Report().Conditions) > 0
	if expiration := found.Report().Expiration; found.Ready() && !report.Ready && expiration != nil {
		report.Usable = fmt.Sprintf("The Secret's credential is good until %s (%s).", term.Time(expiration.Time), term.Distance(expiration.Time, p.now()))
	}
	return report, nil
}

// situation reads what advice rests on; what cannot be read is told, and the advice is the more general for it.
func (p *plugin) situation(ctx context.Context, c *cluster.Cluster, found cluster.Credential) advice.Situation {
	situation := advice.Situation{Credential: &found, Ref: found.IdentityRef()}
	identity, err := c.Identity(ctx, situation.Ref)
	if err != nil {
		p.warn("%s cannot be read: %v", situation.Ref.Path(), err)
		return situation
	}
	situation.Identity = &identity
	verdict, err := judge(ctx, c, found, identity)
	if err != nil {
		p.warn("rules with a namespaceSelector are taken for not fitting: %v", err)
	}
	situation.Verdict = &verdict
	return situation
}

// unseen is the condition of what the operator has not looked at.
var unseen = metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown}

func explained(conditions []metav1.Condition, situation advice.Situation) explanation {
	condition, wrong := advice.Pick(conditions)
	if len(conditions) == 0 {
		condition, wrong = unseen, true
	}
	situation.Condition = condition
	return explanation{Ready: advice.Arrived(conditions), Well: !wrong, Explanation: advice.Explain(situation)}
}

func (e explanation) print(p *term.Printer) {
	if e.Well {
		p.Texts(term.Text{Text: e.Subject, Colour: term.Title}, term.Plain(" is "), term.Text{Text: "Ready", Colour: term.Good}, term.Plain(": "+e.Means))
	} else {
		p.Texts(term.Text{Text: e.Subject, Colour: term.Title}, term.Plain(": "+e.Condition+" is "),
			term.Text{Text: string(e.Status), Colour: term.Of(e.Status)}, term.Plain(", "+cmp.Or(e.Reason, "without a reason")))
		p.Linef("")
		p.Linef("%s", e.Means)
	}
	if e.Usable != "" {
		p.Linef("%s", e.Usable)
	}
	if e.Outdated {
		p.Texts(term.Text{Text: "The operator has not looked at the present spec yet: this is of an earlier one.", Colour: term.Doubt})
	}
	if e.Message != "" && !e.Well {
		p.Section("THE OPERATOR SAYS")
		p.Linef("  %s", e.Message)
	}
	printSteps(p, "WHAT TO DO IN THE CLUSTER", e.Here)
	printSteps(p, "WHAT TO DO IN AWS", e.AWS)
}

func printSteps(p *term.Printer, title string, steps []advice.Step) {
	if len(steps) == 0 {
		return
	}
	p.Section(title)
	for i, step := range steps {
		p.Linef("  %d. %s", i+1, step.Do)
		if step.Copy == "" {
			continue
		}
		p.Linef("")
		p.Block("       ", step.Copy)
		if i < len(steps)-1 {
			p.Linef("")
		}
	}
}
