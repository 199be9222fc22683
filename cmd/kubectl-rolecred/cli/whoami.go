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
		Short: "Call GetCallerIdentity with a credential",
		Long: `Call GetCallerIdentity with the session credentials in the Secret, in the region or at the endpoint of the credential's identity
and with its CAs.`,
		Example:           "  kubectl rolecred whoami s3-reader -n shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeNames(1),
	}
	cmd.Flags().StringVar(&at.Region, "region", "", "`region` of STS; the identity's if empty")
	cmd.Flags().StringVar(&at.URL, "endpoint", "", "`URL` of STS; the identity's endpoint if empty")
	o := addOutput(cmd, formatJSON, formatYAML)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, found, issued, err := p.sessionCredentials(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		where := p.endpoint(cmd.Context(), c, found, issued, at)
		caller, err := aws.WhoAmI(cmd.Context(), issued.Credentials, where)
		if err != nil {
			return err
		}
		if issued.PrincipalARN != "" && caller.ARN != issued.PrincipalARN {
			p.warn("the record in the Secret names another principal, %s", issued.PrincipalARN)
		}
		return p.write(o, caller, func(printer *term.Printer) {
			printer.Table("", term.Row("ARN", caller.ARN), term.Row("Account", caller.Account), term.Row("UserId", caller.UserID), term.Row("Endpoint", where.String()))
		})
	}
	return cmd
}

// endpoint returns the STS endpoint of the flags, or else of the identity, or else of the environment.
func (p *plugin) endpoint(ctx context.Context, c *cluster.Cluster, found cluster.Credential, issued cluster.SessionCredentials, flags aws.Endpoint) aws.Endpoint {
	if flags.Region != "" && flags.URL != "" {
		return flags
	}
	identity, err := c.Identity(ctx, found.IdentityRef())
	if err != nil {
		identity.Region = cmp.Or(p.getenv("AWS_REGION"), issued.Region, regions[iam.Partition(cmp.Or(issued.PrincipalARN, found.Request.RoleARN))])
		identity.Endpoint = p.getenv("AWS_ENDPOINT_URL_STS")
		p.warn("could not read %s, so the region is %s unless --region or --endpoint is set: %v", found.IdentityRef().Path(), identity.Region, err)
	}
	return aws.Endpoint{Region: cmp.Or(flags.Region, identity.Region), URL: cmp.Or(flags.URL, identity.Endpoint), CABundle: identity.CABundle}
}

// regions has a region for each partition that all its accounts have.
var regions = map[string]string{"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
