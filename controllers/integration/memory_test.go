package integration_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
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

// operatorProcessEnv makes the test binary run only an operator. In the test's own process, the STS emulator holds the secrets in memory
// too.
const operatorProcessEnv = "OPERATOR_PROCESS"

// processConfig has the operator's cluster, the file for its heap dump, empty for none, and its concurrent reconciles, 0 for the default.
type processConfig struct {
	Host, Token, CA, Heap string
	Concurrency           int
}

// runOperator runs an operator until the end of its input, and then dumps its heap: all objects that are still reachable. It answers each
// line of the input with its usage.
func runOperator(config string) error {
	var c processConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	options, err := controllers.ManagerOptions(controllers.Options{})
	if err != nil {
		return err
	}
	options.Metrics = metricsserver.Options{BindAddress: "0"}
	options.Logger = controllers.NewLogger(zap.Options{})
	ctrl.SetLogger(options.Logger)
	counted := &requestCounter{}
	as := &rest.Config{Host: c.Host, BearerToken: c.Token, TLSClientConfig: rest.TLSClientConfig{CAData: []byte(c.CA)}, QPS: -1}
	as.Wrap(counted.wrap)
	mgr, err := ctrl.NewManager(as, options)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if err := controllers.Setup(ctx, mgr, controllers.Options{Concurrency: c.Concurrency}); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	if err := counted.report(os.Stdin, os.Stdout); err != nil {
		return err
	}
	if c.Heap == "" {
		stop()
		return <-done
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
	for range 3 { // a collection frees an object after the one that ran its finalizer
		runtime.GC()
	}
	debug.WriteHeapDump(file.Fd())
	runtime.KeepAlive(mgr) // and its reconcilers, caches and clients
	return file.Close()
}

// overwriteBuffers sends and receives a large Secret, which overwrites the buffers of the connection to the API server. The response stays
// below the size from which the API server compresses.
func overwriteBuffers(ctx context.Context, writer client.Client) error {
	large := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "large"}, Data: map[string][]byte{"filler": bytes.Repeat([]byte("water"), 20<<10)}}
	return writer.Create(ctx, large, client.DryRunAll, client.DisableReadYourWritesConsistency)
}

// operatorProcess returns the command of an operator process that uses the test's cluster.
func (h *harness) operatorProcess(c processConfig) *exec.Cmd {
	h.t.Helper()
	as := h.asOperator()
	c.Host, c.Token, c.CA = as.Host, as.BearerToken, string(as.CAData)
	config, err := json.Marshal(c)
	h.Expect(err).NotTo(HaveOccurred())
	operator := exec.CommandContext(h.ctx, os.Args[0])
	operator.Env = append(os.Environ(), operatorProcessEnv+"="+string(config))
	return operator
}

// Go cannot wipe a string or freed memory. The test shows that no reachable object of the operator references issued secrets.
func TestHeapHoldsNoIssuedSecrets(t *testing.T) {
	h := newHarness(t, stsemulator.Options{})
	h.stop = func() {}
	namespace := h.namespace(nil)
	by := h.identity()
	heap := filepath.Join(t.TempDir(), "heap")
	operator := h.operatorProcess(processConfig{Heap: heap})
	var output bytes.Buffer
	operator.Stderr = &output
	input, err := operator.StdinPipe()
	h.Expect(err).NotTo(HaveOccurred())
	h.Expect(operator.Start()).To(Succeed())

	created := h.credential(namespace, "issued", by, func(c *v1alpha1.RoleCredential) {
		c.Spec.Secret.Formats = []v1alpha1.Format{v1alpha1.FormatEnv, v1alpha1.FormatSharedCredentials, v1alpha1.FormatCredentialProcess}
	})
	h.eventually(created, "Ready", "True Issued")
	secrets := secretsOf(h, namespace, "issued")
	h.refresh(created, "1")
	h.Eventually(func() string { h.state(created, "Ready")(); return created.Status.LastHandledRefreshRequest }).WithTimeout(waitLimit).Should(Equal("1"))
	secrets = append(secrets, secretsOf(h, namespace, "issued")...)
	h.Expect(h.endpoint.Close()).To(Succeed())
	h.Expect(input.Close()).To(Succeed())
	h.Expect(operator.Wait()).To(Succeed(), output.String)

	dump, err := os.ReadFile(heap)
	h.Expect(err).NotTo(HaveOccurred())
	h.Expect(secrets).To(HaveLen(4))
	h.Expect(bytes.Contains(dump, []byte(created.Status.AccessKeyID))).To(BeTrue(), "the dump contains the status")
	h.Expect(bytes.Contains(dump, []byte(h.sts.AccessKeys(operatorARN)[0].Secret))).To(BeTrue(), "the dump contains the source's key, which signs the next call")
	for i, secret := range secrets {
		h.Expect(len(secret)).To(BeNumerically(">", 10))
		for form, text := range map[string]string{"plain": secret, "base64": base64.StdEncoding.EncodeToString([]byte(secret))} {
			h.Expect(bytes.Contains(dump, []byte(text))).To(BeFalse(), fmt.Sprintf("the heap holds secret %d of %d, %s", i+1, len(secrets), form))
		}
	}
}
