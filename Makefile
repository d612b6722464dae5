# `make install` installs Tetrad into .venv, `make web` opens its page, `make demo` shows it at work, `make test` tests it,
# `make test-wide` tests what one family or format has shown with the others, `make coverage` shows which lines the tests run,
# `make mutants` tests the tests, `make kills` kills a thousand runs, `make bad-inputs` tries 110 bad inputs, `make fuzz`
# tries random ones for minutes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE = 1

.PHONY: install web demo test test-wide coverage check bench mutants kills bad-inputs fuzz clean

install: $(VENV)/.installed

web: $(VENV)/.installed
	$(BIN)/tetrad web

demo: $(VENV)/.installed
	$(BIN)/tetrad demo

# One thread a process: small networks are many times slower when threads wait for each other.
# Three processes on two cores: tests of the page and of killed runs mostly wait.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed-test
	scripts/browser
	$(PYTEST)

# Not part of `make test`: what it shows for one family, method or format, for the others too.
test-wide: $(VENV)/.installed-test
	$(PYTEST) -m "wide and not slow"

# Not part of `make test`: Python 3.11 runs almost twice as long when coverage traces it.
coverage: $(VENV)/.installed-test
	$(PYTEST) --cov --cov-report=term

check: $(VENV)/.installed-test
	scripts/check

bench: $(VENV)/.installed-test
	$(BIN)/python -m bench.step

mutants: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m tools.mutants

kills: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python tests/killing.py --points 1 3 --kills 1000

bad-inputs: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 PYTHONPATH=tests TETRAD_LANG=en $(BIN)/python -m bad_inputs.trials

fuzz: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python tests/formats/hostile_pickles.py --rounds 10
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m fuzz.long --minutes 10

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tetrad needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

CATALOGUES := $(wildcard src/tetrad/locales/*/LC_MESSAGES/*.po)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt $(CATALOGUES)
	@echo "installing Tetrad into $(VENV); the first time this downloads PyTorch and takes some minutes"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
