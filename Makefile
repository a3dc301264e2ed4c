# Overnight: `make` lists what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup environment demo test lint bench soak lock engine-stop clean

BIN := .venv/bin
# The engine that set-up found may listen where only it knows to look: colima, Docker Desktop, podman.
WITH_ENGINE = export DOCKER_HOST="$$($(BIN)/python infra/engine.py address)";

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

setup:  ## uv, the locked environment, a Docker engine and the sandbox image; what is there is left alone
	@infra/setup.sh

environment:  ## the locked environment only, without Docker
	@infra/setup.sh environment

demo: setup  ## a short night on online bin packing with the built-in model: no key, no cost
	@$(WITH_ENGINE) $(BIN)/overnight run bin-packing-or --model builtin/mutate --generations 20

test: setup lint  ## set up, then check and test everything, with a real engine and a real Prefect
	@$(WITH_ENGINE) $(BIN)/pytest

lint: environment  ## style, import rules and types, without Docker
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports
	@$(BIN)/pyright

bench: setup  ## measure overhead and throughput
	@$(WITH_ENGINE) $(BIN)/pytest tests/bench -m '' -s

soak: setup  ## the long and heavy tests
	@$(WITH_ENGINE) $(BIN)/pytest -m slow

lock:  ## write infra/requirements.lock anew from pyproject.toml
	@infra/setup.sh lock

engine-stop:  ## stop the Docker engine that set-up started, if it started one
	@$(BIN)/python infra/engine.py stop

clean:  ## remove the environment and what set-up and the tools left; keeps ./history, the engine and its image
	rm -rf .venv .setup dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find flows tasks schemas infra tests -name __pycache__ -type d -prune -exec rm -rf {} +
