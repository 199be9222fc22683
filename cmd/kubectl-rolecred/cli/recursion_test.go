package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	clocktesting "k8s.io/utils/clock/testing"

	"rolecredential.dev/operator/api/v1alpha1"
)

// asPlugin is the environment variable that makes this test binary run as the plugin, so that other programs can start it.
const asPlugin = "TEST_RUN_AS_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(asPlugin) == "" {
		os.Exit(m.Run())
	}
	os.Exit(Run(context.Background(), os.Args[1:], Options{
		IOStreams: genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
		Clock:     clocktesting.NewFakePassiveClock(now), Environ: os.Environ(), Version: "test",
	}))
}

// stubAWS replaces `aws eks get-token`. It writes its depth and its profile to a file. If a profile is set, it resolves the
// profile's credential_process as the AWS CLI does, which is the plugin. It stops at five calls.
const stubAWS = `#!/bin/sh
DEPTH=$((${DEPTH:-0} + 1)); export DEPTH
profile="$AWS_PROFILE$AWS_DEFAULT_PROFILE"
echo "depth $DEPTH, profile $profile" >>"$CALLS"
[ "$(wc -l <"$CALLS")" -lt 5 ] || exit 1
case "$profile" in
*s3-reader) "$PLUGIN" process s3-reader -n shop >/dev/null || exit 1 ;;
esac
echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t"}}'
`

// execWorld is an API server, a kubeconfig with an exec plugin, and a stub of the AWS CLI as that plugin.
type execWorld struct {
	t       *testing.T
	calls   string
	environ []string
}

// newExecWorld returns a world whose kubeconfig sets variables for the exec plugin.
func newExecWorld(t *testing.T, pluginEnv ...clientcmdapi.ExecEnvVar) execWorld {
	t.Helper()
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(dir, "aws"), []byte(stubAWS), 0o700)).To(Succeed())
	self, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	server := apiServer(t)
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: server, InsecureSkipTLSVerify: true}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{
		APIVersion: "client.authentication.k8s.io/v1", Command: "aws", Args: []string{"eks", "get-token"}, Env: pluginEnv, InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
	}}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u", Namespace: "shop"}
	config.CurrentContext = "x"
	kubeconfig := filepath.Join(dir, "kubeconfig")
	g.Expect(clientcmd.WriteToFile(*config, kubeconfig)).To(Succeed())
	calls := filepath.Join(dir, "calls")
	return execWorld{t: t, calls: calls, environ: []string{
		"PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + dir, "KUBECONFIG=" + kubeconfig,
		"CALLS=" + calls, "PLUGIN=" + self, asPlugin + "=1",
	}}
}

