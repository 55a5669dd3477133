# make book: environment, notebooks, HTML.   make test: everything that is checked.
# make pdf: the book as one file.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: book pdf test grid lock serve clean

book: $(STAMP)
	$(BIN)/python book/build.py all

pdf: book
	$(BIN)/python book/build.py pdf

# Unit tests first: they are quicker than the pages, and tell more.
test: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/pytest -q -n 2 --dist loadfile --ignore tests/book
	$(BIN)/python book/build.py all
	$(BIN)/pytest -q tests/book

# A grid of workflow/grids, e.g. make grid GRID=digits; the same command continues it.
grid: $(STAMP)
	$(BIN)/snakemake -s workflow/Snakefile --configfile workflow/grids/$(GRID).yaml -j $(or $(JOBS),$(shell nproc))
	$(BIN)/ccfs results

# Every package at the version and with the hash of the lock; ours from this folder.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v < (3, 14) and f"Python is {v[0]}.{v[1]}, but must be 3.11 to 3.13: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps -e .
	touch $@

lock:
	uv pip compile --universal --python-version 3.11 --all-extras --generate-hashes pyproject.toml -o requirements.lock

serve: book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

clean:
	rm -rf _build book/_generated book/runs/digits
