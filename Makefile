# Every command there is. `make` prints them.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

TOOL    := go tool -modfile=tools/go.mod
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# What `make gen` writes. Golden tests may rewrite further files; `make verify` sees those too.
GENERATED := api/openapi.yaml client/client.gen.go docs/problems.md

# Narrow `make test` with PKG=./internal/cost and TESTFLAGS='-run Settle'.
PKG       ?= ./...
TESTFLAGS ?=
FUZZTIME  ?= 20s
BENCHFLAGS ?= -benchmem
PROVETIME ?= 60m
PROVEFLAGS ?=

##@ Everyday

.PHONY: help
help: ## print this list
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9%-]+:.*## / {printf "  make %-14s %s\n", ($$1 == "prove-%" ? "prove-NAME" : $$1), $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: postgres build ## build, then run a whole Forge on this machine (ARGS='--help' for its options)
	@exec bin/forge dev $(ARGS)

.PHONY: build
build: ## build bin/forge
	@mkdir -p bin
	@CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/forge ./cmd/forge

.PHONY: test
test: postgres awscli ## every test, under the race detector (PKG=./internal/cost TESTFLAGS='-run Settle' narrow it)
	@CGO_ENABLED=1 go test -race -count=1 -timeout 20m $(TESTFLAGS) $(PKG)

.PHONY: check
check: ## what to run before every commit: vet, architecture, formatting; seconds, no database
	@go vet ./...
	@go test -count=1 ./internal/
	@$(TOOL) golangci-lint fmt --diff

.PHONY: fmt
fmt: ## format the code
	@$(TOOL) golangci-lint fmt

.PHONY: lint
lint: ## every linter of .golangci.yml
	@$(TOOL) golangci-lint run $(PKG)

.PHONY: gen
gen: postgres ## rewrite everything generated: the API's description, its client, golden files
	@echo 'gen: api/openapi.yaml'
	@mkdir -p bin
	@go run ./cmd/forge openapi > bin/openapi.yaml
	@mv bin/openapi.yaml api/openapi.yaml
	@echo 'gen: client/client.gen.go'
	@$(TOOL) oapi-codegen -config client/oapi-codegen.yaml -o client/client.gen.go api/openapi.yaml
	@echo 'gen: golden files'
	@dirs=$$(grep -rlE --include='*_test.go' '^func TestGolden' internal api client cmd e2e | xargs -r -n1 dirname | sort -u | sed 's|^|./|'); \
	  if [ -n "$$dirs" ]; then UPDATE_GOLDEN=1 go test -count=1 -run '^TestGolden' $$dirs; fi

##@ Evidence

.PHONY: verify
verify: verify-generated verify-modules verify-source verify-schema ## nothing generated is stale, modules are intact, no loose ends in the source, migrations reach schema.sql

# Generates in a copy of the tree (as it is, committed or not) and compares: the tree itself is left alone.
.PHONY: verify-generated
verify-generated:
	@for f in $(GENERATED); do \
	  [ -s "$$f" ] || { echo "verify: $$f is missing or empty: run 'make gen'" >&2; exit 1; }; \
	  if git rev-parse --git-dir >/dev/null 2>&1 && ! git ls-files --error-unmatch "$$f" >/dev/null 2>&1; then \
	    echo "verify: $$f is not in git: add it" >&2; exit 1; fi; \
	done
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; chmod 755 "$$tmp"; mkdir "$$tmp/have" "$$tmp/want"; \
	if git rev-parse --git-dir >/dev/null 2>&1; then \
	  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do [ ! -e "$$f" ] || printf '%s\0' "$$f"; done; \
	else \
	  find . -path ./bin -prune -o -path ./.forge -prune -o -type f -print0; \
	fi | tar --null --files-from=- -cf "$$tmp/tree.tar"; \
	tar -xf "$$tmp/tree.tar" -C "$$tmp/have"; tar -xf "$$tmp/tree.tar" -C "$$tmp/want"; \
	$(MAKE) --no-print-directory -C "$$tmp/want" gen >"$$tmp/log" 2>&1 || { cat "$$tmp/log" >&2; echo 'verify: make gen fails' >&2; exit 1; }; \
	rm -rf "$$tmp/want/bin" "$$tmp/want/.forge" "$$tmp/have/.forge"; \
	cd "$$tmp"; diff -ruN have want || { echo "verify: the files above are stale: run 'make gen' and commit what it writes" >&2; exit 1; }
	@echo 'verify: generated files are current'

.PHONY: verify-modules
verify-modules:
	@go mod verify >/dev/null
	@go mod tidy -diff || { echo "verify: go.mod is not tidy: run 'go mod tidy'" >&2; exit 1; }
	@cd tools && go mod verify >/dev/null
	@cd tools/s3 && go mod verify >/dev/null
	@echo 'verify: modules are intact and tidy'

# The rules themselves, and the samples that show they bite, are in internal/layout_test.go.
.PHONY: verify-source
verify-source:
	@go test -count=1 ./internal/ >/dev/null || { go test -count=1 ./internal/; exit 1; }
	@echo 'verify: imports point down and the source has no loose ends'

