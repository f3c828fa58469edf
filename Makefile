# Every target makes its own environment in .venv. Needs: make, Python 3.11 or newer.
PYTHON ?= python3

py      := .venv/bin/python
ready   := .venv/.ready
parts   := shared services/ultravisor services/hypervisor lab
# The explorer drives the services' own machines: an extra of the lab, so that the lab alone needs no service.
extras  := $(parts:lab=lab[explorer])
install := $(py) -m pip install -qq --disable-pip-version-check --no-compile -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench docs up down clean style types contracts
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s  %s\n", $$1, $$2 }' Makefile

demo: $(ready) ## run the demonstration from start to end
	@.venv/bin/pef demo

test: $(ready) ## run the tests, without the benchmarks
	@$(py) -m pytest -q

lint: style types contracts ## check style, types and import contracts

bench: $(ready) ## measure the promises of the README
	@$(py) -m pytest -q tests/bench

docs: $(ready) ## write docs/reference from the tables, and the pages of the counterexamples
	@$(py) docs/make_reference.py
	@$(py) docs/make_counterexamples.py

up: $(ready) ## start both services
	@.venv/bin/pef up

down: $(ready) ## stop both services
	@.venv/bin/pef down

clean: ## remove .venv and every cache
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache .schemathesis
	@find $(parts) tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

style: $(ready)
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check

types: $(ready)
	@.venv/bin/mypy

contracts: $(ready)
	@.venv/bin/lint-imports --no-logo

# Begins from nothing each time, so that what was dropped from the lists is gone from .venv too.
$(ready): constraints.txt requirements-dev.txt $(parts:=/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "This needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true). Try: make PYTHON=python3.11" >&2; exit 1; }
	@echo "making .venv: about half a minute"
	@$(PYTHON) -m venv --clear .venv
	@echo "  installing what constraints.txt pins"
	@$(install) hatchling editables
	@$(install) --no-build-isolation -r requirements-dev.txt $(extras:%=-e '%')
	@touch $@
	@echo "  .venv is ready"
