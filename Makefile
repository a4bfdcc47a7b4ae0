# numaplace: `make demo` to see it work, `make test` to know that it does, `make bench` for the numbers.

SHELL := /bin/bash
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/numaplace
UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv),$(CACHE)/uv-$(UV_VERSION)/bin/uv)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup lab demo test quick lint check-protos protos check-man man bench lock clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: $(READY) ## Make the virtual environment in .venv, with uv

$(UV):
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "numaplace: python3 cannot make virtual environments; run: apt-get install python3-venv" >&2; exit 1; }
	python3 -m venv $(CACHE)/uv-$(UV_VERSION)
	$(CACHE)/uv-$(UV_VERSION)/bin/pip install -q --disable-pip-version-check uv==$(UV_VERSION)

$(READY): requirements.lock pyproject.toml | $(UV)
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "numaplace: needs Python 3.11 or newer; python3 is $$(python3 -V)" >&2; exit 1; }
	test -x $(BIN)/python || $(UV) venv -q --python-preference only-system --python python3 $(VENV)
	$(UV) pip sync -q --compile-bytecode -p $(VENV) --require-hashes requirements.lock
	$(UV) pip install -q -p $(VENV) --no-deps -e .
	@touch $@

lab: setup ## Install what the NUMA lab needs (QEMU, kernels); as root, or with sudo
	$(BIN)/python -m tests.lab setup

demo: setup ## Watch pages follow three re-pins, on a real multi-node kernel
	@$(BIN)/python -m tests.demo

test: lint lab ## Run all tests, those on real kernels included
	$(BIN)/pytest

quick: setup ## Run the tests that need no guest
	$(BIN)/pytest -m "not lab"

lint: setup check-protos check-man ## ruff, mypy, import-linter, interrogate
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/interrogate -q numaplace scheduler node_agent tools

check-protos: setup ## Fail if numaplace/v1 is not what protos/ generates
	@tmp=$$(mktemp -d); trap 'rm -rf $$tmp' EXIT; \
	UV=$(UV) protos/generate.sh $$tmp && diff -r -x __pycache__ $$tmp/numaplace/v1 numaplace/v1 \
	  || { echo "numaplace/v1 differs from protos/: run make protos" >&2; exit 1; }

protos: setup ## Generate numaplace/v1 from protos/
	UV=$(UV) protos/generate.sh

check-man: setup ## Fail if packaging/share is not what the commands say of themselves
	@tmp=$$(mktemp -d); trap 'rm -rf $$tmp' EXIT; \
	$(BIN)/python -m tools.reference $$tmp/share && diff -r $$tmp/share packaging/share \
	  || { echo "packaging/share differs from the commands' help: run make man" >&2; exit 1; }

man: setup ## Generate the manual pages and shell completion in packaging/share
	$(BIN)/python -m tools.reference packaging/share

bench: lab ## Measure against the rivals; GROUP=name for one group
	$(BIN)/python -m tests.bench $(if $(GROUP),--group $(GROUP))

lock: setup ## Resolve the dependencies anew into requirements.lock
	$(UV) pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header -q -o requirements.lock

clean: ## Remove the virtual environment and caches of tools
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
