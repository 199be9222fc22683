// Package main_test runs the plugin as users do: kubectl starts it, against a real API server with an operator and
// the STS emulator.
package main_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/stsemulator"
)

const readerPrincipal = "arn:aws:sts::123456789012:assumed-role/S3Reader/shop."

func TestCommandsOnReadyCredential(t *testing.T) {
	g := NewWithT(t)
	create(t, readerCredential("used"))
	waitFor(t, "Ready", "rolecred/used")

	status := rolecred(t, "status", "used")
	g.Expect(status.code).To(BeZero(), status.err)
	for _, part := range []string{"rolecredential/used in shop: Ready", operatorARN, readerRole, readerPrincipal + "used", "spec.allow[1] of clusteridentity/default", "expires", "no pod uses the Secret"} {
		g.Expect(status.out).To(ContainSubstring(part))
	}
	g.Expect(status.out).NotTo(ContainSubstring("\x1b"), "stdout is not a terminal")

	g.Expect(rolecred(t, "get").out).To(MatchRegexp(`rolecredential/used +True +Issued +` + readerRole + ` +in \d+m`))
	g.Expect(rolecred(t, "get", "used", "-o", "jsonpath={.status.principalARN}").out).To(Equal(readerPrincipal + "used"))
	explained := rolecred(t, "explain", "used")
	g.Expect(explained.code).To(BeZero())
	g.Expect(explained.out).To(ContainSubstring("is Ready"))

	var caller struct{ Arn string }
	g.Expect(json.Unmarshal([]byte(rolecred(t, "whoami", "used", "-o", "json").out), &caller)).To(Succeed())
	g.Expect(caller.Arn).To(Equal(readerPrincipal + "used"))

	ran := rolecred(t, "exec", "used", "--", "sh", "-c", `printf %s "$AWS_ACCESS_KEY_ID"; exit 7`)
	g.Expect(ran.code).To(Equal(7))
	g.Expect(ran.out).To(Equal(rolecred(t, "get", "used", "-o", "jsonpath={.status.accessKeyID}").out))

	revoked := rolecred(t, "revoke", "used")
	g.Expect(revoked.code).To(BeZero())
	g.Expect(revoked.out).To(ContainSubstring(`"aws:userid": "*:shop.used"`))
}

func TestOtherKindsAreNamedWithType(t *testing.T) {
	g := NewWithT(t)
	create(t, &v1alpha1.SessionCredential{ObjectMeta: metav1.ObjectMeta{Name: "own"}})
	create(t, &v1alpha1.FederatedCredential{ObjectMeta: metav1.ObjectMeta{Name: "up"}, Spec: v1alpha1.FederatedCredentialSpec{Policy: `{"Version":"2012-10-17","Statement":[]}`}})
	waitFor(t, "Ready", "sessioncred/own")
	waitFor(t, "Ready", "fedcred/up")
	g.Expect(rolecred(t, "whoami", "sessioncred/own").out).To(ContainSubstring(operatorARN))
	g.Expect(rolecred(t, "whoami", "federatedcredentials/up").out).To(ContainSubstring("arn:aws:sts::210987654321:federated-user/shop.up"))
	g.Expect(rolecred(t, "status", "own").code).To(Equal(3), "a name without a type is a RoleCredential")
	listed := rolecred(t, "get", "-o", "name").out
	g.Expect(listed).To(And(ContainSubstring("sessioncredential.sts.rolecredential.dev/own"), ContainSubstring("federatedcredential.sts.rolecredential.dev/up")))
}