# On the server of this machine and on the newest one that can be had.
.PHONY: verify-schema
verify-schema: postgres
	@mkdir -p bin; go build -o bin/forge-verify ./cmd/forge; \
	for server in "$${FORGE_PG_BIN:-}" "$$(script/newest-postgres.sh)"; do \
	  FORGE_PG_BIN=$$server bin/forge-verify migrate verify 2>bin/verify-schema.log || { cat bin/verify-schema.log >&2; exit 1; }; \
	done
	@echo 'verify: migrations reach schema.sql, up and down'

.PHONY: e2e
e2e: postgres ## the journeys only, from the client to Amazon's wire
	@CGO_ENABLED=1 go test -race -count=1 -timeout 20m $(TESTFLAGS) ./e2e/...

# Without ENDPOINT it is an emulator of the test's own, as in `make test`. ENDPOINT=aws is Amazon itself and costs money.
.PHONY: conformance
conformance: postgres ## the provider against an Amazon: ENDPOINT=URL (or aws: it costs) REGION=… DIRECTORY=d-… DIRECTORY_USER=… LONG=1
	@FORGE_CONFORMANCE_ENDPOINT='$(ENDPOINT)' FORGE_CONFORMANCE_REGION='$(REGION)' FORGE_CONFORMANCE_DIRECTORY='$(DIRECTORY)' \
	  FORGE_CONFORMANCE_USER='$(DIRECTORY_USER)' FORGE_CONFORMANCE_LONG='$(LONG)' go test -count=1 -v -timeout 24h -run '^TestConformance$$' ./internal/aws/desktop

.PHONY: fuzz
fuzz: postgres ## every fuzz target for FUZZTIME (20s) each
	@found=$$(grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's|^(.*)/[^/]+:[0-9]+:func (Fuzz.*)$$|\1 \2|' | sort -u); \
	[ -n "$$found" ] || { echo 'fuzz: there is no fuzz target' >&2; exit 1; }; \
	while read -r dir name; do \
	  echo "fuzz: $$name in $$dir for $(FUZZTIME)"; \
	  go test -run '^$$' -fuzz "^$$name\$$" -fuzztime '$(FUZZTIME)' "$$dir"; \
	done <<<"$$found"

.PHONY: bench
bench: postgres ## run the benchmarks and write bench/RESULTS.md
	@[ -n "$$(find bench -name '*_test.go' -print -quit 2>/dev/null)" ] || { echo 'bench: there are no benchmarks in bench/' >&2; exit 1; }
	@tmp=$$(mktemp); trap 'rm -f "$$tmp"' EXIT; \
	go test -run '^$$' -bench . $(BENCHFLAGS) -timeout 60m ./bench/... | tee "$$tmp"; \
	{ printf '# Benchmarks\n\nWritten by `make bench` on %s, version %s, %s CPUs, %s.\n\n```\n' \
	    "$$(date -u +%Y-%m-%d)" '$(VERSION)' "$$(nproc)" "$$(go env GOVERSION)"; \
	  cat "$$tmp"; printf '```\n'; } > bench/RESULTS.md; \
	echo 'bench: wrote bench/RESULTS.md'

# prove-cost-settles runs bench/prove/cost-settles if there is such a program, else TestProveCostSettles, wherever it is.
prove-plans prove-retention: PROVETIME = 0
prove-%: postgres ## the full evidence run of a theme (hours, by hand); its result goes to bench/results/NAME.txt
	@mkdir -p bench/results; out='bench/results/$*.txt'; tmp=$$(mktemp); trap 'rm -f "$$tmp"' EXIT; \
	name=$$(sed -E 's/(^|-)([a-z0-9])/\U\2/g' <<<'$*'); \
	printf 'make prove-%s  version %s  %s  %s CPUs\n\n' '$*' '$(VERSION)' "$$(date -u +%Y-%m-%dT%H:%MZ)" "$$(nproc)" > "$$tmp"; \
	if [ -d 'bench/prove/$*' ]; then \
	  go run './bench/prove/$*' $(ARGS) 2>&1 | tee -a "$$tmp"; \
	elif pkg=$$(grep -rlE --include='*_test.go' "^func TestProve$$name(_|\(|[A-Z])" e2e bench internal | xargs -r -n 1 dirname | sort -u) && [ -n "$$pkg" ]; then \
	  go test -tags prove -count=1 -v -timeout '$(PROVETIME)' $(PROVEFLAGS) -run "^TestProve$$name" $$(printf './%s ' $$pkg) -args $(ARGS) 2>&1 | tee -a "$$tmp"; \
	else \
	  echo "prove: neither bench/prove/$* nor TestProve$$name exists" >&2; exit 1; \
	fi; \
	mkdir -p bench/results; cp "$$tmp" "$$out"; chmod 644 "$$out"; echo "prove: wrote $$out"

##@ Housekeeping

.PHONY: postgres
postgres: ## make sure PostgreSQL's binaries are on this machine
	@script/ensure-postgres.sh

.PHONY: awscli
awscli: ## make sure Amazon's command line, which the emulator's tests use, is on this machine
	@script/ensure-awscli.sh

.PHONY: clean
clean: ## remove what was built (bin/); the data of `make run` in .forge/ stays
	@rm -rf bin coverage.txt
