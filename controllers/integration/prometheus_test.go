package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"
)

// program is a process of a test. It stops at the end of the test, or when the test calls stop.
type program struct {
	output *logs
	stop   func()
}

// start runs a program without the test's environment.
func start(t *testing.T, path string, args ...string) *program {
	t.Helper()
	p := &program{output: &logs{}}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = waitLimit // after which it is killed
	cmd.Env = []string{"HOME=" + t.TempDir()}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	NewWithT(t).Expect(cmd.Start()).To(Succeed())
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the output contains the error
		close(exited)
	}()
	p.stop = func() {
		cancel()
		<-exited
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("output of %s: %s", filepath.Base(path), p.output)
		}
	})
	return p
}

// freeAddress returns a loopback address without a listener.
func freeAddress(g *WithT) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// manager is the shipped program with its ServiceAccount, leader election and secured metrics.
type manager struct {
	*program
	metricsURL string
}

// startManager builds and starts the manager. The harness stops it before it deletes the test's objects.
func (h *harness) startManager() *manager {
	h.t.Helper()
	dir := h.t.TempDir()
	path := filepath.Join(dir, "manager")
	text, err := exec.CommandContext(h.ctx, "go", "build", "-o", path, "../../cmd/manager").CombinedOutput()
	h.Expect(err).NotTo(HaveOccurred(), string(text))
	m := &manager{metricsURL: "https://" + freeAddress(h.WithT) + "/metrics"}
	parsed, err := url.Parse(m.metricsURL)
	h.Expect(err).NotTo(HaveOccurred())
	m.program = start(h.t, path, "--kubeconfig="+h.kubeconfig(dir), "--leader-elect", "--leader-election-namespace="+operatorNamespace,
		"--health-probe-bind-address=0", "--metrics-bind-address="+parsed.Host)
	h.stop = m.stop
	return m
}

// kubeconfig writes a kubeconfig for the operator's ServiceAccount, and returns its path.
func (h *harness) kubeconfig(dir string) string {
	h.t.Helper()
	as := h.asOperator()
	const name = "operator"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: as.Host, CertificateAuthorityData: as.CAData}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: as.BearerToken}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	path := filepath.Join(dir, "kubeconfig")
	h.Expect(clientcmd.WriteToFile(*config, path)).To(Succeed())
	return path
}

// token returns a token of a new ServiceAccount.
func (h *harness) token(namespace, name string, mayGetMetrics bool) string {
	h.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	h.Expect(admin.Create(h.ctx, account)).To(Succeed())
	if mayGetMetrics {
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: namespace + "-" + name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "rolecredential-metrics-reader"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: name}},
		}
		h.Expect(admin.Create(h.ctx, binding)).To(Succeed())
		h.t.Cleanup(func() { h.Expect(admin.Delete(context.Background(), binding)).To(Succeed()) })
	}
	token := &authenticationv1.TokenRequest{}
	h.Expect(admin.SubResource("token").Create(h.ctx, account, token)).To(Succeed())
	return token.Status.Token
}

// get returns the response of a URL. It sends a bearer token unless it is empty, and does not verify the certificate.
func get(url, token string) (status int, body string, err error) {
	request, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: waitLimit}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// monitoring is a Prometheus server that scrapes the manager and evaluates the shipped alerts.
type monitoring struct {
	*WithT
	*program
	url string
}

// minuteDuration matches durations in minutes of PromQL and of a rule's for.
var minuteDuration = regexp.MustCompile(`\b(\d+)m\b`)