func TestExplainIdentity(t *testing.T) {
	g := NewWithT(t)
	own := &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Name: "own"}}
	own.Spec.Region, own.Spec.Endpoint, own.Spec.Source.ServiceAccount = "eu-west-1", stsURL, &v1alpha1.ServiceAccountSource{}
	create(t, own)
	waitFor(t, "Ready=false", "stsid/own")
	explained := rolecred(t, "explain", "stsid/own")
	g.Expect(explained.code).To(Equal(2))
	g.Expect(explained.out).To(And(HavePrefix("identity/own: Ready is False, InvalidEndpoint\n"), ContainSubstring("--allow-namespaced-endpoints"), ContainSubstring("kubectl edit identity/own -n shop")))
	create(t, readerCredential("by-own", func(c *v1alpha1.RoleCredential) {
		c.Spec.IdentityRef = v1alpha1.IdentityReference{Kind: v1alpha1.IdentityKindIdentity, Name: "own"}
	}))
	waitFor(t, "Authorized=false", "rolecred/by-own")
	explained = rolecred(t, "explain", "by-own")
	g.Expect(explained.out).To(And(ContainSubstring("Authorized is False, IdentityNotReady"), ContainSubstring("--allow-namespaced-endpoints")))
}

func TestSDKUsesProcessAsCredentialProcess(t *testing.T) {
	g := NewWithT(t)
	create(t, readerCredential("profile"))
	waitFor(t, "Ready", "rolecred/profile")
	file := filepath.Join(t.TempDir(), "config")
	process := fmt.Sprintf("%s process profile -n shop --kubeconfig %s", filepath.Join(dir, "kubectl-rolecred"), adminConfig)
	g.Expect(os.WriteFile(file, []byte("[profile laptop]\nregion = eu-west-1\ncredential_process = "+process+"\n"), 0o600)).To(Succeed())
	config, err := awsconfig.LoadDefaultConfig(t.Context(), awsconfig.WithSharedConfigFiles([]string{file}), awsconfig.WithSharedCredentialsFiles(nil),
		awsconfig.WithSharedConfigProfile("laptop"), awsconfig.WithBaseEndpoint(stsURL))
	g.Expect(err).NotTo(HaveOccurred())
	keys, err := config.Credentials.Retrieve(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(keys.CanExpire).To(BeTrue())
	g.Expect(keys.Expires).To(BeTemporally("~", time.Now().Add(time.Hour), time.Minute))
	answer, err := awssts.NewFromConfig(config).GetCallerIdentity(t.Context(), &awssts.GetCallerIdentityInput{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(*answer.Arn).To(Equal(readerPrincipal + "profile"))
}

// The command replaces the process of kubectl: it gets kubectl's signals and sets kubectl's exit code.
func TestExecPassesSignalsToCommand(t *testing.T) {
	g := NewWithT(t)
	create(t, readerCredential("signal"))
	waitFor(t, "Ready", "rolecred/signal")
	cmd := kubectlCommand(t.Context(), adminConfig, "rolecred", "-n", "shop", "exec", "signal", "--", "sh", "-c", `trap 'kill $!; exit 9' TERM; sleep 60 & echo ready; wait`)
	out, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Start()).To(Succeed())
	line, err := bufio.NewReader(out).ReadString('\n')
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(line).To(Equal("ready\n"))
	g.Expect(cmd.Process.Signal(syscall.SIGTERM)).To(Succeed())
	g.Expect(cmd.Wait()).NotTo(Succeed())
	g.Expect(cmd.ProcessState.ExitCode()).To(Equal(9))
}

func TestRefreshWaitsForNewCredentials(t *testing.T) {
	g := NewWithT(t)
	create(t, readerCredential("refreshed"))
	waitFor(t, "Ready", "rolecred/refreshed")
	before := rolecred(t, "get", "refreshed", "-o", "jsonpath={.status.accessKeyID}").out
	got := rolecred(t, "refresh", "refreshed", "--wait", "--timeout", waitTimeout)
	g.Expect(got.code).To(BeZero(), got.err)
	after := rolecred(t, "get", "refreshed", "-o", "jsonpath={.status.accessKeyID}").out
	g.Expect(after).NotTo(Equal(before))
	g.Expect(got.out).To(HavePrefix("rolecredential/refreshed refreshed: " + after + ", expires 20"))

	g.Expect(rolecred(t, "refresh", "refreshed").out).To(Equal("rolecredential/refreshed refresh requested\n"))
}

func TestRefreshReportsFailureAtOnce(t *testing.T) {
	g := NewWithT(t)
	const role = "arn:aws:iam::123456789012:role/LongRunning"
	create(t, readerCredential("denied", func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = role }))
	waitFor(t, "Ready", "rolecred/denied")
	fault, err := sts.SetFault(stsemulator.Fault{Kind: stsemulator.FaultError, Code: "AccessDenied", RoleARN: role})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { sts.ClearFault(fault) })
	got := rolecred(t, "refresh", "denied", "--wait", "--timeout", waitTimeout)
	g.Expect(got.code).To(Equal(2))
	g.Expect(got.err).To(HavePrefix("error: rolecredential/denied was not refreshed: Issued is False, AccessDenied: STS denied access: " + operatorARN))

	explained := rolecred(t, "explain", "denied")
	g.Expect(explained.code).To(Equal(2))
	g.Expect(explained.out).To(And(ContainSubstring("are valid until"), ContainSubstring(`"AWS": "`+operatorARN+`"`)))
	g.Expect(rolecred(t, "status", "denied").code).To(BeZero(), "the credential is still Ready")
}

