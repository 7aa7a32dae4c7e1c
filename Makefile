PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Each file that an Envoy watches needs an inotify instance. Linux allows 128 for each user unless
# root raises the limit, and four test processes with their Envoys may need more.
INOTIFY := /proc/sys/fs/inotify/max_user_instances
PROCESSES = $(shell (echo 1024 > $(INOTIFY)) 2>/dev/null; [ "$$(cat $(INOTIFY) 2>/dev/null || echo 0)" -ge 512 ] && echo 4 || echo 2)

.PHONY: run test test-clients test-containers test-gateways test-chart test-kubernetes chaos manifests audit lint format soak bench bench-instructions bench-check differential docs docs-reference image release-check lock clean
.DEFAULT_GOAL := run

run: $(VENV)/.run  ## the gateway in the foreground, with fake providers
	$(BIN)/authz up --demo

# Four processes, because many tests wait for a peer. They and the commands that tests start import
# the same modules, so Python keeps their bytecode. Files go to processes in the order of their
# names: the default order leaves the files with few and long tests for the end, where one process
# works and the others have nothing to do.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.test  ## every test, against a real Envoy
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

test-clients: $(VENV)/.test  ## real clients, headless, in every mode; AUTHZ_RECORD=1 writes down the results
	$(BIN)/python -m pytest -s tests/clients/run_*.py $(if $(CLIENT),-k '$(CLIENT)')

test-containers: $(VENV)/.containers  ## the image and docker-compose.yml on a Docker engine; starts one where there is none
	$(BIN)/python -m tests.containers $(BIN)/python -m pytest tests/containers $(if $(ONLY),-k '$(ONLY)')

chaos: $(VENV)/.containers  ## kills, freezes and cuts off the parts of docker-compose.yml under load, and prints a table
	$(BIN)/python -m tests.containers $(BIN)/python -m tests.containers.chaos

test-gateways: $(VENV)/.test  ## Envoy Gateway and Istio, built with Go and run in front of authz
	$(BIN)/python -m pytest -s tests/gateways/run_*.py

TOOLS = $(BIN)/python -m tests.kubernetes.tools

test-chart: $(VENV)/.test  ## the chart and the kustomize base are the same; helm is built if it is not here
	$(TOOLS) kustomize
	helm=$$($(TOOLS) helm) && HELM=$$helm $(BIN)/python -m pytest tests/deploy/test_chart*.py

test-kubernetes: $(VENV)/.test  ## manifests and chart against a real kube-apiserver, which is built if it is not here
	$(BIN)/python -m tests.kubernetes.check

manifests: $(VENV)/.test  ## deploy/kubernetes, made from the chart in deploy/helm
	helm=$$($(TOOLS) helm) && $(BIN)/python deploy/kubernetes/render.py "$$helm"

lint: $(VENV)/.test  ## what CI checks before the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

soak: $(VENV)/.test  ## long tests: deletes, tokens, ten million requests, failing replicas, the matrix over every transport
	AUTHZ_DELETES=10000 AUTHZ_SOAK=1 $(BIN)/python -m pytest -s tests/e2e/test_revocation.py tests/unit/identity/test_postgres_rows.py tests/unit/identity/test_sqlite_rows.py tests/unit/usage/test_store.py
	AUTHZ_SOAK=1 $(BIN)/python -m pytest -s tests/e2e/test_replicas.py tests/e2e/test_memory.py tests/e2e/test_open_streams.py tests/e2e/test_reload.py tests/e2e/proxy/test_reload.py tests/e2e/test_shared_limits_fleet.py tests/e2e/test_page.py tests/e2e/test_browser_login.py tests/unit/oidc/test_keycloak.py tests/unit/web/pages/test_usage_scale.py
	for transport in grpcio http2-tls grpcio-tls; do \
		AUTHZ_TRANSPORT=$$transport $(BIN)/python -m pytest tests/conformance || exit 1; \
	done

differential: $(VENV)/.test  ## random checks get the same answers as from the commit in BASE
	$(BIN)/python -m tests.differential $(BASE)

bench: $(VENV)/.test  ## docs/performance.md and its plots, measured on this machine
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY),--docs docs)
	$(if $(ONLY),,$(BIN)/python -m bench.proxy --docs docs)
	$(if $(ONLY),,$(BIN)/python -m bench.envoy_instructions --docs docs)
	$(if $(ONLY),,$(BIN)/python -m bench.sizing --docs docs)

