// Package cli is the plugin's verbs: each reads from the cluster, makes a report of it, and writes that for people or for programs.
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

// Options are what the plugin takes from its process.
type Options struct {
	genericiooptions.IOStreams
	Clock clock.PassiveClock
	// Environ is the environment, as NAME=value.
	Environ []string
	Version string
	// Exec runs a program in place of this one. It returns only if it cannot; the system's if nil.
	Exec func(path string, args, environ []string) error
}

// plugin is one run of it.
type plugin struct {
	Options
	config *genericclioptions.ConfigFlags
	// cluster returns the one that the flags and the kubeconfig name.
	cluster func() (*cluster.Cluster, error)
}

const long = `Look at the credentials that the RoleCredential operator keeps, find out why one is not Ready, and use one.

NAME is the name of a RoleCredential; of the other kinds it is sessioncred/NAME or fedcred/NAME.
No secret is written anywhere but by env and process, and into the environment of what exec runs.

Exit codes: 0 done, or yes; 1 an error; 2 no: not Ready, not allowed, expired or refused; 3 not found;
4 forbidden to you by the cluster; 5 timed out; 130 interrupted. exec exits as its command does.`

// Run runs the plugin and returns its exit code.
func Run(ctx context.Context, args []string, options Options) int {
	return newPlugin(options).run(ctx, args)
}

func newPlugin(options Options) *plugin {
	p := &plugin{Options: options, config: genericclioptions.NewConfigFlags(true)}
	if p.Exec == nil {
		p.Exec = replaceProcess
	}
	p.config.CacheDir = nil // nothing is discovered, so that nothing is kept
	p.cluster = p.connect
	return p
}

func (p *plugin) run(ctx context.Context, args []string) int {
	root := p.root() //nolint:contextcheck // what completes names takes the context of the command
	root.SetArgs(args)
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.ErrOut)
	return p.exit(ctx, root.ExecuteContext(ctx))
}

func (p *plugin) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-rolecred",
		Short:         "Look at, explain and use credentials of the RoleCredential operator",
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

// printer writes for people.
func (p *plugin) printer() *term.Printer { return term.New(p.Out, term.Colours(p.Out, p.getenv)) }

// warn tells what could not be had, and goes on.
func (p *plugin) warn(format string, args ...any) {
	term.New(p.ErrOut, term.Colours(p.ErrOut, p.getenv)).Linef("warning: "+format, args...)
}

// find reads the credential that an argument names.
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

// hold reads the credential that an argument names, with what its Secret holds.
func (p *plugin) hold(ctx context.Context, arg string) (*cluster.Cluster, cluster.Credential, cluster.Held, error) {
	c, found, err := p.find(ctx, arg)
	if err != nil {
		return nil, cluster.Credential{}, cluster.Held{}, err
	}
	held, err := c.Held(ctx, found, p.now())
	return c, found, held, err
}
