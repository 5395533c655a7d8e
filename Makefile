# The tasks of this repository. `make help` lists them.
# Nothing but Go, git and make is needed, and the Go module proxy.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO ?= go

# A go.work above the clone is none of ours. VCS stamps would link the distribution
# anew after every commit, and fail in a clone that belongs to another user; what
# the user has in GOFLAGS comes after and wins.
export GOWORK := off
export GOFLAGS := $(strip -buildvcs=false $(shell $(GO) env GOFLAGS))

DISTRIBUTION := _build/otelcol-tcpstats
CROSS := linux/arm64 freebsd/amd64 freebsd/arm64 darwin/arm64

# Where the receiver itself must compile, for `make test`; cgo needs each one's C
# compiler and is nowhere used.
VET := freebsd/amd64 darwin/arm64 linux/arm64

# Modules of this repository besides the root. The last comes with the end-to-end test.
MODULES := $(patsubst %/,%,$(dir $(wildcard tools/lint/go.mod tools/distribution/go.mod tools/distribution/newer/go.mod tools/peers/go.mod tools/page/go.mod tools/promql/go.mod tools/prometheus/go.mod tools/release/go.mod tools/kubernetes/go.mod tools/soak/go.mod internal/e2e/go.mod)))

# The same flags as ocb's own. Modules that the receiver newly imports may be added
# to the generated go.mod.
# The version names the commit, and so a commit links anew.
LINK = CGO_ENABLED=0 $(GO) build -C _build -mod=mod -trimpath -ldflags="-s -w -X main.version=$$(sh tools/version.sh)"

# What is published is built for these.
RELEASE := linux/amd64 linux/arm64 freebsd/amd64 freebsd/arm64
PUBLISH = $(GO) run -C tools/release . -version "$$(sh tools/version.sh)" -date "$$(sh tools/version.sh --date)"

##@ Use

.PHONY: build
build: $(DISTRIBUTION) ## Build the distribution: _build/otelcol-tcpstats

.PHONY: run
run: build ## Build and run: the live page on http://127.0.0.1:8890/
	@sh tools/run.sh $(DISTRIBUTION) examples/run.yaml

.PHONY: prometheus
prometheus: ## Build the Prometheus and promtool of the end-to-end tests: _build/prometheus
	@mkdir -p _build
	CGO_ENABLED=0 $(GO) build -C tools/prometheus -ldflags='-s -w' -o $(abspath _build)/ github.com/prometheus/prometheus/cmd/prometheus github.com/prometheus/prometheus/cmd/promtool

##@ Develop

.PHONY: test
test: ## The gate: vet, generated files, unit, distribution and end-to-end tests
	@GO='$(GO)' VET='$(VET)' sh tools/test.sh

.PHONY: test-freebsd
test-freebsd: ## With KERNEL=path [KMOD=path] [PACKAGE=tarball]: boot that FreeBSD kernel under qemu and test in it; COST=rounds: what the module costs
	@test -n '$(KERNEL)' || { echo 'make test-freebsd wants KERNEL=/path/to/kernel, and takes KMOD=/path/to/tcpstats.ko' >&2; exit 2; }
	cd tools && GO='$(GO)' FREEBSD_KERNEL='$(abspath $(KERNEL))' FREEBSD_KMOD='$(and $(KMOD),$(abspath $(KMOD)))' FREEBSD_PACKAGE='$(and $(PACKAGE),$(abspath $(PACKAGE)))' \
		FREEBSD_JOBS='$(JOBS)' FREEBSD_COST='$(COST)' \
		$(GO) test -v -count=1 -timeout 1h -run TestKernel ./freebsd

.PHONY: lint
lint: ## gofmt, vet and staticcheck for each system, go.mod and scripts
	@GO='$(GO)' VET='$(VET)' MODULES='$(MODULES)' sh tools/lint.sh

.PHONY: lint-kmod
lint-kmod: ## The FreeBSD module and its manual; with SYSDIR=/usr/src/sys, clang with all warnings
	@sh tools/lint-kmod.sh

.PHONY: generate
generate: ## Generate internal/metadata and documentation.md from metadata.yaml
	sh tools/generate.sh

