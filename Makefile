# SPDX-License-Identifier: LGPL-2.1-or-later
# Each target calls a program that also works without make; `make help` lists the targets.

ROUNDS ?= 50
MINUTES ?= 3
SECONDS ?= 60

.DEFAULT_GOAL := help
.PHONY: help setup demo tour picture test test-all test-system hostile crash faults fuzz attack load soak sanitize coverage mutation bench exposure pages lint dist deb rpm clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## create .venv with hookd, hookctl and the test tools
	@packaging/setup test

demo: ## show hookd at work in a scratch directory
	@packaging/demo

tour: ## show every hookctl command on live jobs; writes docs/TOUR.md
	@packaging/tour --write docs/TOUR.md

picture: ## draw a terminal with hookctl on live jobs; writes docs/hookctl.svg
	@packaging/picture docs/hookctl.svg

test: ## run the tests, without the slow tiers
	@tests/run

test-all: ## run all tests
	@tests/run --all

test-system: ## install the packages in booted systems and drive them (as root)
	@tests/run -m system

hostile: ## run the gallery of harmful hooks
	@tests/run -m hostile

crash: ## kill hookd ROUNDS times at random moments and check the database
	@ROUNDS=$(ROUNDS) tests/run -m crash

faults: ## raise an error in each callback of both processes, one at a time
	@tests/run -m faults

fuzz: ## run each fuzzer for SECONDS
	@SECONDS=$(SECONDS) tests/run -m fuzz

attack: ## attack the socket while a well-behaved client measures its waiting time
	@tests/run -m attack

load: ## run thousands of jobs at once and check that replies arrive in time
	@tests/run -m load

soak: ## run good and hostile load for MINUTES and check that nothing grows
	@MINUTES=$(MINUTES) tests/run -m soak

sanitize: ## run the runner's tests with a launcher compiled with sanitizers
	@tests/run -m sanitize

coverage: ## measure the coverage of the default tests and compare it with the required values
	@tests/run -m coverage -s

mutation: ## run mutation tests of the decisions and list the survivors
	@tests/mutation/mutate

bench: ## measure hookd and its peers
	@benchmarks/run

exposure: ## measure the exposure of the services; writes docs/exposure.md
	@UPDATE=1 tests/run tests/system/test_sandbox.py

pages: ## update the tables in documents that are generated from the code
	@.venv/bin/python packaging/pages.py

lint: ## run only the linters
	@tests/run tests/lint

dist: ## build the wheel and the source archive into dist/
	@packaging/build-dist

deb: ## build the Debian package into dist/
	@packaging/build-deb

rpm: ## build the RPM package into dist/
	@packaging/build-rpm

clean: ## remove everything that the other targets have created
	rm -rf .venv .cache .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	rm -rf *.egg-info
	find . -name __pycache__ -type d -exec rm -rf {} +
