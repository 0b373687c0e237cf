# make lab        the environment, then JupyterLab on your own copies of the notebooks, in work/
# make test       every check, with one summary
# make manifests  every manifest that the notebooks show, in build/manifests
# make mock       five interview questions, 45 minutes (SEED=7); make answers, make paper
# make bench      ours beside the peers, as a table and in build/bench.json
# make refresh    run the notebooks again and store them canonically; renew the README's table
# make format     let ruff format the code

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
TORCH := $(shell grep '^torch==' requirements.txt)
CPU_WHEELS := https://download.pytorch.org/whl/cpu
NEEDS_GIB := 6
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
new_only = { grep -v '^Requirement already satisfied' || true; }
say = printf '\n%s\n' $(1) >&2

.PHONY: lab test mock answers paper bench manifests refresh format environment chromium

lab: environment
	@$(PY) -m mlinfra.study.copies work
	$(PY) -m jupyter lab --ip 127.0.0.1 $(AS_ROOT) work/01_kserve.ipynb

test: environment chromium
	$(PY) tests/summary.py

SEED ?= 1
mock answers: environment
	@$(PY) -m mlinfra.interview $@ $(SEED)

paper: environment
	@$(PY) -m mlinfra.interview write build/interview

bench: environment
	@PYTHONPATH=tests $(PY) -m benchmarks

manifests: environment
	@$(PY) -m mlinfra.study.copies manifests

refresh: environment
	$(PY) tests/notebooks/canonical.py
	$(PY) tests/conformance/table.py

format: environment
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

# Debian packages are installed in CI alone; elsewhere the browser test says what is missing and is skipped.
chromium:
ifeq ($(CI),true)
	@command -v chromium >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || { \
	  $(call say,"Could not install chromium; the browser test needs it in CI."); exit 1; }
endif

environment: .venv/ready

.venv/installed: requirements.txt
	@test -n "$(PYTHON)" || { $(call say,"No python3 found. Install Python 3.11 and run make again."); exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  $(call say,"$(PYTHON) is too old: Python 3.11 or newer is needed. If you have one: make PYTHON=/path/to/python3.11"); exit 1; }
	@test "$$(df -Pk . | awk 'NR == 2 {print int($$4 / 1048576)}')" -ge $(NEEDS_GIB) -o -d .venv || { \
	  $(call say,"The environment needs $(NEEDS_GIB) GiB of free disk here. Make room and run make again."); exit 1; }
	@test -x $(PY) || "$(PYTHON)" -m venv .venv || { rm -rf .venv; \
	  $(call say,"Python's venv module does not work here. On Debian or Ubuntu: apt install python3-venv"); exit 1; }
	@echo "Installing about 200 packages into .venv (2 GiB, some minutes the first time)"
ifneq ($(CI),true)
ifeq ($(shell uname -s),Linux)
	@$(PY) -m pip install --disable-pip-version-check $(TORCH) --index-url $(CPU_WHEELS) | $(new_only) || { \
	  $(call say,"Could not download torch. Check the network or proxy and the free disk and run make again."); exit 1; }
endif
endif
	@$(PY) -m pip install --disable-pip-version-check --requirement requirements.txt | $(new_only) || { \
	  $(call say,"The installation stopped. Check the network or proxy and the free disk and run make again: it goes on where it was."); exit 1; }
	@touch $@

.venv/ready: .venv/installed pyproject.toml
	@$(PY) -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@
