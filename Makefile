# One word each: `make demo` shows it working, `make test` proves it, `make check` is what must be green at every commit.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= 2

# torchao has a folder of its own: where it is installed, transformers imports it in every process, for a second.
TORCHAO := $(VENV)/torchao

.PHONY: install demo test test-fast lint docs notebooks pictures schemas check oldest newest minimal clean

install: $(VENV)/.ready

# torch goes first and pinned: any other request could pull gigabytes of CUDA libraries onto a machine without a GPU.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps --target $(TORCHAO) torchao
	touch $@

demo: install
	$(BIN)/manticore search --models gpt-neo,mamba --task lra-listops --out runs/demo --resume

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/$(TORCHAO) $(BIN)/python -m pytest tests/export/test_quantized.py tests/pipelines/test_select.py

# A first answer in under two minutes: no processes, no whole searches, no compilation.
test-fast: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal \
		-m "not e2e and not numba and not notebook and not slow and not variants"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

# The site in site/; warnings are errors, but not with --quiet, which hides them. It needs no network.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Run the notebooks and keep their outputs for the pages of the tutorials.
notebooks: install
	OMP_NUM_THREADS=1 $(BIN)/python docs/render_outputs.py

# Pictures of report pages in docs/assets, of small runs. Needs a chromium on the path.
pictures: install
	OMP_NUM_THREADS=1 $(BIN)/python docs/render_reports.py

# The JSON schemas of YAML files, from the dataclasses; a test compares them.
schemas: install
	for kind in recipe space pretrain; do $(BIN)/manticore schema $$kind > schemas/$$kind.schema.json; done

check: lint docs test

# The same kernels and laws with the oldest transformers that pyproject.toml admits, in an environment of its own.
oldest: TRANSFORMERS = transformers==5.17.0
# With the newest that it admits, whether constraints.txt has it or not.
newest: TRANSFORMERS = transformers
oldest newest: pyproject.toml
	$(PYTHON) -m venv .venv-$@
	.venv-$@/bin/python -m pip install --quiet -c constraints.txt torch
	grep -v "^transformers==" constraints.txt > .venv-$@/constraints.txt
	.venv-$@/bin/python -m pip install --quiet -c .venv-$@/constraints.txt "$(TRANSFORMERS)" -e ".[dev]"
	OMP_NUM_THREADS=1 .venv-$@/bin/python -m pytest -n $(JOBS) tests/kernels tests/laws

# The required dependencies alone: the wheel, its doctor, kernels and laws.
minimal: pyproject.toml
	$(PYTHON) -m venv .venv-$@
	.venv-$@/bin/python -m pip install --quiet -c constraints.txt torch
	.venv-$@/bin/python -m pip install --quiet -c constraints.txt . pytest pytest-xdist hypothesis
	.venv-$@/bin/manticore doctor --no-hub
	OMP_NUM_THREADS=1 .venv-$@/bin/python -m pytest -n $(JOBS) tests/kernels tests/laws

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest .venv-minimal runs .pytest_cache .mypy_cache .ruff_cache site
