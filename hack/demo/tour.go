package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/hack/cluster"
)

const (
	operatorARN  = "arn:aws:iam::210987654321:user/operator"
	principalARN = "arn:aws:sts::123456789012:assumed-role/S3Reader/shop.s3-reader"
	region       = "eu-west-1"
	keyFile      = "bootstrap.env" // the access key of the user operator, in the demo's folder
)

// step is one step of the demo. It returns an error if the result is wrong.
type step struct {
	title string
	run   func(*demo, context.Context) error
}

var steps = []step{
	{"Start a Kubernetes API server and an STS", (*demo).start},
	{"Install the operator", (*demo).install},
	{"Apply the samples", (*demo).applySamples},
	{"Wait for the credential", (*demo).waitReady},
	{"Look at its Secret", (*demo).lookAtSecret},
	{"Call STS with the Secret", (*demo).callSTS},
	{"Watch a refresh before expiry", (*demo).seeRefresh},
	{"Use the other two STS calls", (*demo).getOtherTokens},
	{"Try a namespace that no rule allows", (*demo).tryOtherNamespace},
	{"Try an invalid ARN", (*demo).tryBadARN},
	{"Read the events", (*demo).readEvents},
}

// runSteps runs all steps.
func (d *demo) runSteps(ctx context.Context) error {
	for i, s := range steps {
		d.say("\n== %d/%d %s", i+1, len(steps), s.title)
		if err := s.run(d, ctx); err != nil {
			return fmt.Errorf("step %d, %q: %w", i+1, s.title, err)
		}
		// A signal, or the manager's exit, during a step without a context.
		if ctx.Err() != nil {
			return fmt.Errorf("step %d, %q: %w", i+1, s.title, context.Cause(ctx))
		}
	}
	d.say("\nAll %d steps succeeded.", len(steps))
	return nil
}

func (d *demo) start(context.Context) error {
	if err := d.startCluster(); err != nil {
		return err
	}
	if err := d.startSTS(); err != nil {
		return err
	}
	d.say("The API server is at %s, the STS emulator at %s.", d.Config.Host, d.endpoint.URL)
	d.say("In this demo, a session of one hour lasts %s, so you see a refresh soon.", session(time.Hour))
	return nil
}

// session returns how long a session of some duration lasts in the demo.
func session(duration time.Duration) time.Duration {
	return time.Duration(float64(duration) * lifetimeFraction).Round(time.Second)
}

func (d *demo) install(ctx context.Context) error {
	if _, err := d.kubectl(ctx, "apply", "-k", "config/complete"); err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"); err != nil {
		return err
	}
	d.say("\nThis cluster has no kubelet to run the Deployment's pod. The manager runs as a process instead, with a token")
	d.say("of the Deployment's ServiceAccount, so it has the permissions in config/rbac. Its log is %s", d.managerLog)
	kubeconfig, err := d.ManagerKubeconfig(ctx)
	if err != nil {
		return err
	}
	who, err := d.kubectl(ctx, "--kubeconfig="+kubeconfig, "auth", "whoami")
	if err != nil {
		return err
	}
	if want := "system:serviceaccount:" + cluster.OperatorNamespace + ":" + cluster.OperatorAccount; !strings.Contains(who, want) {
		return fmt.Errorf("the manager's token is not for %s", want)
	}
	return d.startManager(kubeconfig)
}

func (d *demo) applySamples(ctx context.Context) error {
	if _, err := d.kubectl(ctx, "apply", "-k", "config/samples"); err != nil {
		return err
	}
	d.say("\nThe sample uses AWS. Change its endpoint to the emulator:")
	if _, err := d.kubectl(ctx, "patch", "clusteridentity", "default", "--type=merge",
		fmt.Sprintf(`--patch={"spec":{"endpoint":%q}}`, d.endpoint.URL)); err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "wait", "clusteridentity/default", "--for=jsonpath={.status.observedGeneration}=2", "--timeout=60s"); err != nil {
		return err
	}
	d.say("\nThe identity has no access key yet, so it is not Ready:")
	waiting, err := d.kubectl(ctx, "get", "clusteridentities")
	if err != nil {
		return err
	}
	if !strings.Contains(waiting, v1alpha1.ReasonSecretNotFound) {
		return fmt.Errorf("the identity's status is not %s", v1alpha1.ReasonSecretNotFound)
	}
	d.say("\nCreate the Secret with the access key of an IAM user that may assume the role. The operator sees the Secret and retries:")
	key := d.sts.AccessKeys(operatorARN)[0]
	file := filepath.Join(d.dir, keyFile)
	if err := os.WriteFile(file, fmt.Appendf(nil, "AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n", key.ID, key.Secret), 0o600); err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "create", "secret", "generic", "bootstrap", "-n", cluster.OperatorNamespace, "--from-env-file="+file); err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "wait", "--for=condition=Ready", "clusteridentity/default", "--timeout=60s"); err != nil {
		return err
	}
	verified, err := d.kubectl(ctx, "get", "clusteridentities")
	if err == nil && !strings.Contains(verified, operatorARN) {
		err = fmt.Errorf("the identity is not %s", operatorARN)
	}
	return err
}

