package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/cmd/kubectl-rolecred/cli"
)

const sessionIntroduction = `# A session with the plugin

What each verb of [the kubectl plugin](plugin.md) prints, recorded on the demo's cluster: a real API server, the operator, and an emulator in the place of AWS's STS.
` + "`make docs`" + ` records it anew, and a test holds that it is as recorded. Times, access key ids and addresses are replaced by others that are always the same; secrets are by ` + "`***`" + `.
`

// scene is one command of the session.
type scene struct {
	says string
	args []string
	// code is the exit code that it must have.
	code int
}

var scenes = []scene{
	{"What there is, in a namespace or in all of them:", []string{"get", "-A"}, cli.ExitOK},
	{"All of one credential on a screen. The exit code is 0, since it is Ready:", []string{"status", "s3-reader", "-n", "shop"}, cli.ExitOK},
	{"Who uses it, and who still holds one from before the last refresh:", []string{"readers", "s3-reader", "-n", "shop", "-o", "wide"}, cli.ExitOK},
	{"Ask STS who the Secret is:", []string{"whoami", "s3-reader", "-n", "shop"}, cli.ExitOK},
	{"Why one has no credential. No rule of the identity allows its namespace:", []string{"explain", "s3-reader", "-n", "lab"}, cli.ExitNo},
	{"Why another has none. STS refuses it, since the role trusts nobody:", []string{"explain", "nobody", "-n", "shop"}, cli.ExitNo},
	{"May a namespace have a role? Not for that long, but so:", []string{"can-i", "--as-namespace", "shop", "--role", "arn:aws:iam::123456789012:role/S3Reader", "--duration", "2h"}, cli.ExitNo},
	{"A shell's environment:", []string{"env", "s3-reader", "-n", "shop", "--shell", "bash"}, cli.ExitOK},
	{"For `credential_process` of a profile in `~/.aws/config`:", []string{"process", "s3-reader", "-n", "shop"}, cli.ExitOK},
	{"A command that runs with the credential:", []string{"exec", "s3-reader", "-n", "shop", "--", "sh", "-c", `echo "$AWS_ACCESS_KEY_ID until $AWS_CREDENTIAL_EXPIRATION"`}, cli.ExitOK},
	{"Sign in to the console:", []string{"console", "s3-reader", "-n", "shop", "--endpoint", federationURL}, cli.ExitOK},
	{"Stop what was issued so far:", []string{"revoke", "s3-reader", "-n", "shop"}, cli.ExitOK},
	{"A new credential, now:", []string{"refresh", "s3-reader", "-n", "shop", "--wait"}, cli.ExitOK},
}

// What stands in the recording in place of what changes from one to the next.
const (
	federationURL = "https://signin.example.internal/federation"
	stsURL        = "https://sts.example.internal"
)

// sessionStart is when the recording says that s3-reader was issued.
var sessionStart = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)

// sinceIssued is how long after that the plugin runs, by its clock. What was made a little sooner or later is that old too.
const sinceIssued = 12*time.Minute + 30*time.Second

