package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

//go:embed go.mod
var goMod string

//go:embed go.sum
var goSum string

// binary is a program to build. usual is the middle of what it took on two cores with an empty Go build
// cache, in the order below (each finds compiled what it shares with those before it).
type binary struct {
	name, pkg string
	usual     time.Duration
}

var binaries = []binary{
	{name: "etcd", pkg: "go.etcd.io/etcd/server/v3", usual: 60 * time.Second},
	{name: "kube-apiserver", pkg: "k8s.io/kubernetes/cmd/kube-apiserver", usual: 330 * time.Second},
	{name: "kubectl", pkg: "k8s.io/kubernetes/cmd/kubectl", usual: 35 * time.Second},
}

// kubernetesVersion reads the pinned version, such as v1.37.2, out of a go.mod.
func kubernetesVersion(mod string) (string, error) {
	for line := range strings.Lines(mod) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == "k8s.io/kubernetes" {
			return fields[1], nil
		}
	}
	return "", errors.New("go.mod requires no k8s.io/kubernetes")
}

// cacheKey names the folder of a build: everything that decides the bytes of the binaries is in it,
// except the Go toolchain, whose update is no reason to build again.
func cacheKey(version, goos, goarch string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{goMod, goSum, ldflags(version), goos, goarch}, "\x00")))
	return version + "-" + hex.EncodeToString(sum[:6])
}

// ldflags stamps the version as a Kubernetes release does; without it neither `kubectl version` nor
// its skew check can parse what it finds. The commit is not in a Go module, hence the zeros.
func ldflags(version string) string {
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	flags := []string{"-s", "-w"}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, stamp := range [][2]string{
			{"gitVersion", version},
			{"gitMajor", major},
			{"gitMinor", minor},
			{"gitTreeState", "clean"},
			{"gitCommit", strings.Repeat("0", 40)},
		} {
			flags = append(flags, fmt.Sprintf("-X=%s.%s=%s", pkg, stamp[0], stamp[1]))
		}
	}
	return strings.Join(flags, " ")
}

// left estimates the time until all is built. did is what this run has finished and took the time
// that needed; todo is the rest, its first under way since elapsed.
//
// The usual times are scaled by what this machine has shown so far. A build that takes longer than
// that foretold is held to be nine tenths done, and the later ones to be late by as much.
func left(did []binary, took time.Duration, todo []binary, elapsed time.Duration) time.Duration {
	if len(todo) == 0 {
		return 0
	}
	scale := 1.0
	if len(did) > 0 {
		scale = float64(took) / float64(usual(did))
	}
	current := float64(todo[0].usual)
	scale = max(scale, float64(elapsed)*10/9/current)
	return time.Duration(scale*float64(usual(todo))) - elapsed
}

func usual(list []binary) (sum time.Duration) {
	for _, b := range list {
		sum += b.usual
	}
	return sum
}

// lastLines cuts all but the last n lines of text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
