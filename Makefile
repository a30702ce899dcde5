# Everything a newcomer or CI runs. Needs Python >= 3.11 and make; each target makes the environment it wants.
#   .venv         flambeau, its tests, its demo: without real PyTorch
#   .venv-parity  the same with real PyTorch 2.13, for comparing
#   .venv-3.13    the tests under another version of Python (scripts/test --python 3.13)

PYTHON ?= python3
.DEFAULT_GOAL := help
.PHONY: help demo test parity conformance lint bench size clean

help:
	@echo "make demo         train a small network on handwritten digits (about a minute)"
	@echo "make test         run the tests, without real PyTorch"
	@echo "make parity       compare with real PyTorch 2.13, live"
	@echo "make conformance  measure operators, modules and optimizers against PyTorch's own samples"
	@echo "make lint         formatting, lint, types, floors"
	@echo "make bench        time the same programs under flambeau and PyTorch; writes bench/RESULTS.md"
	@echo "make size         lines per floor"

demo: .venv/.demo
	.venv/bin/python examples/digits.py

test: .venv/.test
	scripts/test

parity: .venv-parity/.parity
	scripts/test --parity

conformance: .venv-parity/.parity
	scripts/conformance --full

lint: .venv/.lint
	scripts/lint

bench: .venv-parity/.parity
	scripts/bench

size:
	scripts/size

clean:
	rm -rf .venv .venv-parity .venv-3.* build dist

# An environment is made once; an extra is installed again when pyproject.toml changes.
.venv/bin/python .venv-parity/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'flambeau needs Python 3.11 or newer: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv $(@:/bin/python=)

.venv/.demo .venv/.test .venv/.lint: .venv/.%: pyproject.toml | .venv/bin/python
	.venv/bin/python -m pip install --quiet --editable '.[$*]'
	touch $@

.venv-parity/.parity: pyproject.toml | .venv-parity/bin/python
	.venv-parity/bin/python -m pip install --quiet --editable '.[test,parity]'
	touch $@

.venv-3.%/.test: pyproject.toml
	test -x $(@D)/bin/python || python3.$* -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --editable '.[test]'
	touch $@
