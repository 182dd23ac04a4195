# The two commands: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export UV_NO_PROGRESS ?= 1

# make demo INPUT=PATH          a folder of STAC items with COGs instead of simulated scenes
# make demo SOURCE=earth-search BBOX=west,south,east,north DATES=start/end
# make demo|up DATA=DIR         where the data goes
DEMO_OPTIONS = $(if $(INPUT),--input $(INPUT)) $(if $(SOURCE),--source $(SOURCE)) \
  $(if $(BBOX),--bbox=$(BBOX)) $(if $(DATES),--dates=$(DATES)) $(if $(DATA),--data $(DATA))
UP_OPTIONS = $(if $(DATA),--data $(DATA)) $(if $(PORT),--port $(PORT))

.PHONY: help setup setup-test demo up down doctor test test-fast lint format lock openapi reference dashboard bench clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 14

setup: $(READY)  ## install everything into .venv

$(READY): requirements.lock pyproject.toml scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) scripts/setup.sh
	@touch $@

setup-test: setup
	@scripts/system-packages.sh browser slurm ceph

demo: setup  ## the researcher's whole journey, on this machine, in a throw-away folder
	@$(BIN)/cscale demo $(DEMO_OPTIONS)

up: setup  ## start the hub and leave it open
	@$(BIN)/cscale up $(UP_OPTIONS)

down:  ## stop everything that `make up` started
	@$(BIN)/cscale down $(if $(DATA),--data $(DATA))

doctor:  ## what runs and what is wrong
	@$(BIN)/cscale doctor $(if $(DATA),--data $(DATA))

test: setup-test lint  ## every test, the whole stack and the browser included
	$(BIN)/python -m pytest

test-fast: setup  ## the tests that need no stack, Spark, Slurm, Ceph or browser
	$(BIN)/python -m pytest -q -m "not stack and not spark and not slurm and not ceph and not browser"

lint: setup  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## let ruff rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup  ## resolve requirements.lock anew from pyproject.toml
	scripts/lock.sh

openapi: setup  ## write extensions/server/openapi.yaml from the code
	$(BIN)/python -m cscale_server.openapi > extensions/server/openapi.yaml

reference: setup  ## write docs/reference from the code
	$(BIN)/python -m scripts.reference

dashboard: setup  ## write the Grafana dashboard from the code
	@mkdir -p helm-values/grafana
	$(BIN)/python -m cscale_hub.metrics.dashboard > helm-values/grafana/cscale-hub.json

bench: setup  ## every benchmark, tables on the terminal
	@for name in benchmarks/*.py; do \
	  module=$$(basename $$name .py); [ $$module = __init__ ] || $(BIN)/python -m benchmarks.$$module || exit 1; done

clean:  ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache extensions/ui/node_modules \
	  extensions/ui/labextension extensions/ui/cscale_ui/static
