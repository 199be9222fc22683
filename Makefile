# Everything here works on a machine that has Go, make and git, and nothing else.
# Other tools and servers are built from the modules that hack/tools, hack/controlplane, hack/minio and hack/helm pin.

SHELL = /usr/bin/env bash -o pipefail
.SHELLFLAGS = -ec
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The version that the manager reports; outside a git repository it is "dev".
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The image for docker-build and deploy.
IMG ?= rolecredential:$(VERSION)
# The cluster for run, install and deploy.
KUBECTL ?= kubectl
KUBECONFIG ?= $(HOME)/.kube/config

# Tools are kept by what they were built from: their pinned versions and the Go toolchain, which must be the
# one that this module is built with (golangci-lint refuses code of a newer Go than its own).
GOVERSION := $(shell go env GOVERSION)
TOOLS := $(CURDIR)/.cache/tools/$(shell git hash-object hack/tools/go.sum | cut -c1-12)-$(GOVERSION)
CONTROLLER_GEN := $(TOOLS)/controller-gen
GOLANGCI_LINT := $(TOOLS)/golangci-lint

# Prefixes of a command that needs etcd, kube-apiserver and kubectl, or MinIO, an STS that nobody here wrote. The assignments
# stand alone, so that their failure counts.
WITH_CONTROLPLANE = assets="$$(go run ./hack/servers controlplane)" && export KUBEBUILDER_ASSETS="$$assets" &&
WITH_MINIO = minio="$${MINIO:-$$(go run ./hack/servers minio)/minio}" && export MINIO="$$minio" &&
WITH_HELM = helm="$${HELM:-$$(go run ./hack/servers helm)/helm}" && export HELM="$$helm" &&

##@ General

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: clean
clean: ## Remove what was built, but not the control plane, MinIO and the tools.
	rm -rf bin

.PHONY: distclean
distclean: clean ## Remove the control plane, MinIO and the tools too; the next run builds them again.
	rm -rf .cache

##@ Development

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Generate the API types' DeepCopy methods.
	$(CONTROLLER_GEN) object paths=./api/...

.PHONY: manifests
manifests: $(CONTROLLER_GEN) ## Generate the CRDs from the API types. The markers for RBAC are held against config/rbac by a test.
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:artifacts:config=config/crd/bases

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format all Go code and sort its imports.
	$(GOLANGCI_LINT) fmt

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Check the code, its imports and the API with golangci-lint.
	$(GOLANGCI_LINT) run --allow-parallel-runners

.PHONY: tidy
tidy: ## Bring go.mod and go.sum of every module up to date.
	for module in . hack/controlplane hack/helm hack/minio hack/node hack/tools; do go -C "$$module" mod tidy; done

.PHONY: test
test: ## Run all tests, with a real API server and a real MinIO.
	$(WITH_CONTROLPLANE) $(WITH_MINIO) $(WITH_HELM) go test $(TESTFLAGS) ./...

.PHONY: test-race
test-race: ## Run all tests with the race detector, which needs a C compiler.
	$(WITH_CONTROLPLANE) $(WITH_MINIO) $(WITH_HELM) CGO_ENABLED=1 go test -race $(TESTFLAGS) ./...

.PHONY: verify
verify: ## Fail if a generated file is out of date or a check finds something.
	hack/verify.sh

.PHONY: demo
demo: build ## Watch a RoleCredential at work on a real API server; DEMO_ONCE=1 ends after the tour.
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -o bin/demo ./hack/demo
	$(WITH_CONTROLPLANE) exec bin/demo

.PHONY: controlplane
controlplane: ## Build etcd, kube-apiserver and kubectl once and print their folder.
	@go run ./hack/servers controlplane

##@ Build

.PHONY: build
build: ## Build bin/manager.
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)" -o bin/manager ./cmd/manager

.PHONY: docker-build
docker-build: ## Build the image IMG.
	docker build --build-arg VERSION=$(VERSION) -t $(IMG) .

##@ Cluster

.PHONY: run
run: build ## Run the manager on this machine against the cluster of KUBECONFIG.
	bin/manager --kubeconfig="$(KUBECONFIG)"

.PHONY: install
install: ## Install the CRDs.
	$(KUBECTL) apply --server-side -k config/crd

.PHONY: uninstall
uninstall: ## Remove the CRDs, and with them every credential.
	$(KUBECTL) delete --ignore-not-found -k config/crd

.PHONY: deploy
deploy: ## Install the CRDs and the manager, with the image IMG.
	$(KUBECTL) kustomize config/default | sed -E 's|^( +image: ).*|\1$(IMG)|' | $(KUBECTL) apply --server-side -f -

.PHONY: undeploy
undeploy: ## Remove the manager and the CRDs, and with them every credential.
	$(KUBECTL) delete --ignore-not-found -k config/default

BUILD_TOOL = CGO_ENABLED=0 GOTOOLCHAIN=$(GOVERSION) go -C hack/tools build -trimpath -buildvcs=false -o $@

$(CONTROLLER_GEN):
	$(BUILD_TOOL) sigs.k8s.io/controller-tools/cmd/controller-gen

$(GOLANGCI_LINT):
	@echo "building golangci-lint, this once: one to three minutes" >&2
	$(BUILD_TOOL) sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter
