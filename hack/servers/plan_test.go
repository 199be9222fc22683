package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestVersionComesFromGoMod(t *testing.T) {
	for name, tc := range map[string]struct {
		mod, want string
		wantErr   bool
	}{
		"an indirect requirement in a block": {mod: "require (\n\tk8s.io/api v0.37.2 // indirect\n\tk8s.io/kubernetes v1.37.2 // indirect\n)\n", want: "v1.37.2"},
		"a requirement on a line of its own": {mod: "module m\n\nrequire k8s.io/kubernetes v1.38.0\n", want: "v1.38.0"},
		"a tool is not a requirement":        {mod: "tool k8s.io/kubernetes/cmd/kubectl\n", wantErr: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := requiredVersion(tc.mod, "k8s.io/kubernetes")
			if got != tc.want || (err != nil) != tc.wantErr {
				t.Errorf("got %q, %v; want %q, error %t", got, err, tc.want, tc.wantErr)
			}
		})
	}
}

func TestModulePinsEachSet(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	for _, s := range sets {
		t.Run(s.name, func(t *testing.T) {
			p, err := s.read()
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range s.binaries {
				if _, tools, ok := strings.Cut(p.goMod, "\ntool "); !ok || !strings.Contains(tools, b.pkg) {
					t.Errorf("go.mod has no tool %s", b.pkg)
				}
			}
			if key := p.cacheKey("linux", "amd64"); !strings.HasPrefix(key, p.version+"-") {
				t.Errorf("key %q does not begin with the version", key)
			}
		})
	}
}

// The go command compiles a package once for modules that use the same versions of it and of what it imports.
func TestSharedModulesHaveOneVersion(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	folders := map[string]string{} // of the first module that requires it
	versions := map[string]string{}
	for _, folder := range []string{".", controlplane.folder(), node.folder()} {
		text, err := os.ReadFile(filepath.Join(folder, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		for module, version := range requirements(string(text)) {
			if known, ok := versions[module]; ok && known != version {
				t.Errorf("%s requires %s %s, and %s %s: run go get for the higher version in both", folders[module], module, known, folder, version)
			}
			folders[module], versions[module] = folder, version
		}
	}
}

func TestErrorOutsideTheRepositoryNamesTheCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := ensure(t.Context(), seaweedfs, io.Discard); err == nil || !strings.Contains(err.Error(), "run ./hack/servers seaweedfs") {
		t.Errorf("got %v", err)
	}
}

func TestCacheKeyChangesWithTheInputsOfTheBuild(t *testing.T) {
	build := pinned{set: controlplane, goMod: "m", goSum: "s", version: "v1.37.2"}
	key := build.cacheKey("linux", "amd64")
	if key != build.cacheKey("linux", "amd64") {
		t.Error("the same build has two keys")
	}
	for name, other := range map[string]string{
		"version":          pinned{set: controlplane, goMod: "m", goSum: "s", version: "v1.37.3"}.cacheKey("linux", "amd64"),
		"go.mod":           pinned{set: controlplane, goMod: "n", goSum: "s", version: "v1.37.2"}.cacheKey("linux", "amd64"),
		"go.sum":           pinned{set: controlplane, goMod: "m", goSum: "t", version: "v1.37.2"}.cacheKey("linux", "amd64"),
		"program":          pinned{set: controlplane, goMod: "m", goSum: "s", version: "v1.37.2", source: "package main"}.cacheKey("linux", "amd64"),
		"operating system": build.cacheKey("darwin", "amd64"),
		"architecture":     build.cacheKey("linux", "arm64"),
	} {
		if other == key {
			t.Errorf("another %s has the same key", name)
		}
	}
}

func TestProgramsReportTheVersionOfTheRelease(t *testing.T) {
	flags := strings.Fields(pinned{set: controlplane, version: "v1.37.2"}.ldflags())
	for _, want := range []string{
		"-X=k8s.io/component-base/version.gitVersion=v1.37.2",
		"-X=k8s.io/component-base/version.gitMajor=1",
		"-X=k8s.io/client-go/pkg/version.gitMinor=37",
		"-X=k8s.io/client-go/pkg/version.gitCommit=0000000000000000000000000000000000000000",
	} {
		if !slices.Contains(flags, want) {
			t.Errorf("%s is not among %q", want, flags)
		}
	}
}

func TestFolderIsCompleteWithAllBinariesExecutable(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]os.FileMode
		want  []string
	}{
		"an empty folder":        {want: []string{"kube-apiserver", "etcd", "kubectl"}},
		"all three":              {files: map[string]os.FileMode{"etcd": 0o755, "kube-apiserver": 0o755, "kubectl": 0o755}},
		"one is not executable":  {files: map[string]os.FileMode{"etcd": 0o644, "kube-apiserver": 0o755, "kubectl": 0o755}, want: []string{"etcd"}},
		"one has a wrong name":   {files: map[string]os.FileMode{"etcd": 0o755, "kube-apiserver": 0o755, "kubectl.unfinished": 0o755}, want: []string{"kubectl"}},
		"a folder is no program": {files: map[string]os.FileMode{"etcd": 0o755, "kube-apiserver": os.ModeDir | 0o755, "kubectl": 0o755}, want: []string{"kube-apiserver"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, mode := range tc.files {
				create := func(path string) error { return os.WriteFile(path, nil, mode) }
				if mode.IsDir() {
					create = func(path string) error { return os.Mkdir(path, mode.Perm()) }
				}
				if err := create(filepath.Join(dir, file)); err != nil {
					t.Fatal(err)
				}
			}
			if got := controlplane.missing(dir); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestCompleteFolderInKUBEBUILDER_ASSETSIsUsed(t *testing.T) {
	dir := t.TempDir()
	for _, b := range controlplane.binaries {
		if err := os.WriteFile(filepath.Join(dir, b.name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("KUBEBUILDER_ASSETS", dir)
	var log strings.Builder
	got, err := ensure(t.Context(), controlplane, &log)
	if err != nil || got != dir || log.Len() != 0 {
		t.Errorf("got %q, %v, log %q; want %q without a log", got, err, log.String(), dir)
	}
}

func TestBuildErrorHasItsLastLines(t *testing.T) {
	if got := lastLines("a\nb\nc\n", 2); got != "b\nc" {
		t.Errorf("got %q", got)
	}
	if got := lastLines("a\n", 2); got != "a" {
		t.Errorf("got %q", got)
	}
}