// recordSession writes what the plugin prints on the demo's cluster.
func recordSession(ctx context.Context, managerPath string, out io.Writer) (err error) {
	d, err := newDemo(managerPath)
	if err != nil {
		return err
	}
	defer func() {
		if closed := d.close(); err == nil {
			err = closed
		}
	}()
	ctx, d.abort = context.WithCancelCause(ctx)
	defer d.abort(nil)
	d.out, d.lifetimeFraction = io.Discard, 1
	if err := d.setStage(ctx); err != nil {
		return err
	}
	federation := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"SigninToken":"TOKEN"}`) }))
	defer federation.Close()
	if _, err := io.WriteString(out, sessionIntroduction); err != nil {
		return err
	}
	for _, s := range scenes {
		if err := d.play(ctx, s, federation.URL, out); err != nil {
			return fmt.Errorf("kubectl rolecred %s: %w", quote(s.args), err)
		}
	}
	return nil
}

// setStage brings up the cluster with all that the scenes show.
func (d *demo) setStage(ctx context.Context) error {
	for _, step := range []func(*demo, context.Context) error{(*demo).start, (*demo).install, (*demo).applySamples, (*demo).waitReady} {
		if err := step(d, ctx); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"apply", "-f", "hack/demo/manifests/session.yaml", "-f", "hack/demo/manifests/lab.yaml"},
		{"patch", "clusteridentity", "default", "--type=json", `--patch=[{"op":"add","path":"/spec/allow/-","value":{"namespaces":["shop"],"roleARNs":["arn:aws:iam::123456789012:role/Nobody"]}}]`},
		{"wait", "--for=condition=Issued=false", "rolecredential/nobody", "-n", "shop", "--timeout=60s"},
		{"wait", "--for=condition=Authorized=false", "rolecredential/s3-reader", "-n", "lab", "--timeout=60s"},
	} {
		if _, err := d.kubectl(ctx, args...); err != nil {
			return err
		}
	}
	at, _, err := d.issuedAt(ctx)
	if err != nil {
		return err
	}
	for name, since := range map[string]time.Duration{"web-0": 5 * time.Minute, "web-1": -20 * time.Minute, "reports-0": -3 * time.Hour} {
		if err := d.runPod(ctx, name, at.Add(since)); err != nil {
			return err
		}
	}
	return nil
}

// runPod gives a pod the status that a kubelet would, which is none here.
func (d *demo) runPod(ctx context.Context, name string, since time.Time) error {
	pod := &corev1.Pod{}
	if err := d.Client.Get(ctx, client.ObjectKey{Namespace: "shop", Name: name}, pod); err != nil {
		return err
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(since)}}}}
	return d.Client.Status().Update(ctx, pod)
}

// issuedAt is when the credential in s3-reader's Secret was issued, and the Secret.
func (d *demo) issuedAt(ctx context.Context) (time.Time, *corev1.Secret, error) {
	c := &v1alpha1.RoleCredential{}
	if err := d.Client.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "s3-reader"}, c); err != nil {
		return time.Time{}, nil, err
	}
	if c.Status.LastRefreshTime == nil {
		return time.Time{}, nil, fmt.Errorf("s3-reader was not issued")
	}
	secret, err := d.secret(ctx, "s3-reader")
	return c.Status.LastRefreshTime.UTC(), secret, err
}

// play runs a command and writes it with what it printed.
func (d *demo) play(ctx context.Context, s scene, federation string, out io.Writer) error {
	at, secret, err := d.issuedAt(ctx)
	if err != nil {
		return err
	}
	now, start := at.Add(sinceIssued), sessionStart
	if s.args[0] == "refresh" { // which is issued by the operator's clock
		now = time.Now()
	}
	var printed bytes.Buffer
	args := strings.Split(strings.ReplaceAll(strings.Join(s.args, "\x00"), federationURL, federation), "\x00")
	code := cli.Run(ctx, append([]string{"--kubeconfig", d.Kubeconfig}, args...), cli.Options{
		IOStreams: genericiooptions.IOStreams{Out: &printed, ErrOut: &printed}, Clock: clocktesting.NewFakePassiveClock(now), Environ: []string{"PATH=" + os.Getenv("PATH")},
		Exec: func(path string, args, environ []string) error {
			cmd := exec.CommandContext(ctx, path, args[1:]...)
			cmd.Env, cmd.Stdout, cmd.Stderr = environ, &printed, &printed
			return cmd.Run()
		},
	})
	if code != s.code {
		return fmt.Errorf("exit code %d, and not %d: %s", code, s.code, &printed)
	}
	if s.args[0] == "refresh" {
		if at, secret, err = d.issuedAt(ctx); err != nil {
			return err
		}
		start = sessionStart.Add(sinceIssued)
	}
	same := normaliser{shift: start.Sub(at), literal: strings.NewReplacer(
		federation, federationURL, d.endpoint.URL, stsURL,
		string(secret.Data["AWS_SECRET_ACCESS_KEY"]), masked, string(secret.Data["AWS_SESSION_TOKEN"]), masked,
	)}
	ended := ""
	if code != 0 {
		ended = fmt.Sprintf("(exit code %d)\n", code)
	}
	_, err = fmt.Fprintf(out, "\n%s\n\n```console plugin\n$ kubectl rolecred %s\n%s%s```\n", s.says, quote(s.args), same.of(printed.String()), ended)
	return err
}

// normaliser replaces what changes from one recording to the next.
type normaliser struct {
	// shift is added to all times.
	shift   time.Duration
	literal *strings.Replacer
}

var (
	times  = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	keyIDs = regexp.MustCompile(`\bASIA[A-Z0-9]{16}\b`)
	ages   = regexp.MustCompile(`\b1[123]m\b`)
	ids    = regexp.MustCompile(`\bAROA[A-Z0-9]{17}\b`)
)

func (n normaliser) of(text string) string {
	text = n.literal.Replace(text)
	text = ages.ReplaceAllString(text, "12m")
	text = keyIDs.ReplaceAllString(text, "ASIAIOSFODNN7EXAMPLE")
	text = ids.ReplaceAllString(text, "AROACKCEVSQ6C2EXAMPLE")
	return times.ReplaceAllStringFunc(text, func(found string) string {
		t, err := time.Parse(time.RFC3339, found)
		if err != nil {
			return found
		}
		return t.Add(n.shift).UTC().Format(time.RFC3339)
	})
}
