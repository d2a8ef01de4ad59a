# make train  sets up and trains the quick agent; make test  sets up and runs all checks;
# make docs  builds the documentation; make test-faults  tries faults and writes results/faults.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Training needs the base packages alone; the checks also need fonts, SVHN's reader, TensorFlow Datasets and test tools.
STAMP := $(VENV)/installed
TEST_STAMP := $(VENV)/installed-test
WORKERS ?= 2

.PHONY: train test test-slow test-faults lint docs benchmark clean

train: $(STAMP)
	$(BIN)/python -m experiments.ram quick $(ARGS)

test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-slow: $(TEST_STAMP)
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python -m pytest -m slow $(ARGS)

test-faults: $(TEST_STAMP)
	$(BIN)/python -m pytest -m fault -p tests.faults.table --faults-table results/faults.md $(ARGS)

lint: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(TEST_STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "documentation: docs/_build/html/index.html"

benchmark: $(STAMP)
	$(BIN)/pip install --quiet --editable '.[benchmark]'
	$(BIN)/python -m experiments.benchmarks.training_speed $(ARGS)

$(STAMP): requirements.txt setup.cfg
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python %d.%d is too old: 3.11 or newer is needed" % sys.version_info[:2])'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable .
	touch $(STAMP)

$(TEST_STAMP): $(STAMP)
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $(TEST_STAMP)

clean:
	rm -rf $(VENV) build *.egg-info
