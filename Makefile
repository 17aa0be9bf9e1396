# Two commands are all a fresh machine needs: `make run` and `make test`.
# Wanted beforehand: Python 3.11 or newer with venv and pip, a C and C++ compiler, make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.8
INSTALL := $(UV) pip install --quiet --python $(BIN)/python --constraints requirements.lock

# The tray needs Qt; a machine without a display gets the server alone.
DISPLAY_FOUND := $(or $(DISPLAY),$(WAYLAND_DISPLAY),$(filter Darwin,$(shell uname -s)))
MAIN_EXTRA := $(if $(DISPLAY_FOUND),[desktop],)
MAIN_MODULE := $(if $(DISPLAY_FOUND),app,server.serve)
MAIN_STAMP := $(VENV)/.installed-$(if $(DISPLAY_FOUND),desktop,server)

.PHONY: run test check bench package lock starter clean

run: $(MAIN_STAMP)
	@$(BIN)/python -m $(MAIN_MODULE)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist worksteal

check: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-test
	$(BIN)/python -m tests.bench

package: $(VENV)/.installed-package
	$(BIN)/python -m PyInstaller --noconfirm --distpath dist --workpath build/pyinstaller build.spec
	@if [ "$$(uname -s)" = Linux ]; then $(BIN)/python installers/linux/build.py; fi

lock:
	$(UV) lock
	$(UV) export --frozen --all-extras --all-groups --no-emit-project --no-header --format requirements-txt -o requirements.lock

clean:
	rm -rf $(VENV)

$(UV):
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.installed-server $(VENV)/.installed-desktop: $(UV) pyproject.toml requirements.lock
	@echo "Installing Puna. The first time llama.cpp is compiled for every kind of processor: 5 to 15 minutes."
	@$(INSTALL) -e ".$(MAIN_EXTRA)"
	@touch $@

$(VENV)/.installed-test: $(UV) pyproject.toml requirements.lock
	@echo "Installing Puna and what its tests need. The first time llama.cpp is compiled: 5 to 15 minutes."
	@$(INSTALL) -e ".[desktop]" --group dev --group bench --group clients --group families --group package
	@touch $@

$(VENV)/.installed-package: $(UV) pyproject.toml requirements.lock
	@echo "Installing Puna and what packs it. The first time llama.cpp is compiled: 5 to 15 minutes."
	@$(INSTALL) -e ".[desktop]" --group package
	@touch $@
