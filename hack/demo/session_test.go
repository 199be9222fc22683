package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// docs/plugin-session.md must be the plugin's current output.
func TestRecordedPluginSessionIsCurrent(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS must name a folder with etcd, kube-apiserver and kubectl: run make test, which builds them")
	}
	t.Chdir(filepath.Join("..", ".."))
	t.Setenv("TMPDIR", t.TempDir()) // the demo changes it
	manager := filepath.Join(t.TempDir(), "manager")
	if text, err := exec.CommandContext(t.Context(), "go", "build", "-o", manager, "./cmd/manager").CombinedOutput(); err != nil {
		t.Fatalf("building the manager: %v: %s", err, text)
	}
	recorded, err := os.ReadFile(filepath.Join("docs", "plugin-session.md"))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := recordSession(t.Context(), manager, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(recorded), got.String()); diff != "" {
		t.Errorf("docs/plugin-session.md (-recorded +printed; run make docs to update it):\n%s", diff)
	}
}
