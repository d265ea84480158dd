# `make demo` and `make test` do all set-up themselves; `make check` checks in the environment that is active.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Where the environment is complete; each target has its own, as the demo needs the base dependencies alone.
DEMO := $(VENV)/.demo
TEST := $(VENV)-test/.test

.PHONY: demo test check format bench figures clean

demo: $(DEMO)
	$(BIN)/quantlab run calib_data/fashion.yaml

test: $(TEST)
	$(MAKE) check BIN=$(VENV)-test/bin

check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(TEST)
	$(VENV)-test/bin/python -m pytest tests/benchmarks --override-ini addopts= --override-ini filterwarnings= --import-mode=importlib --benchmark-only

clean:
	rm -rf $(VENV) $(VENV)-test build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(DEMO): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(TEST): pyproject.toml tests/constraints.txt
	$(PYTHON) -m venv $(VENV)-test
	$(VENV)-test/bin/python -m pip install --quiet --disable-pip-version-check --constraint tests/constraints.txt --editable '.[dev]'
	touch $@
