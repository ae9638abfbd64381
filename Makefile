# One word each: demo, test, lint, bench, contrib, fuzz, manual, icon, wheel, pyz, deb, rpm, clean. PYTHON chooses the
# interpreter.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
# For make fuzz: seconds for each target, and which ones (none: all).
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=

.PHONY: demo test unit lint format compat bench soak contrib fuzz manual icon wheel pyz deb rpm clean

demo: $(VENV)/.demo          ## the check against the built-in simulator: healthy, and with two faults
	@$(BIN)/python contrib/demo/demo.py

test: $(VENV)/.test lint     ## all tests, lint and types
	$(BIN)/python -m pytest

unit: $(VENV)/.test          ## the tests that need no process
	$(BIN)/python -m pytest tests --ignore=tests/lab --ignore=tests/simulator

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.test         ## what a check costs, beside what anybody can measure
	@$(BIN)/python -m benchmarks.bench
	@$(BIN)/python -m benchmarks.front_ends

soak: $(VENV)/.test          ## 5000 checks against one simulator: no growth, nothing left
	@$(BIN)/python -m benchmarks.soak

compat:                      ## the tests on every other Python that is installed
	@PYTHON="$(PYTHON)" tests/compat.sh

contrib: $(VENV)/.demo       ## Icinga's definitions of the command, from the table of options
	@$(BIN)/python contrib/generate.py

fuzz: $(VENV)/.test          ## FUZZ_SECONDS of fuzzing for each target (tests/fuzz/README.md)
	$(BIN)/pip install --quiet --disable-pip-version-check atheris
	$(BIN)/python -m tests.fuzz.campaign --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

manual: $(VENV)/.demo        ## the manual page and the shells' completions, from the table of options
	@$(BIN)/python packaging/manual.py

pyz deb rpm: $(VENV)/.demo   ## dist/: one file for any Python; packages for Debian and for RPM distributions
	@$(BIN)/python packaging/build.py dist $@

icon:                        ## dist/: the icon as PNG, for places that take no SVG
	@mkdir -p dist
	rsvg-convert --width 256 --output dist/check_lync_presence.png packaging/exchange/check_lync_presence.svg

wheel: $(VENV)/.test         ## dist/: wheel and sdist
	rm -rf dist
	$(BIN)/pip install --quiet build
	$(BIN)/python -m build --outdir dist .

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9))' || \
	    { echo "This needs Python 3.9 or newer; name one with: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	    { rm -rf $(VENV); echo "Python cannot make an environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

$(VENV)/.demo: $(VENV)/bin/pip setup.cfg pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[simulator]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/pip setup.cfg pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