func TestRefreshWaitTimesOut(t *testing.T) {
	g := NewWithT(t)
	const role = "arn:aws:iam::123456789012:role/Partner"
	create(t, readerCredential("slow", func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN, c.Spec.ExternalID = role, "k8s" }))
	waitFor(t, "Ready", "rolecred/slow")
	fault, err := sts.SetFault(stsemulator.Fault{Kind: stsemulator.FaultHang, RoleARN: role})
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { sts.ClearFault(fault) })
	got := rolecred(t, "refresh", "slow", "--wait", "--timeout", "1s")
	g.Expect(got.code).To(Equal(5))
	g.Expect(got.err).To(ContainSubstring("was not refreshed within 1s"))
}

func TestExplainDeniedCredential(t *testing.T) {
	g := NewWithT(t)
	create(t, readerCredential("hub", func(c *v1alpha1.RoleCredential) { c.Spec.RoleARN = "arn:aws:iam::210987654321:role/Hub" }))
	waitFor(t, "Authorized=false", "rolecred/hub")
	status := rolecred(t, "status", "hub")
	g.Expect(status.code).To(Equal(2))
	g.Expect(status.out).To(And(ContainSubstring("not Ready"), ContainSubstring("denied: No rule of ClusterIdentity default")))
	explained := rolecred(t, "explain", "hub")
	g.Expect(explained.code).To(Equal(2))
	g.Expect(explained.out).To(ContainSubstring("roleARNs:\n         - arn:aws:iam::210987654321:role/Hub"))
	g.Expect(rolecred(t, "env", "hub").code).To(Equal(2))
}

// The API server accepts the manifest, and the operator allows it.
func TestCanIPrintsAllowedManifest(t *testing.T) {
	for name, tc := range map[string]struct {
		args      []string
		namespace string
		code      int
	}{
		"an allowed request":               {args: []string{"--role", readerRole, "--duration", "30m"}, namespace: "shop"},
		"a rule with a namespace selector": {args: []string{"--role", "arn:aws:iam::210987654321:role/Hub", "--as-namespace", "hub"}, namespace: "hub"},
		"a shorter duration":               {args: []string{"--role", readerRole, "--duration", "2h"}, namespace: "shop", code: 2},
		"the default session name":         {args: []string{"--role", readerRole, "--session-name", "mine"}, namespace: "shop", code: 2},
		"GetFederationToken":               {args: []string{"--call", "GetFederationToken"}, namespace: "shop"},
		"GetSessionToken":                  {args: []string{"--call", "GetSessionToken", "--identity", "clusterid/default"}, namespace: "shop"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := rolecred(t, append([]string{"can-i", "-o", "json"}, tc.args...)...)
			g.Expect(got.code).To(Equal(tc.code), got.err)
			var report struct{ Manifest string }
			g.Expect(json.Unmarshal([]byte(got.out), &report)).To(Succeed())
			file := filepath.Join(t.TempDir(), "credential.yaml")
			g.Expect(os.WriteFile(file, []byte(report.Manifest), 0o600)).To(Succeed())
			applied := kubectl(t.Context(), adminConfig, "create", "-f", file)
			g.Expect(applied.code).To(BeZero(), applied.err)
			t.Cleanup(func() { kubectl(context.Background(), adminConfig, "delete", "-f", file) })
			waited := kubectl(t.Context(), adminConfig, "wait", "--for=condition=Authorized", "-f", file, "--timeout="+waitTimeout)
			g.Expect(waited.code).To(BeZero(), waited.err)
		})
	}
}

