// Package cli has the plugin's commands. Most read from the cluster, build a report, and write it as text or as JSON or YAML.
package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/term"
)

// Options are the plugin's inputs from its process.
type Options struct {
	genericiooptions.IOStreams
	Clock clock.PassiveClock
	// Environ is the environment, as NAME=value.
	Environ []string
	Version string
	// Exec replaces this process with a program. It returns only an error. The default is the operating system's.
	Exec func(path string, args, environ []string) error
}

// plugin is one invocation.
type plugin struct {
	Options
	config *genericclioptions.ConfigFlags
	// cluster connects to the cluster of the flags and the kubeconfig.
	cluster func() (*cluster.Cluster, error)
}

const long = `List the credentials of the RoleCredential operator, explain why one is not Ready, and use one.

NAME is a RoleCredential. For the other kinds, write sessioncred/NAME or fedcred/NAME.
Only env and process print session credentials; exec sets them in its command's environment. The URL that console prints is a secret too.

Exit codes: 0 success, or yes; 1 error; 2 no: not Ready, not allowed, expired or rejected; 3 not found;
4 forbidden by the API server; 5 timed out; 130 interrupted. exec exits with the code of its command.`

// Run runs the plugin and returns its exit code.
func Run(ctx context.Context, args []string, options Options) int {
	return newPlugin(options).run(ctx, args)
}

func newPlugin(options Options) *plugin {
	p := &plugin{Options: options, config: genericclioptions.NewConfigFlags(true)}
	if p.Exec == nil {
		p.Exec = replaceProcess
	}
	p.config.CacheDir = nil // the plugin does no discovery, so there is nothing to cache
	p.cluster = p.connect
	return p
}

func (p *plugin) run(ctx context.Context, args []string) int {
	root := p.root() //nolint:contextcheck // completions use the context of the command
	root.SetArgs(args)
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.ErrOut)
	return p.exit(ctx, root.ExecuteContext(ctx))
}

func (p *plugin) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-rolecred",
		Short:         "List, explain and use credentials of the RoleCredential operator",
		Long:          long,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl rolecred"},
		Version:       p.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	p.config.AddFlags(root.PersistentFlags())
	addVerbosity(root.PersistentFlags())
	_ = root.RegisterFlagCompletionFunc("context", p.completeContext)
	root.AddCommand(
		p.getCommand(), p.statusCommand(), p.explainCommand(), p.readersCommand(), p.canICommand(),
		p.refreshCommand(), p.whoamiCommand(), p.envCommand(), p.processCommand(), p.execCommand(),
		p.consoleCommand(), p.revokeCommand(),
	)
	return root
}

func (p *plugin) getenv(name string) string {
	for _, variable := range p.Environ {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value
		}
	}
	return ""
}

func (p *plugin) now() time.Time { return p.Clock.Now() }

func (p *plugin) connect() (*cluster.Cluster, error) {
	namespace, _, err := p.config.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	config, err := p.config.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	if err := p.guardRecursion(config); err != nil {
		return nil, err
	}
	config.UserAgent = "kubectl-rolecred/" + p.Version
	config.WarningHandler = rest.NewWarningWriter(p.ErrOut, rest.WarningWriterOptions{Deduplicate: true}) // as kubectl does
	return cluster.New(config, namespace)
}

// printer returns a printer for text output.
func (p *plugin) printer() *term.Printer { return term.New(p.Out, term.Colours(p.Out, p.getenv)) }

// warn writes a warning.
func (p *plugin) warn(format string, args ...any) {
	term.New(p.ErrOut, term.Colours(p.ErrOut, p.getenv)).Linef("warning: "+format, args...)
}

// find reads the credential for an argument.
func (p *plugin) find(ctx context.Context, arg string) (*cluster.Cluster, cluster.Credential, error) {
	ref, err := cluster.ParseRef(arg)
	if err != nil {
		return nil, cluster.Credential{}, err
	}
	c, err := p.cluster()
	if err != nil {
		return nil, cluster.Credential{}, err
	}
	found, err := c.Credential(ctx, ref)
	return c, found, err
}

// sessionCredentials reads the credential for an argument, and the session credentials in its Secret.
func (p *plugin) sessionCredentials(ctx context.Context, arg string) (*cluster.Cluster, cluster.Credential, cluster.SessionCredentials, error) {
	c, found, err := p.find(ctx, arg)
	if err != nil {
		return nil, cluster.Credential{}, cluster.SessionCredentials{}, err
	}
	issued, err := c.SessionCredentials(ctx, found, p.now())
	return c, found, issued, err
}
