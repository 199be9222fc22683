package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/advice"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/rules"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/term"
)

type canIOptions struct {
	namespace, role, identity, call, sessionName string
	duration                                     time.Duration
}

// permission is whether a request would be allowed.
type permission struct {
	Allowed  bool   `json:"allowed"`
	Identity string `json:"identity"`
	// Index of the rule in spec.allow that fits, -1 if none does.
	Index int `json:"index"`
	// Own tells that the identity is the namespace's own, which has no rules.
	Own bool `json:"own,omitempty"`
	// Denied is why not.
	Denied string       `json:"denied,omitempty"`
	Rules  []ruleReport `json:"rules"`
	// Manifest is one that would pass.
	Manifest string `json:"manifest,omitempty"`
	// Here is what else there is to do for it to pass.
	Here []advice.Step `json:"here,omitempty"`
}

// ruleReport is what one rule says.
type ruleReport struct {
	Rule string `json:"rule"`
	// Missed names what of the rule does not fit.
	Missed []string `json:"missed,omitempty"`
}

func (p *plugin) canICommand() *cobra.Command {
	options := canIOptions{}
	cmd := &cobra.Command{
		Use:   "can-i --role ARN",
		Short: "Say whether an identity's rules allow a namespace a role",
		Long: `Say whether a credential would be allowed, by which rule, or what of each rule does not fit; and write one that would pass. Nothing
is asked of STS: whether the role's trust policy agrees shows when the credential is made.`,
		Example: `  kubectl rolecred can-i --as-namespace shop --role arn:aws:iam::123456789012:role/S3Reader --duration 2h
  kubectl rolecred can-i --as-namespace shop --call GetSessionToken --identity iam-user`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&options.namespace, "as-namespace", "", "`namespace` that would ask; the current one if empty")
	flags.StringVar(&options.role, "role", "", "`ARN` of the role; needed for AssumeRole")
	flags.StringVar(&options.identity, "identity", v1alpha1.DefaultIdentityName, "identity to ask by: `NAME` of a ClusterIdentity, or TYPE/NAME")
	flags.StringVar(&options.call, "call", string(v1alpha1.CallAssumeRole), "`call` of STS: AssumeRole, GetSessionToken or GetFederationToken")
	flags.StringVar(&options.sessionName, "session-name", "", "`name` of the session, if not the default")
	flags.DurationVar(&options.duration, "duration", 0, "`duration` to ask for; the kind's default if zero")
	_ = cmd.RegisterFlagCompletionFunc("call", cobra.FixedCompletions(
		[]string{string(v1alpha1.CallAssumeRole), string(v1alpha1.CallGetSessionToken), string(v1alpha1.CallGetFederationToken)}, cobra.ShellCompDirectiveNoFileComp))
	o := addOutput(cmd, formatJSON, formatYAML)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		report, err := p.canI(cmd.Context(), options)
		if err != nil {
			return err
		}
		if err := p.write(o, report, func(printer *term.Printer, _ bool) { report.print(printer) }); err != nil {
			return err
		}
		if !report.Allowed {
			return errNo
		}
		return nil
	}
	return cmd
}

func (p *plugin) canI(ctx context.Context, o canIOptions) (permission, error) {
	c, err := p.cluster()
	if err != nil {
		return permission{}, err
	}
	o.namespace = cmp.Or(o.namespace, c.Namespace)
	asked, err := o.credential()
	if err != nil {
		return permission{}, err
	}
	identity, err := c.Identity(ctx, asked.IdentityRef())
	if err != nil {
		return permission{}, err
	}
	verdict, err := judge(ctx, c, asked, identity)
	if err != nil {
		p.warn("rules with a namespaceSelector are taken for not fitting: %v", err)
	}
	report := permission{Allowed: verdict.Denied == nil, Identity: identity.Path(), Index: verdict.Rule, Rules: []ruleReport{}}
	if identity.Own {
		report.Own, report.Index, identity.Rules = true, -1, nil
	}
	for i, rule := range identity.Rules {
		report.Rules = append(report.Rules, ruleReport{Rule: rules.Describe(rule), Missed: verdict.Missed[i]})
	}
	if verdict.Denied != nil {
		report.Denied = verdict.Denied.Message
		condition := metav1.Condition{Type: v1alpha1.ConditionAuthorized, Status: metav1.ConditionFalse, Reason: verdict.Denied.Reason, Message: verdict.Denied.Message}
		asked, report.Here = advice.ToPass(advice.Situation{Condition: condition, Credential: &asked, Identity: &identity, Ref: identity.IdentityRef, Verdict: &verdict})
	}
	report.Manifest, err = manifest(asked)
	return report, err
}

