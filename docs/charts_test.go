package docs_test

import (
	"bytes"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/net/http/httpproxy"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"rolecredential.dev/operator/hack/testbed"
)

// stdout runs a program and returns its output.
func stdout(t *testing.T, program string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Stderr = &stderr
	printed, err := cmd.Output()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), stderr.String())
	return string(printed)
}

// helm runs `helm template`.
func helm(t *testing.T, args ...string) (objects []*unstructured.Unstructured) {
	t.Helper()
	printed := stdout(t, testbed.Program(t, "HELM"), append([]string{"template", "rolecredential", "--namespace=default"}, args...)...)
	for _, document := range documents(strings.TrimPrefix(printed, "---\n")) {
		objects = append(objects, object(t, document))
	}
	return objects
}

// renderTemplate renders a template in a chart of its own.
func renderTemplate(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	g := NewWithT(t)
	chart := t.TempDir()
	g.Expect(os.Mkdir(filepath.Join(chart, "templates"), 0o700)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(chart, "Chart.yaml"), []byte("apiVersion: v2\nname: shown\nversion: 0.1.0\n"), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(chart, "templates", "shown.yaml"), []byte(text), 0o600)).To(Succeed())
	return helm(t, chart)
}

// renderValues returns the manager's Deployment that this repository's chart renders with values.
func renderValues(t *testing.T, values string) *unstructured.Unstructured {
	t.Helper()
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "values.yaml")
	g.Expect(os.WriteFile(file, []byte(values), 0o600)).To(Succeed())
	rendered := helm(t, filepath.Join(root, "config", "chart"), "--values="+file)
	at := slices.IndexFunc(rendered, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
	g.Expect(at).To(BeNumerically(">=", 0))
	return rendered[at]
}

// podOfValues returns a Pod with the additions of cert-manager's values to its controller.
func podOfValues(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	g := NewWithT(t)
	var values struct {
		ExtraEnv     []corev1.EnvVar      `json:"extraEnv"`
		Volumes      []corev1.Volume      `json:"volumes"`
		VolumeMounts []corev1.VolumeMount `json:"volumeMounts"`
	}
	g.Expect(yaml.UnmarshalStrict([]byte(text), &values)).To(Succeed())
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "cert-manager"},
		Spec: corev1.PodSpec{
			Volumes:    values.Volumes,
			Containers: []corev1.Container{{Name: "cert-manager-controller", Image: "registry.example.com/cert-manager", Env: values.ExtraEnv, VolumeMounts: values.VolumeMounts}},
		},
	})
	g.Expect(err).NotTo(HaveOccurred())
	return &unstructured.Unstructured{Object: content}
}

// blockOf returns the only block of a page under a heading with a mark or language.
func blockOf(t *testing.T, path, anchor, mark string) block {
	t.Helper()
	var found []block
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if p.path == path && b.under == anchor && (b.has(mark) || b.language == mark) {
				found = append(found, b)
			}
		}
	}
	NewWithT(t).Expect(found).NotTo(BeEmpty(), "%s#%s has no block of %s", path, anchor, mark)
	return found[0]
}

func TestProxyExampleSparesServersInTheCluster(t *testing.T) {
	const apiServer = "10.96.0.1"
	config := httpproxy.Config{}
	containers, _, err := unstructured.NestedSlice(renderValues(t, blockOf(t, "docs/installation.md", "behind-a-proxy", "values").text).Object, "spec", "template", "spec", "containers")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	var manager corev1.Container
	NewWithT(t).Expect(runtime.DefaultUnstructuredConverter.FromUnstructured(containers[0].(map[string]any), &manager)).To(Succeed())
	for _, variable := range manager.Env {
		switch value := strings.ReplaceAll(variable.Value, "$(KUBERNETES_SERVICE_HOST)", apiServer); variable.Name { // as the kubelet does
		case "HTTPS_PROXY":
			config.HTTPSProxy = value
			config.HTTPProxy = value // for the metadata services, which have no TLS
		case "NO_PROXY":
			config.NoProxy = value
		}
	}
	for server, proxied := range map[string]bool{
		"https://" + apiServer:                              false,
		"https://sts.minio-operator.svc:4223":               false,
		"https://sts.minio-operator.svc.cluster.local:4223": false,
		"http://169.254.169.254/latest/meta-data":           false,
		"http://169.254.170.23/v1/credentials":              false,
		"https://sts.eu-west-1.amazonaws.com":               true,
	} {
		t.Run(server, func(t *testing.T) {
			g := NewWithT(t)
			target, err := url.Parse(server)
			g.Expect(err).NotTo(HaveOccurred())
			proxy, err := config.ProxyFunc()(target)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(proxy != nil).To(Equal(proxied))
		})
	}
}