bench-instructions: $(VENV)/.test  ## counts authz's instructions for each request, and writes them down as the baseline
	$(BIN)/python -m bench.instructions

bench-check: $(VENV)/.test  ## the same, and fails if authz needs 5 percent more than the baseline
	$(BIN)/python -m bench.instructions --check

docs: $(VENV)/.docs  ## docs/ as a site in build/site; a broken link or anchor is an error
	$(BIN)/zensical build --strict --clean

docs-reference: $(VENV)/.run  ## the pages of docs/ that are made from the settings' code
	$(BIN)/authz config schema > docs/gateway.schema.json
	$(BIN)/authz config reference > docs/configuration-reference.md

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' authz/__init__.py)

IMAGE ?= authz:$(VERSION)
# Without the name and password that an address may have, and no folder of this machine.
SOURCE ?= $(shell git config --get remote.origin.url | sed -nE 's#^((https?|ssh)://)([^@/]*@)?#\1#p')

image:  ## the image of authz, with its version and commit as labels
	docker build $(BUILD_OPTIONS) $(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD) \
		--build-arg CREATED=$(shell TZ=UTC0 git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd) \
		--build-arg SOURCE_DATE_EPOCH=$(shell git log -1 --format=%ct) --build-arg SOURCE=$(SOURCE) -t $(IMAGE) .

audit: build/audit/.done  ## known weaknesses of the versions that the image locks; says so if its data is out of reach
	$(PYTHON) requirements/audit.py build/audit/bin/pip-audit requirements/serve.txt

release-check: build/release/.done  ## wheel and sdist in dist/, checked and run from an empty environment
	build/release/bin/python tests/release/check.py

PIP_COMPILE := $(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url \
	--no-emit-find-links --no-emit-trusted-host

lock: $(VENV)/.test  ## pin the dependencies again
	$(BIN)/pip install --quiet pip-tools
	$(PIP_COMPILE) --extra otel --extra valkey --extra up --extra test --output-file requirements/test.txt pyproject.toml
	@# The runtime versions are the tested ones.
	$(PIP_COMPILE) --extra otel --extra valkey --extra up --constraint requirements/test.txt --output-file requirements/run.txt pyproject.toml
	$(PIP_COMPILE) --extra otel --extra valkey --constraint requirements/run.txt --output-file requirements/serve.txt pyproject.toml
	$(PIP_COMPILE) --constraint requirements/test.txt --output-file requirements/docs.txt requirements/docs.in
	$(PIP_COMPILE) --constraint requirements/test.txt --output-file requirements/containers.txt requirements/containers.in
	$(PIP_COMPILE) --all-build-deps --only-build-deps --output-file requirements/build.txt pyproject.toml
	$(PIP_COMPILE) --constraint requirements/build.txt --output-file requirements/release.txt requirements/release.in
	$(PIP_COMPILE) --output-file requirements/sbom.txt requirements/sbom.in
	$(PIP_COMPILE) --output-file requirements/audit.txt requirements/audit.in

clean:
	rm -rf $(VENV) .authz .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist bench/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment whose Python is missing, too old or without pip is removed and created again.
ifneq ($(wildcard $(VENV)),)
ifneq ($(shell $(BIN)/python -c 'import sys, pip; print(sys.version_info >= (3, 11))' 2>/dev/null),True)
$(shell rm -rf $(VENV))
endif
endif

$(VENV)/bin/python:
	@$(PYTHON) requirements/check.py
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# The project itself is installed editable, without its dependencies, which come from the complete
# lock. Without --no-deps pip would resolve again, and older versions fail on `name[extra]` in a lock.
$(VENV)/.run: requirements/run.txt pyproject.toml hatch_build.py $(wildcard proto/*.proto) | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/run.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

$(VENV)/.test: requirements/test.txt pyproject.toml hatch_build.py $(wildcard proto/*.proto) | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/test.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@ $(VENV)/.run

$(VENV)/.containers: requirements/containers.txt $(VENV)/.test
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/containers.txt
	touch $@

$(VENV)/.docs: requirements/docs.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/docs.txt

build/release/.done: requirements/release.txt requirements/build.txt
	$(PYTHON) -m venv --clear build/release
	build/release/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/build.txt -r requirements/release.txt
	touch $@

build/audit/.done: requirements/audit.txt
	$(PYTHON) -m venv --clear build/audit
	build/audit/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/audit.txt
	touch $@
