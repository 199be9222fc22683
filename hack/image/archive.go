package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	_ "crypto/sha256" // go-digest requires the algorithm
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// image is the content of a container image: one layer per platform, without a base image.
type image struct {
	// name is the image's name with its tag.
	name string
	// config is the same for all platforms.
	config   v1.ImageConfig
	variants []variant
}

// variant is the image of a platform.
type variant struct {
	platform v1.Platform
	files    []file
}

// file is a program with its absolute path.
type file struct {
	path    string
	content []byte
}

// imageNameAnnotation is the annotation that containerd reads for the name of an archive.
const imageNameAnnotation = "io.containerd.image.name"

// writeArchive writes an OCI archive: a tar of an image layout, whose index refers to an index of platforms (OCI Image Format
// Specification). It returns the digest of the index of platforms, which identifies the image in a registry. The archive contains no times
// and no owners, so that the same image always has the same bytes.
func writeArchive(w io.Writer, img image) (digest.Digest, error) {
	blobs := layout{}
	platforms := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Annotations: img.config.Labels}
	for _, v := range img.variants {
		manifest, err := blobs.addVariant(img, v)
		if err != nil {
			return "", fmt.Errorf("packing for %s/%s: %w", v.platform.OS, v.platform.Architecture, err)
		}
		platforms.Manifests = append(platforms.Manifests, manifest)
	}
	index, err := blobs.addJSON(v1.MediaTypeImageIndex, platforms)
	if err != nil {
		return "", err
	}
	index.Annotations = map[string]string{imageNameAnnotation: img.name, v1.AnnotationRefName: img.name}
	for name, content := range map[string]any{
		v1.ImageIndexFile:  v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{index}},
		v1.ImageLayoutFile: v1.ImageLayout{Version: v1.ImageLayoutVersion},
	} {
		text, err := json.Marshal(content)
		if err != nil {
			return "", err
		}
		blobs[name] = text
	}
	return index.Digest, blobs.write(w)
}

// layout contains the files of an image layout by their paths.
type layout map[string][]byte

func (l layout) addVariant(img image, v variant) (v1.Descriptor, error) {
	layer, err := layerOf(v.files)
	if err != nil {
		return v1.Descriptor{}, err
	}
	var compressed bytes.Buffer
	zip := gzip.NewWriter(&compressed)
	if _, err := zip.Write(layer); err != nil {
		return v1.Descriptor{}, err
	}
	if err := zip.Close(); err != nil {
		return v1.Descriptor{}, err
	}
	config, err := l.addJSON(v1.MediaTypeImageConfig, v1.Image{
		Platform: v.platform,
		Config:   img.config,
		RootFS:   v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	})
	if err != nil {
		return v1.Descriptor{}, err
	}
	manifest, err := l.addJSON(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    config,
		Layers:    []v1.Descriptor{l.add(v1.MediaTypeImageLayerGzip, compressed.Bytes())},
	})
	manifest.Platform = &v.platform
	return manifest, err
}

func (l layout) addJSON(mediaType string, content any) (v1.Descriptor, error) {
	text, err := json.Marshal(content)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return l.add(mediaType, text), nil
}

func (l layout) add(mediaType string, content []byte) v1.Descriptor {
	sum := digest.FromBytes(content)
	l[path.Join(v1.ImageBlobsDir, sum.Algorithm().String(), sum.Encoded())] = content
	return v1.Descriptor{MediaType: mediaType, Digest: sum, Size: int64(len(content))}
}

func (l layout) write(w io.Writer) error {
	archive := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(l)) {
		if err := addFile(archive, &tar.Header{Name: name, Mode: 0o644}, l[name]); err != nil {
			return err
		}
	}
	return archive.Close()
}

// layerOf returns the tar of the files.
func layerOf(files []file) ([]byte, error) {
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	for _, f := range files {
		if err := addFile(archive, &tar.Header{Name: strings.TrimPrefix(f.path, "/"), Mode: 0o755}, f.content); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return layer.Bytes(), nil
}

func addFile(archive *tar.Writer, header *tar.Header, content []byte) error {
	header.Size = int64(len(content))
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := archive.Write(content)
	return err
}
