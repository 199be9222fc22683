package cli

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/term"
)

type getOptions struct {
	allNamespaces bool
	expiring      time.Duration
	print         *genericclioptions.PrintFlags
}

func (p *plugin) getCommand() *cobra.Command {
	o := getOptions{print: genericclioptions.NewPrintFlags("")}
	cmd := &cobra.Command{
		Use:     "get [NAME | TYPE/NAME ...]",
		Aliases: []string{"list", "ls"},
		Short:   "List credentials of all kinds, with their expiry and next refresh",
		Example: `  kubectl rolecred get -A --expiring 10m
  kubectl rolecred get s3-reader sessioncred/own-rights -o yaml`,
		ValidArgsFunction: p.completeNames(0),
		RunE:              func(cmd *cobra.Command, args []string) error { return p.get(cmd.Context(), args, o) },
	}
	cmd.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "list credentials in all namespaces")
	cmd.Flags().DurationVar(&o.expiring, "expiring", 0, "list only credentials that have expired or expire `within` this time, such as 10m")
	o.print.AddFlags(cmd)
	cmd.Flags().Lookup("output").Usage = "output format: wide, json, yaml, name, or another format of kubectl"
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(append([]string{formatWide}, o.print.AllowedFormats()...), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (p *plugin) get(ctx context.Context, args []string, o getOptions) error {
	c, err := p.cluster()
	if err != nil {
		return err
	}
	found, err := p.gather(ctx, c, args, o.allNamespaces)
	if err != nil && len(found) == 0 {
		return err
	}
	if err != nil {
		p.warn("some credentials could not be listed: %v", err)
	}
	if o.expiring > 0 {
		soon := p.now().Add(o.expiring)
		found = slices.DeleteFunc(found, func(c cluster.Credential) bool {
			expiration := c.Report().Expiration
			return expiration == nil || expiration.After(soon)
		})
	}
	if format := *o.print.OutputFormat; format != "" && format != formatWide {
		return p.printObjects(found, len(args) == 1, o.print)
	}
	if len(found) == 0 {
		p.warn("no credentials found")
		return nil
	}
	p.printer().Table("", table(found, o.allNamespaces, *o.print.OutputFormat == formatWide, p.now())...)
	return nil
}

// gather reads the named credentials, or lists all without a name.
func (p *plugin) gather(ctx context.Context, c *cluster.Cluster, args []string, allNamespaces bool) ([]cluster.Credential, error) {
	if len(args) == 0 {
		namespace := c.Namespace
		if allNamespaces {
			namespace = metav1.NamespaceAll
		}
		return c.Credentials(ctx, namespace)
	}
	found := make([]cluster.Credential, 0, len(args))
	for _, arg := range args {
		ref, err := cluster.ParseRef(arg)
		if err != nil {
			return nil, err
		}
		one, err := c.Credential(ctx, ref)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
	}
	return found, nil
}

// printObjects writes the API objects: a single object if alone is set, otherwise a List.
func (p *plugin) printObjects(found []cluster.Credential, alone bool, flags *genericclioptions.PrintFlags) error {
	printer, err := flags.ToPrinter()
	if err != nil {
		return err
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{}}}
	for _, c := range found {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(c.Object)
		if err != nil {
			return err
		}
		list.Items = append(list.Items, unstructured.Unstructured{Object: content})
	}
	if alone && len(list.Items) == 1 {
		return printer.PrintObj(&list.Items[0], p.Out)
	}
	return printer.PrintObj(list, p.Out)
}

const none = "-"

func table(found []cluster.Credential, namespaces, wide bool, now time.Time) [][]term.Text {
	header := term.Row("NAME", "READY", "STATUS", "FOR", "EXPIRES", "REFRESH", "AGE")
	if namespaces {
		header = append(term.Row("NAMESPACE"), header...)
	}
	if wide {
		header = append(header, term.Row("AUTHORIZED", "ISSUED", "IDENTITY", "SECRET", "EXPIRATION", "MESSAGE")...)
	}
	rows := [][]term.Text{header}
	for _, c := range found {
		row := row(c, now)
		if namespaces {
			row = append(term.Row(c.GetNamespace()), row...)
		}
		if wide {
			row = append(row, wideRow(c)...)
		}
		rows = append(rows, row)
	}
	return rows
}

func row(c cluster.Credential, now time.Time) []term.Text {
	ready := conditionOf(c, v1alpha1.ConditionReady)
	status := c.Report()
	expires := term.Plain(relativeTime(status.Expiration, now))
	if status.Expiration != nil && !now.Before(status.Expiration.Time) {
		expires.Colour = term.Bad
	}
	return []term.Text{
		term.Plain(c.String()),
		{Text: string(ready.Status), Colour: term.StatusColour(ready.Status)},
		term.Plain(ready.Reason),
		term.Plain(cmp.Or(c.Request.RoleARN, status.PrincipalARN, string(c.Request.Call))),
		expires,
		term.Plain(relativeTime(status.NextRefreshTime, now)),
		term.Plain(term.Age(c.GetCreationTimestamp().Time, now)),
	}
}

func wideRow(c cluster.Credential) []term.Text {
	expiration := none
	if at := c.Report().Expiration; at != nil {
		expiration = term.Time(at.Time)
	}
	ready := conditionOf(c, v1alpha1.ConditionReady)
	return term.Row(conditionOf(c, v1alpha1.ConditionAuthorized).Reason, conditionOf(c, v1alpha1.ConditionIssued).Reason,
		c.IdentityRef().Path(), c.SecretName(), expiration, ready.Message)
}

// conditionOf returns a condition, or an Unknown one if it is missing.
func conditionOf(c cluster.Credential, conditionType string) metav1.Condition {
	if found := c.Condition(conditionType); found != nil {
		return *found
	}
	return metav1.Condition{Type: conditionType, Status: metav1.ConditionUnknown, Reason: none}
}

func relativeTime(t *metav1.Time, now time.Time) string {
	if t == nil {
		return none
	}
	return term.Relative(t.Time, now)
}