// apiServer serves the credential s3-reader and its Secret, to callers with the exec plugin's token.
func apiServer(t *testing.T) string {
	t.Helper()
	credential, secret := good(), secretOf(good())
	credential.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "RoleCredential"}
	secret.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	objects := map[string]any{
		"/apis/sts.rolecredential.dev/v1alpha1/namespaces/shop/rolecredentials/s3-reader": credential,
		"/api/v1/namespaces/shop/secrets/s3-reader":                                       secret,
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // client-go sends credentials over TLS only
		object, found := objects[r.URL.Path]
		if r.Header.Get("Authorization") != "Bearer t" || !found {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(object)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// run runs the plugin as a process of its own and returns the calls of the exec plugin too.
func (w execWorld) run(environ []string, args ...string) (result, []string) {
	w.t.Helper()
	g := NewWithT(w.t)
	g.Expect(os.WriteFile(w.calls, nil, 0o600)).To(Succeed())
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = slices.Concat(w.environ, environ)
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	_ = cmd.Run()
	calls, err := os.ReadFile(w.calls)
	g.Expect(err).NotTo(HaveOccurred())
	return result{out: out.String(), err: errOut.String(), code: cmd.ProcessState.ExitCode()}, strings.Split(strings.TrimSuffix(string(calls), "\n"), "\n")
}

func TestProcessHidesInheritedProfileFromExecPlugin(t *testing.T) {
	for name, environ := range map[string][]string{
		"AWS_PROFILE":           {"AWS_PROFILE=s3-reader"},
		"AWS_DEFAULT_PROFILE":   {"AWS_DEFAULT_PROFILE=s3-reader"},
		"both":                  {"AWS_PROFILE=s3-reader", "AWS_DEFAULT_PROFILE=s3-reader"},
		"an unrelated variable": {"AWS_REGION=eu-west-1"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got, calls := newExecWorld(t).run(environ, "process", "s3-reader")
			g.Expect(calls).To(Equal([]string{"depth 1, profile "}))
			g.Expect(got.code).To(Equal(ExitOK), got.err)
			g.Expect(got.out).To(ContainSubstring("ASIAEXAMPLE"))
		})
	}
}

func TestProcessKeepsProfileThatKubeconfigSets(t *testing.T) {
	g := NewWithT(t)
	got, calls := newExecWorld(t, clientcmdapi.ExecEnvVar{Name: "AWS_PROFILE", Value: "admin"}).run([]string{"AWS_PROFILE=s3-reader"}, "process", "s3-reader")
	g.Expect(calls).To(Equal([]string{"depth 1, profile admin"}))
	g.Expect(got.code).To(Equal(ExitOK), got.err)
}

func TestOtherCommandsKeepInheritedProfileForExecPlugin(t *testing.T) {
	g := NewWithT(t)
	got, calls := newExecWorld(t).run([]string{"AWS_PROFILE=admin"}, "env", "s3-reader")
	g.Expect(calls).To(Equal([]string{"depth 1, profile admin"}))
	g.Expect(got.code).To(Equal(ExitOK), got.err)
}

// If the kubeconfig itself names the recursive profile, the second run of the plugin stops the recursion.
func TestEachCommandStopsRecursionThroughExecPlugin(t *testing.T) {
	verbs := map[string][]string{
		"get": {"s3-reader"}, "status": {"s3-reader"}, "explain": {"s3-reader"}, "readers": {"s3-reader"}, "can-i": {"--role", reader}, "refresh": {"s3-reader"},
		"whoami": {"s3-reader"}, "env": {"s3-reader"}, "process": {"s3-reader"}, "exec": {"s3-reader", "--", "true"}, "console": {"s3-reader"}, "revoke": {"s3-reader"},
	}
	w := newExecWorld(t, clientcmdapi.ExecEnvVar{Name: "AWS_PROFILE", Value: "s3-reader"})
	for _, verb := range newPlugin(Options{}).root().Commands() {
		t.Run(verb.Name(), func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(verbs).To(HaveKey(verb.Name()), "has no arguments here")
			got, calls := w.run(nil, append([]string{verb.Name()}, verbs[verb.Name()]...)...)
			g.Expect(calls).To(HaveEach("depth 1, profile s3-reader"))
			g.Expect(len(calls)).To(BeNumerically("<", 5))
			g.Expect(got.code).NotTo(Equal(ExitOK))
			g.Expect(got.err).To(And(ContainSubstring("the kubeconfig's exec plugin (aws) started this plugin again"), ContainSubstring("users[].user.exec.env")))
		})
	}
}

func TestNestedProcessRunsWithoutExecPlugin(t *testing.T) {
	g := NewWithT(t)
	w := newExecWorld(t)
	config, err := clientcmd.LoadFromFile(strings.TrimPrefix(w.environ[2], "KUBECONFIG="))
	g.Expect(err).NotTo(HaveOccurred())
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: "t"}
	g.Expect(clientcmd.WriteToFile(*config, strings.TrimPrefix(w.environ[2], "KUBECONFIG="))).To(Succeed())
	got, _ := w.run([]string{nestedVariable + "=1"}, "process", "s3-reader")
	g.Expect(got.code).To(Equal(ExitOK), got.err)
}
