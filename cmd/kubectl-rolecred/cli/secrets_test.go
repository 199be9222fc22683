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

func TestAShellThatReadsTheLinesHasTheCredential(t *testing.T) {
	g := NewWithT(t)
	got := newWorld(t, good(), secretOf(good())).run("env", "s3-reader", "--shell", "bash")
	g.Expect(got.code).To(Equal(ExitOK))
	script := got.out + `printf '%s\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" "$AWS_SESSION_TOKEN" "$AWS_CREDENTIAL_EXPIRATION"`
	read, err := exec.CommandContext(t.Context(), "sh", "-c", script).Output()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(read)).To(Equal(strings.Join([]string{"ASIAEXAMPLE", canarySecret, canaryToken, "2026-11-23T16:00:00Z", ""}, "\n")))
}

func TestTheShellIsTheCallersOwnUnlessOneIsNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		environ []string
		args    []string
		want    string
	}{
		"fish by SHELL":               {environ: []string{"SHELL=/usr/bin/fish"}, want: "set -gx AWS_ACCESS_KEY_ID 'ASIAEXAMPLE'"},
		"PowerShell by name":          {environ: []string{"SHELL=/usr/bin/fish"}, args: []string{"--shell", "pwsh"}, want: "$Env:AWS_ACCESS_KEY_ID = 'ASIAEXAMPLE'"},
		"one of POSIX without either": {want: "export AWS_ACCESS_KEY_ID='ASIAEXAMPLE'"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, good(), secretOf(good()))
			w.environ = tc.environ
			NewWithT(t).Expect(w.run(append([]string{"env", "s3-reader"}, tc.args...)...).out).To(HavePrefix(tc.want + "\n"))
		})
	}
	NewWithT(t).Expect(newWorld(t).run("env", "s3-reader", "--shell", "tcsh").code).To(Equal(ExitError))
}

func TestAProfileGetsTheCredentialWithItsExpiration(t *testing.T) {
	g := NewWithT(t)
	got := newWorld(t, good(), secretOf(good())).run("process", "s3-reader")
	var printed map[string]any
	g.Expect(json.Unmarshal([]byte(got.out), &printed)).To(Succeed())
	g.Expect(printed).To(Equal(map[string]any{
		"Version": 1.0, "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": canarySecret, "SessionToken": canaryToken, "Expiration": "2026-11-23T16:00:00Z",
	}))
}

func TestACommandRunsWithTheCredentialAndNoOther(t *testing.T) {
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

func TestACommandThatCannotRunHasTheCodeThatShellsGiveIt(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t, good(), secretOf(good()))
	g.Expect(w.run("exec", "s3-reader", "--", "no-such-command").code).To(Equal(ExitNoCommand))
	g.Expect(w.run("exec", "s3-reader", "sh").code).To(Equal(ExitError))
	g.Expect(w.run("exec", "s3-reader", "--").code).To(Equal(ExitError))
	w.exec = func(string, []string, []string) error { return syscall.ENOEXEC }
	g.Expect(w.run("exec", "s3-reader", "--", "sh").code).To(Equal(ExitNotExecutable))
	w.exec = func(string, []string, []string) error { return exitError{errors.New("it ended with 42"), 42} }
	g.Expect(w.run("exec", "s3-reader", "--", "sh").code).To(Equal(42))
}

func TestNoVerbButThreeWritesASecret(t *testing.T) {
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
			t.Errorf("%v writes nothing", args)
		}
		for _, part := range []string{"CANARY", "TOKENTOKEN"} {
			if strings.Contains(got.out+got.err, part) {
				t.Errorf("%v writes a secret:\n%s%s", args, got.out, got.err)
			}
		}
	}
}

