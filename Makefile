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
MODULES := $(patsubst %/,%,$(dir $(wildcard tools/lint/go.mod tools/distribution/go.mod tools/distribution/newer/go.mod tools/peers/go.mod tools/page/go.mod tools/promql/go.mod internal/e2e/go.mod)))

# The same flags as ocb's own. Modules that the receiver newly imports may be added
# to the generated go.mod.
LINK = CGO_ENABLED=0 $(GO) build -C _build -mod=mod -trimpath -ldflags='-s -w'

##@ Use

.PHONY: build
build: $(DISTRIBUTION) ## Build the distribution: _build/otelcol-tcpstats

.PHONY: run
run: build ## Build and run: the live page on http://127.0.0.1:8890/
	@sh tools/run.sh $(DISTRIBUTION) examples/run.yaml

##@ Develop

.PHONY: test
test: ## The gate: vet, generated files, unit, distribution and end-to-end tests
	@GO='$(GO)' VET='$(VET)' sh tools/test.sh

.PHONY: test-freebsd
test-freebsd: ## With KERNEL=path [KMOD=path]: boot that FreeBSD kernel under qemu and test in it
	@test -n '$(KERNEL)' || { echo 'make test-freebsd wants KERNEL=/path/to/kernel, and takes KMOD=/path/to/tcpstats.ko' >&2; exit 2; }
	cd tools && GO='$(GO)' FREEBSD_KERNEL='$(abspath $(KERNEL))' FREEBSD_KMOD='$(and $(KMOD),$(abspath $(KMOD)))' FREEBSD_JOBS='$(JOBS)' \
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
bench-peers: ## Measure it beside others that read TCP sockets; UPDATE=1 writes README.md
	$(GO) run -C tools/peers . $(if $(UPDATE),-update) $(PEERS)

.PHONY: bench-memory
bench-memory: build ## Measure the memory that the distribution takes at its worst, beside 190,000 sockets
	$(GO) run -C tools/peers ./memory $(MEMORY)

.PHONY: screenshots
screenshots: build ## Pictures of the live page for docs/, over a demo load; wants chromium
	cd tools/page && $(GO) run . -collector $(abspath $(DISTRIBUTION)) -out $(abspath docs/images)

.PHONY: cross
cross: $(CROSS:%=cross/%) ## Build the distribution for the other systems

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

# Go knows best what is out of date, and links only then.
.PHONY: FORCE
$(DISTRIBUTION): _build/main.go FORCE
	$(LINK) -o $(@F) .

.PHONY: $(CROSS:%=cross/%)
$(CROSS:%=cross/%): cross/%: _build/main.go
	GOOS=$(*D) GOARCH=$(*F) $(LINK) -o $(@F:%=$(notdir $(DISTRIBUTION))_$(*D)_%) .
