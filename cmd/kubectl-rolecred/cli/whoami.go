package cli

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/aws"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/iam"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/term"
)

func (p *plugin) whoamiCommand() *cobra.Command {
	var at aws.Endpoint
	cmd := &cobra.Command{
		Use:   "whoami NAME",
		Short: "Ask STS who a credential is",
		Long: `Ask STS by GetCallerIdentity who the credential in the Secret is, where its identity asks: in the same region, or at the same endpoint
with the same authorities.`,
		Example:           "  kubectl rolecred whoami s3-reader -n shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeNames(1),
	}
	cmd.Flags().StringVar(&at.Region, "region", "", "`region` whose STS to ask, in place of the identity's")
	cmd.Flags().StringVar(&at.URL, "endpoint", "", "`URL` of the STS to ask, in place of the identity's")
	o := addOutput(cmd, formatJSON, formatYAML)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, found, held, err := p.hold(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		where := p.endpoint(cmd.Context(), c, found, held, at)
		caller, err := aws.WhoAmI(cmd.Context(), held.Credential, where)
		if err != nil {
			return err
		}
		if held.PrincipalARN != "" && caller.ARN != held.PrincipalARN {
			p.warn("the Secret says that it is %s", held.PrincipalARN)
		}
		return p.write(o, caller, func(printer *term.Printer, _ bool) {
			printer.Table("", term.Row("ARN", caller.ARN), term.Row("Account", caller.Account), term.Row("UserId", caller.UserID), term.Row("Asked", where.String()))
		})
	}
	return cmd
}

// endpoint is where to ask: what the flags say, or else the identity, or else the environment.
func (p *plugin) endpoint(ctx context.Context, c *cluster.Cluster, found cluster.Credential, held cluster.Held, flags aws.Endpoint) aws.Endpoint {
	if flags.Region != "" && flags.URL != "" {
		return flags
	}
	identity, err := c.Identity(ctx, found.IdentityRef())
	if err != nil {
		identity.Region = cmp.Or(p.getenv("AWS_REGION"), held.Region, regions[iam.Partition(cmp.Or(held.PrincipalARN, found.Request.RoleARN))])
		identity.Endpoint = p.getenv("AWS_ENDPOINT_URL_STS")
		p.warn("%s cannot be read, so that AWS itself is asked in %s, unless --region or --endpoint say otherwise: %v", found.IdentityRef().Path(), identity.Region, err)
	}
	return aws.Endpoint{Region: cmp.Or(flags.Region, identity.Region), URL: cmp.Or(flags.URL, identity.Endpoint), CABundle: identity.CABundle}
}

// regions has for each partition one that every account has.
var regions = map[string]string{"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