func TestReadersListsPodsThatUseSecret(t *testing.T) {
	g := NewWithT(t)
	create(t, readerCredential("read"))
	waitFor(t, "Ready", "rolecred/read")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-0"}}
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "none", EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "read"}}}}}}
	create(t, pod)
	running := func(since time.Time) {
		pod.Status.Phase = corev1.PodRunning
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(since)}}}}
		g.Expect(admin.Status().Update(t.Context(), pod)).To(Succeed())
	}
	g.Expect(rolecred(t, "readers", "read").out).To(MatchRegexp(`web-0 +app +envFrom +none: the container is not running`))
	running(time.Now().Add(time.Hour))
	g.Expect(rolecred(t, "readers", "read").out).To(MatchRegexp(`web-0 +app +envFrom +the current credential`))
	running(time.Now().Add(-time.Minute))
	g.Expect(rolecred(t, "status", "read").out).To(MatchRegexp(`web-0 +app +envFrom +an earlier credential, until 20`))
}

// A user may have the permission to get credentials in one namespace, and no other permission.
func TestCommandsWithOnlyGetPermission(t *testing.T) {
	g := NewWithT(t)
	create(t, readerCredential("limited"))
	waitFor(t, "Ready", "rolecred/limited")
	config := userWithRules(t, "limited", rbacv1.PolicyRule{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"rolecredentials"}, Verbs: []string{"get"}})
	as := func(args ...string) result {
		return kubectl(t.Context(), config, append([]string{"rolecred", "-n", "shop"}, args...)...)
	}
	status := as("status", "limited")
	g.Expect(status.code).To(BeZero(), status.err)
	g.Expect(status.out).To(And(ContainSubstring(readerPrincipal+"limited"), ContainSubstring(`not known: clusteridentities.sts.rolecredential.dev "default" is forbidden`), ContainSubstring("not known: pods is forbidden"), ContainSubstring("expires")))
	got := as("get", "limited")
	g.Expect(got.code).To(BeZero(), got.err)
	g.Expect(as("explain", "limited").code).To(BeZero())
	revoked := as("revoke", "limited")
	g.Expect(revoked.code).To(BeZero(), revoked.err)
	for _, args := range [][]string{{"get"}, {"readers", "limited"}, {"env", "limited"}, {"process", "limited"}, {"whoami", "limited"}, {"console", "limited"}, {"refresh", "limited"}, {"exec", "limited", "--", "true"}, {"can-i", "--role", readerRole}} {
		got := as(args...)
		g.Expect(got.code).To(Equal(4), "%v: %s", args, got.err)
		g.Expect(got.err).To(ContainSubstring("is forbidden"), "%v", args)
		g.Expect(got.out).To(BeEmpty())
	}
}

// The user may read the Secret but not the identity, so the flags name the endpoint.
func TestWhoAmIUsesFlagsWithoutPermissionToReadIdentity(t *testing.T) {
	g := NewWithT(t)
	create(t, readerCredential("flags"))
	waitFor(t, "Ready", "rolecred/flags")
	config := userWithRules(t, "flags", rbacv1.PolicyRule{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"rolecredentials"}, Verbs: []string{"get"}},
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"flags"}, Verbs: []string{"get"}})
	got := kubectl(t.Context(), config, "rolecred", "-n", "shop", "whoami", "flags", "--endpoint", stsURL)
	g.Expect(got.code).To(BeZero(), got.err)
	g.Expect(got.out).To(ContainSubstring(readerPrincipal + "flags"))
	g.Expect(got.err).To(ContainSubstring("could not read clusteridentity/default"))
}

