package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
)

func (p *plugin) execCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "exec NAME -- COMMAND [ARG ...]",
		Short: "Run a command with a credential in its environment",
		Long: `Run a command with a credential in its environment. Existing AWS_* credential, profile and role variables are removed first. The command
replaces this process, so it gets the signals and sets the exit code. It does not get later refreshes.`,
		Example: "  kubectl rolecred exec s3-reader -n shop -- aws s3 ls",
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 1 || len(args) < 2 {
				return errors.New("usage: exec NAME -- COMMAND [ARG ...]")
			}
			return nil
		},
		ValidArgsFunction: p.completeNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := exec.LookPath(args[1])
			if err != nil {
				return exitError{err, exitOfLookup(err)}
			}
			_, _, issued, err := p.sessionCredentials(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			err = p.Exec(path, args[1:], environment(p.Environ, issued))
			if err == nil || errors.As(err, new(exitError)) {
				return err
			}
			return exitError{fmt.Errorf("%s: %w", path, err), ExitNotExecutable}
		},
	}
}

func exitOfLookup(err error) int {
	if errors.Is(err, fs.ErrPermission) {
		return ExitNotExecutable
	}
	return ExitNoCommand
}

// competing lists the variables that would make an SDK use other credentials (AWS SDKs and Tools
// Reference Guide, 'Environment variables support').
var competing = []string{
	"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_CREDENTIAL_EXPIRATION",
	"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
	"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
}

// environment returns the inherited environment with the credential's variables, and without the competing ones.
func environment(inherited []string, issued cluster.SessionCredentials) []string {
	set := variables(issued)
	environ := slices.DeleteFunc(slices.Clone(inherited), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		is := func(other string) bool { return strings.EqualFold(name, other) } // Windows ignores case
		return slices.ContainsFunc(competing, is) || slices.ContainsFunc(set, func(v variable) bool { return is(v.name) })
	})
	for _, v := range set {
		environ = append(environ, v.name+"="+v.value)
	}
	return environ
}
