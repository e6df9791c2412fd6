# Everything from a bare machine: Python >= 3.11 with its headers, gcc and make.
#
#   make demo                     see it work
#   make test                     run all tests
#   make test PYTHON=python3.13   the same on another Python, side by side
#
# Each Python version has its own virtual environment, build directory and stamp
# files; a step runs again only when what it depends on has changed.

PYTHON ?= python3
PYTEST_ARGS ?=
BENCH_ARGS ?=
GATE_ARGS ?=
MICRO_ARGS ?=
# make bench FULL=1 takes half an hour, and four minutes, on asyncio alone, without
FULL ?=

VERSION := $(shell $(PYTHON) -c 'import sys; v = sys.version_info; \
	print("%d.%d%s" % (v[0], v[1], getattr(sys, "abiflags", "")) if v >= (3, 11) else "")')
ifeq ($(VERSION),)
$(error $(PYTHON) does not run or is older than 3.11; try: make PYTHON=/path/to/python3.11)
endif

VENV := .venv-$(VERSION)
BIN := $(VENV)/bin
DEPS := $(VENV)/.stamp-deps
PEERS := $(VENV)/.stamp-peers
# The tests of a file stay together; each process has servers of its own. In one process:
# PYTEST_ARGS=-n0
TESTS := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
BUILT := $(VENV)/.stamp-build$(if $(CHOPIN_DEBUG),-debug)
RESULT := build/bench-$(VERSION)
# Cython, and Python that has a .pxd beside it
COMPILED := $(wildcard chopin/*.pyx) $(filter $(wildcard chopin/*.py), \
	$(patsubst %.pxd,%.py,$(wildcard chopin/*.pxd)))
SOURCES := setup.py $(COMPILED) $(wildcard chopin/*.pxd chopin/*.h chopin/_record.c)
PY_TREES := $(wildcard chopin tests bench examples setup.py)

.PHONY: build test unit db lint bench page service micro gate annotate demo clean

build: $(BUILT)

test: build
	$(TESTS) tests/unit tests/db $(PYTEST_ARGS)

unit: build
	$(TESTS) tests/unit $(PYTEST_ARGS)

db: build
	$(TESTS) tests/db $(PYTEST_ARGS)

lint: build
	$(BIN)/ruff check $(PY_TREES)
	$(BIN)/ruff format --check $(PY_TREES)
	$(BIN)/mypy chopin bench $(wildcard examples)
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint chopin/*.pyx chopin/*.pxd

# Tables on the terminal, and the page with its plots: build/bench-VERSION/
bench: build $(PEERS)
	$(BIN)/python -m bench $(or $(BENCH_ARGS),all --rounds 7 \
		$(if $(FULL),--seconds 900,--quick --seconds 90 --loop asyncio)) \
		--json $(RESULT).json
	$(BIN)/python -m bench.document $(RESULT).json --out $(RESULT)/benchmarks.md

# The committed page and the tables of the README, of the committed results; for new
# ones, make bench FULL=1 and copy build/bench-VERSION.json to docs/ first.
page: build
	$(BIN)/python -m bench.document $(sort $(wildcard docs/bench-*.json)) \
		--readme README.md

# A web service on each driver, in a quarter of an hour; needs no results.
service: build $(PEERS)
	$(BIN)/python -m bench.service --json build/service.json --out docs/service.md

micro: build
	$(BIN)/python -m pytest bench/micro -q --benchmark-max-time=0.3 \
		--benchmark-columns=median,iqr,ops $(MICRO_ARGS)

# Instructions, not time: nothing else on the machine matters. Needs valgrind.
gate: build
	$(BIN)/python -m bench.gate $(GATE_ARGS)

# One HTML page per module: the yellower a line, the more Python is in it.
annotate: $(DEPS)
	@mkdir -p build/annotate
	@for source in $(COMPILED); do \
		name=$$(basename $$source) && $(BIN)/cython -3 --annotate $$source \
			-o build/annotate/$${name%.*}.c || exit 1; \
	done
	@ls build/annotate/*.html

demo: build
	$(BIN)/python examples/demo.py

clean:
	rm -rf .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache \
		.benchmarks .hypothesis
	rm -f chopin/*.so chopin/*.html
	rm -f $(filter-out chopin/_record.c,$(wildcard chopin/*.c))
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The drivers that Chopin is compared with. One that cannot be installed is left out.
$(PEERS): $(DEPS)
	@$(BIN)/python -c 'import tomllib; extras = tomllib.load( \
		open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
		print("\n".join(extras["bench"]))' > $(VENV)/peers.txt
	@while read -r peer; do \
		$(BIN)/python -m pip install -qq --disable-pip-version-check "$$peer" || \
			echo "left out: $$peer cannot be installed" >&2; \
	done < $(VENV)/peers.txt
	@touch $@

# The requirements are read out of pyproject.toml, since installing the project itself
# would build it a second time. The .pth file makes the tree importable.
$(DEPS): pyproject.toml
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "cannot make a virtual environment: install python3-venv" >&2; exit 1; }
	@$(BIN)/python -c 'import tomllib; extras = tomllib.load( \
		open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
		print("\n".join(extras["dev"] + extras["examples"]))' \
		> $(VENV)/requirements.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check \
		--requirement $(VENV)/requirements.txt
	@$(BIN)/python -c 'import os, sysconfig; \
		open(sysconfig.get_path("purelib") + "/chopin-tree.pth", "w").write(os.getcwd() + "\n")'
	@touch $@

# Extensions are compared by time only: other flags or another kind of build need force.
$(BUILT): $(DEPS) $(SOURCES)
	@echo "building chopin for Python $(VERSION)"
	@$(BIN)/python setup.py --quiet build_ext --inplace $(if $(filter setup.py,$?),--force) \
		--build-temp build/temp-$(VERSION)$(if $(CHOPIN_DEBUG),-debug)
	@rm -f $(VENV)/.stamp-build*
	@touch $@
