# `make launch` and `make test` are all that a new user needs; both make .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
QUICKSTART := campaigns/quickstart
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install launch test check

help:
	@echo "make launch   install into .venv and run the quickstart campaign"
	@echo "make test     install into .venv and run all tests"
	@echo "make check    ruff, mypy --strict, import contracts, spelling"

install: $(VENV)/installed

# Pinned by constraints.txt. The CPU build of torch is asked for where its index can be reached:
# the default build pulls gigabytes of CUDA libraries.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch $(TORCH_INDEX)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[mpi,xtb,dev]'
	@touch $@

launch: install
	@test -f $(QUICKSTART)/campaign.toml || $(BIN)/campaign init quickstart --dir $(QUICKSTART)
	$(BIN)/campaign launch $(QUICKSTART)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy campaign apps data_store tests
	$(BIN)/lint-imports
	$(BIN)/codespell
