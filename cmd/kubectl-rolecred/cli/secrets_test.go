package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
)

func TestEnvSetsCredentialInShell(t *testing.T) {
	g := NewWithT(t)
	got := newWorld(t, good(), secretOf(good())).run("env", "s3-reader", "--shell", "bash")
	g.Expect(got.code).To(Equal(ExitOK))
	script := got.out + `printf '%s\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" "$AWS_SESSION_TOKEN" "$AWS_CREDENTIAL_EXPIRATION"`
	read, err := exec.CommandContext(t.Context(), "sh", "-c", script).Output()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(read)).To(Equal(strings.Join([]string{"ASIAEXAMPLE", canarySecret, canaryToken, "2026-11-23T16:00:00Z", ""}, "\n")))
}

func TestEnvUsesShellOfUserByDefault(t *testing.T) {
	for name, tc := range map[string]struct {
		environ []string
		args    []string
		want    string
	}{
		"fish from SHELL":         {environ: []string{"SHELL=/usr/bin/fish"}, want: "set -gx AWS_ACCESS_KEY_ID 'ASIAEXAMPLE'"},
		"PowerShell from --shell": {environ: []string{"SHELL=/usr/bin/fish"}, args: []string{"--shell", "pwsh"}, want: "$Env:AWS_ACCESS_KEY_ID = 'ASIAEXAMPLE'"},
		"POSIX by default":        {want: "export AWS_ACCESS_KEY_ID='ASIAEXAMPLE'"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, good(), secretOf(good()))
			w.environ = tc.environ
			NewWithT(t).Expect(w.run(append([]string{"env", "s3-reader"}, tc.args...)...).out).To(HavePrefix(tc.want + "\n"))
		})
	}
	NewWithT(t).Expect(newWorld(t).run("env", "s3-reader", "--shell", "tcsh").code).To(Equal(ExitError))
}

func TestProcessPrintsCredentialWithExpiration(t *testing.T) {
	g := NewWithT(t)
	got := newWorld(t, good(), secretOf(good())).run("process", "s3-reader")
	var printed map[string]any
	g.Expect(json.Unmarshal([]byte(got.out), &printed)).To(Succeed())
	g.Expect(printed).To(Equal(map[string]any{
		"Version": 1.0, "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": canarySecret, "SessionToken": canaryToken, "Expiration": "2026-11-23T16:00:00Z",
	}))
}

func TestExecRemovesOtherCredentialsFromEnvironment(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t, good(), secretOf(good()))
	w.environ = []string{"PATH=/bin", "AWS_PROFILE=mine", "AWS_SECURITY_TOKEN=old", "aws_access_key_id=AKIAMINE", "AWS_REGION=eu-west-1", "AWS_ROLE_ARN=arn"}
	var ran, environ []string
	w.exec = func(path string, args, env []string) error {
		ran, environ = append([]string{filepath.Base(path)}, args...), env
		return nil
	}
	got := w.run("exec", "s3-reader", "--", "sh", "-c", "exit 3", "--flag")
	g.Expect(got).To(Equal(result{}))
	g.Expect(ran).To(Equal([]string{"sh", "sh", "-c", "exit 3", "--flag"}))
	g.Expect(slices.Sorted(slices.Values(environ))).To(Equal([]string{
		"AWS_ACCESS_KEY_ID=ASIAEXAMPLE", "AWS_CREDENTIAL_EXPIRATION=2026-11-23T16:00:00Z", "AWS_REGION=eu-west-1", "AWS_SECRET_ACCESS_KEY=" + canarySecret, "AWS_SESSION_TOKEN=" + canaryToken, "PATH=/bin",
	}))
}

func TestExecUsesExitCodesOfShells(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t, good(), secretOf(good()))
	g.Expect(w.run("exec", "s3-reader", "--", "no-such-command").code).To(Equal(ExitNoCommand))
	g.Expect(w.run("exec", "s3-reader", "sh").code).To(Equal(ExitError))
	g.Expect(w.run("exec", "s3-reader", "--").code).To(Equal(ExitError))
	w.exec = func(string, []string, []string) error { return syscall.ENOEXEC }
	g.Expect(w.run("exec", "s3-reader", "--", "sh").code).To(Equal(ExitNotExecutable))
	w.exec = func(string, []string, []string) error { return exitError{errors.New("it exited with 42"), 42} }
	g.Expect(w.run("exec", "s3-reader", "--", "sh").code).To(Equal(42))
}

