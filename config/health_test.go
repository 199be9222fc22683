package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	lua "github.com/yuin/gopher-lua"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers/testkit"
)

// customizations is the folder of the scripts, in Argo CD's layout.
var customizations = filepath.Join("argocd", "resource_customizations", v1alpha1.GroupVersion.Group)

// health is what a tool reports about an object.
type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// state is an object's spec and status as far as other tools read it, and what they report.
type state struct {
	suspend                        bool
	generation, observedGeneration int64
	conditions                     []metav1.Condition
	argo                           health
	// flux is the status of kstatus, and fluxWithExprs that of the expressions in docs/integrations.md.
	flux, fluxWithExprs string
}

func (s state) object(t *testing.T, kind string) *unstructured.Unstructured {
	t.Helper()
	object := map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": kind,
		"metadata": map[string]any{"name": "example", "generation": s.generation}, "spec": map[string]any{},
	}
	if s.suspend {
		object["spec"] = map[string]any{"suspend": true}
	}
	if s.observedGeneration != 0 {
		status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&v1alpha1.CredentialStatus{ObservedGeneration: s.observedGeneration, Conditions: s.conditions})
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		object["status"] = status
	}
	return &unstructured.Unstructured{Object: object}
}

// statesByKind are the states of each kind of the API.
func statesByKind(t *testing.T) map[string]map[string]state {
	t.Helper()
	all := map[string]map[string]state{"ClusterIdentity": identityStates(t), "Identity": identityStates(t)}
	for _, kind := range []string{"RoleCredential", "SessionCredential", "FederatedCredential"} {
		all[kind] = credentialStates(t)
	}
	return all
}

var waiting = health{"Progressing", "Waiting for the operator to process this spec."}

// message is the message of a condition such as "Ready False NotIssued".
func message(condition string) string { return "The message of " + condition + "." }

func (s state) suspended() state {
	s.suspend = true
	return s
}

// observed returns a state that the operator has processed.
func observed(argoStatus, argoMessage, flux, fluxWithExprs string, conditions ...string) state {
	s := state{generation: 2, observedGeneration: 2, argo: health{argoStatus, argoMessage}, flux: flux, fluxWithExprs: fluxWithExprs}
	for _, text := range conditions {
		fields := strings.Fields(text)
		s.conditions = append(s.conditions, metav1.Condition{Type: fields[0], Status: metav1.ConditionStatus(fields[1]), Reason: fields[2], Message: message(text)})
	}
	return s
}

// without returns reasons without some of them, each of which must be there.
func without(t *testing.T, reasons []string, some ...string) []string {
	t.Helper()
	NewWithT(t).Expect(reasons).To(ContainElements(some))
	return slices.DeleteFunc(slices.Clone(reasons), func(r string) bool { return slices.Contains(some, r) })
}