// client-go logs response bodies at -v=8 and above, including those of Secrets.
func TestNoLogLevelPrintsSecrets(t *testing.T) {
	g := NewWithT(t)
	create(t, readerCredential("quiet"))
	waitFor(t, "Ready", "rolecred/quiet")
	secret := &corev1.Secret{}
	g.Expect(admin.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "quiet"}, secret)).To(Succeed())
	shown := func(text string) bool {
		for _, key := range []string{"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
			value := secret.Data[key]
			encoded, err := json.Marshal(value) // base64
			g.Expect(err).NotTo(HaveOccurred())
			// A hex dump splits a value into groups.
			for _, form := range []string{string(value[:8]), strings.Trim(string(encoded), `"`)[:16], strings.TrimSpace(strings.ToLower(spaced(hex.EncodeToString(value[:4]))))} {
				if strings.Contains(text, form) {
					return true
				}
			}
		}
		return false
	}
	g.Expect(shown(kubectl(t.Context(), adminConfig, "get", "secret", "quiet", "-n", "shop", "-o", "json", "-v=9").err)).To(BeTrue(), "the check works: kubectl itself logs it")
	g.Expect(rolecred(t, "env", "quiet").out).To(Satisfy(shown), "the check works: env prints it")

	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"SigninToken":"given"}`) }))
	defer endpoint.Close()
	for _, args := range [][]string{
		{"get"}, {"get", "quiet", "-o", "yaml"}, {"status", "quiet"}, {"explain", "quiet"}, {"readers", "quiet"}, {"revoke", "quiet"}, {"can-i", "--role", readerRole},
		{"refresh", "quiet"}, {"whoami", "quiet"}, {"console", "quiet", "--endpoint", endpoint.URL},
	} {
		for _, level := range []string{"7", "8", "9", "10", "99"} {
			got := rolecred(t, append(args, "-v="+level)...)
			g.Expect(got.code).To(BeZero(), got.err)
			g.Expect(got.err).To(ContainSubstring("/apis/sts.rolecredential.dev/v1alpha1"), "client-go logs requests")
			g.Expect(shown(got.out+got.err)).To(BeFalse(), "%v at -v=%s", args, level)
		}
	}
	for _, args := range [][]string{{"env", "quiet", "-v=9"}, {"process", "quiet", "-v=9"}, {"exec", "quiet", "-v=9", "--", "true"}} {
		got := rolecred(t, args...)
		g.Expect(got.code).To(BeZero(), got.err)
		g.Expect(got.err).To(ContainSubstring("/api/v1/namespaces/shop/secrets/quiet"))
		g.Expect(shown(got.err)).To(BeFalse(), "%v", args)
	}
}

// spaced formats hex digits as in a dump.
func spaced(digits string) string {
	var text strings.Builder
	for i := 0; i < len(digits); i += 2 {
		text.WriteString(digits[i:i+2] + " ")
	}
	return text.String()
}

func TestCompletionOffersNames(t *testing.T) {
	g := NewWithT(t)
	create(t, readerCredential("completed"))
	create(t, &v1alpha1.SessionCredential{ObjectMeta: metav1.ObjectMeta{Name: "completed-too"}})
	got := rolecred(t, "__complete", "status", "")
	g.Expect(got.out).To(And(ContainSubstring("completed\tRoleCredential\n"), ContainSubstring("sessioncred/completed-too\tSessionCredential\n")))
	g.Expect(rolecred(t, "__complete", "status", "--output", "").out).To(HavePrefix("json\nyaml\n"))
	g.Expect(rolecred(t, "completion", "bash").out).To(ContainSubstring("bash completion"))
}
