# All targets need only Go, make and git. Other tools and servers come from the modules that hack/tools, hack/controlplane,
# hack/seaweedfs, hack/helm, hack/prometheus and hack/oidcprovider pin.

SHELL = /usr/bin/env bash -o pipefail
.SHELLFLAGS = -ec
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# All go commands use the same flags as the builds of servers and releases, so that they share compiled packages.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath $(filter-out -trimpath,$(shell go env GOFLAGS))

# The version that the manager reports; "dev" outside a git repository.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The image for image, docker-build, deploy and installer, and its platforms.
IMG ?= rolecredential:$(VERSION)
PLATFORMS ?= linux/amd64,linux/arm64
# The configuration for deploy and installer: config/default, or config/namespaced for some namespaces only.
CONFIG ?= config/default
# The version of the chart, a semantic version.
CHART_VERSION ?= $(if $(filter v%,$(VERSION)),$(VERSION:v%=%),0.0.0-g$(VERSION))
# The URL of a release's files, for krew.
KREW_URL ?= https://rolecredential.dev/releases/$(VERSION)
# The cluster for run, install and deploy.
KUBECTL ?= kubectl
KUBECONFIG ?= $(HOME)/.kube/config

# Tools are cached under their pinned versions and the Go toolchain. The toolchain must be this module's:
# golangci-lint rejects code for a newer Go than its own.
GOVERSION := $(shell go env GOVERSION)
TOOLS := $(CURDIR)/.cache/tools/$(shell git hash-object hack/tools/go.sum | cut -c1-12)-$(GOVERSION)
CONTROLLER_GEN := $(TOOLS)/controller-gen
GOLANGCI_LINT := $(TOOLS)/golangci-lint
CRD_REF_DOCS := $(TOOLS)/crd-ref-docs
CYCLONEDX_GOMOD := $(TOOLS)/cyclonedx-gomod
GOVULNCHECK := $(TOOLS)/govulncheck
ACTIONLINT := $(TOOLS)/actionlint

# Prefixes of commands that need servers. Each assignment is a command of its own, so that its failure counts.
WITH_CONTROLPLANE = assets="$$(go run ./hack/servers controlplane)" && export KUBEBUILDER_ASSETS="$$assets" &&
WITH_SEAWEEDFS = seaweedfs="$${SEAWEEDFS:-$$(go run ./hack/servers seaweedfs)/weed}" && export SEAWEEDFS="$$seaweedfs" &&
WITH_HELM = helm="$${HELM:-$$(go run ./hack/servers helm)/helm}" && export HELM="$$helm" &&
WITH_PROMETHEUS = prometheus="$${PROMETHEUS:-$$(go run ./hack/servers prometheus)}" && export PROMETHEUS="$$prometheus" &&
WITH_OIDCPROVIDER = oidcprovider="$${OIDCPROVIDER:-$$(go run ./hack/servers oidcprovider)/oidcprovider}" && export OIDCPROVIDER="$$oidcprovider" &&
WITH_SERVERS = $(WITH_CONTROLPLANE) $(WITH_SEAWEEDFS) $(WITH_HELM) $(WITH_PROMETHEUS) $(WITH_OIDCPROVIDER)
WITH_NODE = node="$$(go run ./hack/servers node)" && export NODE_ASSETS="$$node" &&

LDFLAGS = -s -w -X main.version=$(VERSION)
REVISION = $(shell git rev-parse HEAD 2>/dev/null)
# Labels of the image (OCI Image Format Specification, Annotations).
LABELS = --label org.opencontainers.image.title=rolecredential \
	--label "org.opencontainers.image.description=Keeps Secrets filled with temporary AWS credentials, issued by STS" \
	--label org.opencontainers.image.licenses=Apache-2.0 \
	--label org.opencontainers.image.version=$(VERSION) \
	--label "org.opencontainers.image.revision=$(REVISION)"

##@ General

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: clean
clean: ## Remove build results, but not the cached servers and tools.
	rm -rf bin dist

.PHONY: distclean
distclean: clean ## Remove build results, and the cached servers and tools.
	rm -rf .cache

##@ Development

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Generate the API types' DeepCopy methods and apply configurations.
	$(CONTROLLER_GEN) object applyconfiguration paths=./api/v1alpha1

.PHONY: manifests
manifests: $(CONTROLLER_GEN) $(CRD_REF_DOCS) ## Generate the CRDs, the dashboard, docs/api.md and docs/metrics.md. A test compares the RBAC markers with config/rbac.
	$(CONTROLLER_GEN) crd paths=./api/v1alpha1 output:crd:artifacts:config=config/crd/bases
	$(CRD_REF_DOCS) --log-level=ERROR --source-path=api --config=hack/apiref/config.yaml --templates-dir=hack/apiref/templates --renderer=markdown --output-path=docs/api.md
	go run ./hack/dashboard

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format all Go code and sort its imports.
	$(GOLANGCI_LINT) fmt

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Check the code, its imports and the API with golangci-lint.
	$(GOLANGCI_LINT) run --allow-parallel-runners

