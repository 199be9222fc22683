package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/term"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

func (p *plugin) readersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "readers NAME",
		Short: "List the pods that use a credential's Secret, and show which are stale",
		Long: `List the pods that use a credential's Secret in their environment or as a volume, and show which credential each
container holds. Programs that read the Secret from the API server are not listed.`,
		Example:           "  kubectl rolecred readers s3-reader -n shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeNames(1),
	}
	o := addOutput(cmd, formatWide, formatJSON, formatYAML)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, found, err := p.find(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		list, err := p.readers(cmd.Context(), c, found)
		if err != nil {
			return err
		}
		return p.write(o, list, func(printer *term.Printer) { printReaders(printer, "", list, "", o.format == formatWide) })
	}
	return cmd
}

func (p *plugin) readers(ctx context.Context, c *cluster.Cluster, found cluster.Credential) ([]readers.Reader, error) {
	pods, err := c.Pods(ctx, found.GetNamespace())
	if err != nil {
		return nil, err
	}
	issued := readers.Issued{Secret: found.SecretName()}
	if line := timeLineOf(found); line != nil {
		issued.ID, issued.At, issued.Expiration = found.Report().AccessKeyID, line.Issued, line.Expires
	}
	// Without permission to read the Secret the result is less exact.
	if record, ok := c.Record(ctx, found); ok && record.AccessKeyID == issued.ID {
		issued.PreviousAt, issued.PreviousExpiration = record.PreviousIssuedAt, record.PreviousExpiration
	}
	return readers.Find(pods, issued, p.now()), nil
}

func printReaders(p *term.Printer, indent string, list []readers.Reader, unknown string, wide bool) {
	switch {
	case unknown != "":
		printUnknown(p, unknown)
		return
	case len(list) == 0:
		p.Linef("%sno pod uses the Secret", indent)
		return
	}
	header := term.Row("POD", "CONTAINER", "BY", "HOLDS")
	if wide {
		header = append(header, term.Row("OWNER", "SINCE")...)
	}
	rows := [][]term.Text{header}
	for _, r := range list {
		row := append(term.Row(r.Pod, r.Container, string(r.By)), describeHeld(r))
		if wide {
			since := none
			if r.Since != nil {
				since = term.Time(*r.Since)
			}
			row = append(row, term.Row(r.Owner, since)...)
		}
		rows = append(rows, row)
	}
	p.Table(indent, rows...)
}

func until(r readers.Reader) string {
	if r.Known {
		return term.Time(*r.Until)
	}
	return term.Time(*r.Until) + " at the latest"
}

// describeHeld describes which credential a container holds.
func describeHeld(r readers.Reader) term.Text {
	switch r.Holds {
	case readers.Current:
		return term.Text{Text: "the current credential", Colour: term.Good}
	case readers.Following:
		return term.Text{Text: "the current credential, or within a minute or two", Colour: term.Good}
	case readers.Either:
		return term.Text{Text: "the current or the previous credential, until " + until(r), Colour: term.Warning}
	case readers.Earlier:
		return term.Text{Text: "an earlier credential, until " + until(r), Colour: term.Warning}
	case readers.Expired:
		return term.Text{Text: fmt.Sprintf("an expired credential (expired by %s)", term.Time(*r.Until)), Colour: term.Bad}
	default:
		return term.Plain("none: the container is not running")
	}
}
