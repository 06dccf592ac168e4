# `make train` and `make test` work on a machine with only Python >= 3.11, pip, git and make, in any
# order; a second run installs nothing. The other targets are what pre-commit and CI run.

# The newest Python that works: newer versions of JAX need a newer Python. PYTHON=... takes another.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
    $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null \
    && echo $$python && break; done)
NO_PYTHON := there is no Python >= 3.11 with venv; install one, or write PYTHON=PATH
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

.PHONY: train test lint format types docs check clean

train: $(VENV)/.installed
	$(BIN)/python -m zoo.train --model=palm_small $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed-dev
	$(BIN)/pyright

# A warning, such as a link that leads nowhere, is an error.
docs: $(VENV)/.installed-dev
	$(BIN)/python -m sphinx -b html --fail-on-warning --keep-going --quiet docs docs/_build/html

check: lint types docs test

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) *.egg-info docs/_build docs/_generated

# A stamp is newer than pyproject.toml once its installation has succeeded.
$(VENV)/bin/python:
	$(or $(PYTHON),$(error $(NO_PYTHON))) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed
