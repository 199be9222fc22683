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

// revocation is the report of how to revoke a credential's sessions.
type revocation struct {
	Credential string     `json:"credential"`
	Before     time.Time  `json:"before"`
	Target     string     `json:"of"`
	Policy     iam.Policy `json:"policy"`
	Put        string     `json:"put"`
	Remove     string     `json:"remove"`
	// Until is the expiry of the last session, nil if it is not known.
	Until *time.Time `json:"until,omitempty"`
}

func (p *plugin) revokeCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Print the IAM policy that revokes the sessions issued so far",
		Long: `Print an IAM policy that denies everything to the sessions issued so far, and the AWS CLI commands that attach and remove it. STS
cannot revoke a session. This command changes nothing.`,
		Example:           "  kubectl rolecred revoke s3-reader -n shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeNames(1),
	}
	cmd.Flags().BoolVar(&all, "all-sessions", false, "revoke all older sessions of the role or user, not only those with this credential's session name")
	o := addOutput(cmd, formatJSON, formatYAML)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, found, err := p.find(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		identity, err := c.Identity(cmd.Context(), found.IdentityRef())
		if err != nil && found.Request.RoleARN == "" {
			p.warn("could not read %s, so its user is not known: %v", found.IdentityRef().Path(), err)
		}
		report := p.revocation(found, identity.ARN, all)
		return p.write(o, report, func(printer *term.Printer) { report.print(printer, found, all) })
	}
	return cmd
}

func (p *plugin) revocation(found cluster.Credential, caller string, all bool) revocation {
	now := p.now().UTC().Truncate(time.Second)
	r := iam.Revoke(found.Request, caller, now, all)
	report := revocation{Credential: found.String(), Before: now, Target: r.Target, Policy: r.Policy, Put: shell.Command(r.Put...), Remove: shell.Command(r.Remove...)}
	if line := timeLineOf(found); line != nil {
		report.Until = &line.Expires
	}
	return report
}

func (r revocation) print(p *term.Printer, found cluster.Credential, all bool) {
	names := "with any session name"
	if found.Request.SessionName != "" && !all {
		names = "with the session name " + found.Request.SessionName
	}
	p.Linef("STS cannot revoke a session, but IAM can deny it everything. This inline policy of the %s denies everything to its", r.Target)
	p.Linef("sessions %s that were issued before %s. It does not affect later sessions.", names, term.Time(r.Before))
	p.Linef("")
	p.Block("  ", r.Policy.String())
	p.Section("1. ATTACH THE POLICY")
	p.Block("  ", r.Put)
	p.Section("2. REFRESH THE CREDENTIAL AND RESTART STALE PODS")
	p.Block("  ", shell.Command("kubectl", "rolecred", "refresh", found.String(), "-n", found.GetNamespace(), "--wait"))
	p.Block("  ", shell.Command("kubectl", "rolecred", "readers", found.String(), "-n", found.GetNamespace()))
	after := "3. REMOVE THE POLICY AFTER ALL OF THOSE SESSIONS HAVE EXPIRED"
	if r.Until != nil {
		after = fmt.Sprintf("3. REMOVE THE POLICY AFTER %s, WHEN ALL OF THOSE SESSIONS HAVE EXPIRED", term.Time(*r.Until))
	}
	p.Section(after)
	p.Block("  ", r.Remove)
}
