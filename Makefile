# make demo   sets up, then runs both stages on synthetic scenes
# make test   sets up, then runs the default tests
#
# The set-up uses the active virtual environment, or makes .venv where none is active. It is repeated only when
# pyproject.toml changed.

PYTHON ?= python3
VENV := $(or $(VIRTUAL_ENV),.venv)
BIN := $(VENV)/bin

# One stamp for each checkout that shares an environment.
STAMP := $(VENV)/.detr-hf$(subst /,-,$(CURDIR))
INSTALLED := $(STAMP).installed
INSTALLED_DEV := $(STAMP).installed-dev

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint format docs bench gpu-check clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/' | expand -t 16

demo: $(INSTALLED)  ## both stages on synthetic construction scenes: tables, pictures, runs/demo/summary.json
	$(BIN)/detr-hf demo

test: $(INSTALLED_DEV)  ## the default tests: offline, a few minutes on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-slow: $(INSTALLED_DEV)  ## end-to-end runs besides
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not hub and not gpu'

lint: $(INSTALLED_DEV)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED_DEV)  ## rewrite the code as ruff wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED_DEV)  ## the site, into build/site/index.html; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --config-file docs/site/mkdocs.yml

bench: $(INSTALLED_DEV)  ## ours beside stock transformers
	$(BIN)/python -m benchmarks

gpu-check: $(INSTALLED_DEV)  ## eight minutes on a GPU: speed and memory beside stock, and the tests marked gpu
	$(BIN)/python -m tools.gpu_check

clean:  ## remove caches and builds; runs/ and .venv stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -e .
	@touch $@

# panopticapi-lite asks for numpy 1, which its code does not need: hence --no-deps. Tests compare PQ with it.
$(INSTALLED_DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -e '.[dev]'
	$(BIN)/python -m pip install --no-deps panopticapi-lite==0.2.0
	@touch $@ $(INSTALLED)
