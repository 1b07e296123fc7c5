# Everything from a fresh clone: `make notebooks`, `make test`. Needs Python 3.11 to 3.14 with venv, and bash.

SHELL := bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
NAMES ?=
ARGS ?=
# Processes of tests; a file's tests stay in one, for they share what is trained once.
WORKERS ?= 2

BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := notebooks,test
# Hides a notice about later versions of MkDocs, which are not installed.
export NO_MKDOCS_2_WARNING := 1

# Valid in every Python, so that an old one can say what it is.
CHECK := import sys; (3, 11) <= sys.version_info[:2] <= (3, 14) or sys.exit( \
	"codial needs Python 3.11 to 3.14; %s is %s" % (sys.executable, sys.version.split()[0]))

# $(call stage,name,module and arguments): runs it, says how long it took, and stops make if it failed.
define stage
@printf '\n== %s: %s\n' '$(1)' '$(2)'; code=0; SECONDS=0; $(BIN)/python -m $(2) || code=$$?; \
	[ $$code = 0 ] && end=passed || end="FAILED with exit code $$code"; \
	echo "== $(1) $$end after $$SECONDS s"; exit $$code
endef

define checks
$(call stage,style,ruff check .)
$(call stage,format,ruff format --check .)
$(call stage,spelling,codespell_lib .)
$(call stage,types,mypy)
endef

# Strict: a dead link, or a page that loads something from another server, is an error.
define docs
$(call stage,docs,mkdocs --quiet build --strict)
endef

define notebooks
$(call stage,notebooks,pytest notebooks -n $(WORKERS) --dist=loadfile --no-loadscope-reorder --nbval --nbval-current-env \
	--nbval-sanitize-with=tests/nbval_sanitize.cfg --timeout=600)
endef

.PHONY: help setup notebooks refresh lab test test-all test-faults test-ui picture bench docs format clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo 'PYTHON=python3.12 makes the environment with that interpreter; VENV=path uses another environment.'
	@echo 'NAMES="01 03" picks notebooks for `notebooks` and `refresh`; ARGS="--no-browser" is passed on by `lab`.'

setup: $(READY)  ## make .venv and install codial in it with all it needs (torch: some GB)
	@echo 'Ready: $(BIN)/python'

$(READY): pyproject.toml
	@python='$(BIN)/python'; [ -x "$$python" ] || python='$(PYTHON)'; command -v "$$python" >/dev/null \
		|| { echo "No $$python here; say where Python is: make setup PYTHON=..." >&2; exit 1; }; \
		"$$python" -c '$(CHECK)'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo 'Making $(VENV) ...'; '$(PYTHON)' -m venv $(VENV); }
	@echo 'Installing codial[$(EXTRAS)] in $(VENV); torch and its libraries are some GB, so the first time takes minutes ...'
	@set -o pipefail; $(BIN)/python -m pip install --progress-bar off --disable-pip-version-check -e '.[$(EXTRAS)]' \
		| awk '/^ *(Downloading|Using cached) .*(GB|[0-9][0-9](\.[0-9])? MB)/ || /^(Installing collected|Successfully)/ \
			{print substr($$0, 1, 100); fflush()}'
	@echo 'Compiling the rendering of views and UMAP, once ...'
	@$(BIN)/python -m tools.compile_kernels || echo 'Not compiled; that is done on first use.'
	@touch $@

notebooks: $(READY)  ## run every notebook without a person; copies and results in runs/notebooks
	@$(BIN)/python -m tools.run_notebooks run $(NAMES)

refresh: $(READY)  ## run the notebooks and store their outputs in place, tidied, for a commit
	@$(BIN)/python -m tools.run_notebooks refresh $(NAMES)

lab: $(READY)  ## open JupyterLab in notebooks/, for this machine only
	@root=; [ "$$(id -u)" != 0 ] || { root=--allow-root; echo 'You are root: the notebooks run as root, too.' >&2; }; \
		$(BIN)/python -m jupyterlab --ip=127.0.0.1 --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks $$root $(ARGS)

test: $(READY)  ## check style, spelling and types, run the quick tests, compare every notebook with its stored outputs
	$(checks)
	$(call stage,tests,pytest tests -n $(WORKERS) --dist=loadfile -p no:nbval -m "not slow and not faults and not ui")
	$(notebooks)

test-all: $(READY)  ## all of `test`, and the slow tests, the faults, the browser and the documentation
	$(checks)
	$(call stage,tests,pytest tests -n $(WORKERS) --dist=loadfile -p no:nbval -m "not ui")
	$(call stage,browser,pytest tests/ui -m ui)
	$(docs)
	$(notebooks)

test-faults: $(READY)  ## only the tests that inject faults or check numbers; counts go to results/faults.json
	@CODIAL_FAULTS=results/faults.json $(BIN)/python -m pytest tests -n $(WORKERS) --dist=loadfile -m 'faults or numbers'

test-ui: $(READY)  ## only the tests in a browser (skipped without one); screenshots go to runs/ui
	@$(BIN)/python -m pytest tests/ui -m ui

picture: $(READY)  ## make the README's picture of the workbench again, by a browser test
	@$(BIN)/python -m pytest -q tests/ui/test_picture.py
	@$(BIN)/python -c "from PIL import Image; Image.open('runs/ui/workbench.png').convert('RGB').quantize(256) \
		.save('results/figures/workbench.png', optimize=True)"

bench: $(READY)  ## measure speed beside other libraries, into results/bench-DEVICE.json (NAMES="sampling" picks parts)
	@$(BIN)/python -c 'import kornia' 2>/dev/null \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS),bench]'
	@$(BIN)/python -m benchmarks $(NAMES)

docs: $(READY)  ## build the documentation into site/; open site/index.html
	$(docs)

format: $(READY)  ## format the code and the notebooks, and mend what ruff can
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

clean:  ## remove caches and executed copies of notebooks; keeps .venv, data and other runs
	@rm -rf .pytest_cache .ruff_cache .mypy_cache build site runs/notebooks
	@find . -path ./.venv -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