func TestExitCodesTellWhatWentWrong(t *testing.T) {
	unready := good(failing(condition("Ready", "False", "NotIssued", "Nothing yet.")))
	for name, tc := range map[string]struct {
		objects []client.Object
		forbid  []string
		args    []string
		code    int
		says    string
	}{
		"a credential that is Ready":            {objects: []client.Object{good(), secretOf(good())}, args: []string{"process", "s3-reader"}},
		"one that is not":                       {objects: []client.Object{unready, secretOf(good())}, args: []string{"env", "s3-reader"}, code: ExitNo, says: "rolecredential/s3-reader is not Ready (NotIssued)"},
		"one that is not there":                 {args: []string{"status", "s3-reader"}, code: ExitNotFound, says: `"s3-reader" not found`},
		"a Secret that is not there":            {objects: []client.Object{good()}, args: []string{"process", "s3-reader"}, code: ExitNotFound, says: "secrets"},
		"a Secret that may not be read":         {objects: []client.Object{good(), secretOf(good())}, forbid: []string{"Secret"}, args: []string{"env", "s3-reader"}, code: ExitForbidden, says: "forbidden"},
		"pods that may not be read":             {objects: []client.Object{good()}, forbid: []string{"Pod"}, args: []string{"readers", "s3-reader"}, code: ExitForbidden, says: "forbidden"},
		"credentials that may not be listed":    {forbid: []string{"Credential"}, args: []string{"get"}, code: ExitForbidden, says: "forbidden"},
		"some of them":                          {objects: []client.Object{good()}, forbid: []string{"SessionCredential"}, args: []string{"get"}, says: "warning: not all could be listed"},
		"an identity that may not be read":      {forbid: []string{"ClusterIdentity"}, args: []string{"can-i", "--role", reader}, code: ExitForbidden, says: "forbidden"},
		"no role":                               {args: []string{"can-i"}, code: ExitError, says: "--role is needed"},
		"a role where none is asked for":        {args: []string{"can-i", "--call", "GetSessionToken", "--role", reader}, code: ExitError, says: "asks for none"},
		"a call that there is not":              {args: []string{"can-i", "--call", "Assume"}, code: ExitError, says: "no call"},
		"a kind that there is not":              {args: []string{"status", "deployment/x"}, code: ExitError, says: "no kind"},
		"a flag that there is not":              {args: []string{"status", "--what"}, code: ExitError, says: "unknown flag"},
		"no name":                               {args: []string{"status"}, code: ExitError, says: "accepts 1 arg"},
		"a session that cannot sign in":         {objects: []client.Object{session(), ownSecret()}, args: []string{"console", "sessioncred/own-rights"}, code: ExitNo, says: "cannot sign in"},
		"one whose refreshing is suspended":     {objects: []client.Object{good(func(c *v1alpha1.RoleCredential) { c.Spec.Suspend = true })}, args: []string{"refresh", "s3-reader"}, code: ExitNo, says: "spec.suspend"},
		"an STS that is not there":              {objects: []client.Object{good(), identity(), secretOf(good())}, args: []string{"whoami", "s3-reader", "--endpoint", "http://127.0.0.1:1"}, code: ExitError, says: "did not answer"},
		"a federation endpoint that refuses it": {objects: []client.Object{good(), secretOf(good())}, args: []string{"console", "s3-reader", "--endpoint", refusing(t)}, code: ExitNo, says: "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := newWorld(t, tc.objects...).forbid(tc.forbid...).run(tc.args...)
			g.Expect(got.code).To(Equal(tc.code), got.err)
			g.Expect(got.err).To(ContainSubstring(tc.says))
			if tc.code != ExitOK {
				g.Expect(got.out).To(BeEmpty())
				g.Expect(got.err).To(HavePrefix("error: "))
			}
		})
	}
}

func refusing(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(server.Close)
	return server.URL
}

// ownSecret is that of session().
func ownSecret() client.Object {
	secret := secretOf(good())
	secret.Name, secret.OwnerReferences[0].UID = "own-rights", "uid-own-rights"
	return secret
}

func TestAnInterruptIsToldByTheExitCode(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := newPlugin(Options{})
	g.Expect(p.exit(ctx, context.Canceled)).To(Equal(ExitInterrupted))
}

func TestCredentialsThatExpireSoonAreListedAlone(t *testing.T) {
	g := NewWithT(t)
	later := good(func(c *v1alpha1.RoleCredential) {
		c.Name, c.Status.Expiration = "later", at(expires.Add(3600e9))
	})
	never := good(func(c *v1alpha1.RoleCredential) { c.Name = "never"; failing()(c) })
	gone := good(func(c *v1alpha1.RoleCredential) { c.Name, c.Status.Expiration = "gone", at(issued) })
	w := newWorld(t, good(), later, never, gone)
	g.Expect(w.run("list", "--expiring", "40m", "-o", "name").out).To(Equal("rolecredential.sts.rolecredential.dev/gone\nrolecredential.sts.rolecredential.dev/s3-reader\n"))
	got := w.run("get", "--expiring", "1s")
	g.Expect(got.out).To(ContainSubstring("gone"))
	g.Expect(got.out).NotTo(ContainSubstring("s3-reader"))
}

func TestTheWaitEndsOnWhatIsNewlyFalse(t *testing.T) {
	g := NewWithT(t)
	authorized, issuedNow := condition("Authorized", "True", "Allowed", ""), condition("Issued", "False", "AccessDenied", "")
	now := func(conditions ...metav1.Condition) []metav1.Condition { return conditions }
	g.Expect(turnedFalse(nil, now(authorized, issuedNow)).Reason).To(Equal("AccessDenied"))
	g.Expect(turnedFalse(now(issuedNow), now(authorized, issuedNow))).To(BeNil(), "it was so before")
	g.Expect(turnedFalse(now(condition("Issued", "False", "Throttled", "")), now(issuedNow)).Reason).To(Equal("AccessDenied"))
	g.Expect(turnedFalse(nil, now(authorized))).To(BeNil())
}
