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
	"rolecredential.dev/operator/controllers/output"
)

// variable is an environment variable.
type variable struct{ name, value string }

// variables are what a program needs to use a credential (AWS SDKs and Tools Reference Guide, 'Environment variables support').
func variables(held cluster.Held) []variable {
	list := []variable{
		{output.AccessKeyID, held.AccessKeyID},
		{output.SecretAccessKey, string(held.SecretAccessKey)},
		{output.SessionToken, string(held.SessionToken)},
		{"AWS_CREDENTIAL_EXPIRATION", held.Expiration.UTC().Format(time.RFC3339)},
	}
	if held.Region != "" {
		list = append(list, variable{"AWS_REGION", held.Region}, variable{"AWS_DEFAULT_REGION", held.Region})
	}
	return list
}

func (p *plugin) envCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "env NAME",
		Short: "Write the lines that give a shell a credential",
		Long:  "Write the lines that set a credential's environment variables in a shell. They hold the secrets: have the shell read them, and nobody else.",
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
			_, _, held, err := p.hold(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for _, v := range variables(held) {
				fmt.Fprintln(p.Out, shell.Export(dialect, v.name, v.value))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "shell", "", "`shell` to write for: "+strings.Join(shell.Names, ", ")+"; that of SHELL if empty")
	_ = cmd.RegisterFlagCompletionFunc("shell", cobra.FixedCompletions(shell.Names, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// shell is the one that is named, or else the caller's own, or else any of POSIX.
func (p *plugin) shell(name string) (string, error) {
	if name == "" {
		if found, ok := shell.Of(p.getenv("SHELL")); ok {
			return found, nil
		}
		return shell.POSIX, nil
	}
	found, ok := shell.Of(name)
	if !ok {
		return "", fmt.Errorf("there is no shell %q: it is one of %s", name, strings.Join(shell.Names, ", "))
	}
	return found, nil
}

func (p *plugin) processCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "process NAME",
		Short: "Write a credential as an AWS profile's credential_process does",
		Long: `Write a credential in the form in which the AWS SDKs and the AWS CLI read it from a program, with its expiration, so that they come
for the next one by themselves. In ~/.aws/config:

  [profile s3-reader]
  credential_process = kubectl rolecred process s3-reader -n shop --context prod`,
		Example:           "  kubectl rolecred process s3-reader -n shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := clearProfile(); err != nil { // it is probably the profile that this process provides
				return err
			}
			_, _, held, err := p.hold(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return writeProcess(p.Out, held)
		},
	}
}

// writeProcess writes what a credential_process prints (AWS SDKs and Tools Reference Guide, 'Process credential provider').
func writeProcess(out io.Writer, held cluster.Held) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(map[string]any{
		"Version": 1, "AccessKeyId": held.AccessKeyID, "SecretAccessKey": string(held.SecretAccessKey), "SessionToken": string(held.SessionToken),
		"Expiration": held.Expiration.UTC().Format(time.RFC3339),
	})
}
