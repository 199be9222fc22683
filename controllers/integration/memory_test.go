package integration_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"rolecredential.dev/operator/api/v1alpha1"
	"rolecredential.dev/operator/controllers"
	"rolecredential.dev/operator/hack/stsemulator"
)

// besideEnv has the test's program be an operator and nothing else: STS and the API server hold in memory what they issue and keep.
const operatorProcessEnv = "OPERATOR_BESIDE_THE_TEST"

// beside is where that operator's cluster is, and where it is to write what it holds in memory.
type processConfig struct{ Host, Token, CA, Heap string }

// operate runs an operator until its input ends, and then writes down its heap: all objects that are still reachable from it.
func runOperator(config string) error {
	var c processConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	options, err := controllers.ManagerOptions(controllers.Scope{})
	if err != nil {
		return err
	}
	options.Metrics = metricsserver.Options{BindAddress: "0"}
	options.Logger = controllers.NewLogger(zap.Options{})
	ctrl.SetLogger(options.Logger)
	mgr, err := ctrl.NewManager(&rest.Config{Host: c.Host, BearerToken: c.Token, TLSClientConfig: rest.TLSClientConfig{CAData: []byte(c.CA)}}, options)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if err := controllers.Setup(ctx, mgr, controllers.Options{}); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	if err := overwriteBuffers(ctx, mgr.GetClient()); err != nil {
		return err
	}
	stop()
	if err := <-done; err != nil {
		return err
	}
	file, err := os.Create(c.Heap)
	if err != nil {
		return err
	}
	for range 3 { // a finalizer frees what it finalizes with the collection after it
		runtime.GC()
	}
	debug.WriteHeapDump(file.Fd())
	runtime.KeepAlive(mgr) // and with it every reconciler, cache and client
	return file.Close()
}

// drown writes much and reads it again, over what stands in the buffers of the connection to the API server. It is not so much that the
// answer is compressed.
func overwriteBuffers(ctx context.Context, writer client.Client) error {
	large := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "much"}, Data: map[string][]byte{"water": bytes.Repeat([]byte("water"), 20<<10)}}
	return writer.Create(ctx, large, client.DryRunAll, client.DisableReadYourWritesConsistency)
}

// Go cannot wipe a string, nor what it has freed. What can be shown is that nothing which the operator keeps holds on to what it
// has issued.
func TestHeapHoldsNoIssuedSecrets(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.stop = func() {}
	namespace := h.namespace(nil)
	by := h.identity()
	as := h.asOperator()
	heap := filepath.Join(t.TempDir(), "heap")
	config, err := json.Marshal(processConfig{Host: as.Host, Token: as.BearerToken, CA: string(as.CAData), Heap: heap})
	h.Expect(err).NotTo(HaveOccurred())
	operator := exec.CommandContext(h.ctx, os.Args[0])
	operator.Env = append(os.Environ(), operatorProcessEnv+"="+string(config))
	var output bytes.Buffer
	operator.Stderr = &output
	input, err := operator.StdinPipe()
	h.Expect(err).NotTo(HaveOccurred())
	h.Expect(operator.Start()).To(Succeed())

	made := h.credential(namespace, "forgotten", by, func(c *v1alpha1.RoleCredential) {
		c.Spec.Secret.Formats = []v1alpha1.Format{v1alpha1.FormatEnv, v1alpha1.FormatSharedCredentials, v1alpha1.FormatCredentialProcess}
	})
	h.eventually(made, "Ready", "True Issued")
	secrets := secretsOf(h, namespace, "forgotten")
	h.refresh(made, "1")
	h.Eventually(func() string { h.state(made, "Ready")(); return made.Status.LastHandledRefreshRequest }).WithTimeout(settle).Should(Equal("1"))
	secrets = append(secrets, secretsOf(h, namespace, "forgotten")...)
	h.Expect(h.endpoint.Close()).To(Succeed())
	h.Expect(input.Close()).To(Succeed())
	h.Expect(operator.Wait()).To(Succeed(), output.String)

	dump, err := os.ReadFile(heap)
	h.Expect(err).NotTo(HaveOccurred())
	h.Expect(secrets).To(HaveLen(4))
	h.Expect(bytes.Contains(dump, []byte(made.Status.AccessKeyID))).To(BeTrue(), "the heap holds not even the status")
	h.Expect(bytes.Contains(dump, []byte(h.sts.AccessKeys(operatorARN)[0].Secret))).To(BeTrue(), "nor the source's own key, with which the next call is signed")
	for i, secret := range secrets {
		h.Expect(len(secret)).To(BeNumerically(">", 10))
		for form, text := range map[string]string{"as it is": secret, "as JSON has it": base64.StdEncoding.EncodeToString([]byte(secret))} {
			h.Expect(bytes.Contains(dump, []byte(text))).To(BeFalse(), fmt.Sprintf("secret %d of %d is still held, %s", i+1, len(secrets), form))
		}
	}
}
