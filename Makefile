# Every command a developer needs. `make` alone lists them.
#
# Each target installs what it lacks first (scripts/deps.sh), so a fresh clone needs nothing
# beforehand but a Rust toolchain and Node.js.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CARGO_TARGET_DIR ?= $(CURDIR)/target
# Tools that deps.sh installs for this tree alone; they win over nothing that is already on the machine.
export PATH := $(PATH):$(CARGO_TARGET_DIR)/tools/bin

DEMO ?= demo

.PHONY: help deps run demo build test conformance lint bench load docs

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install every outside tool (run, test, conformance, lint and bench)
	@scripts/deps.sh run test conformance lint bench

build: ## build the release binaries
	@scripts/deps.sh run
	cargo build --release --locked -p millrace -p millrace-sidecar --bins

demo: ## make the demo library, if it is not there yet
	@scripts/deps.sh run
	@scripts/demo-library.sh "$(DEMO)"

run: build demo ## build, make the demo library, start server and sidecar; Ctrl-C stops both
	@scripts/run.sh "$(DEMO)"

test: ## every test: Rust, alert rules, real browser, public suite of cache tests
	@scripts/deps.sh run test conformance
	@scripts/test.sh

conformance: build ## the public suite of HTTP cache tests against the release binary
	@scripts/deps.sh conformance
	@npm --prefix tests/conformance test --silent

lint: ## formatting, clippy, licences and advisories, spelling
	@scripts/deps.sh run lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo deny --log-level warn check bans licenses sources
	@scripts/advisories.sh
	typos

bench: build ## the hit path against nginx and Varnish, one core each
	@scripts/deps.sh bench
	@scripts/bench-hit.sh

URL ?= http://127.0.0.1:8080
SECONDS ?= 60
USERS ?= 50

load: ## a load test of what runs at URL, for SECONDS with USERS; the report goes to target/load-test.html
	@mkdir -p "$(CARGO_TARGET_DIR)"
	@scripts/load-test.sh "$(URL)" "$(SECONDS)" "$(USERS)" "$(CARGO_TARGET_DIR)/load-test.html"

docs: ## write the configuration reference anew
	cargo run --quiet --locked -p millrace -- docs > docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md
