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

` + "`make docs`" + ` records the output of each command of [the kubectl plugin](plugin.md), with the operator and an STS emulator. Times, access key IDs and addresses are replaced by fixed values, and secrets by ` + "`***`" + `.
`

// scene is one command of the recorded session.
type scene struct {
	text string
	args []string
	// code is the expected exit code.
	code int
}

var scenes = []scene{
	{"All credentials:", []string{"get", "-A"}, cli.ExitOK},
	{"One credential. The exit code is 0 because it is Ready:", []string{"status", "s3-reader", "-n", "shop"}, cli.ExitOK},
	{"The pods that use its Secret:", []string{"readers", "s3-reader", "-n", "shop", "-o", "wide"}, cli.ExitOK},
	{"The session, from STS:", []string{"whoami", "s3-reader", "-n", "shop"}, cli.ExitOK},
	{"A credential whose role trusts no caller:", []string{"explain", "nobody", "-n", "shop"}, cli.ExitNo},
	{"Whether a namespace may use a role. Here the duration is too long:", []string{"can-i", "--as-namespace", "shop", "--role", "arn:aws:iam::123456789012:role/S3Reader", "--duration", "2h"}, cli.ExitNo},
	{"Lines for a shell:", []string{"env", "s3-reader", "-n", "shop", "--shell", "bash"}, cli.ExitOK},
	{"The output of a `credential_process`:", []string{"process", "s3-reader", "-n", "shop"}, cli.ExitOK},
	{"A command with the credential:", []string{"exec", "s3-reader", "-n", "shop", "--", "sh", "-c", `echo "$AWS_ACCESS_KEY_ID until $AWS_CREDENTIAL_EXPIRATION"`}, cli.ExitOK},
	{"The URL of the console:", []string{"console", "s3-reader", "-n", "shop", "--endpoint", federationURL}, cli.ExitOK},
	{"How to revoke the sessions issued so far:", []string{"revoke", "s3-reader", "-n", "shop"}, cli.ExitOK},
	{"A refresh:", []string{"refresh", "s3-reader", "-n", "shop", "--wait"}, cli.ExitOK},
}

// Fixed values for addresses that change with each recording.
const (
	federationURL = "https://signin.example.internal/federation"
	stsURL        = "https://sts.example.internal"
)

// sessionStart is the time at which s3-reader was issued in the recording.
var sessionStart = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)

// sinceIssued is the time from the issue to the plugin's clock. Ages that differ by up to a minute are rounded to it.
const sinceIssued = 12*time.Minute + 30*time.Second

// recordSession runs all scenes on a new cluster and writes the page.
func recordSession(ctx context.Context, managerPath string, out io.Writer) (err error) {
	d, err := newDemo(managerPath)
	if err != nil {
		return err
	}
	defer func() {
		if closed := d.cleanups.Run(); err == nil {
			err = closed
		}
	}()
	ctx, d.abort = context.WithCancelCause(ctx)
	defer d.abort(nil)
	d.out, d.lifetimeFraction = io.Discard, 1
	if err := d.setUp(ctx); err != nil {
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

// setUp starts the cluster and creates the objects of the scenes.
func (d *demo) setUp(ctx context.Context) error {
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

// runPod sets the status of a running pod, as a kubelet would.
func (d *demo) runPod(ctx context.Context, name string, since time.Time) error {
	pod := &corev1.Pod{}
	if err := d.Client.Get(ctx, client.ObjectKey{Namespace: "shop", Name: name}, pod); err != nil {
		return err
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(since)}}}}
	return d.Client.Status().Update(ctx, pod)
}

// issuedAt returns when s3-reader was issued last, and its Secret.
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

// play runs a command and writes it with its output.
func (d *demo) play(ctx context.Context, s scene, federation string, out io.Writer) error {
	at, secret, err := d.issuedAt(ctx)
	if err != nil {
		return err
	}
	now, start := at.Add(sinceIssued), sessionStart
	if s.args[0] == "refresh" { // the operator uses the real clock
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
		return fmt.Errorf("exit code %d, want %d: %s", code, s.code, &printed)
	}
	if s.args[0] == "refresh" {
		if at, secret, err = d.issuedAt(ctx); err != nil {
			return err
		}
		start = sessionStart.Add(sinceIssued)
	}
	normal := normaliser{shift: start.Sub(at), literal: strings.NewReplacer(
		federation, federationURL, d.endpoint.URL, stsURL,
		string(secret.Data["AWS_SECRET_ACCESS_KEY"]), masked, string(secret.Data["AWS_SESSION_TOKEN"]), masked,
	)}
	exitCode := ""
	if code != 0 {
		exitCode = fmt.Sprintf("(exit code %d)\n", code)
	}
	_, err = fmt.Fprintf(out, "\n%s\n\n```console plugin\n$ kubectl rolecred %s\n%s%s```\n", s.text, quote(s.args), normal.of(printed.String()), exitCode)
	return err
}

// normaliser replaces the values that change with each recording.
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