// credentialStates are states of a credential that together have each of its reasons.
func credentialStates(t *testing.T) map[string]state {
	t.Helper()
	const allowed, issued, notAttempted, ready, notIssued = "Authorized True Allowed", "Issued True Issued", "Issued Unknown NotAttempted", "Ready True Issued", "Ready False NotIssued"
	// Flux waits while Issued is False for these reasons, and fails at once for the others.
	retried := []string{"Throttled", "STSUnreachable", "STSError", "ProviderUnreachable", "ProviderError"}
	final := []string{
		"AccessDenied", "ClientRejected", "ClockSkew", "InvalidMFA", "InvalidRequest", "InvalidSourceCredentials", "InvalidTags", "MalformedPolicy", "PolicyTooLarge",
		"RegionDisabled", "SecretNotWritten", "TokenExpired", "TokenNotIssued", "TokenNotYetValid", "UnsupportedField", "WrongPartition", "WrongSourceType",
	}
	valid := message(ready)
	reasons := testkit.Reasons(t, "..")
	states := map[string]state{
		"valid credentials":                   observed("Healthy", valid, "Current", "Current", allowed, issued, ready),
		"first credentials, rate limited":     observed("Progressing", message(notAttempted), "InProgress", "InProgress", allowed, notAttempted, notIssued),
		"expired credentials, rate limited":   observed("Progressing", message(notAttempted), "InProgress", "InProgress", allowed, notAttempted, "Ready False Expired"),
		"credentials of an old spec, limited": observed("Progressing", message(notAttempted), "InProgress", "InProgress", allowed, notAttempted, "Ready False Outdated"),
		"no pod holds an earlier credential":  observed("Healthy", valid, "Current", "Current", allowed, issued, ready, "RolledOut True RolledOut"),
		"suspended with valid credentials":    observed("Suspended", message("Ready True Suspended"), "Current", "Current", allowed, issued, "Ready True Suspended").suspended(),
		"suspended without credentials":       observed("Suspended", message("Ready False Suspended"), "InProgress", "InProgress", allowed, notAttempted, "Ready False Suspended").suspended(),
		"a new object":                        {generation: 1, argo: waiting, flux: "Current", fluxWithExprs: "no such attribute"},
		"a new object that is suspended":      {generation: 1, suspend: true, argo: health{"Suspended", "spec.suspend is set."}, flux: "Current", fluxWithExprs: "no such attribute"},
	}
	changed := states["valid credentials"]
	changed.generation, changed.argo, changed.flux, changed.fluxWithExprs = 3, waiting, "InProgress", "InProgress"
	states["a generation that the operator has not processed"] = changed

	for _, reason := range without(t, reasons["ConditionAuthorized"], "Allowed") {
		denied := "Authorized False " + reason
		states[denied] = observed("Degraded", message(denied), "InProgress", "Failed", denied, notAttempted, notIssued)
		states[denied+", valid credentials"] = observed("Healthy", "Authorized is False: "+message(denied), "Current", "Current", denied, issued, ready)
	}
	NewWithT(t).Expect(reasons["ConditionIssued"]).To(ConsistOf(slices.Concat(retried, final, []string{"Issued", "NotAttempted"})), "each reason is retried or final")
	for _, reason := range slices.Concat(retried, final) {
		failed, withExprs := "Issued False "+reason, "Failed"
		if slices.Contains(retried, reason) {
			withExprs = "InProgress"
		}
		states[failed] = observed("Degraded", message(failed), "InProgress", withExprs, allowed, failed, notIssued)
		states[failed+", valid credentials"] = observed("Healthy", "Issued is False: "+message(failed), "Current", "Current", allowed, failed, ready)
		states[failed+", credentials of an old spec"] = observed("Degraded", message(failed), "InProgress", withExprs, allowed, failed, "Ready False Outdated")
	}
	for _, reason := range without(t, reasons["a credential's ConditionReady"], "NotIssued", "Expired", "Outdated", "Suspended") {
		failed := "Ready False " + reason
		states[failed] = observed("Degraded", message(failed), "InProgress", "Failed", allowed, notAttempted, failed)
	}
	for _, reason := range without(t, reasons["ConditionRolledOut"], "RolledOut", "NotIssued", "Expired") {
		rollout := "RolledOut False " + reason
		states[rollout] = observed("Healthy", "RolledOut is False: "+message(rollout), "Current", "Current", allowed, issued, ready, rollout)
	}
	return states
}

// identityStates are states of an identity that together have each of its reasons.
func identityStates(t *testing.T) map[string]state {
	t.Helper()
	const inSync = "ClockInSync True InSync"
	states := map[string]state{
		"a new object":   {generation: 1, argo: waiting, flux: "Current"},
		"no clock known": observed("Healthy", message("Ready True Verified"), "Current", "", "Ready True Verified"),
		"clock skew":     observed("Healthy", "ClockInSync is False: "+message("ClockInSync False ClockSkew"), "Current", "", "Ready True Verified", "ClockInSync False ClockSkew"),
	}
	usable := []string{"Verified", "NotVerifiable"}
	reasons := testkit.Reasons(t, "..")["an identity's ConditionReady"]
	for _, reason := range usable {
		states[reason] = observed("Healthy", message("Ready True "+reason), "Current", "", "Ready True "+reason, inSync)
	}
	for _, reason := range without(t, reasons, usable...) {
		states[reason] = observed("Degraded", message("Ready False "+reason), "InProgress", "", "Ready False "+reason, inSync)
	}
	for _, reason := range without(t, testkit.Reasons(t, "..")["ConditionCertificateValid"], "CertificateUsable") {
		states[reason] = observed("Degraded", message("Ready False "+reason), "InProgress", "", "CertificateValid False "+reason, "Ready False "+reason)
	}
	states["CertificateUsable"] = observed("Healthy", message("Ready True NotVerifiable"), "Current", "", "CertificateValid True CertificateUsable", "Ready True NotVerifiable")
	return states
}

// Each reason of the API must be in a state, so that a new one gets an expectation.
func TestHealthStatesHaveEachReason(t *testing.T) {
	g := NewWithT(t)
	covered := map[string]bool{}
	for _, states := range []map[string]state{credentialStates(t), identityStates(t)} {
		for _, s := range states {
			for _, c := range s.conditions {
				covered[c.Reason] = true
			}
		}
	}
	for _, reason := range testkit.AllReasons(t, "..") {
		g.Expect(covered).To(HaveKey(reason))
	}
}

