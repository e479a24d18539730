# `make` or `make help` lists the targets.  Needs Python 3.11 or later with pip, and make.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
MEASUREMENTS := attention self_attention lengths lstm_step training data_memory
export HYDRA_FULL_ERROR := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check format lint types bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

setup: $(READY) ## .venv with everything installed, in the versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, $(PYTHON) is " + sys.version)'
	@echo "installing into .venv; this takes some minutes"
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[dev,sweep]' -c constraints.txt
	@touch $@

demo: $(READY) ## train local_p attention on the embedded corpus (4 minutes on 2 cores), score it, translate with it
	@PYTHON=$(BIN)/python sh scripts/demo.sh

test: $(READY) ## fast tests
	$(BIN)/python -m pytest

test-all: $(READY) ## all tests, the slow ones too
	$(BIN)/python -m pytest -m 'slow or not slow'

check: lint types test ## format, lint, types and fast tests: what has to pass before a change lands

lint: $(READY) ## ruff: format and lint, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY) ## pyright
	$(BIN)/pyright

format: $(READY) ## rewrite the sources in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## the measurements in benchmarks/; RUN=runs/NAME adds the search of that run
	@for name in $(MEASUREMENTS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done
	@echo "== search"; $(if $(RUN),$(BIN)/python benchmarks/search.py $(RUN),echo "measures a trained run: make bench RUN=runs/NAME")

clean: ## remove what can be made again; runs/ and data/ stay
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
