PYTHON ?= python3
workbook = .venv/bin/workbook

.PHONY: help install run test faults full render lint clean

help:  # print these targets
	@sed -n 's/^\([a-z]*\):[^#]*# \(.*\)/make \1\t\2/p' Makefile | expand -t 14

install:  # make .venv, or leave it as it is when nothing changed
	@$(PYTHON) helpers/install.py

run: install  # run all notebooks in minutes (profile quick) into runs/
	@$(workbook) run --profile quick

test: install  # unit tests, then run all notebooks and compare a second run with the first
	@.venv/bin/python -m pytest --numprocesses 2
	@$(workbook) verify

faults: install  # kill a training FAULT_KILLS times (100) at random moments, and compare its end with one left alone
	@TQDM_DISABLE=1 .venv/bin/python tests/faults.py

full: install  # run all notebooks with the real thing (profile full, hours) into runs/
	@$(workbook) run --profile full

render: install  # write the newest full run's outputs, figures and results into the repository
	@$(workbook) render

lint: install  # check style
	@.venv/bin/ruff check && .venv/bin/ruff format --check

clean:  # remove what the other targets made, runs included
	rm -rf .venv runs build *.egg-info .pytest_cache .ruff_cache .hypothesis
