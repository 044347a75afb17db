# Every target makes .venv by itself when it is missing or older than pyproject.toml.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed

.PHONY: demo test test-gpu lint wheel docs bench clean

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $(READY)

demo: $(READY)  ## A few seconds of people with skeletons, written to tfpose-demo/
	$(BIN)/tfpose-rt demo --out tfpose-demo --display none --overwrite

test: $(READY)  ## CPU only, under five minutes: two processes with a thread each, a file of tests in one of them, long ones first
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-gpu: $(READY)
	$(BIN)/python -m pytest -m gpu

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

wheel: $(READY)  ## Built, installed into a clean environment, and asked how it is
	rm -rf dist
	$(BIN)/python -m hatchling build -t wheel
	$(PYTHON) -m venv dist/wheel-venv
	dist/wheel-venv/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd dist && wheel-venv/bin/tfpose-rt doctor

docs: $(READY)  ## Rewrites docs/commands.md from the program's own help
	$(BIN)/python -m typer tfpose_rt.cli utils docs --name tfpose-rt --output docs/commands.md

bench: $(READY)
	$(BIN)/tfpose-rt bench

clean:
	rm -rf dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
