# SPDX-License-Identifier: Apache-2.0
# Two commands do everything on a fresh machine: `make demo` and `make test`. Each makes .venv first.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# torch comes first and pinned: a range would let pip take the newest CUDA build with several GB of packages
TORCH ?= torch==2.13.0
STAMP := $(VENV)/.installed
NATIVE := $(wildcard csrc/*.h csrc/*/*.h csrc/*/*.cpp)

.PHONY: install demo test test-web check check-native bench clean

install: $(STAMP)

$(STAMP): pyproject.toml setup.py $(NATIVE)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet -e '.[prep,test]'
	touch $@

demo: install
	$(BIN)/avatar3d demo -o demo

test: install
	$(BIN)/python -m pytest

# the player in a real browser, which is installed where it is missing; the screenshots are kept
test-web: install
	.ci/test-web $(BIN)/python

# mypy and lint-imports read folders, not the installed mapping: they get the package as a wheel would lay it out
TREE := build/tree
check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	rm -rf $(TREE) && mkdir -p $(TREE) && cp -r avatar3d $(TREE)/avatar3d
	cp -r data_prep viewer recipes $(TREE)/avatar3d/
	cd $(TREE) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml -p avatar3d
	cd $(TREE) && $(abspath $(BIN))/lint-imports --config $(CURDIR)/pyproject.toml

# the kernels' tests on kernels built with sanitizers; some minutes, so not a part of check
check-native: install
	.ci/check-native $(BIN)/python

# writes the figures and the README's table of them; leave the machine alone meanwhile
bench: install
	$(BIN)/avatar3d bench all --json benchmarks.json --table README.md

clean:
	rm -rf $(VENV) build dist *.egg-info avatar3d/_lib demo
