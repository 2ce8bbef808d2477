# make lab    set everything up and open the course in JupyterLab
# make test   set everything up and pass all tests
# make grade  grade the sample class
# More: make build, make prove, make bench, make lock, make test-colab, make clean

FIND = for p in $(1); do "$$p" -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] not in $(2))' 2>/dev/null && echo "$$p" && break; done
PYENV = $(shell pyenv root 2>/dev/null || echo "$$HOME/.pyenv")/versions
PYTHON ?= $(shell $(call FIND,python3 python3.12 python3.11 python3.13 python,((3,11),(3,12),(3,13))))
PYTHON313 ?= $(shell $(call FIND,python3.13 $(PYENV)/3.13*/bin/python,((3,13),)))

BIN = .venv/bin
COLAB = .venv-colab/bin
ROOT = $(shell test "$$(id -u)" = 0 && echo --allow-root)  # as in most containers
NEWS = @jupyterlab/apputils-extension:announcements
QUIET = TF_CPP_MIN_LOG_LEVEL=3 TF_ENABLE_ONEDNN_OPTS=0 COURSE_PROGRESS=off
PYTEST = $(QUIET) $(BIN)/python -m pytest -q -n 2 --durations=8

.PHONY: lab test test-units test-notebooks test-colab grade build prove bench lock clean

lab: .venv/done
	$(BIN)/course work
	$(BIN)/jupyter lab --notebook-dir=work $(ROOT) $(LAB)

test: test-units test-notebooks

test-units: .venv/done
	$(PYTEST) tests

test-notebooks: .venv/done
	$(PYTEST) --dist loadscope --nbval --nbval-sanitize-with tests/nbval.cfg solutions

test-colab: .venv-colab/done
	rm -rf build/wheel
	$(COLAB)/python -m pip wheel -q --no-deps --no-build-isolation -w build/wheel .
	$(QUIET) $(COLAB)/python -m pytest -q -n 2 --durations=4 tests/colab/*.py

grade: .venv/done
	$(BIN)/python tests/sample_class.py build/sample_class
	$(BIN)/course grade build/sample_class

build: .venv/done
	$(BIN)/course build

prove: .venv/done
	$(BIN)/course prove --seeds 200

bench: .venv/done
	$(BIN)/python bench/figures.py

.venv/done: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 was found: install one, or say make PYTHON=/path/to/python3."; exit 1; }
	@echo "Installing TensorFlow, JupyterLab and what they need: a few minutes, once."
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install -q --require-hashes -r requirements.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	$(BIN)/course kernel
	$(BIN)/jupyter labextension disable $(NEWS) 2>/dev/null  # asks at the first start
	@touch $@

.venv-colab/done: requirements-colab.txt
	@test -n "$(PYTHON313)" || { echo "No Python 3.13 was found, which the Colab-like tests need: install one, or say make PYTHON313=/path/to/python3.13."; exit 1; }
	$(PYTHON313) -m venv --clear .venv-colab
	$(COLAB)/python -m pip install -q --require-hashes -r requirements-colab.txt
	@touch $@

# Resolves the newest versions anew: edit pyproject.toml, run this, look at the diff.
LOCK = $(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --no-emit-index-url
lock: .venv/done
	$(BIN)/python -m pip install -q uv
	$(LOCK) --python-version 3.11 --extra course pyproject.toml -o requirements.txt
	$(LOCK) --python-version 3.13 requirements-colab.in -o requirements-colab.txt

clean:
	rm -rf .venv .venv-colab build
