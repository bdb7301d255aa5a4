# Two commands: `make run` sets everything up and starts the server and its page; `make test` sets everything up and
# tests it.
# Set-up happens once, in .venv, and again when pyproject.toml changes. The rest are verbs: `make help`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Threads that wait by spinning make a small network a hundred times slower on a busy machine; read when torch loads.
export OMP_WAIT_POLICY := passive
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Containers often forbid compiled files: each of the tests' many processes would compile anew whatever it imports.
unexport PYTHONDONTWRITEBYTECODE

# What `make type` reads: the package, and the folders at the top under the names that imports know them by.
LINKS := build/types/liveagent
TYPED := liveagent setup tests $(LINKS)/tools $(LINKS)/pipelines $(LINKS)/clients

# Each file of tests in one process, in the order of their names.
TOGETHER := --dist loadfile --no-loadscope-reorder

.PHONY: run robot test help setup lint type unit rest bench tree clean

run: $(VENV)/.ready-run
	$(BIN)/liveagent $(if $(filter talk,$(ARGS)),,serve) $(ARGS)

robot: $(VENV)/.ready-robot
	$(BIN)/liveagent robot $(ARGS)

test: lint type unit rest

help:
	@echo 'make run     set up, then serve the page; ARGS="--port 9000" and the like are passed on, ARGS=talk is a terminal'
	@echo 'make robot   set up, then a simulated arm, its broker, and the page of the agent that uses it'
	@echo 'make test    set up, then lint, type, unit and rest'
	@echo 'make setup   set up only'
	@echo 'make lint    ruff'
	@echo 'make type    mypy'
	@echo 'make unit    the fast tests'
	@echo 'make rest    the slow tests and those with a sound server'
	@echo 'make bench   every figure as JSON; NAME=ear for one'
	@echo 'make tree    write the tree in README.md anew, from the disk and its docstrings'
	@echo 'make clean   remove .venv and everything built'
	@echo
	@echo 'PYTHON=python3.12 names another Python. TORCH=cpu or TORCH=cuda overrides what set-up finds out by itself;'
	@echo 'TORCH_INDEX=URL names another index of CPU builds of torch.'

setup: $(VENV)/.ready-test

$(VENV)/.ready-run: pyproject.toml setup/venv.py
	@$(PYTHON) setup/venv.py $(VENV) espeak
	@touch $@

$(VENV)/.ready-robot: pyproject.toml setup/venv.py
	@$(PYTHON) setup/venv.py $(VENV) espeak robot
	@touch $@ $(VENV)/.ready-run

# The larger set-up serves all, so `make run` after `make test` starts at once.
$(VENV)/.ready-test: pyproject.toml setup/venv.py
	@$(PYTHON) setup/venv.py $(VENV) espeak test
	@touch $@ $(VENV)/.ready-run $(VENV)/.ready-robot

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .

type: $(VENV)/.ready-test
	@mkdir -p $(LINKS)
	@for folder in tools pipelines clients; do ln -sfn ../../../$$folder $(LINKS)/$$folder; done
	$(BIN)/mypy $(TYPED)

unit: $(VENV)/.ready-test
	$(BIN)/pytest -n 2 $(TOGETHER) -p no:logging -m "not slow and not audio"

# Two: with three on two cores a robot's heartbeats came too late.
rest: $(VENV)/.ready-test
	$(BIN)/pytest -n 2 $(TOGETHER) -m "slow or audio"

bench: $(VENV)/.ready-test
	$(BIN)/liveagent bench $(if $(NAME),$(NAME),all) --json

tree: $(VENV)/.ready-test
	@$(BIN)/python -m tests.test_tree

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
