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
	"rolecredential.dev/operator/controllers/authz"
)

// canICalls lists the calls of the flag --call.
const canICalls = "AssumeRole, CreateSession, GetSessionToken or GetFederationToken"

type canIOptions struct {
	namespace, role, identity, call, sessionName string
	duration                                     time.Duration
}

// permission is the report of whether a request is allowed.
type permission struct {
	Allowed  bool   `json:"allowed"`
	Identity string `json:"identity"`
	// Index of the matching rule in spec.allow, -1 if none matches.
	Index int `json:"index"`
	// Namespaced is true for an Identity, which has no rules.
	Namespaced bool `json:"own,omitempty"`
	// Denied says why the request is denied.
	Denied string       `json:"denied,omitempty"`
	Rules  []ruleReport `json:"rules"`
	// Manifest is a credential that would be allowed.
	Manifest string `json:"manifest,omitempty"`
	// Here lists the steps that the manifest needs first.
	Here []advice.Step `json:"here,omitempty"`
}

// ruleReport is the result of one rule.
type ruleReport struct {
	Rule string `json:"rule"`
	// Mismatches names the parts of the rule that do not match.
	Mismatches []string `json:"missed,omitempty"`
}

func (p *plugin) canICommand() *cobra.Command {
	options := canIOptions{}
	cmd := &cobra.Command{
		Use:   "can-i --role ARN",
		Short: "Check whether an identity's rules allow a namespace a role",
		Long: `Explain which rule of the identity allows or denies the request, and print a manifest that would be allowed. This does not call STS, so it
does not check the role's trust policy. An identity with the source x509 and without a chain calls CreateSession instead of AssumeRole.`,
		Example: `  kubectl rolecred can-i --as-namespace shop --role arn:aws:iam::123456789012:role/S3Reader --duration 2h
  kubectl rolecred can-i --as-namespace shop --call GetSessionToken --identity iam-user`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&options.namespace, "as-namespace", "", "`namespace` of the credential; the current one if empty")
	flags.StringVar(&options.role, "role", "", "`ARN` of the role; required for AssumeRole and CreateSession")
	flags.StringVar(&options.identity, "identity", v1alpha1.DefaultIdentityName, "identity of the credential: `NAME` of a ClusterIdentity, or TYPE/NAME")
	flags.StringVar(&options.call, "call", string(v1alpha1.CallAssumeRole), "`call`: "+canICalls)
	flags.StringVar(&options.sessionName, "session-name", "", "session `name`; the default name if empty")
	flags.DurationVar(&options.duration, "duration", 0, "`duration` of the session; the kind's default if zero")
	_ = cmd.RegisterFlagCompletionFunc("call", cobra.FixedCompletions([]string{
		string(v1alpha1.CallAssumeRole), string(v1alpha1.CallCreateSession), string(v1alpha1.CallGetSessionToken), string(v1alpha1.CallGetFederationToken),
	}, cobra.ShellCompDirectiveNoFileComp))
	o := addOutput(cmd, formatJSON, formatYAML)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		report, err := p.canI(cmd.Context(), options)
		if err != nil {
			return err
		}
		return answer(report.Allowed, p.write(o, report, report.print))
	}
	return cmd
}

func (p *plugin) canI(ctx context.Context, o canIOptions) (permission, error) {
	c, err := p.cluster()
	if err != nil {
		return permission{}, err
	}
	o.namespace = cmp.Or(o.namespace, c.Namespace)
	requested, err := o.credential()
	if err != nil {
		return permission{}, err
	}
	identity, err := c.Identity(ctx, requested.IdentityRef())
	if err != nil {
		return permission{}, err
	}
	if call := authz.CallToAuthorize(identity.Call(v1alpha1.CallAssumeRole)); o.call == string(v1alpha1.CallCreateSession) && o.call != string(call) {
		return permission{}, fmt.Errorf("%s calls %s, since only the source x509 without a chain calls CreateSession: use --call %s", identity.Path(), call, call)
	}
	verdict, err := evaluate(ctx, c, requested, identity)
	if err != nil {
		p.warn("the namespace's labels could not be read, so rules with a namespaceSelector do not match: %v", err)
	}
	situation := advice.Situation{Credential: &requested, Identity: &identity, Ref: identity.IdentityRef, Verdict: &verdict}
	if fields := situation.FieldsWithoutParameter(); len(fields) > 0 {
		p.warn("the call %s of %s takes no %s: whatever the rules are, such a credential fails with %s",
			identity.Call(requested.Request.Call), identity.Path(), strings.Join(fields, ", "), v1alpha1.ReasonUnsupportedField)
	}
	report := permission{Allowed: verdict.Denied == nil, Identity: identity.Path(), Index: verdict.Rule, Rules: []ruleReport{}}
	if identity.Namespaced {
		report.Namespaced, report.Index, identity.Rules = true, -1, nil
	}
	for i, rule := range identity.Rules {
		report.Rules = append(report.Rules, ruleReport{Rule: rules.Describe(rule), Mismatches: verdict.Mismatches[i]})
	}
	if verdict.Denied != nil {
		report.Denied = verdict.Denied.Message
		requested, report.Here = advice.SuggestAllowed(situation)
	}
	report.Manifest, err = manifest(requested)
	return report, err
}

