# All targets for people and CI. `make help` lists them.

SHELL := /bin/sh
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/keelson
PORT ?= 4566
PYTHON = $(shell e2e/harness/venv.sh)
SITE_PYTHON = $(shell e2e/harness/venv.sh docs/site/requirements.txt)
export NO_MKDOCS_2_WARNING = 1
# The documentation site is built here, outside of git.
SITE ?= $(abspath $(or $(CARGO_TARGET_DIR),target))/site
HARNESS = PYTHONPATH=e2e/harness:e2e/aws
# Debug builds everywhere except in the benchmark: demo and tests share one build of the AWS SDK.
RELEASE_BIN := $(abspath $(or $(CARGO_TARGET_DIR),target))/release/keelson
IMAGE_BIN := $(or $(KEELSON_BIN),$(RELEASE_BIN))
CARGO_BUILD ?= cargo build
KEELSON_BIN ?= $(abspath $(or $(CARGO_TARGET_DIR),target))/debug/keelson
export KEELSON_BIN
# Tools of the demo; the tests need more.
DEMO_TOOLS = etcd kube-apiserver kube-controller-manager source-controller kustomize-controller
# Go and Rust build in parallel: each has long phases that use only one core.
PARALLEL = +@$(MAKE) --no-print-directory -j 2
# Compiles our crate with clippy's lints, as errors. `cargo clippy` would check the dependencies apart from building them.
WITH_CLIPPY = RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings

.DEFAULT_GOAL := help
.PHONY: help demo demo-fleet dev aws build docs docs-serve image image-packages test lint-and-unit lint-without-clippy test-unit test-e2e lint pins words supply-chain features workflows crds chart tools tools-demo tools-conformance bench audit clean need-rust need-go
.PHONY: conformance-aws conformance-janitor conformance-check

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: need-rust need-go ## create a cluster from a manifest on this machine, deploy to it from Git, delete it
	$(PARALLEL) tools-demo build
	@$(HARNESS) $(PYTHON) -m keelson_harness.demo

demo-fleet: need-rust need-go ## upgrade six clusters on this machine in waves, with one that fails, then delete them
	$(PARALLEL) tools-demo build
	@$(HARNESS) $(PYTHON) -m keelson_harness.demo_fleet

dev: need-rust need-go ## start the demo environment and leave it running; EMPTY=1: without a cluster; FLEET=1: that of demo-fleet
	$(PARALLEL) tools-demo build
	@$(HARNESS) $(PYTHON) -m keelson_harness.$(if $(FLEET),demo_fleet --stay,demo $(if $(EMPTY),--empty,--stay))

aws: ## only the AWS emulator; make aws PORT=4566
	@PYTHONPATH=e2e/aws $(PYTHON) -m keelson_aws --port $(PORT)

build: need-rust ## build the operator
	@cargo build --locked

# Builds the operator only if KEELSON_BIN does not name a binary.
image: ## build the image as an OCI layout in target/image, without Docker; with a release build, or the binary KEELSON_BIN
	$(if $(filter $(RELEASE_BIN),$(IMAGE_BIN)),$(CARGO_BUILD) --locked --release)
	@rm -rf target/image
	@python3 deploy/image/build.py --binary $(IMAGE_BIN) --output target/image

image-packages: ## pin the newest Debian packages for the image (deploy/image/packages.txt)
	@python3 deploy/image/debian.py --update

docs: ## build the documentation site into target/site
	@$(SITE_PYTHON) -m mkdocs build --strict --site-dir $(SITE)
	@echo "docs: $(SITE)/index.html"

docs-serve: ## serve the documentation site on http://127.0.0.1:8000, rebuilt at each change
	@$(SITE_PYTHON) -m mkdocs serve --strict

test: need-rust need-go ## all tests, unit and end-to-end; CI runs this
	$(PARALLEL) tools lint-and-unit
	+@$(WITH_CLIPPY) $(MAKE) --no-print-directory test-e2e