.PHONY: lint-workflows
lint-workflows: $(ACTIONLINT) ## Check .github/workflows with actionlint.
	$(ACTIONLINT) -shellcheck= -pyflakes= .github/workflows/*.yml

.PHONY: tidy
tidy: ## Update go.mod and go.sum of every module.
	for module in . hack/applyclient hack/controlplane hack/helm hack/node hack/oidcprovider hack/prometheus hack/seaweedfs hack/tools; do go -C "$$module" mod tidy; done

.PHONY: test
test: ## Run the unit tests and the tests with a real API server; skip those that need SeaweedFS, Helm, Prometheus or an OIDC provider.
	$(WITH_CONTROLPLANE) go test $(TESTFLAGS) ./...

# A regular expression for the names of all tests in controllers/integration that need one of these servers. They check it.
SERVER_TESTS = SeaweedFS|Prometheus|OIDCProvider

.PHONY: test-servers
test-servers: ## Run the tests with SeaweedFS, Helm, Prometheus and an OIDC provider. None is skipped.
	$(WITH_SERVERS) export TEST_SERVERS=1 && go test $(TESTFLAGS) ./config ./docs && \
	go test $(TESTFLAGS) -run '$(SERVER_TESTS)' ./controllers/integration

.PHONY: test-race
test-race: ## Run all tests with the race detector, which needs a C compiler.
	$(WITH_SERVERS) TEST_SERVERS=1 CGO_ENABLED=1 go test -race $(TESTFLAGS) ./...

.PHONY: fuzz
fuzz: ## Run every Fuzz function for FUZZTIME, 30s by default. The tests run the corpora.
	hack/fuzz.sh

.PHONY: verify
verify: ## Fail if a generated file is out of date or a check finds something.
	hack/verify.sh

.PHONY: demo
demo: ## Show a RoleCredential on a real API server; DEMO_ONCE=1 exits after the tour.
	@$(MAKE) --no-print-directory --jobs=2 demo-programs demo-servers
	$(WITH_CONTROLPLANE) exec bin/demo

# The API server takes longest. The programs get the time that it leaves idle, and find its packages compiled.
.PHONY: demo-programs demo-servers
demo-programs:
	nice $(BUILD) -o bin/ ./cmd/manager ./cmd/kubectl-rolecred ./hack/demo

demo-servers:
	@$(WITH_CONTROLPLANE) :

# Images of the Pods of the end-to-end test. The registry localhost prevents pulls.
E2E_IMAGES = bin/e2e/images
E2E_IMAGE = go run ./hack/image --platforms linux/$$(go env GOARCH) -o $(E2E_IMAGES)

# The folder of a release with the image localhost/rolecredential:e2e, to test its image and chart; empty for those of this folder.
E2E_RELEASE ?=

.PHONY: e2e
e2e: ## Run the operator and workloads as Pods of a real cluster; needs root, Linux and containerd.
	$(GOBUILD) -o bin/e2e/e2e ./hack/e2e
	bin/e2e/e2e check
	$(if $(E2E_RELEASE),mkdir -p $(E2E_IMAGES) && cp $(E2E_RELEASE)/image.tar $(E2E_IMAGES)/manager.tar,$(MAKE) --no-print-directory image IMG=localhost/rolecredential:e2e PLATFORMS=linux/$$(go env GOARCH) IMAGE=$(E2E_IMAGES)/manager.tar)
	$(E2E_IMAGE)/client.tar --name localhost/client:e2e ./hack/e2e/client
	$(E2E_IMAGE)/pause.tar --name localhost/pause:e2e ./hack/e2e/pause
	$(WITH_CONTROLPLANE) $(WITH_NODE) $(WITH_SEAWEEDFS) $(WITH_HELM) E2E_IMAGES=$(E2E_IMAGES) E2E_CHART=$(if $(E2E_RELEASE),$(wildcard $(E2E_RELEASE)/rolecredential-*.tgz),config/chart) exec bin/e2e/e2e

BENCH_ARGS ?=

.PHONY: bench
bench: build ## Measure the operator's throughput and memory, best on an idle machine; BENCH_ARGS=-help lists options.
	$(GOBUILD) -o bin/bench/ ./hack/bench ./hack/stsemulator/cmd/stsemulator
	$(WITH_CONTROLPLANE) $(WITH_NODE) exec bin/bench/bench $(BENCH_ARGS)

.PHONY: bench-gate
bench-gate: ## Fail if an operation costs more STS calls, API requests, bytes or allocations than before; BENCH_ARGS=-update measures the bounds.
	$(WITH_CONTROLPLANE) BENCH_GATE=1 go test -v -count=1 -run=TestCostsStayWithinBounds ./controllers/integration $(BENCH_ARGS)

# The seed of chaos, the duration of its faults, and a regular expression that selects faults.
CHAOS_SEED ?= 1
CHAOS_TIME ?= 5m
CHAOS_FAULTS ?=

.PHONY: chaos-build
chaos-build:
	$(GOBUILD) -o bin/chaos/chaos ./hack/chaos
	bin/chaos/chaos build

.PHONY: chaos
chaos: chaos-build ## Inject faults around the operator and check its guarantees; needs Linux.
	$(WITH_CONTROLPLANE) exec bin/chaos/chaos -seed=$(CHAOS_SEED) -time=$(CHAOS_TIME) -faults='$(CHAOS_FAULTS)'

.PHONY: chaos-mutations
chaos-mutations: chaos-build ## Break the operator of the last commit in several ways, and check that chaos detects each.
	$(WITH_CONTROLPLANE) exec bin/chaos/chaos mutations

# Of the runs of the first issue with three disturbances, one of this many; 0 for none.
ESR_TRIPLES ?= 40

.PHONY: esr
esr: ## Check that reconciliation is eventually stable: all pairs of disturbances in each scenario, and some triples.
	ESR_PAIRS=1 ESR_TRIPLES=$(ESR_TRIPLES) go test -v -timeout=2h -run=EventuallyStable ./controllers/credential

.PHONY: esr-mutations
esr-mutations: ## Break the operator in several ways, and check that the runs of make esr detect each.
	go test -run=EventuallyStable ./controllers/credential
	ESR_MUTATIONS=1 go test -v -count=1 -run=TestEachMutationIsFound ./controllers/credential

.PHONY: perturb
perturb: ## Disturb the operator once at each write, STS call and watch event of each scenario, on a real API server.
	$(WITH_CONTROLPLANE) PERTURB_ALL=1 go test -v -timeout=1h ./controllers/integration/perturb

.PHONY: perturb-mutations
perturb-mutations: ## Break the operator in several ways, and check that a plan of make perturb detects each.
	$(WITH_CONTROLPLANE) PERTURB_MUTATIONS=1 go test -v -count=1 -run=TestEachMutationIsFound ./controllers/integration/perturb

# The number of random sequences, in addition to those of each leaf of the schemas, and their seed.
SEQUENCES ?= 400
SEQUENCES_SEED ?= 1

.PHONY: sequences
sequences: ## Change objects of all kinds again and again on a real API server, and compare each with a new one of the same spec.
	$(WITH_CONTROLPLANE) go test -v -count=1 -timeout=2h ./controllers/integration/sequences -rapid.checks=$(SEQUENCES) -rapid.seed=$(SEQUENCES_SEED)

# A regular expression that selects attacks by name.
NEIGHBOURS ?= .

.PHONY: neighbours-build
neighbours-build:
	$(GOBUILD) -o bin/neighbours/ ./hack/neighbours ./hack/stsemulator/cmd/stsemulator

.PHONY: neighbours
neighbours: build neighbours-build ## Attack the operator from one namespace, and check that another is not affected; needs Linux.
	$(WITH_CONTROLPLANE) exec bin/neighbours/neighbours -attacks='$(NEIGHBOURS)'

.PHONY: neighbours-mutations
neighbours-mutations: neighbours-build ## Make each attack on an operator without the fix, and check that it is detected; needs Linux.
	$(WITH_CONTROLPLANE) exec bin/neighbours/neighbours -mutations -attacks='$(NEIGHBOURS)'

.PHONY: docs
docs: build ## Update the recorded output of the kubectl plugin in docs/.
	$(GOBUILD) -o bin/demo ./hack/demo
	$(WITH_CONTROLPLANE) bin/demo plugin-session >bin/plugin-session.md
	mv bin/plugin-session.md docs/plugin-session.md

.PHONY: controlplane
controlplane: ## Download or build etcd, kube-apiserver and kubectl once, and print their folder.
	@go run ./hack/servers controlplane

##@ Build

# grpcnotrace drops grpc's trace pages, which nothing serves.
TAGS = grpcnotrace
GOBUILD = go build -trimpath -buildvcs=false
BUILD = $(GOBUILD) -tags $(TAGS) -ldflags "$(LDFLAGS)"

.PHONY: build
build: ## Build bin/manager and bin/kubectl-rolecred.
	$(BUILD) -o bin/ ./cmd/manager ./cmd/kubectl-rolecred

IMAGE ?= dist/image.tar

.PHONY: image
image: ## Build the image IMG for PLATFORMS as an OCI archive, dist/image.tar, without Docker.
	go run ./hack/image --name $(IMG) --platforms $(PLATFORMS) --tags $(TAGS) --ldflags "$(LDFLAGS)" $(LABELS) -o $(IMAGE) ./cmd/manager ./cmd/credential-process

.PHONY: reproducible
reproducible: ## Make a release in two folders, and compare all of its files.
	hack/reproducible.sh

.PHONY: sbom
sbom: $(CYCLONEDX_GOMOD) ## Write dist/*.cdx.json, a CycloneDX bill of materials for each program, as built for linux/amd64.
	mkdir -p dist
	GOOS=linux GOARCH=amd64 $(BUILD) -o bin/sbom/ ./cmd/...
	for program in manager kubectl-rolecred credential-process; do \
	  $(CYCLONEDX_GOMOD) bin -json -std -noserial -notimestamp -version "$(VERSION)" -output "dist/$$program.cdx.json" "bin/sbom/$$program"; \
	done

.PHONY: vulncheck
vulncheck: $(GOVULNCHECK) ## Scan for known vulnerabilities; needs Go's vulnerability database, or a mirror in GOVULNDB.
	hack/vulncheck.sh $(GOVULNCHECK)

.PHONY: krew
krew: ## Write archives of the kubectl plugin and of credential-process for all platforms, and a krew manifest with KREW_URL.
	go run ./hack/release archives -version="$(VERSION)" -url="$(KREW_URL)"

# Set SIGN=1 to sign the checksums with cosign, RELEASE_ANY=1 to try a release of changed files.
.PHONY: release
release: ## Make all files of the release VERSION in dist, from a clean checkout of its tag; see docs/releasing.md.
	go run ./hack/release check -version="$(VERSION)"
	rm -rf dist
	$(WITH_CONTROLPLANE) $(MAKE) --no-print-directory image installer chart krew sbom KUBECTL="$$KUBEBUILDER_ASSETS/kubectl" IMAGE=dist/image.tar
	go run ./hack/release checksums -version="$(VERSION)"
	$(if $(SIGN),cosign sign-blob --yes --bundle dist/checksums.txt.sigstore.json dist/checksums.txt)

.PHONY: docker-build
docker-build: ## Build the image IMG with Docker, for its own platform.
	docker build --build-arg VERSION=$(VERSION) $(LABELS) -t $(IMG) .

.PHONY: installer
installer: ## Write CONFIG with the image IMG to dist/install.yaml.
	mkdir -p dist
	$(RENDER) > dist/install.yaml

.PHONY: chart
chart: ## Package the Helm chart into dist, with IMG as its image.
	go run ./hack/release chart -version="$(CHART_VERSION)" -image="$(IMG)"

##@ Cluster

.PHONY: run
run: build ## Run the manager locally against the cluster of KUBECONFIG.
	bin/manager --kubeconfig="$(KUBECONFIG)"

.PHONY: install
install: ## Install the CRDs.
	$(KUBECTL) apply --server-side -k config/crd

.PHONY: uninstall
uninstall: ## Remove the CRDs, which deletes every credential.
	$(KUBECTL) delete --ignore-not-found -k config/crd

RENDER = $(KUBECTL) kustomize $(CONFIG) | sed -E 's|^( +image: ).*|\1$(IMG)|'

.PHONY: deploy
deploy: ## Install CONFIG with the image IMG.
	$(RENDER) | $(KUBECTL) apply --server-side -f -

.PHONY: undeploy
undeploy: ## Remove the manager and the CRDs, which deletes every credential.
	$(KUBECTL) delete --ignore-not-found -k $(CONFIG)

BUILD_TOOL = GOTOOLCHAIN=$(GOVERSION) go -C hack/tools build -trimpath -buildvcs=false -o $@

$(CONTROLLER_GEN):
	$(BUILD_TOOL) sigs.k8s.io/controller-tools/cmd/controller-gen

$(GOLANGCI_LINT):
	@echo "building golangci-lint (only once, one to three minutes)" >&2
	$(BUILD_TOOL) sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter

$(CRD_REF_DOCS):
	$(BUILD_TOOL) github.com/elastic/crd-ref-docs

$(CYCLONEDX_GOMOD):
	$(BUILD_TOOL) github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod

$(GOVULNCHECK):
	$(BUILD_TOOL) golang.org/x/vuln/cmd/govulncheck

$(ACTIONLINT):
	$(BUILD_TOOL) github.com/rhysd/actionlint/cmd/actionlint
