package cli

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
)

// completionTimeout bounds the requests of one completion.
const completionTimeout = 3 * time.Second

// completeNames completes at most this many names of credentials in the namespace, any number for 0. It offers no kind that cannot be listed.
func (p *plugin) completeNames(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp
		if most > 0 && len(args) >= most {
			return nil, directive
		}
		c, err := p.cluster()
		if err != nil {
			return nil, directive
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		found, _ := c.Credentials(ctx, c.Namespace)
		var names []cobra.Completion
		for _, credential := range found {
			name := credential.GetName()
			if credential.Kind.Name != cluster.Kinds[0].Name {
				name = credential.Kind.Short + "/" + name
			}
			names = append(names, cobra.CompletionWithDesc(name, credential.Kind.Name))
		}
		return names, directive
	}
}

func (p *plugin) completeContext(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	raw, err := p.config.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(raw.Contexts)), cobra.ShellCompDirectiveNoFileComp
}
