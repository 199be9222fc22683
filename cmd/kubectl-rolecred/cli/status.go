package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cluster"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/rules"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/term"
	"rolecredential.dev/operator/controllers/rollout/readers"
)

// status is the report of a credential.
type status struct {
	Credential string `json:"credential"`
	Namespace  string `json:"namespace"`
	Ready      bool   `json:"ready"`
	// Reason of the condition Ready, empty if the operator has not reconciled the credential.
	Reason string `json:"reason,omitempty"`
	// Outdated is true if the operator has not reconciled the current spec.
	Outdated bool `json:"outdated,omitempty"`
	// Path lists the steps from the identity to the Secret.
	Path       []pathEntry        `json:"path"`
	Rule       *ruleResult        `json:"rule,omitempty"`
	Conditions []metav1.Condition `json:"conditions"`
	TimeLine   *timeLine          `json:"timeLine,omitempty"`
	Readers    []readers.Reader   `json:"readers,omitempty"`
	// Unknown maps each part that could not be read to the error.
	Unknown map[string]string `json:"unknown,omitempty"`
}

// pathEntry is a step on the path.
type pathEntry struct {
	Name string `json:"name"`
	Note string `json:"note,omitempty"`
}

// ruleResult is the result of the identity's rules.
type ruleResult struct {
	Identity string `json:"identity"`
	// Index of the rule that allows the request in spec.allow, -1 if none does.
	Index int    `json:"index"`
	Rule  string `json:"rule,omitempty"`
	// Namespaced is true for an Identity, which allows everything in its namespace.
	Namespaced bool `json:"own,omitempty"`
	// Denied says why the request is denied.
	Denied string `json:"denied,omitempty"`
}

// timeLine holds the times of the current session credentials. Refresh is nil if no refresh is planned.
type timeLine struct {
	Issued  time.Time  `json:"issued"`
	Refresh *time.Time `json:"refresh,omitempty"`
	Expires time.Time  `json:"expires"`
}

// Keys of status.Unknown.
const (
	unknownIdentity = "identity"
	unknownLabels   = "namespace"
	unknownReaders  = "readers"
)

func (p *plugin) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "status NAME",
		Short:             "Show a credential's identity, rule, conditions, times and readers",
		Long:              "Show how a credential is issued, the rule that allows it, its conditions, its issue, refresh and expiry times, and the pods that use its Secret.",
		Example:           "  kubectl rolecred status s3-reader -n shop",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeNames(1),
	}
	o := addOutput(cmd, formatJSON, formatYAML)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, found, err := p.find(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		report := p.status(cmd.Context(), c, found)
		now := p.now()
		return answer(report.Ready, p.write(o, report, func(printer *term.Printer) { report.print(printer, now) }))
	}
	return cmd
}

// status builds the report. Parts that cannot be read go to Unknown.
func (p *plugin) status(ctx context.Context, c *cluster.Cluster, found cluster.Credential) status {
	s := status{
		Credential: found.String(), Namespace: found.GetNamespace(), Ready: found.Ready(), Outdated: specNotObserved(found),
		Conditions: found.Report().Conditions, TimeLine: timeLineOf(found), Unknown: map[string]string{},
	}
	if ready := found.Condition(v1alpha1.ConditionReady); ready != nil {
		s.Reason = ready.Reason
	}
	identity, err := c.Identity(ctx, found.IdentityRef())
	if err != nil {
		s.Unknown[unknownIdentity] = err.Error()
		s.Path = pathOf(found, nil)
	} else {
		s.Path = pathOf(found, &identity)
		verdict, err := evaluate(ctx, c, found, identity)
		if err != nil {
			s.Unknown[unknownLabels] = err.Error()
		}
		s.Rule = ruleResultOf(identity, verdict)
	}
	if s.Readers, err = p.readers(ctx, c, found); err != nil {
		s.Unknown[unknownReaders] = err.Error()
	}
	return s
}

func specNotObserved(c cluster.Credential) bool {
	return c.Report().ObservedGeneration < c.GetGeneration()
}

