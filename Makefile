# The commands of this repository. `make demo` and `make test` need nothing but Python 3.11+ and the package index.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV ?= .venv
BIN := $(VENV)/bin
# The first Python on PATH that is new enough, unless PYTHON names one.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	command -v $$p >/dev/null && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)

.PHONY: help setup demo test test-fast test-kafka test-integrations soak check format bench schemas lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

setup: $(VENV)/.ready  ## everything into .venv, from requirements/lock.txt

$(VENV)/.ready: requirements/lock.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Vaultak needs Python 3.11 or newer with venv: none found on PATH; name one with make PYTHON=/path/to/python"; exit 2; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version) (once; a minute or two)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## the main job: agents act, one goes wrong, it is scored, stopped and rolled back
	@$(BIN)/vaultak demo

test: setup  ## every test but those on a real Kafka
	@$(BIN)/pytest -q -m "not kafka"

test-fast: setup  ## the tests that take seconds
	@$(BIN)/pytest -q -m "not kafka and not stack and not slow"

test-kafka: setup  ## the end-to-end tests on a real Apache Kafka (needs a JVM 17+ and Maven, or VAULTAK_BOOTSTRAP_SERVERS)
	@VAULTAK_TEST_BROKER=kafka $(BIN)/pytest -q -m "stack or kafka" tests/e2e tests/sdk tests/streams tests/security tests/failures

soak: setup  ## 200 faults at random moments in a deployment on a real Kafka, and the account (20 minutes)
	@cd tests && ../$(BIN)/python -m failures.soak

test-integrations:  ## the agent frameworks, each at its newest release in an environment of its own (half an hour)
	@test -n "$(PYTHON)" || { echo "Vaultak needs Python 3.11 or newer on PATH"; exit 2; }
	@$(PYTHON) tests/integrations/run.py

check: setup  ## format, lint, strict types, import contracts
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: setup  ## put the code in its form
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

bench: setup  ## the benchmarks, each beside its baseline
	@$(BIN)/python -m bench

schemas: setup  ## JSON Schemas from the structs
	@$(BIN)/python -m vaultak.wire.schemas infra/schemas
	@$(BIN)/python -m vaultak_streams.policy.schema infra/schemas/policy-rule.json

LOCK := uv pip compile pyproject.toml --extra pipeline --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate --quiet --no-header
lock:  ## requirements/lock.txt, and for the image runtime.txt, from pyproject.toml (needs uv)
	@$(LOCK) --group dev -o requirements/lock.txt
	@$(LOCK) --constraint requirements/lock.txt -o requirements/runtime.txt

clean:  ## remove the environment and caches
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist
