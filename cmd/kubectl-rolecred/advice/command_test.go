package advice_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/advice"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/shell"
	"rolecredential.dev/operator/controllers/reason"
	"rolecredential.dev/operator/controllers/testkit"
)

const (
	harmlessText = "word"
	// hostileText is a name that runs another command in a shell if it is not quoted.
	hostileText = "a$(x);x|x&`x`'\"x\nx\r\x1b[2J >y *\\"
)

// fill sets each string of a value to a text, at any depth.
func fill(v reflect.Value, text string) {
	switch {
	case v.Type() == reflect.TypeFor[string]():
		v.SetString(text)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case v.Type() == reflect.TypeFor[map[string]string]():
		v.Set(reflect.ValueOf(map[string]string{text: text}))
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[metav1.Time]():
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), text)
			}
		}
	}
}

// filled returns a situation with a text in each string that a tenant or the owner of an identity can set.
func filled(text string, kind int) advice.Situation {
	object := cluster.Kinds[kind].New()
	fill(reflect.ValueOf(object).Elem().FieldByName("Spec"), text)
	object.SetNamespace(text)
	object.SetName(text)
	if c, ok := object.(*v1alpha1.RoleCredential); ok {
		c.Spec.RoleARN = "arn:aws:iam::123456789012:role/" + text
	}
	report := object.Report()
	fill(reflect.ValueOf(&report.FailedCall).Elem(), text)
	credential := cluster.NewCredential(cluster.Kinds[kind], object)
	identity := &cluster.Identity{}
	fill(reflect.ValueOf(identity).Elem(), text)
	identity.Endpoint = text + "\x7f" // not a URL
	identity.ARN, identity.Conditions = "arn:aws:iam::210987654321:user/"+text, nil
	identity.Chain[0].RoleARN = "arn:aws:iam::210987654321:role/" + text
	ref := cluster.IdentityRef{Kind: v1alpha1.IdentityKindIdentity, NamespacedName: types.NamespacedName{Namespace: text, Name: text}}
	return advice.Situation{Credential: &credential, Identity: identity, Ref: ref}
}

// variants change a situation so that the same reason has other advice.
var variants = map[string]func(*advice.Situation){
	"everything known":       func(*advice.Situation) {},
	"no identity":            unknownIdentity,
	"no credential":          ofIdentity,
	"the condition alone":    func(s *advice.Situation) { s.Credential, s.Identity = nil, nil },
	"no chain":               func(s *advice.Situation) { s.Identity.Chain = nil },
	"no chain and no tokens": func(s *advice.Situation) { s.Identity.Chain, s.Identity.Audience = nil, "" },
	"no source Secret":       func(s *advice.Situation) { s.Identity.SourceSecret = nil },
	"no endpoint":            func(s *advice.Situation) { s.Identity.Endpoint = "" },
	"a ClusterIdentity":      func(s *advice.Situation) { s.Ref.Kind = v1alpha1.IdentityKindClusterIdentity },
	"no rule":                ruled(),
	"STS was not called":     func(s *advice.Situation) { s.Credential.Report().FailedCall = nil },
	"a denied hop": func(s *advice.Situation) {
		failing(reason.Subject{Call: v1alpha1.CallAssumeRole, RoleARN: s.Identity.Chain[0].RoleARN, Hop: true})(s)
	},
	"a denied token": func(s *advice.Situation) {
		s.Identity.Chain = nil
		failing(reason.Subject{Call: v1alpha1.CallAssumeRoleWithWebIdentity, RoleARN: s.Credential.Request.RoleARN})(s)
	},
}

func isCommand(text string) bool {
	program, _, _ := strings.Cut(text, " ")
	return slices.Contains([]string{"kubectl", "aws", "openssl"}, program)
}

// stubs replace the programs of the commands. Each appends its arguments as one line to a file.
const stubs = `
record() { line=$(printf '%s\037' "$STEP" "$@"); printf '%s\n' "$line" >>record; }
kubectl() { record kubectl "$@"; }
aws() { record aws "$@"; }
openssl() { record openssl "$@"; }
x() { record "a second command"; }
`

// runCommands runs all commands of the catalogue for one variant in a shell, and returns the arguments of each.
func runCommands(t *testing.T, text string, kind int, change func(*advice.Situation)) []string {
	t.Helper()
	g := NewWithT(t)
	script := stubs
	for _, reason := range testkit.AllReasons(t, "../../..") {
		s := filled(text, kind)
		s.Condition = metav1.Condition{Type: v1alpha1.ConditionIssued, Status: metav1.ConditionFalse, Reason: reason}
		change(&s)
		explained := advice.Explain(s)
		for i, step := range append(explained.Cluster, explained.AWS...) {
			if isCommand(step.Copy) {
				script += fmt.Sprintf("STEP='%s %d'\n%s\n", reason, i, step.Copy)
			} else if step.Copy != "" {
				g.Expect(yaml.Unmarshal([]byte(step.Copy), new(any))).To(Succeed(), "%s: neither a command nor a document: %s", reason, step.Copy)
			}
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", script)
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(out))
	g.Expect(string(out)).To(BeEmpty())
	record, err := os.ReadFile(filepath.Join(cmd.Dir, "record"))
	g.Expect(err).NotTo(HaveOccurred())
	return strings.Split(string(record), "\n")
}

func TestCommandsQuoteAllNames(t *testing.T) {
	for name, change := range variants {
		for kind := range cluster.Kinds {
			t.Run(fmt.Sprintf("%s, %s", name, cluster.Kinds[kind].Name), func(t *testing.T) {
				g := NewWithT(t)
				want := runCommands(t, harmlessText, kind, change)
				got := runCommands(t, hostileText, kind, change)
				g.Expect(len(got)).To(BeNumerically(">", 30))
				for i := range want {
					want[i] = strings.ReplaceAll(want[i], harmlessText, shell.Printable(hostileText))
				}
				slices.Sort(want) // the programs of a pipe write in any order
				slices.Sort(got)
				g.Expect(cmp.Diff(want, got)).To(BeEmpty())
			})
		}
	}
}

// optionText is a name that a program takes as an option if it is an argument of its own.
const optionText = "--endpoint-url=x"

// beforeNames are arguments after which a program takes the next one as it is, or after which only a name follows that the schema of the
// API restricts to names of Kubernetes. Those do not begin with a hyphen.
var beforeNames = []string{"-n", "-connect", "--url", "secret", "generic", "serviceaccount"}

func TestCommandsTakeNoNameAsOption(t *testing.T) {
	for name, change := range variants {
		for kind := range cluster.Kinds {
			t.Run(fmt.Sprintf("%s, %s", name, cluster.Kinds[kind].Name), func(t *testing.T) {
				for _, line := range runCommands(t, optionText, kind, change) {
					args := strings.Split(line, "\x1f")
					for i, arg := range args {
						if strings.HasPrefix(arg, optionText) && !slices.Contains(beforeNames, args[i-1]) {
							t.Errorf("a program takes %s as an option: %q", arg, args)
						}
					}
				}
			})
		}
	}
}

// The AWS CLI reads a file in place of a value that begins with file://, so a list is written as JSON.
func TestAudienceIsNotReadFromFile(t *testing.T) {
	g := NewWithT(t)
	s := situation(v1alpha1.ReasonInvalidSourceCredentials, own, failing(reason.Subject{Call: v1alpha1.CallAssumeRoleWithWebIdentity, RoleARN: reader}))
	s.Identity.Audience = "file:///etc/passwd"
	g.Expect(advice.Explain(s).AWS[1].Copy).To(HaveSuffix(`'--client-id-list=["file:///etc/passwd"]'`))
}
