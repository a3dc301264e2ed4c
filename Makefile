# Overnight: `make` lists what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup environment browser compose demo check test lint docs bench soak dist site lock engine-stop clean

# Each process of the tests would compile all tests again.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
# Tests, and the docker command, look for an engine where DOCKER_HOST says and at one socket only.
WITH_ENGINE = DOCKER_HOST="$$($(BIN)/python infra/engine.py address)"; export DOCKER_HOST;
# A larger young generation saves an eighth of Pyright's processor time.
PYRIGHT = NODE_OPTIONS="--max-semi-space-size=64 $${NODE_OPTIONS:-}" $(BIN)/pyright
STYLE = $(BIN)/ruff check --no-cache && $(BIN)/ruff format --check && $(BIN)/lint-imports && $(BIN)/deptry flows tasks schemas

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## uv, the locked environment, a Docker engine and the sandbox image; what is there is left alone
	@infra/setup.sh

environment:  ## the locked environment only, without Docker
	@infra/setup.sh environment

browser: environment  ## a Chromium for the tests of the report
	@$(BIN)/python infra/browser.py

compose: setup  ## what infra/compose needs: passwords in its .env, and base images; the lines to type are in infra/README.md
	@$(WITH_ENGINE) $(BIN)/python infra/compose_setup.py

demo: setup  ## a short night on a problem of combinatorics with the built-in model: no key, no cost
	@$(BIN)/overnight run corner-free-set --model builtin/mutate --until 120s
	@echo 'overnight is in .venv/bin; to call it by its name: export PATH="$$PWD/.venv/bin:$$PATH"' >&2

check: environment  ## style, import rules, and the fast tests without Docker and Prefect: less than a minute
	@$(STYLE) & style=$$!; failed=0; \
		$(BIN)/pytest -n 2 --dist worksteal --ignore tests/contract -m 'not docker and not prefect and not slow and not heavy' || failed=$$?; \
		wait $$style || { failed=$$?; echo 'style failed: the messages are above the tests; `make lint` repeats them' >&2; }; exit $$failed

test: setup $(if $(PART),,browser)  ## lint and test everything, with Docker and Prefect; PART=evaluate: tests/evaluate only
	@$(if $(PART),true,$(STYLE) && $(PYRIGHT)) & lint=$$!; failed=0; \
		$(WITH_ENGINE) $(BIN)/pytest $(if $(PART),tests/$(PART)) -n 4 --dist worksteal || failed=$$?; \
		wait $$lint || { failed=$$?; echo 'style or types failed: the messages are above the tests; `make lint` repeats them' >&2; }; exit $$failed

lint: environment  ## style, import rules and all types, those of the tests, too, without Docker
	@$(STYLE)
	@$(PYRIGHT)

docs: environment  ## rewrite the generated parts of the READMEs: all tables that follow from the code
	@$(BIN)/python -m tests.docs

bench: setup  ## measure the overhead of a generation, the head, the sandbox and a whole night: ten minutes
	@$(WITH_ENGINE) for name in generation head sandbox night; do echo "bench_$$name:"; $(BIN)/python -m tests.bench.bench_$$name; done

soak: setup  ## the long and heavy tests, and many examples of each property
	@$(WITH_ENGINE) $(BIN)/pytest -m slow
	@$(BIN)/pytest -m 'hypothesis and not docker and not prefect' --hypothesis-profile thorough

dist: setup  ## build wheel and sdist into dist/ and check them: metadata, contents, nights from an installed wheel
	@rm -rf dist && $(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python
	@$(WITH_ENGINE) OVERNIGHT_DIST=dist $(BIN)/pytest -m '' tests/infra/test_distribution.py
	@ls dist/*

site: environment  ## build the documentation as a site, in site/: READMEs, commands, settings, SQL, the Python API
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --config-file infra/site/mkdocs.yml
	@echo 'built site/; to read it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site' >&2

lock:  ## write infra/*.lock and numpy's from pyproject.toml, keeping what still fits (UPGRADE=--upgrade: the newest of all)
	@infra/setup.sh lock $(UPGRADE)

engine-stop:  ## stop the Docker engine that set-up started, if it started one
	@$(BIN)/python infra/engine.py stop

clean:  ## remove the environment and what set-up and the tools left; keeps ./history, the engine and its image
	rm -rf .venv .setup dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find flows tasks schemas infra tests -name __pycache__ -type d -prune -exec rm -rf {} +