.PHONY: bench
bench: ## Run all benchmarks, one package at a time
	$(GO) test -p 1 -run '^$$' -bench . -benchmem -timeout 1h ./...

.PHONY: bench-peers
bench-peers: ## Measure it beside others that read TCP sockets; UPDATE=1 writes docs/performance.md
	$(GO) run -C tools/peers . $(if $(UPDATE),-update) $(PEERS)

.PHONY: bench-memory
bench-memory: build ## Measure the memory that the distribution takes at its worst, beside 190,000 sockets
	$(GO) run -C tools/peers ./memory $(MEMORY)

.PHONY: soak
soak: build ## Run it MINUTES=20 under churn, reloads and failing backends; a plot and a verdict
	cd tools/soak && $(GO) run . -collector $(abspath $(DISTRIBUTION)) -for $(or $(MINUTES),20)m -out $(abspath _build/soak)

.PHONY: screenshots
screenshots: build ## Pictures of the live page for docs/, over a demo load; wants chromium
	cd tools/page && $(GO) run . -collector $(abspath $(DISTRIBUTION)) -out $(abspath docs/images)

.PHONY: plots
plots: build prometheus ## Pictures of the dashboards for docs/, as Prometheus plots them; wants root, chromium and npm
	@echo "Prometheus' web pages are built once, within some minutes"
	home=$$(GO='$(GO)' sh tools/prometheus/ui.sh _build/prometheus-ui) && cd tools/page && \
		$(GO) run . -collector $(abspath $(DISTRIBUTION)) -prometheus $(abspath _build/prometheus) -ui "$$home" -out $(abspath docs/images)

.PHONY: cross
cross: $(CROSS:%=cross/%) ## Build the distribution for the other systems

##@ Ship

.PHONY: packages
packages: $(RELEASE:%=cross/%) ## deb, rpm, apk, archlinux, tarballs, bill of materials: _build/release
	@# Those of the last commit would be installed with them.
	rm -f $(addprefix _build/release/*,.deb .rpm .apk .pkg.tar.zst .tar.gz .cdx.json)
	$(PUBLISH) packages

.PHONY: image
image: $(filter linux/%,$(RELEASE:%=cross/%)) ## An OCI image for amd64 and arm64: _build/release/image
	rm -f _build/release/*_oci.tar
	$(PUBLISH) image

.PHONY: release
release: $(RELEASE:%=cross/%) ## All that is published, with checksums: _build/release
	rm -rf _build/release
	$(PUBLISH) packages image
	@echo && echo "To publish $$(sh tools/version.sh), in _build/release:" && cat _build/release/SHA256SUMS
	@echo && echo 'git tag, packages and tarballs with SHA256SUMS to the release page;' && \
		echo "skopeo copy --all oci:_build/release/image docker://REGISTRY/otelcol-tcpstats:TAG"

.PHONY: clean
clean: ## Remove what was built
	rm -rf _build

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# The sources of the distribution. ocb takes what the manifest lists and looks up
# the versions of all that these need.
_build/main.go: builder-config.yaml go.mod tools/distribution/go.mod tools/distribution/go.sum
	$(GO) tool -modfile=tools/distribution/go.mod builder --config builder-config.yaml --skip-compilation
	@# The version is the linker's to set; without it, it is the manifest's.
	sed -i.orig 's/^\(\t*Version: *\)"\(.*\)",/\1version,/' _build/main.go && rm _build/main.go.orig
	printf 'package main\n\n// version is set by the linker.\nvar version = "%s"\n' "$$(sed -n 's/^  version: *//p' builder-config.yaml)" >_build/version.go

# Go knows best what is out of date, and links only then.
.PHONY: FORCE
$(DISTRIBUTION): _build/main.go FORCE
	$(LINK) -o $(@F) .

.PHONY: $(sort $(CROSS:%=cross/%) $(RELEASE:%=cross/%))
$(sort $(CROSS:%=cross/%) $(RELEASE:%=cross/%)): cross/%: _build/main.go
	GOOS=$(*D) GOARCH=$(*F) $(LINK) -o $(@F:%=$(notdir $(DISTRIBUTION))_$(*D)_%) .