func timeLineOf(c cluster.Credential) *timeLine {
	report := c.Report()
	if report.LastRefreshTime == nil || report.Expiration == nil {
		return nil
	}
	line := &timeLine{Issued: report.LastRefreshTime.UTC(), Expires: report.Expiration.UTC()}
	if report.NextRefreshTime != nil {
		refresh := report.NextRefreshTime.UTC()
		line.Refresh = &refresh
	}
	return line
}

func ruleResultOf(identity cluster.Identity, verdict rules.Verdict) *ruleResult {
	r := &ruleResult{Identity: identity.Path(), Index: verdict.Rule, Namespaced: identity.Namespaced}
	if identity.Namespaced {
		r.Index = -1
	} else if verdict.Rule >= 0 {
		r.Rule = rules.Describe(identity.Rules[verdict.Rule])
	}
	if verdict.Denied != nil {
		r.Denied = verdict.Denied.Message
	}
	return r
}

// pathOf returns the steps from the identity by its source, its chain and the call to the Secret. The identity is nil if it is not known.
func pathOf(c cluster.Credential, identity *cluster.Identity) []pathEntry {
	stops := []pathEntry{{Name: c.IdentityRef().Path()}}
	if identity != nil {
		stops[0].Note = identityNote(*identity)
		source := pathEntry{Name: "source: " + identity.Source}
		if identity.Audience != "" {
			source = pathEntry{Name: c.ServiceAccount(), Note: source.Name}
		}
		if len(identity.Chain) == 0 && identity.ARN != "" {
			source = pathEntry{Name: identity.ARN, Note: source.Name}
		}
		stops = append(stops, source)
		for _, hop := range identity.Chain {
			stops = append(stops, pathEntry{Name: hop.RoleARN, Note: hopNote(hop)})
		}
	}
	call := c.Request.Call
	if identity != nil {
		call = identity.Call(call)
	}
	callNote := fmt.Sprintf("%s for %s", call, rules.Duration(c.Request.Duration))
	unnamed := call == v1alpha1.CallCreateSession && !identity.RolesAnywhere.AcceptRoleSessionName
	if c.Request.SessionName != "" && !unnamed {
		callNote += " as " + c.Request.SessionName
	}
	if c.Request.RoleARN != "" {
		stops = append(stops, pathEntry{Name: c.Request.RoleARN, Note: callNote})
		callNote = ""
	}
	report := c.Report()
	if report.AccessKeyID != "" {
		if callNote != "" {
			callNote += ", "
		}
		stops = append(stops, pathEntry{Name: cmp.Or(report.PrincipalARN, "session"), Note: callNote + report.AccessKeyID})
		callNote = ""
	}
	return append(stops, pathEntry{Name: "secret/" + c.SecretName(), Note: callNote})
}

func identityNote(identity cluster.Identity) string {
	where := identity.Region
	if identity.Endpoint != "" {
		where += ", " + identity.Endpoint
	}
	if ready := meta.FindStatusCondition(identity.Conditions, v1alpha1.ConditionReady); ready != nil {
		return fmt.Sprintf("Ready %s, %s; %s", ready.Status, ready.Reason, where)
	}
	return where
}

func hopNote(hop v1alpha1.Hop) string {
	if hop.ExternalID != "" {
		return "hop, external ID " + hop.ExternalID
	}
	return "hop"
}

func (s status) print(p *term.Printer, now time.Time) {
	verdict := term.Text{Text: "Ready", Colour: term.Good}
	if !s.Ready {
		verdict = term.Text{Text: "not Ready", Colour: term.Bad}
	}
	p.Texts(term.Text{Text: s.Credential, Colour: term.Title}, term.Plain(" in "+s.Namespace+": "), verdict, term.Plain(", "+cmp.Or(s.Reason, "not reconciled yet")))
	if s.Outdated && len(s.Conditions) > 0 {
		p.Texts(term.Text{Text: "The operator has not reconciled the current spec yet. The status below is of an earlier spec.", Colour: term.Warning})
	}
	p.Section("FROM IDENTITY TO SECRET")
	s.printPath(p)
	p.Section("RULE")
	s.printRule(p)
	p.Section("CONDITIONS")
	s.printConditions(p, now)
	p.Section("TIMES")
	if s.TimeLine == nil {
		p.Linef("  STS has issued no session credentials")
	} else {
		s.TimeLine.print(p, now)
	}
	p.Section("READERS")
	printReaders(p, "  ", s.Readers, s.Unknown[unknownReaders], false)
}

