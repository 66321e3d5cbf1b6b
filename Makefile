# Two commands on a fresh machine: `make demo` and `make test`. Both set up .venv first.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= .demo
WORKERS ?= 2

.PHONY: help demo test test-slow quality format bench bench-pretrain install clean

help:  ## Show what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml .constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than Python 3.11"; echo "hint: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .constraints.txt --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed  ## Set up .venv with ftcli in it

demo: $(VENV)/.installed  ## Fine-tune, evaluate and predict, with no download
	@rm -rf $(DEMO)
	$(BIN)/ftcli finetune recipes/finetune/quickstart.yaml --out $(DEMO)
	$(BIN)/ftcli evaluate $(DEMO) --data builtin:reviews --fail-under accuracy=0.8
	printf '%s\n' "A fine film, warm and funny from start to end." "The soup was cold and the waiter rude." | $(BIN)/ftcli predict $(DEMO)

test: $(VENV)/.installed-dev  ## Run the tests
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

test-slow: $(VENV)/.installed-dev  ## Run the long tests as well
	$(BIN)/python -m pytest -n $(WORKERS)

quality: $(VENV)/.installed-dev  ## Check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev  ## Measure ftcli beside its peer and print tables (BENCH_DATA=FOLDER BENCH="options")
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .constraints.txt --editable '.[bench]'
	$(BIN)/python tests/bench/bench.py $(BENCH)

bench-pretrain: $(VENV)/.installed-dev  ## The same for pretraining (BENCH_DATA=FOLDER BENCH="options")
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .constraints.txt --editable '.[bench]'
	$(BIN)/python tests/bench/pretrain.py $(BENCH)

clean:  ## Remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
