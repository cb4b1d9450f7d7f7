# Everything works in this checkout's own .venv: no root, no system Redis, no system Node.js.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak lint format wheel bench clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

setup: $(STAMP)  ## Install everything into .venv

$(STAMP): pyproject.toml hatch_build.py sandbox_agents/javascript/package-lock.json scripts/setup
	PYTHON="$(PYTHON)" VENV="$(VENV)" bash scripts/setup
	touch $@

demo: setup  ## Run the weather example on real data, kill a sandbox half way, plot the result
	$(BIN)/python examples/weather/demo.py

test: setup  ## The default suite
	$(BIN)/python -m pytest

MINUTES ?= 10
soak: setup  ## Plans for the supervisor against its model, for MINUTES=10
	$(BIN)/python scripts/soak.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

lint: setup  ## ruff, pyright, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

wheel: setup  ## Build dist/*.whl
	$(BIN)/python -m build --wheel --no-isolation

bench: setup  ## Run the benchmarks and write docs/performance.md's tables
	$(BIN)/python -m benchmarks --write

clean:
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .hypothesis
