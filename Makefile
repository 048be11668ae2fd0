# One door to everything: what stands here is what continuous integration runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from
OUT ?= .

.DEFAULT_GOAL := help
.PHONY: help env data demo test test-long test-drawn lint format constraints clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

env: $(STAMP) ## the environment alone, in .venv (a second run takes seconds)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("epochwise needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.11 env" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "no virtual environment could be made; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable .
	@touch $@

data: env ## look for Fashion-MNIST; fetch it where it is missing
	@$(BIN)/python -m epochwise.subjects.fashion_mnist || sh scripts/install-fashion-mnist.sh

demo: data ## the question, answered on this machine (writes report.html and result.json)
	$(BIN)/epochwise demo --force --json $(OUT)/result.json --report $(OUT)/report.html

test: env ## environment and tests, all three backends
	@$(MAKE) --no-print-directory data || echo "the tests that need the real data are left out"
	$(BIN)/python -m pytest -m "not long and not alone" --numprocesses logical --maxprocesses 4 --dist loadfile; together=$$?; \
	$(BIN)/python -m pytest -m "alone and not long" && exit $$together

test-long: env ## the tests that take minutes
	$(BIN)/python -m pytest -m long

test-drawn: env ## 600 networks drawn at random: the engine against its plain twin (minutes)
	$(BIN)/python -m pytest -m long tests/engine/test_compiled.py -k drawn

lint: env ## ruff, mypy (strict), import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: env ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: ## pin what .venv holds now into constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | grep -vE '^(pip|setuptools|wheel)==|@ ' | sed 's/+cpu$$//' | sort -f > constraints.txt

clean: ## remove the environment and everything built
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
