package cli

import (
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// nestedVariable is in the environment of the kubeconfig's exec plugin, and so of each plugin that the exec plugin starts. An
// exec plugin such as `aws eks get-token` resolves an AWS profile. If that profile's credential_process is this plugin, each of
// the two starts the other.
const nestedVariable = "KUBECTL_ROLECRED_NESTED"

// guardRecursion marks the environment of the kubeconfig's exec plugin. It fails if this process started under such a plugin and
// needs one itself.
func (p *plugin) guardRecursion(config *rest.Config) error {
	if config.ExecProvider == nil {
		return nil
	}
	if p.getenv(nestedVariable) != "" {
		return fmt.Errorf("the kubeconfig's exec plugin (%s) started this plugin again, which never ends: "+
			"set AWS_PROFILE in users[].user.exec.env of the kubeconfig to a profile that does not use kubectl rolecred as its credential_process", config.ExecProvider.Command)
	}
	config.ExecProvider = config.ExecProvider.DeepCopy()
	config.ExecProvider.Env = append(config.ExecProvider.Env, clientcmdapi.ExecEnvVar{Name: nestedVariable, Value: "1"})
	return nil
}

// clearProfile removes the caller's AWS profile from what the kubeconfig's exec plugin inherits. A profile that the kubeconfig
// itself sets stays. The AWS CLI takes an empty AWS_PROFILE for the name of a profile, so the variable must not exist.
func clearProfile() error {
	for _, name := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	return nil
}
