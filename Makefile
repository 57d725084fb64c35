# Needs only make and Python 3.11 or newer; another interpreter is named with PYTHON=python3.12.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
WORKERS ?= 2
# Tests start many processes, each of which would compile all of cosim without the code that is kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-lowest slow check lint types docs notebooks clean

help:
	@echo "make demo    set up, compare all modes on the IEEE 37-node feeder, say where the report is"
	@echo "make test    set up, check style and types, run the tests"
	@echo "make test-lowest   run the tests with the lowest versions that setup.cfg allows"
	@echo "make slow    run the studies that take minutes as well"
	@echo "make check   style and types only"
	@echo "make docs    build the documents as a site"
	@echo "make notebooks   execute the notebooks and draw their pictures for the gallery"
	@echo "make clean   remove what was built; the results stay"

demo: $(VENV)/.installed
	$(BIN)/cosim compare ieee37 --out results/demo --force
	@echo "Tables, figures and reports: $(CURDIR)/results/demo"

test: check
	$(BIN)/pytest -rs -n $(WORKERS) --dist worksteal

# The lowest versions that setup.cfg allows, in an environment of their own.
test-lowest: setup.cfg
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python tests/lowest_versions.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip --quiet --disable-pip-version-check install --only-binary :all: \
		--constraint $(LOWEST)/constraints.txt --editable '.[dev]'
	$(LOWEST)/bin/python -m pytest -n $(WORKERS) --dist worksteal

slow: check
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m "slow or not slow"

check: lint types

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .

# The folders beside cosim/ are part of the package only once it is installed, so types are checked on a copy
# of the package as it is installed.
types: $(VENV)/.installed-dev
	@rm -rf build
	$(PIP) install --no-deps --no-build-isolation --target build/typing .
	cd build/typing && ../../$(BIN)/mypy --config-file ../../setup.cfg --cache-dir ../../.mypy_cache -p cosim

# The tests build the site as well, and take a warning for an error.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "The site: $(CURDIR)/site/index.html"

# Each in a kernel of its own; they are kept without outputs.
notebooks: $(VENV)/.installed-dev
	$(BIN)/python docs/notebooks/execute.py --pictures docs/figures/gallery

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "cosim needs Python 3.11 or newer; '$(PYTHON)' is missing or older." >&2; \
		echo "Name another one, for example: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "'$(PYTHON) -m venv' failed: the venv module of this Python has to be installed." >&2; exit 1; }
	@touch $@

# Editable: a change of the sources is in force at once; only a change of the dependencies installs again.
$(VENV)/.installed: $(VENV)/.created setup.cfg pyproject.toml
	@echo "Installing cosim into $(VENV) (once; this takes a minute or two)"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the tools for testing into $(VENV)"
	@$(PIP) install --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) $(LOWEST) build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
