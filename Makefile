# `make` alone lists the targets.

SHELL := /bin/sh
TARGET := $(or $(CARGO_TARGET_DIR),target)
CLIENTS := $(TARGET)/clients
NODE_CLIENTS := $(CLIENTS)/node_modules/.installed
PYTHON_CLIENTS := $(CLIENTS)/venv/.installed
RUST_EXAMPLE := $(CLIENTS)/rust/debug/space-events-example
TOOLS := $(TARGET)/tools/.unpacked
PEER := bench/peer/node_modules/.installed

.PHONY: help
help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: ## build and run; settings as `make run ARGS="--port 5500"`
	@scripts/need rust cc postgres
	cargo build --release --locked
	@exec $(TARGET)/release/space-events $(ARGS)

.PHONY: test
test: clients ## all tests, with the published clients among them
	cargo test --locked

# How the package is tried in a fresh Debian: scripts/try-package.
.PHONY: dist
dist: ## what is handed out, into target/package: an archive, a Debian package, checksums
	@scripts/need rust cc
	cargo build --profile dist --locked
	@scripts/dist $(TARGET)/dist/space-events

.PHONY: soak
soak: needed ## random writers and faults beside an oracle, then writers at all rates, each for SECONDS=600; SEED=…: the same ones again
	SOAK_SECONDS=$(or $(SECONDS),600) SEED=$(SEED) cargo test --locked consistency:: -- --nocapture
	NOTIFYING_SECONDS=$(or $(SECONDS),600) cargo test --locked notifying::hammer:: -- --nocapture

.PHONY: fmt
fmt: ## format the code
	@scripts/need rust
	cargo fmt

.PHONY: check
check: ## format, lints, documentation and known faults, without a change
	@scripts/need rust cc
	cargo fmt --check
	cargo fmt --check --manifest-path examples/rust/Cargo.toml
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked
	@scripts/advisories

# The benchmark is a package of its own, in a target directory of its own.
.PHONY: bench
bench: $(PEER) ## measure beside a peer, write BENCHMARKS.md; ROWS=latency,burst: these alone
	@scripts/need rust cc postgres node
	cargo build --profile dist --locked
	cargo build --release --locked --manifest-path bench/Cargo.toml --target-dir bench/target
	@ROWS="$(ROWS)" QUICK="$(QUICK)" bench/target/release/space-events-bench $(TARGET)/dist/space-events

$(PEER): bench/peer/package.json bench/peer/package-lock.json
	@scripts/need node
	cd bench/peer && npm ci --no-audit --no-fund
	@touch $@

# The published clients that the tests start. Each is installed again when its
# list of versions changed.
.PHONY: clients
clients: needed $(NODE_CLIENTS) $(PYTHON_CLIENTS) $(RUST_EXAMPLE) $(TOOLS)

.PHONY: needed
needed:
	@scripts/need rust cc postgres node python chromium nginx pgbouncer

$(NODE_CLIENTS): tests/clients/package.json tests/clients/package-lock.json | needed
	@mkdir -p $(CLIENTS)
	cp tests/clients/package.json tests/clients/package-lock.json $(CLIENTS)
	cd $(CLIENTS) && npm ci --no-audit --no-fund
	@touch $@

$(PYTHON_CLIENTS): tests/clients/requirements.txt | needed
	@mkdir -p $(CLIENTS)
	python3 -m venv --clear $(CLIENTS)/venv
	$(CLIENTS)/venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/clients/requirements.txt
	@touch $@

# The judges of deploy/ that are worth no installation: where there is no apt, the
# tests say that they were skipped.
$(TOOLS): | needed
	@scripts/unpack $(TARGET)/tools caddy prometheus
	@touch $@

# A package of its own, as a user's would be.
$(RUST_EXAMPLE): examples/rust/Cargo.toml examples/rust/Cargo.lock examples/rust/src/main.rs | needed
	cargo build --locked --manifest-path examples/rust/Cargo.toml --target-dir $(CLIENTS)/rust
	@touch $@
