PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Each file that an Envoy watches takes an inotify instance, of which Linux gives a user 128 unless
# root says otherwise; three processes with their Envoys may need more.
INOTIFY := /proc/sys/fs/inotify/max_user_instances
PROCESSES = $(shell (echo 1024 > $(INOTIFY)) 2>/dev/null; [ "$$(cat $(INOTIFY) 2>/dev/null || echo 0)" -ge 512 ] && echo 3 || echo 2)

.PHONY: run test test-clients lint format soak bench docs lock clean
.DEFAULT_GOAL := run

run: $(VENV)/.run  ## the whole pair in the foreground, with a stand-in provider
	$(BIN)/authz up --demo

test: $(VENV)/.test  ## every test, against a real Envoy
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile

test-clients: $(VENV)/.test  ## real clients, headless, in every mode; AUTHZ_RECORD=1 notes the results
	$(BIN)/python -m pytest -s tests/clients/run_*.py $(if $(CLIENT),-k '$(CLIENT)')

lint: $(VENV)/.test  ## what CI checks before the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

soak: $(VENV)/.test  ## the long ones: deletes, tokens, replicas that fail, the matrix over every transport
	AUTHZ_DELETES=1000 AUTHZ_SOAK=1 $(BIN)/python -m pytest -s tests/e2e/test_revocation.py tests/unit/identity/test_postgres_rows.py tests/unit/identity/test_sqlite_rows.py
	AUTHZ_SOAK=1 $(BIN)/python -m pytest -s tests/e2e/test_replicas.py tests/e2e/test_memory.py tests/e2e/test_reload.py tests/e2e/proxy/test_reload.py tests/e2e/test_page.py
	for transport in grpcio http2-tls grpcio-tls; do \
		AUTHZ_TRANSPORT=$$transport $(BIN)/python -m pytest tests/conformance || exit 1; \
	done

bench: $(VENV)/.test  ## docs/performance.md and its plots, made again on this machine
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY),--docs docs)
	$(if $(ONLY),,$(BIN)/python -m bench.proxy --docs docs)

docs: $(VENV)/.docs  ## docs/ as a site in build/site; a broken link or anchor is an error
	$(BIN)/zensical build --strict --clean

PIP_COMPILE := $(BIN)/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url \
	--no-emit-find-links --no-emit-trusted-host

lock: $(VENV)/.test  ## pin the dependencies again
	$(BIN)/pip install --quiet pip-tools
	$(PIP_COMPILE) --extra otel --extra up --extra test --output-file requirements/test.txt pyproject.toml
	@# What runs is what was tested.
	$(PIP_COMPILE) --extra otel --extra up --constraint requirements/test.txt --output-file requirements/run.txt pyproject.toml
	$(PIP_COMPILE) --extra otel --constraint requirements/run.txt --output-file requirements/serve.txt pyproject.toml
	$(PIP_COMPILE) --constraint requirements/test.txt --output-file requirements/docs.txt requirements/docs.in
	$(PIP_COMPILE) --all-build-deps --only-build-deps --output-file requirements/build.txt pyproject.toml

clean:
	rm -rf $(VENV) .authz .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist bench/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment whose Python is gone, too old or without pip is half made: it is made again.
ifneq ($(wildcard $(VENV)),)
ifneq ($(shell $(BIN)/python -c 'import sys, pip; print(sys.version_info >= (3, 11))' 2>/dev/null),True)
$(shell rm -rf $(VENV))
endif
endif

$(VENV)/bin/python:
	@$(PYTHON) requirements/check.py
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# The project itself is installed editable, without its dependencies: those come from the lock, which
# is whole. Without --no-deps pip resolves again, and older ones stumble over `name[extra]` in a lock.
$(VENV)/.run: requirements/run.txt pyproject.toml hatch_build.py proto/ext_authz.proto | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/run.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

$(VENV)/.test: requirements/test.txt pyproject.toml hatch_build.py proto/ext_authz.proto | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/test.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@ $(VENV)/.run

$(VENV)/.docs: requirements/docs.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/docs.txt
	touch $@
