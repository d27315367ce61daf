# Everything works on a machine with Python >= 3.11 with pip, and make; nothing outside this folder is touched but
# the package cache.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help up down test check bench evidence lock clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: .venv/ready ## Start the whole platform and show a governed answer.
	@$(BIN)/assay up

down: .venv/ready ## Stop what `make up` started.
	@$(BIN)/assay down

test: check ## All tests: lint, types, contracts between rooms, unit, contract, e2e, chaos.
	$(BIN)/pytest tests --ignore tests/unit -rs --durations 15

check: .venv/ready ## Lint, types, import contracts and unit tests; under two minutes.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/pytest tests/unit -n 2

bench: .venv/ready ## All benchmarks: prints a table, writes .assay/bench/*.json.
	$(BIN)/python -m tests.benchmarks

evidence: .venv/ready ## Regenerate docs/evidence/ (starts a platform of its own; needs Chromium).
	$(BIN)/python -m tests.evidence

lock: .venv/bin/uv ## Resolve the dependencies anew, with hashes and without index names.
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --generate-hashes --no-header --upgrade \
		-o requirements.lock

clean: ## Remove the environment and the local platform's data.
	rm -rf .venv .assay

# No ensurepip is needed and an externally managed Python is fine: pip installs uv into the new environment.
.venv/bin/uv:
	@echo "Making the environment in .venv (once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Assay needs Python 3.11 or newer; set PYTHON="; exit 1; }
	@$(PYTHON) -m venv --without-pip .venv
	@$(PYTHON) -m pip --python .venv/bin/python install --quiet --disable-pip-version-check uv

.venv/ready: requirements.lock pyproject.toml .venv/bin/uv
	@echo "Installing the locked dependencies"
	@$(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@