lint-and-unit: lint-without-clippy
	+@$(WITH_CLIPPY) $(MAKE) --no-print-directory test-unit

lint: lint-without-clippy ## formatting, clippy, pins, words, audits and workflows
	cargo clippy --locked --all-targets -- -D warnings

lint-without-clippy: need-rust pins words supply-chain features workflows
	cargo fmt --check

pins: ## check that actions are pinned to commits and images to digests; KEELSON_RELEASE=1 allows no exception
	@python3 e2e/pins.py

words: ## identifiers, comments and pages use the terms of the field
	@python3 e2e/words.py

supply-chain: ## every crate has an audit or an exemption (supply-chain/)
	@python3 e2e/supply_chain.py

features: ## the tests enable no features of crates that the operator is built without
	@python3 e2e/features.py

workflows: need-go ## check GitHub's workflows with actionlint and zizmor
	@$(PYTHON) e2e/workflows.py

test-unit: need-rust ## tests that need only Rust
	cargo test --locked

test-e2e: need-rust tools build ## real API servers, real Flux and Argo CD, the AWS emulator
	$(PYTHON) e2e/run_all.py

crds: build ## regenerate crds/ from the types
	UPDATE_CRDS=1 cargo test --locked --test crds
	+@$(MAKE) --no-print-directory chart

chart: ## regenerate what the Helm chart and deploy/iam contain of crds/ and deploy/
	@$(PYTHON) deploy/charts/generate.py
	@$(PYTHON) deploy/iam/generate.py

tools: need-go ## build the tools of the tests (etcd, Kubernetes, Flux, Argo CD, a registry, Helm, Prometheus, Chromium) into the cache, once
	@$(PYTHON) e2e/kubernetes/build.py
	@$(PYTHON) e2e/kubernetes/prometheus.py
	@$(PYTHON) e2e/kubernetes/chromium.py

tools-demo: need-go
	@$(PYTHON) e2e/kubernetes/build.py $(DEMO_TOOLS)

# Options of the program, such as CONFORMANCE="--yes ACCOUNT": docs/conformance.md.
CONFORMANCE ?=
CONFORM = PYTHONPATH=e2e/harness:e2e/aws:e2e/tests:e2e $(PYTHON) -m conformance

conformance-aws: build tools-conformance ## run the operator on a real AWS account: asks first, costs about a dollar, deletes everything
	@$(CONFORM) run $(CONFORMANCE)

conformance-janitor: ## delete what conformance runs left in the account, once it is expired; CONFORMANCE=--dry-run lists it
	@$(CONFORM) janitor $(CONFORMANCE)

conformance-check: ## hold a recording of AWS's answers against the fixtures; make conformance-check RECORDING=FOLDER
	@$(CONFORM) check $(RECORDING)

tools-conformance: need-go
	@$(PYTHON) e2e/kubernetes/build.py etcd kube-apiserver kube-controller-manager

bench: need-rust tools ## print the benchmark table, with a release build
	cargo build --locked --release
	@KEELSON_BIN=$(abspath $(or $(CARGO_TARGET_DIR),target))/release/keelson $(HARNESS):e2e $(PYTHON) -m bench

audit: need-rust ## check licences, bans, sources, audits and advisories of every crate; with KEELSON_RELEASE=1 it fails without advisories
	@e2e/audit.sh

clean: ## remove build output of the checkout (not the cache: rm -r $(CACHE))
	cargo clean

need-rust:
	@command -v cargo >/dev/null 2>&1 || { echo "Rust is missing: install it from https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null 2>&1 || { echo "A C compiler is missing: apt install build-essential" >&2; exit 1; }

need-go:
	@command -v git >/dev/null 2>&1 || { echo "git is missing: apt install git" >&2; exit 1; }
	@command -v go >/dev/null 2>&1 || [ -n "$$KUBEBUILDER_ASSETS" ] || { echo "Go is missing: install it from https://go.dev/dl" >&2; exit 1; }
