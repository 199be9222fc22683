package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/iam"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/shell"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/term"
)

// revocation is what stops a credential's sessions.
type revocation struct {
	Credential string     `json:"credential"`
	Before     time.Time  `json:"before"`
	Of         string     `json:"of"`
	Policy     iam.Policy `json:"policy"`
	Put        string     `json:"put"`
	Remove     string     `json:"remove"`
	// Until is when the last of the sessions has expired, nil if that is not known.
	Until *time.Time `json:"until,omitempty"`
}

func (p *plugin) revokeCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Write the IAM policy that stops what was issued so far",
		Long: `Write the IAM policy that stops the sessions that were issued so far, and the commands of the AWS CLI that put it in place and remove
it. STS cannot take a session back. Nothing is changed by this verb.`,
		Example:           "  kubectl rolecred revoke s3-reader -n shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeNames(1),
	}
	cmd.Flags().BoolVar(&all, "all-sessions", false, "stop all older sessions of the role or user, not those of this credential's session name alone")
	o := addOutput(cmd, formatJSON, formatYAML)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, found, err := p.find(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		identity, err := c.Identity(cmd.Context(), found.IdentityRef())
		if err != nil && found.Request.RoleARN == "" {
			p.warn("%s cannot be read, so that its user is not known: %v", found.IdentityRef().Path(), err)
		}
		report := p.revocation(found, identity.ARN, all)
		return p.write(o, report, func(printer *term.Printer, _ bool) { report.print(printer, found, all) })
	}
	return cmd
}

func (p *plugin) revocation(found cluster.Credential, caller string, all bool) revocation {
	now := p.now().UTC().Truncate(time.Second)
	stop := iam.Revoke(found.Request, caller, now, all)
	report := revocation{Credential: found.String(), Before: now, Of: stop.Of, Policy: stop.Policy, Put: shell.Command(stop.Put...), Remove: shell.Command(stop.Remove...)}
	if line := timeLineOf(found); line != nil {
		report.Until = &line.Expires
	}
	return report
}

func (r revocation) print(p *term.Printer, found cluster.Credential, all bool) {
	whose := "those of all names"
	if found.Request.SessionName != "" && !all {
		whose = "those named " + found.Request.SessionName
	}
	p.Linef("STS cannot take a session back, but IAM can deny it everything. This policy of the %s does so with its sessions", r.Of)
	p.Linef("that were issued before %s, %s:", term.Time(r.Before), whose)
	p.Linef("")
	p.Block("  ", r.Policy.String())
	p.Section("PUT IT IN PLACE")
	p.Block("  ", r.Put)
	p.Section("THEN HAVE A NEW CREDENTIAL ISSUED, WHICH IT DOES NOT STOP, AND START ANEW WHO HOLDS AN OLD ONE")
	p.Block("  ", shell.Command("kubectl", "rolecred", "refresh", found.String(), "-n", found.GetNamespace(), "--wait"))
	p.Block("  ", shell.Command("kubectl", "rolecred", "readers", found.String(), "-n", found.GetNamespace()))
	after := "WHEN THE LAST OF THOSE SESSIONS HAS EXPIRED, REMOVE IT"
	if r.Until != nil {
		after = fmt.Sprintf("AFTER %s, WHEN THE LAST OF THOSE SESSIONS HAS EXPIRED, REMOVE IT", term.Time(*r.Until))
	}
	p.Section(after)
	p.Block("  ", r.Remove)
}
