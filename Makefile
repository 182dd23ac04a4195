# The two commands: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tests mostly wait for servers: a process more than there are processors.
WORKERS ?= $(shell expr $$(nproc) + 1)
SHARED := -n $(WORKERS) --dist loadscope --no-loadscope-reorder
export UV_NO_PROGRESS ?= 1

# make test-cluster KUBECONFIG=FILE  on that cluster, of whose administrator the file is
# make demo INPUT=PATH          a folder of STAC items with COGs instead of simulated scenes
# make demo SOURCE=earth-search BBOX=west,south,east,north DATES=start/end
# make demo|up DATA=DIR         where the data goes
DEMO_OPTIONS = $(if $(INPUT),--input $(INPUT)) $(if $(SOURCE),--source $(SOURCE)) \
  $(if $(BBOX),--bbox=$(BBOX)) $(if $(DATES),--dates=$(DATES)) $(if $(DATA),--data $(DATA))
UP_OPTIONS = $(if $(DATA),--data $(DATA)) $(if $(PORT),--port $(PORT))

.PHONY: help setup setup-test setup-cluster demo up down doctor test test-failed test-fast test-cluster lint format lock openapi reference dashboard images bench clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 14

setup: $(READY)  ## install everything into .venv

$(READY): requirements.lock pyproject.toml scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) scripts/setup.sh
	@touch $@

setup-test: setup
	@scripts/system-packages.sh browser slurm ceph
	@$(BIN)/python -m tests.cluster.programs helm > /dev/null || echo "[setup] without helm the tests of the values are skipped"
	@echo "[setup] the panel's packages for its own tests, from npm"
	@$(BIN)/python -m tests.panel_packages

demo: setup  ## the researcher's whole journey, on this machine, in a throw-away folder
	@$(BIN)/cscale demo $(DEMO_OPTIONS)

up: setup  ## start the hub and leave it open
	@$(BIN)/cscale up $(UP_OPTIONS)

down:  ## stop everything that `make up` started
	@$(BIN)/cscale down $(if $(DATA),--data $(DATA))

doctor:  ## what runs and what is wrong
	@$(BIN)/cscale doctor $(if $(DATA),--data $(DATA))

test: setup-test lint  ## every test but the cluster's, the whole stack and the browser included; WORKERS=1: one after the other
	$(BIN)/python -m pytest $(SHARED) -m "not cluster"

test-failed: setup  ## what failed the last time, one after the other
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none -m "not cluster"

setup-cluster: setup
	@scripts/system-packages.sh cluster
	@$(BIN)/python -m tests.cluster.programs $$([ -z "$$KUBECONFIG" ] || echo helm)
	@[ -n "$$KUBECONFIG" ] || TAG=test BASE=debootstrap scripts/images.sh mount hub singleuser-minimal

test-cluster: setup-cluster  ## the tests on a real Kubernetes: KUBECONFIG, else one that is built and started
	$(BIN)/python -m pytest -m cluster

test-fast: setup  ## the tests that need no stack, Spark, Slurm, Ceph, cluster or browser
	$(BIN)/python -m pytest -q $(SHARED) -m "not stack and not spark and not slurm and not ceph and not browser and not cluster"

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

reference: setup  ## write docs/reference and the schema of the values from the code
	$(BIN)/python -m scripts.reference
	$(BIN)/python -m cscale_cli.deploy.model > helm-values/cscale/.schema && mv helm-values/cscale/.schema helm-values/cscale/values.schema.json

images: setup  ## the container images, by buildah or docker (scripts/images.sh)
	scripts/images.sh

dashboard: setup  ## write the Grafana dashboard from the code
	$(BIN)/python -m cscale_hub.metrics.dashboard > helm-values/cscale/dashboards/cscale-hub.json

bench: setup  ## every benchmark, tables on the terminal
	@for name in benchmarks/*.py; do \
	  module=$$(basename $$name .py); [ $$module = __init__ ] || $(BIN)/python -m benchmarks.$$module || exit 1; done

clean:  ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache extensions/ui/node_modules \
	  extensions/ui/labextension extensions/ui/cscale_ui/static
