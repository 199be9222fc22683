package main

import (
	"context"
	"crypto/tls"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// waitLimit bounds waits for the manager to serve.
const waitLimit = 30 * time.Second

// freeAddress returns an address without a listener.
func freeAddress(g *WithT) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// serve runs a manager with these flags and without reconcilers, until the test ends.
func serve(t *testing.T, cluster *envtest.Environment, args ...string) {
	t.Helper()
	g := NewWithT(t)
	set := flag.NewFlagSet("manager", flag.ContinueOnError)
	f := bind(set)
	g.Expect(set.Parse(args)).To(Succeed())
	mgr, err := manager(cluster.Config, *f)
	g.Expect(err).NotTo(HaveOccurred())
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		g.Expect(<-done).To(Succeed())
	})
}

// get returns the status and the body of a response, or 0 without a response.
func get(url, token string) (int, string) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err.Error()
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true} // the certificate is self-signed
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

func TestMetricsRequireRBACAndProfilesRequireAFlag(t *testing.T) {
	g := NewWithT(t)
	g.Expect(os.Getenv("KUBEBUILDER_ASSETS")).NotTo(BeEmpty(), "run make test, which builds etcd and kube-apiserver")
	cluster := &envtest.Environment{CRDDirectoryPaths: []string{"../../config/crd/bases"}}
	config, err := cluster.Start()
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(cluster.Stop()).To(Succeed()) })
	admin, err := client.New(config, client.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	token := func(name string) string {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		g.Expect(admin.Create(t.Context(), account)).To(Succeed())
		request := &authenticationv1.TokenRequest{}
		g.Expect(admin.SubResource("token").Create(t.Context(), account, request)).To(Succeed())
		return request.Status.Token
	}
	unprivileged, scraper := token("unprivileged"), token("scraper")
	// As config/rbac/metrics_reader_role.yaml grants to scrapers.
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "metrics-reader"}, Rules: []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}}
	g.Expect(admin.Create(t.Context(), role)).To(Succeed())
	g.Expect(admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "metrics-reader"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "metrics-reader"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: "scraper"}},
	})).To(Succeed())

	metrics, probes := freeAddress(g), freeAddress(g)
	serve(t, cluster, "--metrics-bind-address="+metrics, "--health-probe-bind-address="+probes)
	status := func(url, token string) func() int {
		return func() int { status, _ := get(url, token); return status }
	}
	g.Eventually(status("https://"+metrics+"/metrics", scraper)).WithTimeout(waitLimit).Should(Equal(http.StatusOK))
	_, body := get("https://"+metrics+"/metrics", scraper)
	g.Expect(body).To(ContainSubstring("go_goroutines"))
	for name, tc := range map[string]struct {
		token string
		want  int
	}{
		"no token":             {want: http.StatusUnauthorized},
		"an unknown token":     {token: "e30.e30.e30", want: http.StatusInternalServerError}, // controller-runtime's status for it
		"one without the role": {token: unprivileged, want: http.StatusForbidden},
	} {
		got, body := get("https://"+metrics+"/metrics", tc.token)
		g.Expect(got).To(Equal(tc.want), name)
		g.Expect(body).NotTo(ContainSubstring("go_goroutines"), name)
	}
	got, _ := get("http://"+metrics+"/metrics", scraper)
	g.Expect(got).NotTo(Equal(http.StatusOK)) // without TLS

	// Profiles are served only with the flag.
	for _, url := range []string{"https://" + metrics + "/debug/pprof/", "http://" + probes + "/debug/pprof/"} {
		got, body := get(url, scraper)
		g.Expect(got).To(Or(Equal(http.StatusNotFound), Equal(http.StatusForbidden)), url)
		g.Expect(body).NotTo(ContainSubstring("goroutine"), url)
	}
	profiles := freeAddress(g)
	g.Expect(status("http://"+profiles+"/debug/pprof/", "")()).To(BeZero())
	serve(t, cluster, "--metrics-bind-address=0", "--health-probe-bind-address=0", "--pprof-bind-address="+profiles)
	g.Eventually(status("http://"+profiles+"/debug/pprof/", "")).WithTimeout(waitLimit).Should(Equal(http.StatusOK))
}

func TestProfilesAreOffByDefault(t *testing.T) {
	g := NewWithT(t)
	set := flag.NewFlagSet("manager", flag.ContinueOnError)
	f := bind(set)
	g.Expect(set.Parse(nil)).To(Succeed())
	g.Expect(f.pprofAddress).To(Equal("0"))
}
