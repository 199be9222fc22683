package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/shell"
	"rolecredential.dev/operator/controllers/render"
)

// variable is an environment variable.
type variable struct{ name, value string }

// variables returns the environment variables of a credential (AWS SDKs and Tools Reference Guide, 'Environment variables support').
func variables(issued cluster.SessionCredentials) []variable {
	list := []variable{
		{render.AccessKeyID, issued.AccessKeyID},
		{render.SecretAccessKey, string(issued.SecretAccessKey)},
		{render.SessionToken, string(issued.SessionToken)},
		{"AWS_CREDENTIAL_EXPIRATION", issued.Expiration.UTC().Format(time.RFC3339)},
	}
	if issued.Region != "" {
		list = append(list, variable{"AWS_REGION", issued.Region}, variable{"AWS_DEFAULT_REGION", issued.Region})
	}
	return list
}

func (p *plugin) envCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "env NAME",
		Short: "Print shell commands that export a credential",
		Long:  "Print the commands that set a credential's environment variables in a shell. They contain secrets: let the shell evaluate them, do not log them.",
		Example: `  eval "$(kubectl rolecred env s3-reader -n shop)"                                          # sh, bash, zsh
  kubectl rolecred env s3-reader -n shop --shell fish | source
  kubectl rolecred env s3-reader -n shop --shell powershell | Out-String | Invoke-Expression`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dialect, err := p.shell(name)
			if err != nil {
				return err
			}
			_, _, issued, err := p.sessionCredentials(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for _, v := range variables(issued) {
				fmt.Fprintln(p.Out, shell.Export(dialect, v.name, v.value))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "shell", "", "`shell` to print for: "+strings.Join(shell.Names, ", ")+"; the one in $SHELL if empty")
	_ = cmd.RegisterFlagCompletionFunc("shell", cobra.FixedCompletions(shell.Names, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// shell returns the named shell, or else the one in SHELL, or else a POSIX shell.
func (p *plugin) shell(name string) (string, error) {
	if name == "" {
		if found, ok := shell.Parse(p.getenv("SHELL")); ok {
			return found, nil
		}
		return shell.POSIX, nil
	}
	found, ok := shell.Parse(name)
	if !ok {
		return "", fmt.Errorf("unknown shell %q: use one of %s", name, strings.Join(shell.Names, ", "))
	}
	return found, nil
}

func (p *plugin) processCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "process NAME",
		Short: "Print a credential for credential_process of an AWS profile",
		Long: `Print a credential in the format of credential_process. The AWS SDKs and the AWS CLI run the command again when the credential
expires. In ~/.aws/config:

  [profile s3-reader]
  credential_process = kubectl rolecred process s3-reader -n shop --context prod`,
		Example:           "  kubectl rolecred process s3-reader -n shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := clearProfile(); err != nil { // it may be the profile that runs this command
				return err
			}
			_, _, issued, err := p.sessionCredentials(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return writeProcess(p.Out, issued)
		},
	}
}

// writeProcess writes the output of a credential_process (AWS SDKs and Tools Reference Guide, 'Process credential provider').
func writeProcess(out io.Writer, issued cluster.SessionCredentials) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(map[string]any{
		"Version": 1, "AccessKeyId": issued.AccessKeyID, "SecretAccessKey": string(issued.SecretAccessKey), "SessionToken": string(issued.SessionToken),
		"Expiration": issued.Expiration.UTC().Format(time.RFC3339),
	})
}
