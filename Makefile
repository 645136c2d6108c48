# Everything a newcomer or a developer runs. `make` alone lists it.

PYTHON ?= python3
# Another torch (a GPU build, an older version): make demo TORCH="torch==2.11.0" TORCH_INDEX=URL
TORCH ?= $(shell grep '^torch==' constraints.txt)
# Where pip looks for torch besides the package index: the CPU builds, which are ten times smaller.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
VENV ?= .venv
# More options of the demo: make demo DEMO="--steps 200"
DEMO ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The pins with the torch asked for, which is installed first and on its own. Another torch than the
# pinned one needs other versions of what it says in OWN.
PINS := $(VENV)/pins.txt
OWN := setuptools|triton
export PYTHONUNBUFFERED := 1
# Where it is set, every process compiles all sources again.
unexport PYTHONDONTWRITEBYTECODE
# More workers than CI has cores: many tests wait for processes of their own.
PYTEST := $(BIN)/python -m pytest -n 3 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: FORCE help demo smoke test test-slow test-exhaustive test-libraries test-all lint format clean

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed  ## train AdamW and ADana side by side (about 6 minutes on 2 idle cores)
	$(BIN)/adana compare adamw adana --seeds 2 --horizons 1 1.25 $(DEMO)

smoke: $(VENV)/installed  ## a tiny ladder to its report: 3 optimizers x 4 sizes (5 minutes on 2 idle cores)
	$(BIN)/adana ladder run --preset smoke

test: $(VENV)/installed-dev  ## the tests, without the slow ones and those of other libraries
	$(PYTEST) -m "not slow and not exhaustive and not libraries" --ignore tests/optax --ignore tests/examples

test-slow: $(VENV)/installed-dev  ## the slow tests: what takes more than about 8 seconds
	$(PYTEST) -m "slow and not exhaustive and not libraries" --ignore tests/optax --ignore tests/examples

test-exhaustive: $(VENV)/installed-dev  ## every optimizer where the others test one of a kind
	$(PYTEST) -m exhaustive --ignore tests/optax --ignore tests/examples

test-libraries: $(VENV)/installed-libraries  ## with JAX, transformers, Ray, ... (installs them)
	PYTHONPATH=$(VENV)/timm $(PYTEST) -n 2 --dist loadgroup -m libraries  # Ray needs a core

test-all: test test-slow test-exhaustive test-libraries  ## all tests

lint: $(VENV)/installed-dev  ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed-dev  ## rewrite the sources in the house's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and caches (runs/ stays)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# Changes only when another torch is asked for, and then everything is installed again.
$(VENV)/torch.request: FORCE
	@mkdir -p $(VENV)
	@echo '$(TORCH) $(TORCH_INDEX)' | cmp -s - $@ || echo '$(TORCH) $(TORCH_INDEX)' > $@

FORCE:

$(VENV)/torch: constraints.txt $(VENV)/torch.request
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "adana needs Python 3.11 or newer; say which: make PYTHON=python3.12"; exit 1; }
	@echo "creating $(VENV) and installing $(TORCH)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) "$(TORCH)"
	@grep -qxF '$(TORCH)' constraints.txt && cp constraints.txt $(PINS) || \
	  { grep -vE '^(torch|$(OWN))==' constraints.txt; echo '$(TORCH)'; } > $(PINS)
	@touch $@

$(VENV)/installed: $(VENV)/torch pyproject.toml
	@echo "installing adana"
	@$(PIP) -c $(PINS) --editable .
	@touch $@

# timm.optim works without torchvision, which has no build for this torch: hence --no-deps.
$(VENV)/installed-libraries: $(VENV)/installed-dev
	@echo "installing JAX, transformers, accelerate, lightning, timm, datasets, trackers, Ray, Triton and Liger"
	@$(PIP) -c $(PINS) --editable '.[dev,jax,examples,data,hf,trackers,ray]' 'jsonargparse[signatures]'
	@$(PIP) -c $(PINS) --no-deps --upgrade --target $(VENV)/timm timm
	@$(PIP) -c $(PINS) --no-deps triton || echo "no Triton for this system: its tests will be skipped"
	@$(PIP) -c $(PINS) --no-deps liger-kernel || echo "no liger-kernel for this system: its test will be skipped"
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "installing what tests and linters need"
	@$(PIP) -c $(PINS) --editable '.[dev]'
	@touch $@
