# `make` or `make help` lists the targets.  Needs Python 3.11 or later with pip, and make.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
MEASUREMENTS := attention self_attention lengths lstm_step ops training data_memory
export HYDRA_FULL_ERROR := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-gpu test-all test-oldest test-newest notebooks commands release fuzz soak kills check format lint types bench audit docs clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'

setup: $(READY) ## make .venv with everything installed, in the versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, $(PYTHON) is " + sys.version)'
	@echo "installing into .venv; this takes some minutes"
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[dev,sweep,export,paragraphs,serve,docs]' -c constraints.txt
	@touch $@

demo: $(READY) ## train local_p attention on the embedded corpus (4 minutes on 2 cores), score it, translate with it
	@PYTHON=$(BIN)/python sh scripts/demo.sh

# A process for each core, one thread each; a file's tests stay in one process, because they share what they trained.
test: $(READY) ## run the fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test-gpu: $(READY) ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

test-all: $(READY) ## all tests, the slow ones too; those that need a CUDA device are skipped where there is none
	$(BIN)/python -m pytest -m 'slow or not slow or gpu'

test-oldest: $(READY) ## the fast tests with the oldest releases that pyproject.toml admits, in a temporary environment
	$(BIN)/python scripts/test_versions.py oldest

test-newest: $(READY) ## the same with the newest releases; PYTHON=python3.13 chooses another Python
	$(BIN)/python scripts/test_versions.py newest --python $(PYTHON)

notebooks: $(READY) ## execute every cell of docs/notebooks, with few updates
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow tests/slow/test_notebooks_run.py

commands: $(READY) ## run every command line of README, docs and help, made small
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow tests/slow/test_commands_run.py

release: $(READY) ## build the release, install it in an empty environment, try the README's commands, its extras and its tests
	OMP_NUM_THREADS=1 $(BIN)/python scripts/check_release.py --extras --tests

fuzz: $(READY) ## a million pieces of broken input (an hour or more on one core)
	OMP_NUM_THREADS=1 $(BIN)/python scripts/fuzz.py

soak: $(READY) ## train for half an hour and look at memory, descriptors and threads
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/soak.py

kills: $(READY) ## kill three trainings twenty times each and compare them with undisturbed ones (ten minutes)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/kills.py

check: lint types test ## check format, lint and types and run the fast tests: what a change has to pass

lint: $(READY) ## check format and lint with ruff, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY) ## check types with pyright
	$(BIN)/pyright

format: $(READY) ## rewrite the sources in the format that ruff checks
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## run the measurements in benchmarks/; RUN=runs/NAME also measures search and engines with that run
	@for name in $(MEASUREMENTS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done
	@echo "== search"; $(if $(RUN),$(BIN)/python benchmarks/search.py $(RUN),echo "measures a trained run: make bench RUN=runs/NAME")
	@echo "== engines"; $(if $(RUN),$(BIN)/python benchmarks/engines.py $(RUN),echo "measures a trained run: make bench RUN=runs/NAME")

docs: $(READY) ## build the documentation in docs/_build/html, which needs no network to be read; a warning is an error
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

audit: $(READY) ## look the installed versions up in the database of known vulnerabilities (needs a network)
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install -qq --disable-pip-version-check pip-audit
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

clean: ## remove what can be made again; runs/ and data/ stay
	rm -rf .venv build dist docs/_build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
