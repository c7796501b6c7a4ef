# Each target makes the environment that it needs, once. STACK chooses the line of MMSegmentation:
# onedl (maintained, nothing is compiled) or openmmlab (1.2.2, which needs mmcv's compiled operators).
STACK ?= onedl
ifeq ($(STACK),onedl)
VENV := .venv
else ifeq ($(STACK),openmmlab)
VENV := .venv-openmmlab
else
$(error STACK is onedl or openmmlab, not '$(STACK)')
endif
PY := $(VENV)/bin/python
PIP := $(PY) -m pip

# The first of these in range makes the environments; PYTHON=... names another.
IN_RANGE := import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))
PYTHON ?= $(firstword $(foreach p,python3 python3.12 python3.11 python3.10,\
    $(if $(shell $(p) -c '$(IN_RANGE)' 2>/dev/null && echo yes),$(p))))

.DELETE_ON_ERROR:
.PHONY: help setup demo test test-peers lint docs dist
help:
	@echo 'make setup                  make the environment $(VENV); the other targets do it as well'
	@echo 'make demo [DATA=CAMVID]     train with and without RMI on drawn scenes, or on a CamVid folder'
	@echo 'make test [COVERAGE=1]      run all tests, and print what they cover'
	@echo 'make test-peers             run the snippets of other libraries, without MMSegmentation'
	@echo 'make lint                   check format, style and types'
	@echo 'make docs                   build the documentation site in site/, strictly'
	@echo 'make dist                   build sdist and wheel in dist/, and check both'
	@echo 'With STACK=onedl (default) or STACK=openmmlab; PYTHON=... names the Python (3.10 to 3.12).'

setup: $(VENV)/.installed

demo: setup
	$(PY) tools/demo.py $(if $(DATA),--data '$(DATA)') $(if $(SHORT),--short)

test: setup
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile $(if $(COVERAGE),--cov=mmseg_rmi --cov-report=term-missing:skip-covered)

test-peers: .venv-peers/.installed
	OMP_NUM_THREADS=1 .venv-peers/bin/python -m pytest tests/test_peers.py tests/test_standalone.py

lint: setup
	$(PY) -m ruff format --check
	$(PY) -m ruff check
	$(PY) -m mypy

docs: setup
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

dist: setup
	rm -rf dist
	$(PY) -m build
	$(PY) -m twine check --strict dist/*

define CHECK_PYTHON
@$(or $(PYTHON),false) -c '$(IN_RANGE)' || { \
    echo "Needs Python 3.10 to 3.12, found $(or $(PYTHON),none): make PYTHON=/path/to/python"; \
    exit 1; }
endef

# Without MMSegmentation, as most users of these libraries are. nnU-Net holds timm back.
.venv-peers/.installed: pyproject.toml
	$(CHECK_PYTHON)
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install torch torchvision -e '.[peers]' nnunetv2 pytest hypothesis
	@touch $@

# OpenCV's wheel for desktops wants libGL and X libraries, which servers and containers lack.
$(VENV)/.installed: pyproject.toml | $(PY)
	$(MAKE) --no-print-directory install-$(STACK)
	@$(PY) -c 'import cv2' 2>/dev/null || { \
	    echo 'cv2 lacks system libraries here (libGL): taking opencv-python-headless in its place.'; \
	    $(PIP) uninstall -q -y opencv-python && \
	    $(PIP) install -q --force-reinstall --no-deps opencv-python-headless && \
	    $(PY) -c 'import cv2'; }
	@$(PIP) install -e '.[crf]' || { \
	    echo '***************************************************************************'; \
	    echo 'pydensecrf was not built: is there a C++ compiler? The dense CRF cannot be'; \
	    echo 'used, and ITS TESTS WILL BE SKIPPED. Nothing else is missing.'; \
	    echo '***************************************************************************'; }
	@touch $@

$(PY):
	$(CHECK_PYTHON)
	$(PYTHON) -m venv $(VENV)

.PHONY: install-onedl install-openmmlab
install-onedl:
	$(PIP) install torch torchvision -e '.[onedl,study,tools,peers,docs,dev]'

# A torch without CUDA comes where pip finds one (PIP_FIND_LINKS or another index), since its version
# sorts as newer; "===" leaves it out. PyPI's torchvision imports beside PyPI's torch alone.
install-openmmlab:
	$(PIP) install 'torch<2.14' torchvision 'setuptools<80' wheel
	@$(PY) -c 'import torchvision' 2>/dev/null || { \
	    echo 'No torchvision fits the build of torch that was found: taking that of the index.'; \
	    $(PIP) install "torch===$$($(PY) -c 'import torch; print(torch.__version__.partition("+")[0])')"; }
	$(PY) -c 'import torchvision'
	@$(PIP) install --only-binary mmcv mmcv==2.1.0 2>/dev/null && $(PY) -c 'import mmcv.ops' || { \
	    echo 'No wheel of mmcv fits: building it takes a C++ compiler and about 12 minutes on 2 cores.'; \
	    MMCV_WITH_OPS=1 $(PIP) install --force-reinstall --no-deps --no-binary mmcv \
	        --no-build-isolation mmcv==2.1.0; }
	$(PIP) install -e '.[openmmlab,study,tools,peers,docs,dev]'
