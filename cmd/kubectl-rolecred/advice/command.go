package advice

import (
	"encoding/json"
	"strings"

	"rolecredential.dev/operator/cmd/kubectl-rolecred/shell"
)

// Commands contain names that tenants choose. Build each such command from its arguments, so that a shell never
// interprets a name. Attach a name to its option (--role-name=NAME), so that the program does not take it as another option.

func kubectl(args ...string) string { return shell.Command(append([]string{"kubectl"}, args...)...) }

func aws(args ...string) string { return shell.Command(append([]string{"aws"}, args...)...) }

// list returns a list of one value for the AWS CLI. In place of file:///etc/passwd, the CLI would read that file, but not if it is in JSON.
func list(value string) string {
	if !strings.HasPrefix(value, "file://") && !strings.HasPrefix(value, "fileb://") {
		return value
	}
	text, err := json.Marshal([]string{value})
	if err != nil {
		panic(err) // a string
	}
	return string(text)
}

// lines joins commands, one on each line.
func lines(commands ...string) string { return strings.Join(commands, "\n") }

// operatorCan returns the command that checks a permission of the operator in the namespace.
func (s Situation) operatorCan(verb, resource string) string {
	return kubectl("auth", "can-i", verb, resource, "-n", s.namespace(), "--as="+operator)
}

// bind binds one of the operator's ClusterRoles in the credential's namespace.
func (s Situation) bind(role string) string {
	return kubectl("create", "rolebinding", role, "-n", s.namespace(), "--clusterrole="+role, "--serviceaccount=rolecredential-system:rolecredential-manager")
}
