# Two commands do everything on a fresh machine with Python 3.11: make demo, make test.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test test-litert clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed; set PYTHON to a Python 3.11 or newer"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	touch $(READY)

demo: setup
	$(BIN)/graphopt run examples/quickstart.yaml

test: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest

# What converts to .tflite is large, so that nothing else needs it; no pin of constraints.txt moves.
$(VENV)/.ready-litert: constraints-litert.txt $(READY)
	$(BIN)/python -m pip install --quiet --no-deps --requirement constraints-litert.txt
	touch $@

test-litert: $(VENV)/.ready-litert
	$(BIN)/python -m pytest -m "slow or not slow" tests/backends/litert

clean:
	rm -rf $(VENV) runs build
