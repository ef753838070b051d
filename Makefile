# make serve   the book, running, at localhost:8000 (ARGS="--address localhost:8001": elsewhere)
# make test    every test that can run here (ARGS="--device cuda" for a GPU);
#              FAMILY=embedding: of one family; CHANGED=1: what the change since main can reach
# make add     starts a loss (LOSS=family/stem): its file, its test, its chapter, its export
# make bench   every loss against other libraries (LOSS=focal_loss for one), a quarter of an hour
# make peers   every loss against other libraries' values, Liger's among them
# make seeds   what the chapters claim, under five other seeds (ARGS="--shifts 12", ARGS=docs/...)
# make offline the site as a zip that needs no server, and its slides as another
# make pdf     the chapters printed (ARGS=docs/...: one)
# make course  the notebooks of students and teachers, as two zips
# The rest: site, test-slow, bench-record, bench-book, lint, clean.

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
EXTRAS ?= test,peers
ARGS ?=
LOSS ?=
FAMILY ?=
CHANGED ?=
BIN := $(if $(wildcard .venv/Scripts),.venv/Scripts,.venv/bin)
READY := .venv/ready node_modules/.package-lock.json

TESTS = $(if $(CHANGED),$$($(BIN)/python -m lossbook.book changed),$(wildcard \
    $(FAMILY:%=tests/%) $(FAMILY:%=lossbook/%) $(FAMILY:%=docs/%)))

.PHONY: serve site offline pdf course add test test-slow peers bench bench-record bench-book seeds lint clean

serve: $(READY)
	$(BIN)/python -m lossbook.book serve $(ARGS)

site: $(READY)
	$(BIN)/python -m lossbook.book build

offline pdf course: $(READY)
	$(BIN)/python -m lossbook.book $@ $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest $(ARGS) $(TESTS)

add: $(READY)
	$(BIN)/python -m lossbook.book add $(LOSS)

test-slow: $(READY)
	$(BIN)/python -m pytest --slow $(ARGS)

# Without what Liger asks for, which would bring CUDA: its chunked losses need only torch.
peers: $(READY)
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target build/peers $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) liger-kernel
	PYTHONPATH=build/peers $(BIN)/python -m tests.contract --check peers $(LOSS)

bench: $(READY)
	$(BIN)/python -m tests.bench $(LOSS) $(ARGS)

bench-record: $(READY)
	$(BIN)/python -m tests.bench --record

bench-book: $(READY)
	$(BIN)/python -m tests.bench --book

seeds: $(READY)
	$(BIN)/python -m lossbook.book seeds $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf build site .cache

.venv/ready: pyproject.toml $(CONSTRAINTS)
	test -d .venv || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet --progress-bar on $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e ".[$(EXTRAS)]"
	touch $@

node_modules/.package-lock.json: .venv/ready package-lock.json
	PATH="$(CURDIR)/.venv/bin:$$PATH" $(BIN)/npm ci --no-audit --no-fund
	touch $@
