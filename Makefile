# Everything a developer or an operator types. `make` alone lists it.
PORT ?= 8000
HOST ?= 127.0.0.1
PYTHON ?= python3
MINUTES ?= 10
# Most tests wait for a server or a process: three workers keep two cores busy. A file stays with one worker; in the order
# of their names, since the files of few tests are the long ones and would come last.
SPREAD ?= --numprocesses 3 --dist loadfile --no-loadscope-reorder --durations 10
SEEDS ?= 1..20
SBOM ?= .site/sbom.cdx.json
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help up demo test test-all bytecode chaos check fmt outage dead-letters mutations docs pictures docs-reference bench lock audit sbom clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/.runtime ## set up everything and run the platform (PORT=8000, HOST=127.0.0.1)
	@exec $(BIN)/carillon up --host $(HOST) --port $(PORT)

demo: $(VENV)/.runtime ## send the shipped CSV through a running platform (PORT=8000)
	@$(BIN)/carillon demo --url http://$(HOST):$(PORT)

check: $(VENV)/.development ## format, lint, types, import rules, sizes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/rules.py
	$(BIN)/python -m tests.documents.reference

fmt: $(VENV)/.development ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: check bytecode ## every test but the slow ones, on real PostgreSQL, Redis and RabbitMQ
	$(BIN)/python -m pytest $(SPREAD) -m "not slow"

test-all: check bytecode ## the slow tests too: deep fuzzing, more fault seeds, every command in the documents
	$(BIN)/python -m pytest $(SPREAD)

outage dead-letters: COUNT ?= 10000
outage dead-letters: BROKER ?= embedded
chaos: COUNT ?= 1000
chaos: BROKER ?= both

bytecode: $(VENV)/.development
	@$(BIN)/python -m compileall -q src  # tests start hundreds of processes: none of them has to compile anew

outage: $(VENV)/.development ## the mail provider is away while 10,000 wait (MINUTES=10, COUNT=10000, BROKER=embedded)
	$(BIN)/python -m tests.chaos.provider_down --minutes $(MINUTES) --count $(COUNT) --broker $(BROKER)

dead-letters: $(VENV)/.development ## 10,000 dead letters of three causes are replayed by cause (COUNT=10000, BROKER=embedded)
	$(BIN)/python -m tests.chaos.many_dead --count $(COUNT) --broker $(BROKER)

mutations: $(VENV)/.development ## take out one guarantee at a time: a test has to notice
	$(BIN)/python -m tests.mutations

chaos: $(VENV)/.development ## kill everything at random and judge: SEEDS=1..20 COUNT=1000 BROKER=both; goes on where it stopped
	$(BIN)/python -m tests.chaos --seeds $(SEEDS) --count $(COUNT) --broker $(BROKER)

docs: $(VENV)/.development ## build the documents as a site, diagrams drawn: .site/html
	$(BIN)/python -m website

pictures: $(VENV)/.development ## take the README's picture anew, of a platform after `carillon demo`
	$(BIN)/python -m tests.documents.pictures

docs-reference: $(VENV)/.development ## write anew what the reference takes from the code
	RENEW_REFERENCE=1 $(BIN)/python -m tests.documents.reference
	RENEW_REFERENCE=1 $(BIN)/python -m pytest -q tests/documents/test_permissions.py tests/documents/test_preferences_table.py tests/documents/test_metrics.py

bench: $(VENV)/.development ## measure: the whole way by stage, acceptance, batches, look-ups
	$(BIN)/python -m benchmarks

lock: $(VENV)/.uv ## renew the requirement locks
	cd requirements && for pair in "../pyproject.toml build.in:runtime" "traces.in:traces" "development.in:development" "installer.in:installer"; do \
	  ../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade \
	    $${pair%%:*} -o $${pair##*:}.txt || exit 1; done

audit: $(VENV)/.development ## ask a public list whether a locked library has a known weakness; needs the network
	$(BIN)/pip-audit --disable-pip --require-hashes --requirement requirements/runtime.txt

sbom: $(VENV)/.development ## write the bill of materials of the image, CycloneDX: SBOM=.site/sbom.cdx.json
	@mkdir -p $(dir $(SBOM))
	$(BIN)/cyclonedx-py requirements --output-format JSON --output-reproducible --output-file $(SBOM) requirements/runtime.txt

clean: ## remove the virtual environment and caches; data in .carillon/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/.uv: requirements/installer.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Carillon needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/installer.txt
	@touch $@

$(VENV)/.runtime: $(VENV)/.uv requirements/runtime.txt pyproject.toml
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/runtime.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.development: $(VENV)/.runtime requirements/development.txt
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/development.txt
	@touch $@