// runHealthScript runs a script as Argo CD does: with the base and table libraries, and the object in the variable obj.
func runHealthScript(t *testing.T, script string, object *unstructured.Unstructured) health {
	t.Helper()
	g := NewWithT(t)
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		g.Expect(l.CallByParam(lua.P{Fn: l.NewFunction(open), Protect: true}, lua.LString(name))).To(Succeed())
	}
	l.SetGlobal("obj", luaValue(l, object.Object))
	g.Expect(l.DoString(script)).To(Succeed())
	result, ok := l.Get(-1).(*lua.LTable)
	g.Expect(ok).To(BeTrue(), "a script returns a table")
	return health{Status: lua.LVAsString(result.RawGetString("status")), Message: lua.LVAsString(result.RawGetString("message"))}
}

func luaValue(l *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case float64:
		return lua.LNumber(value)
	case int64:
		return lua.LNumber(value)
	case []any:
		table := l.NewTable()
		for _, element := range value {
			table.Append(luaValue(l, element))
		}
		return table
	case map[string]any:
		table := l.NewTable()
		for key, field := range value {
			table.RawSetString(key, luaValue(l, field))
		}
		return table
	default:
		return lua.LNil
	}
}

func healthScript(t *testing.T, kind string) string {
	t.Helper()
	script, err := os.ReadFile(filepath.Join(customizations, kind, "health.lua"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return string(script)
}

func TestArgoCDReportsHealthOfEachState(t *testing.T) {
	for kind, states := range statesByKind(t) {
		script := healthScript(t, kind)
		for name, s := range states {
			t.Run(kind+": "+name, func(t *testing.T) {
				NewWithT(t).Expect(runHealthScript(t, script, s.object(t, kind))).To(Equal(s.argo))
			})
		}
	}
}

// TestArgoCDHealthTests runs the tests of Argo CD's own layout, whose inputs must be objects of the API.
func TestArgoCDHealthTests(t *testing.T) {
	types := map[string]any{
		"RoleCredential": &v1alpha1.RoleCredential{}, "SessionCredential": &v1alpha1.SessionCredential{}, "FederatedCredential": &v1alpha1.FederatedCredential{},
		"ClusterIdentity": &v1alpha1.ClusterIdentity{}, "Identity": &v1alpha1.Identity{},
	}
	for kind, typed := range types {
		g := NewWithT(t)
		text, err := os.ReadFile(filepath.Join(customizations, kind, "health_test.yaml"))
		g.Expect(err).NotTo(HaveOccurred())
		var suite struct {
			Tests []struct {
				InputPath    string `json:"inputPath"`
				HealthStatus health `json:"healthStatus"`
			} `json:"tests"`
		}
		g.Expect(yaml.UnmarshalStrict(text, &suite)).To(Succeed())
		inputs, err := filepath.Glob(filepath.Join(customizations, kind, "testdata", "*.yaml"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(suite.Tests).To(HaveLen(len(inputs)), kind)
		for _, tc := range suite.Tests {
			t.Run(kind+": "+tc.InputPath, func(t *testing.T) {
				g := NewWithT(t)
				input, err := os.ReadFile(filepath.Join(customizations, kind, filepath.FromSlash(tc.InputPath)))
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(yaml.UnmarshalStrict(input, typed)).To(Succeed())
				object := &unstructured.Unstructured{}
				g.Expect(yaml.Unmarshal(input, &object.Object)).To(Succeed())
				g.Expect(object.GetKind()).To(Equal(kind))
				g.Expect(runHealthScript(t, healthScript(t, kind), object)).To(Equal(tc.HealthStatus))
			})
		}
	}
}

// TestArgoCDConfigMapHasEachScript checks that kustomize prints a key for each kind of the group, with the same script.
func TestArgoCDConfigMapHasEachScript(t *testing.T) {
	g := NewWithT(t)
	configMaps := kustomize(t, "argocd").ofKind("ConfigMap")
	g.Expect(configMaps).To(HaveLen(1))
	want := map[string]any{}
	for kind := range statesByKind(t) {
		script := healthScript(t, kind)
		g.Expect(script).To(Equal(healthScript(t, "RoleCredential")), "the script of %s", kind)
		want["resource.customizations.health."+v1alpha1.GroupVersion.Group+"_"+kind] = script
	}
	data, _, err := unstructured.NestedMap(configMaps[0].Object, "data")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(data).To(Equal(want))
	g.Expect(configMaps[0].GetName()).To(Equal("argocd-cm"))
}
