package cli

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/aws"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/iam"
)

func (p *plugin) consoleCommand() *cobra.Command {
	var endpoint, destination, issuer string
	cmd := &cobra.Command{
		Use:   "console NAME",
		Short: "Write a URL that signs in to the AWS console with a credential",
		Long: `Write a URL that signs in to the AWS console with a credential, by way of AWS's federation endpoint. Whoever has the URL can use it,
for 15 minutes; the session that it begins ends with the credential. AWS gives no such URL for a SessionCredential.`,
		Example:           "  kubectl rolecred console s3-reader -n shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, found, held, err := p.hold(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if found.Request.Call == v1alpha1.CallGetSessionToken {
				return exitError{fmt.Errorf("%s cannot sign in: AWS takes sessions of AssumeRole and GetFederationToken for that, and none of GetSessionToken", found), ExitNo}
			}
			console, err := iam.ConsoleOf(cmp.Or(held.PrincipalARN, found.Request.RoleARN))
			if err != nil && (endpoint == "" || destination == "") {
				return err
			}
			url, err := aws.SigninURL(cmd.Context(), held.Credential, cmp.Or(endpoint, console.Federation), cmp.Or(destination, console.Destination), issuer)
			if err != nil {
				return err
			}
			fmt.Fprintln(p.Out, url)
			return nil
		},
	}
	cmd.Flags().StringVar(&endpoint, "endpoint", "", "`URL` of the federation endpoint; that of the role's partition if empty")
	cmd.Flags().StringVar(&destination, "destination", "", "`URL` of the page to end up on; the console's home if empty")
	cmd.Flags().StringVar(&issuer, "issuer", "", "`URL` that the console sends people to when the session has ended")
	return cmd
}
