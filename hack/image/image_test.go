package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// entries reads a tar: what its files hold, by their paths. It has no folder twice, no time and no owner.
func entries(g *WithT, archive []byte) (headers map[string]*tar.Header, contents map[string][]byte) {
	headers, contents = map[string]*tar.Header{}, map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return headers, contents
		}
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(headers).NotTo(HaveKey(header.Name))
		g.Expect(header.ModTime.Unix()).To(BeZero(), header.Name)
		g.Expect([]any{header.Uid, header.Gid, header.Uname, header.Gname}).To(Equal([]any{0, 0, "", ""}), header.Name)
		headers[header.Name] = header
		contents[header.Name], err = io.ReadAll(r)
		g.Expect(err).NotTo(HaveOccurred())
	}
}

func decode[T any](g *WithT, text []byte) (value T) {
	g.Expect(json.Unmarshal(text, &value)).To(Succeed())
	return value
}

// blob returns what a descriptor describes, and holds that it does.
func blob(g *WithT, archive map[string][]byte, described v1.Descriptor) []byte {
	content, ok := archive["blobs/sha256/"+described.Digest.Encoded()]
	g.Expect(ok).To(BeTrue(), described.Digest)
	g.Expect(digest.FromBytes(content)).To(Equal(described.Digest))
	g.Expect(content).To(HaveLen(int(described.Size)))
	return content
}

func TestArchiveContainsEachPlatformsProgram(t *testing.T) {
	g := NewWithT(t)
	img := image{name: "example.com/app:v1", config: v1.ImageConfig{User: nonRoot, Labels: map[string]string{v1.AnnotationTitle: "app"}}}
	for _, architecture := range []string{"amd64", "arm64"} {
		img.variants = append(img.variants, variant{
			platform: v1.Platform{OS: "linux", Architecture: architecture},
			files:    []file{{path: "/app", content: []byte("for " + architecture)}, {path: "/tool", content: []byte("tool")}},
		})
	}
	var written bytes.Buffer
	sum, err := writeArchive(&written, img)
	g.Expect(err).NotTo(HaveOccurred())

	_, archive := entries(g, written.Bytes())
	g.Expect(decode[v1.ImageLayout](g, archive["oci-layout"]).Version).To(Equal("1.0.0"))
	top := decode[v1.Index](g, archive["index.json"]).Manifests
	g.Expect(top).To(HaveLen(1))
	g.Expect(top[0].Digest).To(Equal(sum))
	g.Expect(top[0].Annotations).To(HaveKeyWithValue("org.opencontainers.image.ref.name", "example.com/app:v1"))
	platforms := decode[v1.Index](g, blob(g, archive, top[0]))
	g.Expect(platforms.Manifests).To(HaveLen(2))
	for i, architecture := range []string{"amd64", "arm64"} {
		described := platforms.Manifests[i]
		g.Expect(*described.Platform).To(Equal(v1.Platform{OS: "linux", Architecture: architecture}))
		manifest := decode[v1.Manifest](g, blob(g, archive, described))
		config := decode[v1.Image](g, blob(g, archive, manifest.Config))
		g.Expect(config.Architecture).To(Equal(architecture))
		g.Expect(config.Config.User).To(Equal("65532:65532"))
		g.Expect(config.Config.Labels).To(HaveKeyWithValue("org.opencontainers.image.title", "app"))
		g.Expect(manifest.Layers).To(HaveLen(1))
		unzip, err := gzip.NewReader(bytes.NewReader(blob(g, archive, manifest.Layers[0])))
		g.Expect(err).NotTo(HaveOccurred())
		layer, err := io.ReadAll(unzip)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(config.RootFS.DiffIDs).To(Equal([]digest.Digest{digest.FromBytes(layer)}))
		headers, files := entries(g, layer)
		g.Expect(string(files["app"])).To(Equal("for " + architecture))
		g.Expect(headers["app"].Mode).To(Equal(int64(0o755)))
		g.Expect(files).To(HaveLen(2))
		g.Expect(string(files["tool"])).To(Equal("tool"))
	}
}

// Neither when nor where an image is built is in it.
func TestTwoBuildsHaveTheSameDigest(t *testing.T) {
	g := NewWithT(t)
	t.Chdir(filepath.Join("..", ".."))
	var outputs [2]bytes.Buffer
	var archives [2][]byte
	for i := range outputs {
		t.Setenv("TMPDIR", t.TempDir())
		output := filepath.Join(t.TempDir(), "image.tar")
		g.Expect(run(t.Context(), []string{"-name", "app:v1", "-platforms", "linux/amd64,linux/arm64", "-label", "a=b", "-o", output, "./hack/e2e/pause", "./cmd/credential-process"}, &outputs[i])).To(Succeed())
		g.Expect(outputs[i].String()).To(HavePrefix("app:v1@sha256:"))
		var err error
		archives[i], err = os.ReadFile(output)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(strings.Fields(outputs[0].String())[0]).To(Equal(strings.Fields(outputs[1].String())[0]))
	g.Expect(bytes.Equal(archives[0], archives[1])).To(BeTrue())
}

func TestInvalidFlagsAreRejected(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no name":                       {args: []string{"-o", "x", "./p"}, want: "usage"},
		"no package":                    {args: []string{"-name", "a", "-o", "x"}, want: "usage"},
		"a platform without its system": {args: []string{"-name", "a", "-o", "x", "-platforms", "amd64", "./p"}, want: "linux/amd64"},
		"a label without a value":       {args: []string{"-label", "a"}, want: "key=value"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(tc.args)
			NewWithT(t).Expect(err).To(MatchError(ContainSubstring(tc.want)))
		})
	}
}

func TestFailedBuildLeavesNoImage(t *testing.T) {
	g := NewWithT(t)
	output := filepath.Join(t.TempDir(), "image.tar")
	err := run(t.Context(), []string{"-name", "app:v1", "-platforms", "linux/" + runtime.GOARCH, "-o", output, "./nothing-here"}, io.Discard)
	g.Expect(err).To(MatchError(ContainSubstring("nothing-here")))
	g.Expect(output).NotTo(BeAnExistingFile())
}