// rulesInSeconds returns the shipped rules with seconds instead of minutes. It changes nothing else.
func rulesInSeconds(g *WithT) []byte {
	manifest, err := os.ReadFile(filepath.Join(manifests("prometheus"), "rules.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	var rule struct {
		Spec struct {
			Groups []struct {
				Name  string           `json:"name"`
				Rules []map[string]any `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}
	g.Expect(yaml.Unmarshal(manifest, &rule)).To(Succeed())
	for _, group := range rule.Spec.Groups {
		for _, r := range group.Rules {
			for _, field := range []string{"for", "expr"} {
				r[field] = minuteDuration.ReplaceAllString(r[field].(string), "${1}s")
			}
		}
	}
	text, err := yaml.Marshal(rule.Spec)
	g.Expect(err).NotTo(HaveOccurred())
	return text
}

// scrapeConfig returns the Prometheus configuration that the Prometheus Operator creates from the shipped ServiceMonitor.
func scrapeConfig(g *WithT, target, token string) []byte {
	manifest, err := os.ReadFile(filepath.Join(manifests("prometheus"), "monitor.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	var monitor struct {
		Spec struct {
			Endpoints []struct {
				Path, Scheme string
				HonorLabels  bool
				TLSConfig    struct{ InsecureSkipVerify bool }
			}
		}
	}
	g.Expect(yaml.Unmarshal(manifest, &monitor)).To(Succeed())
	g.Expect(monitor.Spec.Endpoints).To(HaveLen(1))
	endpoint := monitor.Spec.Endpoints[0]
	parsed, err := url.Parse(target)
	g.Expect(err).NotTo(HaveOccurred())
	text, err := yaml.Marshal(map[string]any{
		"global":     map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "250ms"},
		"rule_files": []string{"rules.yaml"},
		"scrape_configs": []any{map[string]any{
			"job_name": "rolecredential-manager-metrics-service", "metrics_path": endpoint.Path, "scheme": endpoint.Scheme, "honor_labels": endpoint.HonorLabels,
			"tls_config":     map[string]any{"insecure_skip_verify": endpoint.TLSConfig.InsecureSkipVerify},
			"authorization":  map[string]any{"credentials": token},
			"static_configs": []any{map[string]any{"targets": []string{parsed.Host}, "labels": map[string]any{"namespace": operatorNamespace, "pod": "manager"}}},
		}},
	})
	g.Expect(err).NotTo(HaveOccurred())
	return text
}

// startPrometheus starts a server that scrapes a manager once a second.
func startPrometheus(t *testing.T, m *manager, token string) *monitoring {
	t.Helper()
	folder := serverProgram(t, "PROMETHEUS")
	p := &monitoring{WithT: NewWithT(t)}
	dir := t.TempDir()
	p.Expect(os.WriteFile(filepath.Join(dir, "prometheus.yaml"), scrapeConfig(p.WithT, m.metricsURL, token), 0o600)).To(Succeed())
	p.Expect(os.WriteFile(filepath.Join(dir, "rules.yaml"), rulesInSeconds(p.WithT), 0o600)).To(Succeed())
	address := freeAddress(p.WithT)
	p.url = "http://" + address
	p.program = start(t, filepath.Join(folder, "prometheus"), "--config.file="+filepath.Join(dir, "prometheus.yaml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address,
		"--scrape.discovery-reload-interval=100ms")
	p.Eventually(func() error {
		status, body, err := get(p.url+"/-/ready", "")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d: %s", status, body)
		}
		return err
	}).WithTimeout(waitLimit).Should(Succeed())
	return p
}

// query returns the series of a PromQL query, sorted, as "alertname object". The object is the name of a credential or an identity.
func (p *monitoring) query(promQL string) []string {
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct{ Metric map[string]string }
		}
	}
	_, body, err := get(p.url+"/api/v1/query?query="+url.QueryEscape(promQL), "")
	p.Expect(err).NotTo(HaveOccurred())
	p.Expect(json.Unmarshal([]byte(body), &answer)).To(Succeed(), body)
	p.Expect(answer.Status).To(Equal("success"), answer.Error)
	found := []string{}
	for _, result := range answer.Data.Result {
		found = append(found, strings.TrimSpace(result.Metric["alertname"]+" "+result.Metric["name"]+result.Metric["identity"]))
	}
	slices.Sort(found)
	return found
}

func (p *monitoring) firing() []string { return p.query(`ALERTS{alertstate="firing"}`) }

// everFired returns the alerts that have fired so far.
func (p *monitoring) everFired() []string {
	return p.query(`count by (alertname, name, identity) (count_over_time(ALERTS{alertstate="firing"}[1h]))`)
}

// annotations returns the annotations of the current alerts.
func (p *monitoring) annotations() string {
	_, body, err := get(p.url+"/api/v1/alerts", "")
	p.Expect(err).NotTo(HaveOccurred())
	var answer struct {
		Data struct {
			Alerts []struct{ Annotations map[string]string }
		}
	}
	p.Expect(json.Unmarshal([]byte(body), &answer)).To(Succeed())
	var output bytes.Buffer
	for _, alert := range answer.Data.Alerts {
		for name, text := range alert.Annotations {
			fmt.Fprintf(&output, "%s: %s\n", name, text)
		}
	}
	return output.String()
}
