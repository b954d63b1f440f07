# Works with GNU make 3.81, which is what macOS brings.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Each pair by its .ipynb; a new one may still be nothing but a text.
PAIRS = $(wildcard $(foreach kind,ipynb md,notebooks/[0-9]*.$(kind) notebooks/solutions/*/*.$(kind)))
NOTEBOOKS = $(addsuffix .ipynb,$(sort $(basename $(PAIRS))))
one_of_each = $(foreach name,$(basename $(NOTEBOOKS)),$(firstword $(wildcard $(name).ipynb $(name).md)))
# A replication's seeds; the last is left out.
SEEDS ?= 1000:1020
# A learner's own copies of chapters and exercises.
WORKBOOK := workbook
# Jupyter refuses to run as root unless it is told that this is meant (containers).
ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
# One thread: the networks are small, and sums come out in the same order everywhere.
export OMP_NUM_THREADS := 1
# Stored outputs are those of the CPU; in JupyterLab a GPU is used if there is one.
test notebooks: export COMPANION_DEVICE ?= cpu

STAGE = sh book/tools/stage.sh
# Two at a time, a file's tests in one process; in the order of their names, which does not leave the longest for last.
PYTEST = $(BIN)/python -m pytest -q -n 2 --dist loadscope

.DEFAULT_GOAL := help
.PHONY: help lab test style lines book notebooks exercises claims replicate release bench clean
.NOTPARALLEL:

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

# A stamp is written last, so that an interrupted install is taken up again.
$(VENV)/lab.stamp: pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh book/tools/install.sh lab
	@touch $@

$(VENV)/test.stamp: pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh book/tools/install.sh test
	@touch $(VENV)/lab.stamp $@ # the test set includes all that JupyterLab needs

lab: $(VENV)/lab.stamp ## lay out workbook/, your own copies, and open JupyterLab (LAB_ARGS="…" passes options on)
	@$(BIN)/companion workbook $(WORKBOOK)
	@$(BIN)/jupyter trust notebooks/[0-9]*.ipynb notebooks/exercises/[0-9]*.ipynb > /dev/null # by content: figures move at once
	$(BIN)/python -m jupyterlab $(ROOT) --ServerApp.root_dir="$(CURDIR)" \
	  --LabApp.default_url=/lab/tree/$(WORKBOOK)/01_batch_norm.ipynb --LabApp.news_url=None \
	  --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate $(LAB_ARGS)

test: $(VENV)/test.stamp ## check everything: style, rooms, pairs, book, unit tests, every notebook; say how long each took
	@test -n "$$COMPANION_CI" || rm -f _build/stages
	$(STAGE) style $(MAKE) style
	$(STAGE) book $(MAKE) book
	$(STAGE) tests $(PYTEST) --no-loadscope-reorder --doctest-modules companion classroom tests
	$(STAGE) notebooks $(PYTEST) --nbval --nbval-current-env --nbval-cell-timeout=900 $(NOTEBOOKS)
	@sh book/tools/stage.sh
	@echo "make test: everything passed."

style: $(VENV)/test.stamp ## check what takes seconds: style, who imports whom, pairs, claims
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	test ! -x $(BIN)/biome || $(BIN)/biome check companion/figures # not every platform has a wheel of it
	$(BIN)/lint-imports
	$(BIN)/python book/tools/pairs.py
	$(BIN)/python book/tools/claims.py --check

# --all: a second build would forget the warnings of the first.
book: $(VENV)/test.stamp ## build the site into _build/html, from the notebooks' stored outputs
	$(BIN)/jupyter-book build . --all -W -n --keep-going

notebooks: $(VENV)/test.stamp ## bring pairs into step, execute every notebook, store the outputs (LIMIT=30: CPU seconds, where a notebook states none)
	$(BIN)/python -m jupytext --quiet --sync $(one_of_each)
	$(BIN)/python book/tools/execute.py $(if $(LIMIT),--limit $(LIMIT)) $(NOTEBOOKS)
	$(BIN)/python -m jupytext --quiet --sync $(NOTEBOOKS)
	$(BIN)/python book/tools/facts.py
	$(MAKE) exercises

lines: ## print the lines of code of each room
	@$(PYTHON) book/tools/lines.py

claims: $(VENV)/test.stamp ## bring claims.lock into step with the chapters (OPEN="05a" REASON="…" lets a rule change)
	$(BIN)/python book/tools/claims.py $(if $(OPEN),--open $(OPEN) --reason "$(REASON)") $(if $(TAKE),--take "$(TAKE)")

replicate: $(VENV)/test.stamp ## run the chapters on seeds that nobody has seen (SEEDS=1000:1020, CHAPTERS="02 09"), store what claims measure
	$(BIN)/python book/tools/replicate.py --seeds $(SEEDS) $(if $(CHAPTERS),--chapters $(CHAPTERS))

exercises: $(VENV)/test.stamp ## derive notebooks/exercises from notebooks/solutions
	$(BIN)/companion release --all --flat --to notebooks/exercises

release: $(VENV)/test.stamp ## make the student version of SET=01_batch_norm in release/ (OUT=… elsewhere, SOURCE=… own sets)
	$(BIN)/companion release $(SET) $(if $(OUT),--to "$(OUT)") $(if $(SOURCE),--source "$(SOURCE)")

bench: $(VENV)/test.stamp ## run every benchmark, one after another
	@set -e; for file in $(sort $(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file; done

clean: ## remove what was built and installed here
	rm -rf $(VENV) _build .hypothesis .import_linter_cache .pytest_cache .ruff_cache *.egg-info
