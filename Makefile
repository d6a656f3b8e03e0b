# Everything a person types. What is installed stands in requirements/*.txt, and nothing else is used.

# The first Python that is new enough; `make PYTHON=/path/to/python ...` names another.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done)

BIN := .venv/bin
INSTALL := requirements/install.py
CODE := policy sandbox audit api
LOCK := $(BIN)/uv pip compile --quiet --generate-hashes --universal --no-header
PYTEST := $(BIN)/python -m pytest --numprocesses=auto --dist=worksteal

.PHONY: help demo test check format lint types layers security docs slow bench lock clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*##/\t/' | expand -t 12

demo: .venv/.project .venv/.demo  ## set up, then run an untrusted program under a policy and show what it did
	@$(BIN)/wasmgate demo

test: .venv/.project .venv/.dev .venv/.demo .venv/.guests  ## set up, then run the tests (the slow ones left out)
	@$(PYTEST) --cov --cov-report=term $(TESTS)

check: lint types layers security docs  ## the whole gate: every check, then the tests
	@$(MAKE) --no-print-directory test

format: .venv/.dev  ## rewrite the code as the formatter wants it
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint: .venv/.dev  ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: .venv/.project .venv/.dev  ## mypy, strict, and pyright
	@$(BIN)/mypy
	@$(BIN)/basedpyright --pythonpath $(BIN)/python

layers: .venv/.project .venv/.dev  ## which package may import which, and the one door to each danger
	@$(BIN)/lint-imports --no-cache

security: .venv/.dev  ## bandit
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive $(CODE)

docs: .venv/.dev  ## interrogate: public things have docstrings (pages are checked by the tests)
	@$(BIN)/interrogate --quiet $(CODE)

slow: .venv/.project .venv/.dev .venv/.demo .venv/.guests  ## every test, slow ones too, and long property tests
	@$(PYTEST) -m "slow or not slow" --hypothesis-profile=slow --timeout=1800 $(TESTS)

bench: .venv/.project .venv/.dev .venv/.demo .venv/.guests  ## run the benchmarks, one after the other
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

lock: .venv/.lock  ## write requirements/*.txt anew from pyproject.toml (needs a package index)
	$(LOCK) --upgrade --python-version 3.11 pyproject.toml --group build -o requirements/runtime.txt
	$(LOCK) --upgrade --python-version 3.11 --group pyproject.toml:dev -c requirements/runtime.txt -o requirements/dev.txt
	$(LOCK) --python-version 3.11 --no-deps --group pyproject.toml:demo -o requirements/demo.txt
	$(LOCK) --python-version 3.12 --no-deps --group pyproject.toml:guests -o requirements/guests.txt
	$(LOCK) --upgrade --python-version 3.11 --group pyproject.toml:lock -o requirements/lock.txt

clean:  ## remove .venv and everything that can be made again
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: each step is done again when what it was made from has changed.

.venv/.made:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found; name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@"$(PYTHON)" $(INSTALL) venv
	@touch $@

.venv/.runtime .venv/.demo .venv/.dev .venv/.guests .venv/.lock: .venv/.%: requirements/%.txt | .venv/.made
	@$(BIN)/python $(INSTALL) $*
	@touch $@

.venv/.project: pyproject.toml .venv/.runtime
	@$(BIN)/python $(INSTALL) project
	@touch $@

# One after the other: they install into one environment.
.venv/.demo .venv/.dev .venv/.lock: | .venv/.runtime
.NOTPARALLEL:
