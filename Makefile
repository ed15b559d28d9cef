# Everything a newcomer types. `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup demo train check test test-fast lint format lock tensorboard sweep notebooks schema docs bench clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
ARGS ?=

# Two threads of OpenMP in each of several test processes are slower than one; no library may ask the internet for news.
export NO_ALBUMENTATIONS_UPDATE := 1
export HF_HUB_OFFLINE := 1
export NO_MKDOCS_2_WARNING := 1

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## make .venv and install exactly what requirements.lock names

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Python {v[0]}.{v[1]} was found, 3.11 to 3.13 is needed: type make PYTHON=python3.12 setup")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check 'uv>=0.5'
	$(BIN)/uv pip sync -q --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $(READY)

demo: setup ## train UNet++ on generated pictures for two minutes
	$(BIN)/python -m segexp.train experiment=demo $(ARGS)

train: setup ## train: make train ARGS="model=unet data=liver data.root=DIR"
	$(BIN)/python -m segexp.train $(ARGS)

check: setup ## look at a data set first: make check ARGS="data=auto data.root=DIR"
	$(BIN)/python -m segexp.check $(ARGS)

test: setup ## every test, the slow ones too
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-fast: setup ## the tests that neither train nor start a process
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 $(ARGS)

lint: setup ## ruff, ruff format and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## write requirements.lock anew from the ranges in pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --all-extras --group dev -q -o requirements.lock

tensorboard: setup ## look at all runs in TensorBoard
	$(BIN)/tensorboard --logdir runs

sweep: setup ## a small study: three networks on the generated pictures
	$(BIN)/python -m segexp.train -m model=unet,unetpp,dilated model.width=8 data=demo data.size=128 optimizer.lr=3e-3 \
		trainer.minutes=1 data.batch_size=4 trainer.check_val_every_n_epoch=5 $(ARGS)

notebooks: setup ## run the notebooks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/documentation/test_notebooks.py

schema: setup ## write docs/reference.md, conf/schema.json and the keys of the help pages from the models
	$(BIN)/python docs/reference.py

docs: schema ## the documentation as a site: site/index.html
	$(BIN)/mkdocs build --strict -q

bench: setup ## speed of training against the bare step, and of the start
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/training.py model=unet model.width=16 $(ARGS)

clean: ## remove the environment, caches and built files; runs/ and data/ stay
	rm -rf .venv dist build site .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