// credential is the one that is asked about.
func (o canIOptions) credential() (cluster.Credential, error) {
	common := v1alpha1.CredentialSpec{IdentityRef: v1alpha1.IdentityReference{Name: o.identity}}
	if ref, ok := cluster.ParseIdentityRef(o.identity, o.namespace); ok {
		common.IdentityRef = v1alpha1.IdentityReference{Kind: ref.Kind, Name: ref.Name}
	} else if strings.Contains(o.identity, "/") {
		return cluster.Credential{}, fmt.Errorf("there is no kind of identity as in %q", o.identity)
	}
	call := v1alpha1.Call(o.call)
	kind, known := cluster.KindOf(call)
	switch {
	case !known:
		return cluster.Credential{}, fmt.Errorf("there is no call %q: it is AssumeRole, GetSessionToken or GetFederationToken", o.call)
	case call == v1alpha1.CallAssumeRole && o.role == "":
		return cluster.Credential{}, fmt.Errorf("--role is needed with %s", call)
	case call != v1alpha1.CallAssumeRole && o.role != "":
		return cluster.Credential{}, fmt.Errorf("--role goes with %s, and %s asks for none", v1alpha1.CallAssumeRole, call)
	}
	object := kind.New()
	object.SetNamespace(o.namespace)
	object.SetName(o.name())
	*object.Common() = common
	ask := cluster.Ask{RoleARN: o.role, SessionName: o.sessionName, Policy: examplePolicy}
	if o.duration != 0 {
		ask.Duration = &metav1.Duration{Duration: o.duration}
	}
	return cluster.NewCredential(kind, object).Asking(ask), nil
}

// examplePolicy stands where a FederatedCredential must have one.
const examplePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"*"}]}`

// name is one that the credential could have.
func (o canIOptions) name() string {
	if o.role == "" {
		return "example"
	}
	return strings.Trim(strings.Map(func(r rune) rune {
		if (r >= 'a' && r <= 'z') || (r >= '0' && r <= '9') {
			return r
		}
		return '-'
	}, strings.ToLower(path.Base(o.role))), "-")
}

// manifest writes a credential as one would apply it.
func manifest(c cluster.Credential) (string, error) {
	text, err := json.Marshal(c.Object)
	if err != nil {
		return "", err
	}
	var object struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       map[string]any `json:"spec"`
	}
	if err := json.Unmarshal(text, &object); err != nil {
		return "", err
	}
	object.Spec["duration"] = rules.Duration(c.Request.Duration)
	if ref := c.Common().IdentityRef; ref.Name == v1alpha1.DefaultIdentityName && c.IdentityRef().Kind == v1alpha1.IdentityKindClusterIdentity {
		delete(object.Spec, "identityRef")
	}
	text, err = yaml.Marshal(object)
	return strings.TrimSpace(string(text)), err
}

func (r permission) print(p *term.Printer) {
	switch {
	case !r.Allowed:
		p.Texts(term.Text{Text: "no", Colour: term.Bad}, term.Plain(": "+r.Denied))
	case r.Own:
		p.Texts(term.Text{Text: "yes", Colour: term.Good}, term.Plain(": "+r.Identity+" is the namespace's own, which may use it for all that it can do"))
	default:
		p.Texts(term.Text{Text: "yes", Colour: term.Good}, term.Plain(fmt.Sprintf(": spec.allow[%d] of %s", r.Index, r.Identity)))
	}
	r.printRules(p)
	printSteps(p, "WHAT IT TAKES", r.Here)
	p.Section("A CREDENTIAL THAT PASSES" + after(len(r.Here) > 0))
	p.Block("  ", r.Manifest)
}

func (r permission) printRules(p *term.Printer) {
	if r.Own {
		return
	}
	p.Section("RULES OF " + strings.ToUpper(r.Identity))
	if len(r.Rules) == 0 {
		p.Linef("  none: nothing is allowed")
	}
	var rows [][]term.Text
	for i, rule := range r.Rules {
		says := term.Text{Text: "fits", Colour: term.Good}
		if len(rule.Missed) > 0 {
			says = term.Text{Text: "does not fit: " + strings.Join(rule.Missed, ", "), Colour: term.Bad}
		}
		rows = append(rows, []term.Text{term.Plain(fmt.Sprintf("allow[%d]", i)), says, term.Plain(rule.Rule)})
	}
	p.Table("  ", rows...)
}

func after(steps bool) string {
	if steps {
		return " THEN"
	}
	return ""
}
