package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"rolecredential.dev/operator/hack/testbed"
)

var chartFolder = filepath.Join("..", "..", "config", "chart")

func TestChartHasTheVersionAndTheImageOfTheRelease(t *testing.T) {
	g := NewWithT(t)
	out := t.TempDir()
	g.Expect(packChart(chartFolder, out, "0.1.0", "registry.example.com:5000/team/rolecredential:v0.1.0")).To(Succeed())
	packed, err := os.ReadFile(filepath.Join(out, "rolecredential-0.1.0.tgz"))
	g.Expect(err).NotTo(HaveOccurred())
	files := unpacked(t, packed)
	g.Expect(files["rolecredential/Chart.yaml"]).To(And(ContainSubstring("\nversion: 0.1.0\n"), ContainSubstring("\nappVersion: \"v0.1.0\"")))
	g.Expect(files["rolecredential/values.yaml"]).To(ContainSubstring("\n  repository: registry.example.com:5000/team/rolecredential\n"))
	g.Expect(files).To(HaveKey("rolecredential/templates/manager.yaml"))
	g.Expect(files).To(HaveKey("rolecredential/definitions/sts.rolecredential.dev_rolecredentials.yaml"), "a link's target")
	g.Expect(files).NotTo(HaveKey("rolecredential/prometheus/monitor.yaml"), "a file in .helmignore")
}

func TestHelmRendersTheChartOfTheRelease(t *testing.T) {
	helm := testbed.Program(t, "HELM")
	g := NewWithT(t)
	out := t.TempDir()
	g.Expect(packChart(chartFolder, out, "0.1.0", "registry.example.com/rolecredential:v0.1.0")).To(Succeed())
	render := func(chart string, args ...string) string {
		output, err := exec.CommandContext(t.Context(), helm, append([]string{"template", "rolecredential", chart}, args...)...).Output()
		g.Expect(err).NotTo(HaveOccurred())
		return string(output)
	}
	packed := render(filepath.Join(out, "rolecredential-0.1.0.tgz"))
	g.Expect(packed).To(ContainSubstring("image: registry.example.com/rolecredential:v0.1.0"))

	// Helm's own package, with the same values.
	g.Expect(exec.CommandContext(t.Context(), helm, "package", chartFolder, "--version=0.1.0", "--app-version=v0.1.0", "--destination="+out).Run()).To(Succeed())
	g.Expect(packed).To(Equal(render(filepath.Join(out, "rolecredential-0.1.0.tgz"), "--set=image.repository=registry.example.com/rolecredential")))
}

func TestChartDoesNotDependOnTimes(t *testing.T) {
	g := NewWithT(t)
	var packed [2][]byte
	for i := range packed {
		dir, out := t.TempDir(), t.TempDir()
		for name, text := range map[string]string{
			"Chart.yaml": "name: rolecredential\nversion: 0.0.0\nappVersion: dev\n", "values.yaml": "image:\n  repository: rolecredential\n", ".helmignore": "*.tmp\n", "a.tmp": "",
		} {
			file := filepath.Join(dir, name)
			g.Expect(os.WriteFile(file, []byte(text), 0o600)).To(Succeed())
			g.Expect(os.Chtimes(file, time.Time{}, time.Unix(int64(1000*(i+1)), 0))).To(Succeed())
		}
		g.Expect(packChart(dir, out, "1.2.3", "a:b")).To(Succeed())
		var err error
		packed[i], err = os.ReadFile(filepath.Join(out, "rolecredential-1.2.3.tgz"))
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(packed[0]).To(Equal(packed[1]))
	g.Expect(unpacked(t, packed[0])).NotTo(HaveKey("rolecredential/a.tmp"))
}

func TestUnsuitableChartIsRefused(t *testing.T) {
	for name, tc := range map[string]struct{ version, image, want string }{
		"no semantic version":          {version: "dev", image: "a:b", want: "semantic version"},
		"an image without a tag":       {version: "0.1.0", image: "registry.example.com:5000/rolecredential", want: "an image with a tag"},
		"an image with an empty tag":   {version: "0.1.0", image: "rolecredential:", want: "an image with a tag"},
		"an image with a digest alone": {version: "0.1.0", image: "rolecredential@sha256:00", want: "an image with a tag"},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(packChart(chartFolder, t.TempDir(), tc.version, tc.image)).To(MatchError(ContainSubstring(tc.want)))
		})
	}
}
