# The commands of the house. Everything they need goes into .venv; nothing else on the machine is touched, except that
# `make test` installs Debian's chromium when it is missing and it may (root, apt-get).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find podflare_nb kernelspecs jupyter-config -type f -not -name '*.pyc' 2>/dev/null)
ARGS ?=
# How many processes share the tests, a file at a time; 0: none beside pytest itself, as --pdb needs it.
WORKERS ?= 2
# These fill the whole machine, or wait until nothing of many sandboxes is left, which takes Linux long on a busy one:
# nothing else may run beside them.
ALONE := tests/attacks/test_floods.py tests/faults/test_leaks.py tests/faults/test_network_attendants.py

.PHONY: run test bench lint check bundle doctor clean

run: $(VENV)/installed  ## start the service; ARGS="--port 9000" passes options on
	@exec $(BIN)/podflare-nb serve $(ARGS)

test: $(VENV)/installed-dev  ## the whole test suite, a real browser included
	@sh scripts/ensure_chromium.sh
ifeq ($(ARGS),)
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile $(addprefix --ignore=,$(ALONE))
	$(BIN)/pytest $(ALONE)
else
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)
endif

lint: $(VENV)/installed-dev  ## style, types, import contracts, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_sync_client.py --check
	$(BIN)/python scripts/generate_openapi.py --check
	sh static/check-bundle.sh

check: test lint  ## what CI runs

bench: $(VENV)/installed-dev  ## ours beside a plain Jupyter server, in one run
	$(BIN)/python -m bench $(ARGS)

bundle: $(BIN)/uv  ## build the chat page into podflare_nb/static; brings Node.js along where there is none
	$(BIN)/python static/build.py

doctor: $(VENV)/installed  ## what this machine offers, layer by layer
	@$(BIN)/podflare-nb doctor

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "podflare_nb needs Python 3.11 or newer; say which one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up $(VENV) (once; a minute or two) ..."
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "python3 -m venv does not work here (Debian: apt-get install python3-venv)"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/dependencies: pyproject.toml | $(BIN)/uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r pyproject.toml --extra agents --extra datasci --extra mcp
	@touch $@

$(VENV)/installed: $(SOURCES) $(VENV)/dependencies README.md LICENSE
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --reinstall-package podflare_nb .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed $(VENV)/dependencies
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --group dev
	@touch $@

clean:  ## remove what was built here
	rm -rf $(VENV) static/node_modules static/sdk/node_modules static/sdk/dist static/sdk/test/dist static/ai-majors/*/node_modules
	rm -rf static/ai-majors/*/dist static/.node .mypy_cache .ruff_cache .pytest_cache
