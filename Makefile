# Needs Python 3.11 or newer and nothing else: Java, Kafka and all libraries come from package registries.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test test-fast check format bench schemas docs lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(INSTALLED) ## Make the environment (once; a minute or two)

$(INSTALLED): requirements/all.txt requirements/tools.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.txt
	VIRTUAL_ENV=$(VENV) $(RUN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements/all.txt
	VIRTUAL_ENV=$(VENV) $(RUN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	$(RUN)/python -c 'from state.warm_up import warm_up; warm_up(); from models.encoders.lite import LiteEncoder; LiteEncoder.load()'
	@touch $@

demo: $(INSTALLED) ## Start everything, publish real pictures, ask in many languages
	$(RUN)/trieflow demo

up: $(INSTALLED) ## Start an embedded Kafka and all workers
	$(RUN)/trieflow up

down: $(INSTALLED) ## Stop what `make up` started
	$(RUN)/trieflow down

test: $(INSTALLED) ## Run all tests, on a real Kafka, with kills (about 25 minutes on two cores)
	$(RUN)/pytest -m "" -n 3 --dist loadfile --no-loadscope-reorder

test-fast: $(INSTALLED) ## Run the tests that need no Kafka
	$(RUN)/pytest

check: $(INSTALLED) ## Lint, format, types, import order of the floors, spelling
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/codespell

format: $(INSTALLED) ## Format the code and mend what the linter can
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

bench: $(INSTALLED) ## Measure the event path (figures: benchmarks/README.md)
	$(RUN)/trieflow bench path

schemas: $(INSTALLED) ## Write docs/schemas again after a change of an event
	$(RUN)/python -m streams.schemas

docs: $(INSTALLED) ## Write docs/reference/commands.md again after a change of a command
	$(RUN)/python -m trieflow.reference

lock: $(INSTALLED) ## Resolve the requirements again (hashes, no addresses)
	$(RUN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --extra dev -o requirements/all.txt
	$(RUN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements/core.txt
	$(RUN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --extra bench -o requirements/bench.txt
	$(RUN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/tools.in -o requirements/tools.txt

clean: ## Delete the environment and caches (not .trieflow, which holds your data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