func (d *demo) waitReady(ctx context.Context) error {
	if _, err := d.kubectl(ctx, "wait", "--for=condition=Ready", "rolecredential/s3-reader", "-n", "shop", "--timeout=60s"); err != nil {
		return err
	}
	list, err := d.kubectl(ctx, "get", "rolecredentials", "-n", "shop")
	if err != nil {
		return err
	}
	if row := strings.Fields(list[strings.Index(list, "\n")+1:]); len(row) < 3 || !slices.Equal(row[:3], []string{"s3-reader", "True", v1alpha1.ReasonIssued}) {
		return fmt.Errorf("s3-reader is not True and %s", v1alpha1.ReasonIssued)
	}
	return nil
}

func (d *demo) lookAtSecret(ctx context.Context) error {
	if _, err := d.kubectl(ctx, "describe", "secret", "s3-reader", "-n", "shop"); err != nil {
		return err
	}
	secret, err := d.secret(ctx, "s3-reader")
	if err != nil {
		return err
	}
	if len(secret.Data) != 3 {
		return fmt.Errorf("the Secret has %d keys and not 3", len(secret.Data))
	}
	_, err = d.environmentOf(secret)
	return err
}

func (d *demo) secret(ctx context.Context, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	return secret, d.Client.Get(ctx, client.ObjectKey{Namespace: "shop", Name: name}, secret)
}

// environmentOf returns the environment of a container with the Secret in envFrom, and with the emulator's endpoint.
func (d *demo) environmentOf(secret *corev1.Secret) (environment, error) {
	e := environment{
		accessKeyID:     string(secret.Data["AWS_ACCESS_KEY_ID"]),
		secretAccessKey: string(secret.Data["AWS_SECRET_ACCESS_KEY"]),
		sessionToken:    string(secret.Data["AWS_SESSION_TOKEN"]),
		region:          region,
		endpoint:        d.endpoint.URL,
	}
	if e.accessKeyID == "" || e.secretAccessKey == "" || e.sessionToken == "" {
		return e, fmt.Errorf("the Secret lacks one of the three variables")
	}
	return e, nil
}

func (d *demo) callSTS(ctx context.Context) error {
	d.say("This is the environment of a container with `envFrom: [{secretRef: {name: s3-reader}}]`:")
	secret, err := d.secret(ctx, "s3-reader")
	if err != nil {
		return err
	}
	e, err := d.environmentOf(secret)
	if err != nil {
		return err
	}
	return d.expectPrincipal(ctx, e, principalARN)
}

// expectPrincipal calls GetCallerIdentity with an environment and compares the ARN.
func (d *demo) expectPrincipal(ctx context.Context, e environment, want string) error {
	who, err := d.whoami(ctx, e)
	if err != nil {
		return err
	}
	if who.ARN != want {
		return fmt.Errorf("the caller is not %s", want)
	}
	return nil
}

func (d *demo) seeRefresh(ctx context.Context) error {
	secret, err := d.secret(ctx, "s3-reader")
	if err != nil {
		return err
	}
	old, err := d.environmentOf(secret)
	if err != nil {
		return err
	}
	var refreshed string
	var at time.Time
	if err := d.kubectlUntil(ctx, func(id string) bool {
		refreshed, at = id, time.Now()
		return id != old.accessKeyID
	}, "get", "secret", "s3-reader", "-n", "shop", "--watch", `--output=go-template={{.data.AWS_ACCESS_KEY_ID | base64decode}}{{"\n"}}`); err != nil {
		return err
	}
	issued, known := d.sts.Session(old.accessKeyID)
	if _, fresh := d.sts.Session(refreshed); !known || !fresh {
		return fmt.Errorf("STS did not issue one of %s and %s", old.accessKeyID, refreshed)
	}
	left := issued.Expiration.Sub(at).Round(time.Second)
	if left <= 0 {
		return fmt.Errorf("%s expired before the refresh to %s", old.accessKeyID, refreshed)
	}
	d.say("\nThe access key ID changed from %s to %s, %s before the old one expires.", old.accessKeyID, refreshed, left)
	d.say("The old credentials still work until they expire:")
	return d.expectPrincipal(ctx, old, principalARN)
}

