# Works with GNU make 3.81, which is what macOS brings.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The wildcards may be empty: exercise sets come after the chapters.
NOTEBOOKS = $(wildcard notebooks/[0-9]*.ipynb notebooks/solutions/*/*.ipynb)
FIRST := notebooks/01_batch_norm.ipynb
# Jupyter refuses to run as root unless it is told that this is meant (containers).
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
# One thread: the networks are small, and sums come out in the same order everywhere.
export OMP_NUM_THREADS := 1
# Stored outputs are those of the CPU; in JupyterLab a GPU is used if there is one.
test notebooks: export COMPANION_DEVICE ?= cpu

.DEFAULT_GOAL := help
.PHONY: help lab test book notebooks clean
.NOTPARALLEL:

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

# A stamp is written last, so that an interrupted install is taken up again.
$(VENV)/lab.stamp: pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh tools/install.sh lab
	@touch $@

$(VENV)/test.stamp: pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh tools/install.sh test
	@touch $(VENV)/lab.stamp $@ # the test set includes all that JupyterLab needs

lab: $(VENV)/lab.stamp ## open the first chapter in JupyterLab (LAB_ARGS="…" passes options on)
	$(BIN)/python -m jupyterlab $(ROOT) --ServerApp.root_dir="$(CURDIR)" \
	  --LabApp.default_url=/lab/tree/$(FIRST) --LabApp.news_url=None \
	  --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate $(LAB_ARGS)

test: $(VENV)/test.stamp ## check everything: style, rooms, pairs, book, unit tests, every notebook
	$(BIN)/python -m ruff check .
	$(BIN)/lint-imports
	$(BIN)/python tools/pairs.py
	$(MAKE) book
	$(BIN)/python -m pytest -q -n 2 --dist loadscope --doctest-modules companion tests
	$(BIN)/python -m pytest -q --nbval --nbval-current-env --nbval-cell-timeout=300 -n 2 --dist loadscope $(NOTEBOOKS)
	@echo "make test: everything passed."

# --all: a second build would forget the warnings of the first.
book: $(VENV)/test.stamp ## build the site into _build/html, from the notebooks' stored outputs
	$(BIN)/jupyter-book build . --all -W -n --keep-going

notebooks: $(VENV)/test.stamp ## bring pairs into step, execute every notebook, store the outputs (LIMIT=30: CPU seconds)
	$(BIN)/python -m jupytext --quiet --sync $(NOTEBOOKS)
	$(BIN)/python tools/execute.py $(if $(LIMIT),--limit $(LIMIT)) $(NOTEBOOKS)
	$(BIN)/python -m jupytext --quiet --sync $(NOTEBOOKS)

clean: ## remove what was built and installed here
	rm -rf $(VENV) _build .hypothesis .import_linter_cache .pytest_cache .ruff_cache *.egg-info
