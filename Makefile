# Everything a person needs is `make up` and `make test`; `make help` lists the rest.
#
# A target that needs packages depends on a stamp in the virtual environment, and the stamp on the
# lock file: nothing is installed twice, and a changed lock is noticed.

VENV ?= .venv
BIN := $(VENV)/bin
# Older single-user servers, which tests run against the hub.
SINGLEUSER5 ?= build/singleuser5
# Extensions of JupyterLab that lean on the hub.
EXTENSIONS ?= build/extensions
# Helm, for the tests of the chart; made where there is a Python for it.
HELM ?= build/helm
# Sends requests made from the OpenAPI document.
OPENAPI ?= build/openapi
# What the fuzzer needs; atheris has wheels for some versions of Python only.
FUZZ ?= build/fuzz
ARGS ?=
# Test files at once: one more than there are cores, because most tests wait for other processes.
WORKERS ?= $(shell expr $$(nproc) + 1)

.DEFAULT_GOAL := help
.PHONY: help up test check format fuzz bench bench-proxy docs compat screenshots lock clean

help: ## List the targets
	@echo "Usage: make <target> [ARGS=\"…\"]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.run-stamp: requirements/run.txt pyproject.toml scripts/install
	@scripts/install $(VENV) requirements/run.txt
	@touch $@

$(VENV)/.dev-stamp: requirements/dev.txt pyproject.toml scripts/install
	@scripts/install $(VENV) requirements/dev.txt
	@touch $@ $(VENV)/.run-stamp

$(SINGLEUSER5)/.stamp: requirements/singleuser5.txt scripts/install
	@scripts/install $(SINGLEUSER5) requirements/singleuser5.txt --no-checkout
	@touch $@

$(EXTENSIONS)/.stamp: requirements/extensions.txt scripts/install
	@scripts/install $(EXTENSIONS) requirements/extensions.txt --no-checkout
	@touch $@

$(HELM)/.stamp: requirements/helm.txt scripts/install scripts/install-helm
	@scripts/install-helm $(HELM)

$(OPENAPI)/.stamp: requirements/openapi.txt scripts/install
	@scripts/install $(OPENAPI) requirements/openapi.txt --no-checkout
	@touch $@

up: $(VENV)/.run-stamp ## A working hub on http://127.0.0.1:8000 (ARGS="--port 8123 -f config.yaml")
	@exec $(BIN)/perijove up $(ARGS)

# A file stays with one worker, so that its servers are started once, and the longest come first.
test: $(VENV)/.dev-stamp $(SINGLEUSER5)/.stamp $(EXTENSIONS)/.stamp $(OPENAPI)/.stamp $(HELM)/.stamp ## The whole test suite, with everything it needs (ARGS="-k login -x", WORKERS=0)
	@scripts/system-packages test
	@$(MAKE) --no-print-directory $(FUZZ)/.stamp || echo "No atheris for this Python: the test that fuzzes is skipped."
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.dev-stamp ## Format, lint, types, import contracts, size gate, generated docs
	@scripts/check $(BIN)

format: $(VENV)/.dev-stamp ## Rewrite the code as the formatter and the linter want it
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

$(FUZZ)/.stamp: requirements/fuzz.txt scripts/install
	@scripts/install $(FUZZ) requirements/fuzz.txt --no-checkout
	@touch $@

fuzz: $(FUZZ)/.stamp ## Fuzz the proxy's parsers for a minute (ARGS="-max_total_time=3600")
	@PYTHONPATH=src $(FUZZ)/bin/python scripts/fuzz-proxy $(ARGS)

bench: $(VENV)/.dev-stamp ## Benchmarks beside JupyterHub in one run (ARGS="--rounds 5 --only login"), then of the proxy
	@scripts/system-packages bench
	@$(BIN)/python -m bench $(ARGS)
	@$(if $(ARGS),,$(BIN)/python -m bench.proxy)

bench-proxy: $(VENV)/.dev-stamp ## The proxy beside configurable-http-proxy, nginx and haproxy (ARGS="--rounds 3 --only small")
	@scripts/system-packages bench
	@$(BIN)/python -m bench.proxy $(ARGS)

docs: $(VENV)/.dev-stamp ## Write the generated reference pages again
	@$(BIN)/python scripts/reference-docs

compat: $(VENV)/.dev-stamp ## Compare the API with JupyterHub's, and write the page of differences again
	@WRITE_COMPATIBILITY=1 $(BIN)/python -m pytest -q tests/compat/test_compat_api.py $(ARGS)

screenshots: $(VENV)/.dev-stamp ## Take the README's screenshots again
	@scripts/system-packages test
	@$(BIN)/python scripts/screenshots

lock: $(VENV)/.dev-stamp ## Resolve the dependencies again (ARGS="--upgrade")
	@scripts/lock $(BIN)/uv $(ARGS)

clean: ## Remove the virtual environment and everything that was built
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
