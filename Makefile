# make help lists the verbs. Everything happens in .venv, which is made when requirements.lock is newer.
# The order of the notebooks, and what is up to date, is in dodo.py.
SHELL := bash
.DEFAULT_GOAL := help

PROFILE ?= demo
SET ?=
BUNDLE ?=
ARGS ?=
UP ?=
CPU ?=
# The newest interpreter that fits. The lock has the wheels of these three.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
	$$name -c '$(FITS)' >/dev/null 2>&1 && command -v $$name && break; done)
# Without NVIDIA hardware: PyTorch's own index has builds for the processor alone, which need none of the packages of CUDA.
LOCKED := $(if $(CPU),--extra-index-url https://download.pytorch.org/whl/cpu -r <(grep -vE '^(nvidia-|cuda-|triton==)' requirements.lock),-r requirements.lock)

# As python -m doit, which has a traceback for a Ctrl-C while it starts.
DOIT := -m defocus_lib.run.interrupts doit
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY := .venv/.ready
export SET BUNDLE
export PYTHONUTF8 := 1

# Checked here too: `make clean` removes a folder of this name.
PROFILES := $(notdir $(basename $(wildcard notebooks/profiles/*.yaml)))
ifeq ($(filter $(PROFILE),$(PROFILES)),)
$(error unknown profile '$(PROFILE)'; there are: $(PROFILES))
endif

.PHONY: help book plan bundle test test-fast lint bench lab lock clean

help: ## List the verbs
	@echo "make VERB [PROFILE=$(subst $() ,|,$(strip $(PROFILES)))] [SET=\"notebook.parameter=value ...\"] [BUNDLE=FILE]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' Makefile

book: $(READY) ## Run what is out of date, render it, and say where the book is
ifeq ($(BUNDLE),)
	@$(BIN)/python $(DOIT) profile=$(PROFILE) set="$$SET"
	@echo "The book: $$PWD/$(if $(filter demo,$(PROFILE)),book,artifacts/$(PROFILE)/book)/_build/html/index.html"
else
	@folder=$$($(BIN)/python -m defocus_lib bundle open "$$BUNDLE") && $(BIN)/python $(DOIT) bundle="$$folder" set="$$SET" && \
		echo "The book: $$folder/book/_build/html/index.html"
endif

plan: $(READY) ## Say what PROFILE will take, by stage: images, hours, disk
	@$(BIN)/python -m defocus_lib plan $(PROFILE) --set "$$SET"

bundle: $(READY) ## Write the finished run PROFILE as one zip; ARGS="--no-images --images N"
	@$(BIN)/python -m defocus_lib bundle make $(PROFILE) $(ARGS)

test: $(READY) ## Run all tests, the smoke profile of the book among them
	@$(BIN)/python -m pytest

test-fast: $(READY) ## Run the tests that take seconds: no training, no notebook
	@$(BIN)/python -m pytest -m "not slow"

lint: $(READY) ## Check style, types, and that every floor imports only those below it
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --exclude notebooks .
	@$(BIN)/ruff format --check --line-length 88 notebooks
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) ## Measure speed and memory for the page Speed: two hours on an idle machine
	@$(BIN)/python -m doit profile=speed notebook:02_defocus_map
	@for name in maps shapley default_initialisation store; do $(BIN)/python -m benchmarks.$$name || exit 1; done
	@$(BIN)/python -m doit profile=demo notebook && $(BIN)/python -m benchmarks.book demo

lab: $(READY) ## Open JupyterLab, every notebook paired with its .py; or on BUNDLE=FILE
ifeq ($(BUNDLE),)
	@$(BIN)/jupytext --quiet --sync notebooks/*.py
	@$(BIN)/jupyter lab notebooks
else
	@folder=$$($(BIN)/python -m defocus_lib bundle open --lab "$$BUNDLE") && $(BIN)/jupyter lab "$$folder"
endif

lock: $(READY) ## Write requirements.lock again for pyproject.toml; UP=--upgrade moves the pins
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev pyproject.toml \
		--no-header --no-annotate $(UP) -o requirements.lock

clean: ## Remove what PROFILE and the rendering have made (.venv stays)
	rm -rf "artifacts/$(PROFILE)" book/_build

$(READY): requirements.lock
	@$(or $(PYTHON),false) -c '$(FITS)' 2>/dev/null || { echo "Python 3.11, 3.12 or 3.13 wanted$(if $(PYTHON),; $(PYTHON) is none). Install one (python.org,"; \
		echo "conda create -n book python=3.13, uv python install 3.13, or your system's packages), or name one: make PYTHON=FILE"; exit 1; } >&2
	@$(PYTHON) -m venv .venv
	@echo "Installing the packages of requirements.lock into .venv: some minutes the first time"
	@set -o pipefail; $(BIN)/python -m pip install --no-deps --disable-pip-version-check $(LOCKED) \
		| awk '/^(Collecting|Requirement already)/ { printf "\r  %d packages", ++n; fflush() } END { print "" }'
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --disable-pip-version-check --editable .
	@touch $@
