PYTHON ?= python3
workbook = .venv/bin/workbook

.PHONY: help install run test faults attack cluster scaling full render page address lint site browser clean

help:  # print these targets
	@sed -n 's/^\([a-z]*\):[^#]*# \(.*\)/make \1\t\2/p' Makefile | expand -t 14

install: .venv/installed  # make .venv, or leave it as it is when nothing changed

run: .venv/installed  # run all notebooks in minutes (profile quick) into runs/
	@$(workbook) run --profile quick

test: .venv/installed  # unit tests, whole notebooks and a class, then run all notebooks and compare a second run with the first
	@.venv/bin/python -m pytest -p no:nbval --numprocesses 2 --dist loadfile --ignore tests/whole
	@.venv/bin/python -m pytest -p no:nbval --numprocesses 2 --dist loadfile tests/whole
	@$(workbook) verify

faults: .venv/installed  # kill a training FAULT_KILLS times (100) at random moments, and compare its end with one left alone
	@TQDM_DISABLE=1 .venv/bin/python tests/faults.py

attack: .venv/installed  # try every way round the checker that is known, random ones, and flipped bits in a run's files
	@TQDM_DISABLE=1 .venv/bin/python tests/attack.py

cluster: .venv/installed  # sweep in processes of this machine, as a Dask cluster and without, and kill some of them
	@TQDM_DISABLE=1 .venv/bin/python tests/cluster.py

scaling: .venv/installed  # how time grows here with threads, processes and trials
	@TQDM_DISABLE=1 OMP_WAIT_POLICY=passive .venv/bin/python tests/scaling.py

full: .venv/installed  # run all notebooks with the real thing (profile full, hours) into runs/
	@$(workbook) run --profile full

render: .venv/installed  # write the newest full run's outputs, figures and results into the repository
	@$(workbook) render

page: .venv/installed  # run docs/my_network_does_not_learn.ipynb again, a minute, and keep its outputs
	@MPLBACKEND=module://matplotlib_inline.backend_inline .venv/bin/jupyter nbconvert --execute --inplace docs/my_network_does_not_learn.ipynb \
	  --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.coalesce_streams=True
	@.venv/bin/python docs/smaller_figures.py docs/my_network_does_not_learn.ipynb

address: .venv/installed  # write REPOSITORY=OWNER/NAME, on GitHub, and links to Colab wherever a reader meets them
	@.venv/bin/python docs/address.py $(REPOSITORY)

lint: .venv/installed  # check style, and who imports whom
	@.venv/bin/ruff check && .venv/bin/ruff format --check && .venv/bin/lint-imports

site: .venv/installed  # build the site, readable without internet, into build/site/; with RUN=runs/... of that run, into its folder
	@.venv/bin/python docs/site/make.py $(RUN)

browser: site .venv/browser  # open every page of the site in Chromium, and try what it promises
	@NEEDS_CHROMIUM=1 .venv/bin/python -m pytest tests/browser

clean:  # remove what the other targets made, runs included
	rm -rf .venv runs build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache

too_old = Python {}.{} was found; the workbook needs 3.11 or newer: run `make run PYTHON=python3.12`.

.venv/installed: pyproject.toml constraints.txt  # again whenever one of the two changes
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("$(too_old)".format(*v))'
	@echo "Installing into .venv; this takes from half a minute to a few, once."
	@$(PYTHON) -m venv --clear .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@# Compiled once here, and not by every process where Python is told to write no bytecode (containers often are).
	@.venv/bin/python -m uv pip install --compile-bytecode --python .venv/bin/python --constraint constraints.txt --editable ".[test]"
	@touch $@

.venv/browser: .venv/installed  # the extra of that name
	@.venv/bin/python -m uv pip install --compile-bytecode --python .venv/bin/python --constraint constraints.txt --editable ".[$(@F)]"
	@touch $@
