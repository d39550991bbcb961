# make demo and make test do all their own set-up, inside this directory only: the environment is .venv.
# What the targets need is checked by ci/preflight.sh, which says what is missing and how to get it.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory

BIN := .venv/bin
INSTALLED := .venv/.installed
BUILT := .venv/.built
CORE := $(wildcard mycelium/_core/*.pyx mycelium/_core/*.pxd)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input -c ci/constraints.txt
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 3
ARGS ?=

.PHONY: help
help: ## Show this list
	@echo 'Usage: make TARGET'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: build ## Four nodes replicate records, one is killed and returns, all agree; until Ctrl-C, or FOR=30 seconds
	@$(BIN)/mycelium devnet demo $(if $(FOR),--for $(FOR)) $(if $(NODES),--nodes $(NODES)) || [ $$? -eq 130 ]

.PHONY: test
test: build ## All tests but the long ones, in random order, on WORKERS=3 processes; ARGS go to pytest
	@exec $(PYTEST) -n $(WORKERS) -p no:benchmark -m 'not soak and not nightly' $(ARGS)

.PHONY: soak
soak: build ## Minutes of endurance and faults
	@exec $(PYTEST) -p no:benchmark -m soak $(ARGS)

.PHONY: nightly
nightly: build ## Larger seeds, and external tools
	@exec $(PYTEST) -n $(WORKERS) -p no:benchmark -m nightly $(ARGS)

.PHONY: wheel-test
wheel-test: build ## The tests against the installed wheel, built from the sdist, in another directory; about as long as `test`
	@exec $(BIN)/python ci/wheel_test.py -- -n $(WORKERS) -m 'not soak and not nightly' $(ARGS)

.PHONY: bench
bench: build ## Ratios against plain Python and other libraries; how to read them: bench/README.md
	@exec $(PYTEST) bench -p no:randomly --timeout=0 --benchmark-columns=min,median,stddev,rounds \
		--benchmark-sort=name --benchmark-warmup=on $(ARGS)

.PHONY: docs
docs: build ## The documentation as a site, in build/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo 'build/docs/index.html'

.PHONY: lint
lint: build ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict mycelium
	@# Each example is a directory of programs of its own, whose modules have names that others have too. The client of
	@# the wire is plain Python, for readers of other languages.
	@for example in $(filter-out examples/wire/,$(wildcard examples/*/)); do \
		(cd $$example && MYPYPATH=$(CURDIR) $(CURDIR)/$(BIN)/mypy --strict --cache-dir $(CURDIR)/.mypy_cache *.py) || exit 1; done

.PHONY: venv
venv: $(INSTALLED) ## Create .venv with everything the other targets need

.PHONY: build
build: $(BUILT) ## Compile the extensions that changed

.PHONY: clean
clean: ## Remove .venv and all that was generated
	@rm -rf .venv .venv-clients build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks tests/generated
	@rm -f mycelium/_core/*.so mycelium/_core/*.c mycelium/_core/*.html
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A .venv whose interpreter does not run, because Python went or the directory was moved, is made anew. What pip and
# the compiler say is shown when they fail.
$(INSTALLED): pyproject.toml ci/constraints.txt ci/preflight.sh
	@found="$$(sh ci/preflight.sh)" || exit 2; eval "$$found"; export CC; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "Creating .venv with $$("$$PYTHON" --version)"; \
		"$$PYTHON" -m venv --clear .venv || exit 2; \
	fi; \
	echo 'Installing the dependencies into .venv and compiling the extensions (about a minute the first time)'; \
	log=$$($(PIP) 'setuptools>=80' 'Cython>=3.2,<4' 2>&1 && $(PIP) --no-build-isolation --editable '.[dev]' 2>&1) || { \
		printf '%s\nmycelium: pip could not install; its reason is above. It needs a package index that it can reach.\n' \
			"$$log" >&2; \
		exit 2; \
	}
	@touch $@

$(BUILT): $(INSTALLED) setup.py $(CORE)
	@found="$$(sh ci/preflight.sh)" || exit 2; eval "$$found"; export CC; \
	echo 'Compiling the extensions that changed'; \
	log=$$($(BIN)/python setup.py --quiet build_ext --inplace 2>&1) || { echo "$$log" >&2; exit 2; }
	@touch $@
