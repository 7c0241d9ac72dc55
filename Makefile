# `make launch` and `make test` are all that a new user needs; both make .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MACE_VENV := .venv-mace
MACE_BIN := $(MACE_VENV)/bin
QUICKSTART := campaigns/quickstart
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install launch test test-mace check

help:
	@echo "make launch   install into .venv and run the quickstart campaign"
	@echo "make test     install into .venv and run all tests"
	@echo "make test-mace   the extra mace in .venv-mace on top of .venv, and the tests of MACE"
	@echo "make check    ruff, mypy --strict, import contracts, spelling"

install: $(VENV)/installed

# Pinned by constraints.txt. The CPU build of torch is asked for where its index can be reached:
# the default build pulls gigabytes of CUDA libraries.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch $(TORCH_INDEX)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[mpi,xtb,formats,dev]'
	@touch $@

launch: install
	@test -f $(QUICKSTART)/campaign.toml || $(BIN)/campaign init quickstart --dir $(QUICKSTART)
	$(BIN)/campaign launch $(QUICKSTART)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

# mace-torch pins an old e3nn: it gets an environment of its own, which sees all of .venv.
$(MACE_VENV)/installed: $(VENV)/installed
	$(BIN)/python -m venv --clear $(MACE_VENV)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> $$($(MACE_BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth
	$(MACE_BIN)/python -m pip install --quiet -c constraints.txt -e '.[mace]'
	@touch $@

# What every potential must obey, on MACE; and what only MACE can be tested for.
test-mace: $(MACE_VENV)/installed
	OMP_NUM_THREADS=1 MACE_REQUIRED=1 $(MACE_BIN)/python -m pytest -k mace \
		tests/laws/test_potential.py tests/laws/test_training_boxes.py tests/unit/test_potential_files.py tests/optional

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy campaign apps data_store tests
	$(BIN)/lint-imports
	$(BIN)/codespell