func (d *demo) tryOtherNamespace(ctx context.Context) error {
	if _, err := d.kubectl(ctx, "apply", "-f", "hack/demo/manifests/lab.yaml"); err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "wait", "--for=condition=Authorized=false", "rolecredential/s3-reader", "-n", "lab", "--timeout=60s"); err != nil {
		return err
	}
	if _, err := d.kubectl(ctx, "get", "rolecredential", "s3-reader", "-n", "lab",
		`--output=jsonpath={range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}`); err != nil {
		return err
	}
	denied := &v1alpha1.RoleCredential{}
	if err := d.Client.Get(ctx, client.ObjectKey{Namespace: "lab", Name: "s3-reader"}, denied); err != nil {
		return err
	}
	authorized := meta.FindStatusCondition(denied.Status.Conditions, v1alpha1.ConditionAuthorized)
	if authorized == nil || authorized.Reason != v1alpha1.ReasonNotAllowed || !strings.Contains(authorized.Message, `"lab"`) {
		return fmt.Errorf("the message does not say that the namespace is %s", v1alpha1.ReasonNotAllowed)
	}
	for _, call := range d.sts.Calls() {
		if strings.HasPrefix(call.Parameters.Get("RoleSessionName"), "lab.") {
			return fmt.Errorf("the operator called STS")
		}
	}
	d.say("The operator did not call STS.")
	return nil
}

func (d *demo) tryBadARN(ctx context.Context) error {
	message, err := d.kubectl(ctx, "apply", "-f", "hack/demo/manifests/bad-arn.yaml")
	switch {
	case err == nil:
		return fmt.Errorf("the API server accepted the invalid ARN")
	case !failed(err):
		return err
	case !strings.Contains(message, "spec.roleARN: Invalid value") || !strings.Contains(message, "arn:aws:iam::123456789012:role/S3Reader"):
		return fmt.Errorf("the message does not name the field and the form of an ARN")
	}
	return nil
}

func (d *demo) readEvents(ctx context.Context) error {
	if err := d.awaitEvent(ctx, "lab", v1alpha1.ReasonNotAllowed); err != nil {
		return err
	}
	events, err := d.kubectl(ctx, "get", "events", "--all-namespaces", "--field-selector=involvedObject.kind=RoleCredential")
	if err != nil {
		return err
	}
	for _, reason := range []string{v1alpha1.ReasonIssued, v1alpha1.ReasonNotAllowed} {
		if !strings.Contains(events, reason) {
			return fmt.Errorf("no event has the reason %s", reason)
		}
	}
	d.say("\nThe operator writes an event when a condition changes. A normal refresh changes no condition, so it has no event.")
	return nil
}

// awaitEvent waits for an event. The operator writes it after the status.
func (d *demo) awaitEvent(ctx context.Context, namespace, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	watcher, err := client.NewWithWatch(d.Config, client.Options{})
	if err != nil {
		return err
	}
	events, err := watcher.Watch(ctx, &corev1.EventList{}, client.InNamespace(namespace), client.MatchingFields{"reason": reason})
	if err != nil {
		return err
	}
	defer events.Stop()
	select {
	case event := <-events.ResultChan():
		if event.Type != watch.Added {
			return fmt.Errorf("watching events: %v", event.Type)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// printNextSteps prints commands to try.
func (d *demo) printNextSteps() {
	d.say(`
The cluster runs until you press Ctrl-C. Try these commands in another terminal:

  export KUBECONFIG=%s
  export PATH=%s:$PATH

  kubectl get rolecredentials -n shop --watch
  kubectl annotate rolecredential s3-reader -n shop --overwrite sts.rolecredential.dev/refresh-requested-at=now
  kubectl delete secret s3-reader -n shop
  kubectl explain rolecredential.spec`, d.Kubeconfig, d.assets)
}