// printUnknown writes that a part could not be read, and why.
func printUnknown(p *term.Printer, why string) {
	p.Texts(term.Text{Text: "  not known: " + why, Colour: term.Warning})
}

func (s status) printPath(p *term.Printer) {
	var rows [][]term.Text
	for i, entry := range s.Path {
		branch := ""
		if i > 0 {
			branch = strings.Repeat("   ", i-1) + "└─ "
		}
		rows = append(rows, []term.Text{term.Plain(branch + entry.Name), {Text: entry.Note, Colour: term.Faint}})
	}
	p.Table("  ", rows...)
	if why, unknown := s.Unknown[unknownIdentity]; unknown {
		printUnknown(p, why)
	}
}

func (s status) printRule(p *term.Printer) {
	switch {
	case s.Rule == nil:
		printUnknown(p, "the identity's rules could not be read; see the condition Authorized")
	case s.Rule.Denied != "":
		p.Texts(term.Text{Text: "  denied: ", Colour: term.Bad}, term.Plain(s.Rule.Denied))
	case s.Rule.Namespaced:
		p.Linef("  no rule needed: %s allows everything in its namespace", s.Rule.Identity)
	default:
		p.Linef("  spec.allow[%d] of %s: %s", s.Rule.Index, s.Rule.Identity, s.Rule.Rule)
	}
	if why, unknown := s.Unknown[unknownLabels]; unknown {
		printUnknown(p, "the namespace's labels could not be read, so rules with a namespaceSelector do not match: "+why)
	}
}

func (s status) printConditions(p *term.Printer, now time.Time) {
	if len(s.Conditions) == 0 {
		p.Linef("  none: the operator has not reconciled it yet")
	}
	var rows [][]term.Text
	for _, c := range s.Conditions {
		rows = append(rows, []term.Text{
			term.Plain(c.Type), {Text: string(c.Status), Colour: term.StatusColour(c.Status)}, term.Plain(c.Reason), {Text: "for " + term.Age(c.LastTransitionTime.Time, now), Colour: term.Faint},
		})
	}
	p.Table("  ", rows...)
	for _, c := range s.Conditions {
		if c.Status != metav1.ConditionTrue {
			p.Linef("  %s: %s", c.Type, c.Message)
		}
	}
}

// barWidth is the width of the bar of the lifetime, in characters.
const barWidth = 60

func (t timeLine) print(p *term.Printer, now time.Time) {
	rows := [][]term.Text{term.Row("issued", term.Time(t.Issued), term.Relative(t.Issued, now))}
	if t.Refresh != nil {
		rows = append(rows, term.Row("refresh", term.Time(*t.Refresh), term.Relative(*t.Refresh, now)))
	} else {
		rows = append(rows, []term.Text{term.Plain("refresh"), {Text: "none", Colour: term.Warning}})
	}
	expires := term.Text{Text: term.Relative(t.Expires, now)}
	if !now.Before(t.Expires) {
		expires.Colour = term.Bad
	}
	p.Table("  ", append(rows, []term.Text{term.Plain("expires"), term.Plain(term.Time(t.Expires)), expires})...)
	p.Linef("  [%s]", t.bar(now))
}

// bar shows the elapsed part of the lifetime as =, the rest as -, and the next refresh as |.
func (t timeLine) bar(now time.Time) string {
	at := func(moment time.Time) int {
		part := float64(moment.Sub(t.Issued)) / float64(t.Expires.Sub(t.Issued))
		return int(min(max(part, 0), 1) * barWidth)
	}
	bar := []byte(strings.Repeat("=", at(now)) + strings.Repeat("-", barWidth-at(now)))
	if t.Refresh != nil {
		bar[min(at(*t.Refresh), barWidth-1)] = '|'
	}
	return string(bar)
}
