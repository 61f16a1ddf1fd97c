# Every command of this project. `make` alone lists them.

PYTHON := .venv/bin/python
UV := $(if $(wildcard .venv/bin/uv),.venv/bin/uv,uv)
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate pyproject.toml

# Set by whoever calls: LAB_ARGS, TEST_ARGS, DEMO_ARGS and BENCH_ARGS are handed on; PY names the Python to make .venv
# with, N how many times the soak kills.
LAB_ARGS ?=
TEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
N ?= 100
export PY

.DEFAULT_GOAL := help
.PHONY: help lab test demo check bench soak picture venv lock

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s  %s\n", $$1, $$2}' Makefile

lab: ## set up what is needed, then open JupyterLab on the first notebook (LAB_ARGS="--no-browser")
	@.ci/venv lab
	@exec $(PYTHON) -m jupyterlab --ServerApp.root_dir="$(CURDIR)" \
		--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb \
		$$([ "$$(id -u)" != 0 ] || echo --allow-root) $(LAB_ARGS)

test: venv ## set up what is needed, then run the tests and the demo (TEST_ARGS="-k ledger")
	@$(PYTHON) -m pytest $(TEST_ARGS)
	@$(PYTHON) -m tests.demo $(DEMO_ARGS)

demo: venv ## run every notebook against the simulated provider, without a browser; results in data/runtime/demo/
	@$(PYTHON) -m tests.demo $(DEMO_ARGS)

check: venv ## format, lint and types; changes nothing
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy --strict kit

bench: venv ## measure against named baselines, as ratios (needs wrk and curl; BENCH_ARGS="acks --runs 1" for a quick look)
	@$(PYTHON) -m tests.bench $(BENCH_ARGS)

soak: venv ## the fault tests for hours: N kills (100), longer stops and more random stories
	@SOAK=1 N=$(N) $(PYTHON) -m pytest --timeout=7200 tests/faults $(TEST_ARGS)

picture: venv ## take the README's screenshot in a real browser (needs Chromium)
	@$(PYTHON) -m pytest -q tests/picture.py

venv: ## make .venv ready for everything here; at once where it already is
	@.ci/venv dev

lock: ## resolve the locked requirements again (needs uv; LOCK_ARGS=--upgrade moves to the newest versions)
	@$(UV) --version >/dev/null 2>&1 || { echo "make lock needs uv: pip install uv, then run it again." >&2; exit 1; }
	@$(COMPILE) $(LOCK_ARGS) --extra lab --extra dev --output-file requirements-dev.txt >/dev/null
	@$(COMPILE) --extra lab --constraints requirements-dev.txt --output-file requirements.txt >/dev/null
