package advice

import (
	"strings"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/shell"
)

// Commands hold names that tenants choose. Each command that holds one is built from its arguments, so that a shell never
// interprets a name.

func kubectl(args ...string) string { return shell.Command(append([]string{"kubectl"}, args...)...) }

func aws(args ...string) string { return shell.Command(append([]string{"aws"}, args...)...) }

// lines writes one command on each line.
func lines(commands ...string) string { return strings.Join(commands, "\n") }

// operatorCan is the command that shows whether the operator may do something in the namespace.
func (s Situation) operatorCan(verb, resource string) string {
	return kubectl("auth", "can-i", verb, resource, "-n", s.namespace(), "--as="+operator)
}
