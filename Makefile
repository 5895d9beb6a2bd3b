# Two commands do all set-up on a fresh Debian or Ubuntu machine: `make demo` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# The lab keeps its roots and wheels here between runs.
VENOM_LAB_CACHE ?= $(HOME)/.cache/venom-lab
HOSTS ?= 2
SUITE ?= mixed
export VENOM_LAB_CACHE
export PYTHONPATH := $(CURDIR)/tests
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/collections
export PATH := $(CURDIR)/$(BIN):$(PATH)

# The lab needs the standard library only, so it can be cleared away without the venv.
LAB := $(or $(wildcard $(BIN)/python),python3) -m lab
# The labs that test runs make for themselves.
TEST_LABS := .lab/molecule .lab/pytest .lab/lane1 .lab/lane2 .lab/lane3 .lab/runtime .lab/breaks .lab/breaks-vllm .lab/selftest .lab/selftest-other
# program or file : Debian package that brings it : what it is for
LAB_PACKAGES := \
  'mmdebstrap:mmdebstrap:builds the root of a test host' \
  'systemd-nspawn:systemd-container:boots a test host' \
  'systemd-analyze:systemd:rates the hardening of the unit' \
  'ip:iproute2:the bridge of the lab' \
  'ssh:openssh-client:reaches the test hosts' \
  'git:git:lists the files to test' \
  'shellcheck:shellcheck:reads the shell scripts in ansible-test sanity' \
  '/usr/lib/*/libnuma.so.1:libnuma1:the CPU build of vLLM loads it' \
  'java:default-jre-headless:ansible-rulebook runs on it'

.PHONY: help demo demo-clean test toolchain lint sanity units pytest molecule lab-up lab-down lab-clean bench build clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Take this machine to a verified, served model, twice, then switch to a second model
	@tests/demo/demo.sh

demo-clean: ## Remove everything that the demo made
	@tests/demo/clean.sh

test: toolchain ## Everything: lint, sanity, units, molecule on lab hosts with the real vLLM, pytest; parts run side by side
	@$(BIN)/python tests/tools/lanes.py

toolchain: ## The venv and Debian packages of the tests
	@tests/tools/need_root.sh "the lab boots systemd hosts with mounts, a bridge and containers of its own"
	@tests/tools/toolchain.sh $(VENV) tests/requirements/test.txt $(LAB_PACKAGES)

lint: toolchain ## ruff, mypy, yamllint, ansible-lint (production), role READMEs, changelog, collection build
	@tests/tools/lint.sh

sanity: toolchain ## ansible-test sanity on a copy outside the checkout
	$(BIN)/python tests/tools/run_ansible_test.py sanity

units: toolchain ## ansible-test units on a copy outside the checkout
	$(BIN)/python tests/tools/run_ansible_test.py units

molecule: toolchain ## Every scenario on lab hosts
	@tests/tools/molecule.sh

pytest: toolchain ## Unit, integration, lab and fault tests, one after the other
	@tests/tools/pytest.sh

lab-up: toolchain ## Boot HOSTS systemd hosts (SUITE=bookworm, trixie or mixed) reachable over ssh
	@$(LAB) up --hosts $(HOSTS) --suite $(SUITE)

lab-down: ## Stop the lab, and what a test run that was killed has left of its own
	@for state in $(TEST_LABS) .lab; do \
	  if [ -d "$$state" ]; then VENOM_LAB_STATE="$(CURDIR)/$$state" $(LAB) down; fi; \
	done

lab-clean: lab-down ## The same, and everything that tests keep between runs: roots, wheels, vLLM, releases of ansible-core
	@$(LAB) clean
	rm -rf "$(VENOM_LAB_CACHE)"/vllm-* "$(VENOM_LAB_CACHE)"/ansible-core-* "$(VENOM_LAB_CACHE)"/automation-* "$(VENOM_LAB_CACHE)"/execution-environment-*
	@rmdir "$(VENOM_LAB_CACHE)" 2>/dev/null || true

bench: toolchain ## Print the cost of a no-op, an install and a verification beside what others take, in about ten minutes
	$(BIN)/python tests/bench/noop.py
	$(BIN)/python tests/bench/install.py
	$(BIN)/python tests/bench/verify.py

build: toolchain ## Build the collection archive into dist/
	$(BIN)/ansible-galaxy collection build --force --output-path dist .

clean: ## Remove the venv, caches and built archives of this checkout
	rm -rf .venv .cache .ansible .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build
