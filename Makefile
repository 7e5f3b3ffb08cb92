# Everything a person or CI does with this checkout. Each target works from a fresh clone.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Two test processes with one thread each use two cores better than one process with two.
WORKERS ?= 2
TORCH := $(shell grep '^torch==' constraints.txt)

.PHONY: help install demo test test-slow check bench fuzz wheelhouse clean

help:
	@echo "make demo        the whole way on a phantom, in under 5 minutes"
	@echo "make test        tests with the coverage floor (make test-slow adds those that take minutes)"
	@echo "make check       lint, format, types, layers"
	@echo "make bench       every benchmark, one after another, into benchmarks/results"
	@echo "make fuzz        10,000 damaged inputs for each reader (COUNT=, SEED=, FORMAT=, START= change it)"
	@echo "make wheelhouse  everything to install Osler without a network, into wheelhouse/"

install: $(VENV)/.installed

# torch is named exactly in the same call: left to itself, pip resolves monai's "torch" to a build of several gigabytes.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "$(TORCH)" -c constraints.txt -e '.[train,service,dev]'
	touch $@

demo: install
	$(BIN)/osler demo --output demo

# A worker that dies ends the run: restarted with --dist loadfile, pytest-xdist waits for ever.
test: install
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile --max-worker-restart 0 --timeout 600 -m "not slow" --cov=osler --cov-report=term:skip-covered

test-slow: install
	$(BIN)/pytest -m slow

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: install
	set -e; for script in benchmarks/[!_]*.py; do echo "== $$script"; $(BIN)/python $$script; done

fuzz: install
	$(BIN)/python tests/fuzz/fuzz_run.py --count $(or $(COUNT),10000) --seed $(or $(SEED),0) --start $(or $(START),0) \
		$(addprefix --format ,$(FORMAT)) $(addprefix --output ,$(OUTPUT))

wheelhouse: install
	rm -rf wheelhouse && mkdir wheelhouse
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir wheelhouse .
	$(BIN)/pip download --quiet --dest wheelhouse "$(TORCH)" -c constraints.txt \
		"osler[train,service,compress] @ file://$$(ls $(CURDIR)/wheelhouse/osler-*.whl)"
	cp constraints.txt docs/how-to/install-offline.md wheelhouse/
	$(BIN)/python -m pip install --isolated --dry-run --quiet --ignore-installed --no-index --find-links wheelhouse \
		-c constraints.txt 'osler[train,service,compress]'
	@echo "wheelhouse/ is complete; wheelhouse/install-offline.md says how to install from it"

clean:
	rm -rf $(VENV) wheelhouse demo build dist .coverage .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
