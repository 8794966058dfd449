PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test check bench docs format clean

help:            ## list these targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.run ## serve the registry on 127.0.0.1:8080 with its embedded Valkey
	@exec $(BIN)/hopper serve --with-parent $(ARGS)

test: check      ## check the code, then run every test (ARGS passes options to pytest)
	$(BIN)/pytest --numprocesses 6 --dist loadfile $(ARGS)

check: $(VENV)/.dev ## format, lint, types, import contract, Lua
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/lint_lua.py

bench: $(VENV)/.dev ## run the benchmarks (ARGS=--short for a quick look)
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.dev ## write docs/reference.md from the code
	$(BIN)/python docs/generate.py

format: $(VENV)/.dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:           ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.run