func TestOnlyThreeCommandsPrintSecrets(t *testing.T) {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"SigninToken":"given"}`) }))
	defer endpoint.Close()
	w := newWorld(t, good(), identity(), secretOf(good()), pod("web-0", "app", issued, byEnvFrom))
	w.environ = []string{"AWS_ENDPOINT_URL_STS=http://127.0.0.1:1"}
	for _, args := range [][]string{
		{"get"}, {"get", "-o", "wide"}, {"get", "s3-reader", "-o", "yaml", "--show-managed-fields"}, {"status", "s3-reader"}, {"status", "s3-reader", "-o", "json"}, {"explain", "s3-reader"},
		{"readers", "s3-reader"}, {"revoke", "s3-reader"}, {"can-i", "--role", reader}, {"refresh", "s3-reader"}, {"whoami", "s3-reader", "--endpoint", "http://127.0.0.1:1"},
		{"console", "s3-reader", "--endpoint", endpoint.URL}, {"console", "s3-reader", "--endpoint", "http://127.0.0.1:1"}, {"exec", "s3-reader", "--", "no-such-command"}, {"env", "other"},
	} {
		got := w.run(append(args, "-v", "9")...)
		if got.out+got.err == "" {
			t.Errorf("%v prints nothing", args)
		}
		for _, part := range []string{"CANARY", "TOKENTOKEN"} {
			if strings.Contains(got.out+got.err, part) {
				t.Errorf("%v prints a secret:\n%s%s", args, got.out, got.err)
			}
		}
	}
}

func TestExitCodes(t *testing.T) {
	unready := good(failing(condition("Ready", "False", "NotIssued", "No credentials yet.")))
	for name, tc := range map[string]struct {
		objects []client.Object
		forbid  []string
		args    []string
		code    int
		want    string
	}{
		"a credential that is Ready":            {objects: []client.Object{good(), secretOf(good())}, args: []string{"process", "s3-reader"}},
		"a credential that is not Ready":        {objects: []client.Object{unready, secretOf(good())}, args: []string{"env", "s3-reader"}, code: ExitNo, want: "rolecredential/s3-reader is not Ready (NotIssued)"},
		"a missing credential":                  {args: []string{"status", "s3-reader"}, code: ExitNotFound, want: `"s3-reader" not found`},
		"a missing Secret":                      {objects: []client.Object{good()}, args: []string{"process", "s3-reader"}, code: ExitNotFound, want: "secrets"},
		"no permission to read the Secret":      {objects: []client.Object{good(), secretOf(good())}, forbid: []string{"Secret"}, args: []string{"env", "s3-reader"}, code: ExitForbidden, want: "forbidden"},
		"no permission to list pods":            {objects: []client.Object{good()}, forbid: []string{"Pod"}, args: []string{"readers", "s3-reader"}, code: ExitForbidden, want: "forbidden"},
		"no permission to list credentials":     {forbid: []string{"Credential"}, args: []string{"get"}, code: ExitForbidden, want: "forbidden"},
		"permission to list some kinds":         {objects: []client.Object{good()}, forbid: []string{"SessionCredential"}, args: []string{"get"}, want: "warning: some credentials could not be listed"},
		"no permission to read the identity":    {forbid: []string{"ClusterIdentity"}, args: []string{"can-i", "--role", reader}, code: ExitForbidden, want: "forbidden"},
		"can-i without a role":                  {args: []string{"can-i"}, code: ExitError, want: "requires --role"},
		"a role with another call":              {args: []string{"can-i", "--call", "GetSessionToken", "--role", reader}, code: ExitError, want: "takes no --role"},
		"CreateSession without a role":          {args: []string{"can-i", "--call", "CreateSession"}, code: ExitError, want: "requires --role"},
		"CreateSession without a certificate":   {objects: []client.Object{identity()}, args: []string{"can-i", "--call", "CreateSession", "--role", reader}, code: ExitError, want: "use --call AssumeRole"},
		"an unknown call":                       {args: []string{"can-i", "--call", "Assume"}, code: ExitError, want: "unknown call"},
		"an unknown kind":                       {args: []string{"status", "deployment/x"}, code: ExitError, want: "unknown credential type"},
		"an unknown flag":                       {args: []string{"status", "--what"}, code: ExitError, want: "unknown flag"},
		"status without a name":                 {args: []string{"status"}, code: ExitError, want: "accepts 1 arg"},
		"a session that cannot sign in":         {objects: []client.Object{session(), ownSecret()}, args: []string{"console", "sessioncred/own-rights"}, code: ExitNo, want: "cannot sign in"},
		"refresh of a suspended credential":     {objects: []client.Object{good(func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true })}, args: []string{"refresh", "s3-reader"}, code: ExitNo, want: "spec.suspend"},
		"no response from STS":                  {objects: []client.Object{good(), identity(), secretOf(good())}, args: []string{"whoami", "s3-reader", "--endpoint", "http://127.0.0.1:1"}, code: ExitError, want: "no response from"},
		"an error from the federation endpoint": {objects: []client.Object{good(), secretOf(good())}, args: []string{"console", "s3-reader", "--endpoint", forbiddenEndpoint(t)}, code: ExitNo, want: "rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := newWorld(t, tc.objects...).forbid(tc.forbid...).run(tc.args...)
			g.Expect(got.code).To(Equal(tc.code), got.err)
			g.Expect(got.err).To(ContainSubstring(tc.want))
			if tc.code != ExitOK {
				g.Expect(got.out).To(BeEmpty())
				g.Expect(got.err).To(HavePrefix("error: "))
			}
		})
	}
}

func forbiddenEndpoint(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(server.Close)
	return server.URL
}

// ownSecret is the Secret of session().
func ownSecret() client.Object {
	secret := secretOf(good())
	secret.Name, secret.OwnerReferences[0].UID = "own-rights", "uid-own-rights"
	return secret
}

func TestInterruptHasExitCode(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := newPlugin(Options{})
	g.Expect(p.exit(ctx, context.Canceled)).To(Equal(ExitInterrupted))
}

func TestGetExpiringListsOnlyExpiringCredentials(t *testing.T) {
	g := NewWithT(t)
	later := good(func(c *v1alpha1.RoleCredential) {
		c.Name, c.Status.Expiration = "later", at(expires.Add(3600e9))
	})
	never := good(func(c *v1alpha1.RoleCredential) { c.Name = "never"; failing()(c) })
	expired := good(func(c *v1alpha1.RoleCredential) { c.Name, c.Status.Expiration = "expired", at(issued) })
	w := newWorld(t, good(), later, never, expired)
	g.Expect(w.run("list", "--expiring", "40m", "-o", "name").out).To(Equal("rolecredential.sts.rolecredential.dev/expired\nrolecredential.sts.rolecredential.dev/s3-reader\n"))
	got := w.run("get", "--expiring", "1s")
	g.Expect(got.out).To(ContainSubstring("expired"))
	g.Expect(got.out).NotTo(ContainSubstring("s3-reader"))
}

func TestWaitEndsOnNewlyFalseCondition(t *testing.T) {
	g := NewWithT(t)
	authorized, issuedNow := condition("Authorized", "True", "Allowed", ""), condition("Issued", "False", "AccessDenied", "")
	now := func(conditions ...metav1.Condition) []metav1.Condition { return conditions }
	g.Expect(newlyFalse(nil, now(authorized, issuedNow)).Reason).To(Equal("AccessDenied"))
	g.Expect(newlyFalse(now(issuedNow), now(authorized, issuedNow))).To(BeNil(), "it was False before")
	g.Expect(newlyFalse(now(condition("Issued", "False", "Throttled", "")), now(issuedNow)).Reason).To(Equal("AccessDenied"))
	g.Expect(newlyFalse(nil, now(authorized))).To(BeNil())
}
