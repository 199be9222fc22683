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
		Short: "Print a URL that signs in to the AWS console with a credential",
		Long: `Print a URL that signs in to the AWS console with a credential, through AWS's federation endpoint. Everyone who has the URL can sign in
with it for 15 minutes. The console session expires with the credential. AWS does not support this for a SessionCredential.`,
		Example:           "  kubectl rolecred console s3-reader -n shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, found, issued, err := p.sessionCredentials(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if found.Request.Call == v1alpha1.CallGetSessionToken {
				return exitError{fmt.Errorf("%s cannot sign in to the console: AWS accepts credentials from AssumeRole and GetFederationToken, but not from GetSessionToken", found), ExitNo}
			}
			console, err := iam.ConsoleOf(cmp.Or(issued.PrincipalARN, found.Request.RoleARN))
			if err != nil && (endpoint == "" || destination == "") {
				return err
			}
			url, err := aws.SigninURL(cmd.Context(), issued.Credentials, cmp.Or(endpoint, console.Federation), cmp.Or(destination, console.Destination), issuer)
			if err != nil {
				return err
			}
			fmt.Fprintln(p.Out, url)
			return nil
		},
	}
	cmd.Flags().StringVar(&endpoint, "endpoint", "", "`URL` of the federation endpoint; AWS's endpoint in the role's partition if empty")
	cmd.Flags().StringVar(&destination, "destination", "", "`URL` of the page to open after sign-in; the console's home if empty")
	cmd.Flags().StringVar(&issuer, "issuer", "", "`URL` that the console opens when the session has expired")
	return cmd
}
