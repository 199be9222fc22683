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

// explanation says why a credential or an identity is not Ready, or that it is.
type explanation struct {
	// Ready is true if the credential is Ready and nothing prevents its refresh.
	Ready bool `json:"ready"`
	// Well is true if there is nothing to fix.
	Well bool `json:"well"`
	advice.Explanation
	// Usable says until when a credential is valid that is Ready but needs a fix.
	Usable string `json:"usable,omitempty"`
	// Outdated is true if the operator has not reconciled the current spec.
	Outdated bool `json:"outdated,omitempty"`
}

func (p *plugin) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain NAME",
		Short: "Explain why a credential or an identity is not Ready, and what to change",
		Long: `Explain why a credential is not Ready or cannot be refreshed, and what to change in the cluster and in AWS. The steps include
commands and IAM policies to copy. To explain an identity, use clusterid/NAME or stsid/NAME. For one with the source x509, the policies
are always shown. With --output=terraform or cloudformation, only the policies are printed, as code.`,
		Example: `  kubectl rolecred explain s3-reader -n shop
  kubectl rolecred explain clusterid/default
  kubectl rolecred explain clusterid/on-premises --certificate operator.crt --output=terraform`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeNames(1),
	}
	var certificate string
	cmd.Flags().StringVar(&certificate, "certificate", "", "PEM `file` with the certificate of the source x509, whose common name the trust policy shall require")
	o := addOutput(cmd, formatJSON, formatYAML, formatTerraform, formatCloudFormation)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := commonName(certificate)
		if err != nil {
			return err
		}
		report, err := p.explain(cmd.Context(), args[0], name)
		if err != nil {
			return err
		}
		if o.format == formatTerraform || o.format == formatCloudFormation {
			return answer(report.Ready, p.writeCode(o.format, report))
		}
		return answer(report.Ready, p.write(o, report, report.print))
	}
	return cmd
}

func (p *plugin) explain(ctx context.Context, arg, commonName string) (explanation, error) {
	c, err := p.cluster()
	if err != nil {
		return explanation{}, err
	}
	if ref, ok := cluster.ParseIdentityRef(arg, c.Namespace); ok {
		identity, err := c.Identity(ctx, ref)
		if err != nil {
			return explanation{}, err
		}
		return explained(identity.Conditions, advice.Situation{Identity: &identity, Ref: ref, CommonName: commonName}), nil
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
	situation.CommonName = commonName
	report := explained(found.Report().Conditions, situation)
	report.Outdated = specNotObserved(found) && len(found.Report().Conditions) > 0
	if expiration := found.Report().Expiration; found.Ready() && !report.Ready && expiration != nil {
		report.Usable = fmt.Sprintf("The session credentials in the Secret are valid until %s (%s).", term.Time(expiration.Time), term.Relative(expiration.Time, p.now()))
	}
	return report, nil
}

// situation reads the input of the advice. If a part cannot be read, it writes a warning and the advice is more general.
func (p *plugin) situation(ctx context.Context, c *cluster.Cluster, found cluster.Credential) advice.Situation {
	situation := advice.Situation{Credential: &found, Ref: found.IdentityRef()}
	identity, err := c.Identity(ctx, situation.Ref)
	if err != nil {
		p.warn("could not read %s: %v", situation.Ref.Path(), err)
		return situation
	}
	situation.Identity = &identity
	verdict, err := evaluate(ctx, c, found, identity)
	if err != nil {
		p.warn("the namespace's labels could not be read, so rules with a namespaceSelector do not match: %v", err)
	}
	situation.Verdict = &verdict
	return situation
}

// notReconciled is the condition of an object that the operator has not reconciled.
var notReconciled = metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown}

func explained(conditions []metav1.Condition, situation advice.Situation) explanation {
	condition, problem := advice.ConditionToFix(conditions)
	if len(conditions) == 0 {
		condition, problem = notReconciled, true
	}
	situation.Condition = condition
	return explanation{Ready: advice.Healthy(conditions), Well: !problem, Explanation: advice.Explain(situation)}
}

func (e explanation) print(p *term.Printer) {
	if e.Well {
		p.Texts(term.Text{Text: e.Subject, Colour: term.Title}, term.Plain(" is "), term.Text{Text: "Ready", Colour: term.Good}, term.Plain(": "+e.Means))
	} else {
		p.Texts(term.Text{Text: e.Subject, Colour: term.Title}, term.Plain(": "+e.Condition+" is "),
			term.Text{Text: string(e.Status), Colour: term.StatusColour(e.Status)}, term.Plain(", "+cmp.Or(e.Reason, "without a reason")))
		p.Linef("")
		p.Linef("%s", e.Means)
	}
	if e.Usable != "" {
		p.Linef("%s", e.Usable)
	}
	if e.Outdated {
		p.Texts(term.Text{Text: "The operator has not reconciled the current spec yet. This explains an earlier spec.", Colour: term.Warning})
	}
	if e.Message != "" && !e.Well {
		p.Section("MESSAGE OF THE OPERATOR")
		p.Linef("  %s", e.Message)
	}
	printSteps(p, "WHAT TO DO IN THE CLUSTER", e.Cluster)
	title := "WHAT TO DO IN AWS"
	if e.Well {
		title = "WHAT AWS NEEDS"
	}
	printSteps(p, title, e.AWS)
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