// credential returns the credential that the flags describe.
func (o canIOptions) credential() (cluster.Credential, error) {
	common := v1alpha1.CredentialSpec{IdentityRef: v1alpha1.IdentityReference{Name: o.identity}}
	if ref, ok := cluster.ParseIdentityRef(o.identity, o.namespace); ok {
		common.IdentityRef = v1alpha1.IdentityReference{Kind: ref.Kind, Name: ref.Name}
	} else if strings.Contains(o.identity, "/") {
		return cluster.Credential{}, fmt.Errorf("%q names no known type of identity: use clusterid/NAME or stsid/NAME", o.identity)
	}
	call := v1alpha1.Call(o.call)
	kind, known := cluster.KindOf(call)
	forRole := kind.Call == v1alpha1.CallAssumeRole
	switch {
	case !known:
		return cluster.Credential{}, fmt.Errorf("unknown call %q: use %s", o.call, canICalls)
	case forRole && o.role == "":
		return cluster.Credential{}, fmt.Errorf("--call %s requires --role", call)
	case !forRole && o.role != "":
		return cluster.Credential{}, fmt.Errorf("--call %s takes no --role: remove it", call)
	}
	object := kind.New()
	object.SetNamespace(o.namespace)
	object.SetName(o.name())
	*object.Common() = common
	fields := cluster.RequestFields{RoleARN: o.role, SessionName: o.sessionName, Policy: examplePolicy}
	if o.duration != 0 {
		fields.Duration = &metav1.Duration{Duration: o.duration}
	}
	return cluster.NewCredential(kind, object).WithRequestFields(fields), nil
}

// examplePolicy is the policy in a FederatedCredential's manifest, which requires one.
const examplePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"*"}]}`

// name returns a valid name for the credential, derived from the role.
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

// manifest returns a credential as YAML to apply, without a status.
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
	case r.Namespaced:
		p.Texts(term.Text{Text: "yes", Colour: term.Good}, term.Plain(": "+r.Identity+" allows everything in its namespace"))
	default:
		p.Texts(term.Text{Text: "yes", Colour: term.Good}, term.Plain(fmt.Sprintf(": spec.allow[%d] of %s", r.Index, r.Identity)))
	}
	r.printRules(p)
	printSteps(p, "REQUIRED FIRST", r.Here)
	p.Section("A CREDENTIAL THAT IS ALLOWED" + after(len(r.Here) > 0))
	p.Block("  ", r.Manifest)
}

func (r permission) printRules(p *term.Printer) {
	if r.Namespaced {
		return
	}
	p.Section("RULES OF " + strings.ToUpper(r.Identity))
	if len(r.Rules) == 0 {
		p.Linef("  none: the identity allows no request")
	}
	var rows [][]term.Text
	for i, rule := range r.Rules {
		result := term.Text{Text: "matches", Colour: term.Good}
		if len(rule.Mismatches) > 0 {
			result = term.Text{Text: "does not match: " + strings.Join(rule.Mismatches, ", "), Colour: term.Bad}
		}
		rows = append(rows, []term.Text{term.Plain(fmt.Sprintf("allow[%d]", i)), result, term.Plain(rule.Rule)})
	}
	p.Table("  ", rows...)
}

func after(steps bool) string {
	if steps {
		return " AFTER THAT"
	}
	return ""
}
