# make lab        the environment, then JupyterLab on your own copies of the notebooks, in work/
# make test       every check, with one summary
# make site       the course as static files, in build/site: pages to read, and 04 and 05 to run in a browser
# make manifests  every manifest that the notebooks show, in build/manifests
# make mock       five interview questions, 45 minutes (SEED=7); make answers, make paper
# make review     the interview cards that are due, from what your copies remember
# make bench      ours beside the peers, as a table and in build/bench.json
# make refresh    run the notebooks again and store them canonically (NB=05 for one); renew the README's table
# make facts      what the course says of a release and read more than six months ago
# make mutants    sow small faults into twelve algorithms; what do the tests notice?
# make format     let ruff format the code
#
# TORCH=pypi takes torch from PyPI instead of PyTorch's own index of CPU builds.
# ONLY=notebooks installs what notebooks 04 and 05 need and nothing else; ONLY= installs the rest later.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
ONLY ?= $(shell cat .venv/installed 2>/dev/null)
LINUX_X86 := $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m))
# CI has no index but the package registries.
TORCH ?= $(if $(filter true,$(CI)),pypi,$(if $(filter Linux,$(shell uname -s)),cpu,pypi))
CPU_WHEELS := https://download.pytorch.org/whl/cpu
TORCH_RELEASE := $(shell grep '^torch==' requirements.txt)
PLAIN_TORCH := $(if $(LINUX_X86),6 GB with its CUDA libraries,less than 1 GB)
NEEDS_GIB := $(if $(ONLY),2,$(if $(filter true,$(CI)),6,$(if $(filter pypi,$(TORCH)),$(if $(LINUX_X86),14,6),6)))
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
new_only = { grep -v '^Requirement already satisfied' || true; }
say = printf '\n%s\n' $(1) >&2

.PHONY: lab test site mock answers review paper bench manifests refresh facts mutants format environment everything chromium

FIRST := $(if $(ONLY),05_autoscaling,01_kserve)
lab: environment
	@$(PY) -m mlinfra.study.copies work
	$(PY) -m jupyter lab --ip 127.0.0.1 $(AS_ROOT) work/$(FIRST).ipynb

test: everything chromium
	$(PY) tests/summary.py

SEED ?= 1
mock answers: environment
	@$(PY) -m mlinfra.interview $@ $(SEED)

review: environment
	@$(PY) -m mlinfra.interview review

paper: environment
	@$(PY) -m mlinfra.interview write build/interview

bench: everything
	@PYTHONPATH=tests $(PY) -m benchmarks

site: environment
	@$(PY) -m web

manifests: environment
	@$(PY) -m mlinfra.study.manifests

refresh: everything
	$(PY) tests/notebooks/canonical.py $(if $(NB),notebooks/$(NB)_*.ipynb)
	$(PY) tests/conformance/table.py

facts: everything
	@$(PY) tests/facts.py

mutants: everything
	@$(PY) tests/mutants.py

format: everything
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

# Debian packages are installed in CI alone; elsewhere the browser test says what is missing and is skipped.
chromium:
ifeq ($(CI),true)
	@command -v chromium >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || { \
	  $(call say,"Could not install chromium; the browser test needs it in CI."); exit 1; }
endif

everything: environment
	@test -z "$(ONLY)" || { $(call say,"Only the packages of notebooks 04 and 05 are installed. For the rest: make $(MAKECMDGOALS) ONLY="); exit 1; }

environment: .venv/ready

# The stamp says what is installed: nothing in it is everything.
.venv/installed: requirements.txt $(if $(filter-out _$(ONLY),_$(shell cat .venv/installed 2>/dev/null)),again)
	@test -n "$(PYTHON)" || { $(call say,"No python3 found. Install Python 3.11 and run make again."); exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  $(call say,"$(PYTHON) is too old: Python 3.11 or newer is needed. If you have one: make PYTHON=/path/to/python3.11"); exit 1; }
	@test "$$(df -Pk . | awk 'NR == 2 {print int($$4 / 1048576)}')" -ge $(NEEDS_GIB) -o -d .venv || { \
	  $(call say,"The environment needs $(NEEDS_GIB) GiB of free disk here. Make room and run make again."); exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || { rm -rf .venv && "$(PYTHON)" -m venv .venv; } || { rm -rf .venv; \
	  $(call say,"Python's venv module does not work here. On Debian or Ubuntu: apt install python3-venv"); exit 1; }
	@$(PY) -c 'import importlib.metadata as m, shutil; [shutil.rmtree(d._path) for d in m.distributions(path=[p for p in __import__("sys").path if ".venv" in p]) if d.read_text("INSTALLER") is None]'
ifneq ($(ONLY),)
	@echo "Installing about 100 packages into .venv (0.5 GiB, a minute or two the first time)"
	@$(PIP) install --constraint requirements.txt ".[$(ONLY)]" | $(new_only) || { $(call say,$(STOPPED)); exit 1; }
else
ifeq ($(TORCH),cpu)
	@$(PIP) install --quiet --dry-run --no-deps --retries 0 --timeout 5 $(TORCH_RELEASE) --index-url $(CPU_WHEELS) >/dev/null 2>&1 || { \
	  $(call say,"PyTorch's index of CPU builds ($(CPU_WHEELS)) cannot be reached from here. There are two ways on:"); \
	  $(call say,"  make $(or $(MAKECMDGOALS),lab) TORCH=pypi        torch from PyPI: $(PLAIN_TORCH)" "  make $(or $(MAKECMDGOALS),lab) ONLY=notebooks    without torch and the engines: notebooks 04 and 05"); exit 1; }
	@echo "Installing torch into .venv (0.2 GiB to download, about a minute)"
	@$(PIP) install $(TORCH_RELEASE) --index-url $(CPU_WHEELS) | $(new_only) || { $(call say,$(STOPPED)); exit 1; }
endif
	@echo "Installing about 200 packages into .venv (2 GiB, three to ten minutes the first time)"
	@$(PIP) install --requirement requirements.txt | $(new_only) || { $(call say,$(STOPPED)); exit 1; }
endif
	@echo $(ONLY) | tr -d '\n' > $@

STOPPED := "The installation stopped. Check the network or proxy and the free disk and run make again: it goes on where it was."

.PHONY: again
again:

.venv/ready: .venv/installed pyproject.toml
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
