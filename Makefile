# SPDX-License-Identifier: LGPL-2.1-or-later
# Each target is an entry that also works without make; `make help` lists them.

ROUNDS ?= 50
MINUTES ?= 3
SECONDS ?= 60

.DEFAULT_GOAL := help
.PHONY: help setup demo tour picture test test-all test-system hostile crash fuzz attack load soak coverage mutation bench exposure pages lint dist deb rpm clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## make .venv with hookd, hookctl and the test tools
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

crash: ## kill hookd ROUNDS times at random moments and check the books
	@ROUNDS=$(ROUNDS) tests/run -m crash

fuzz: ## look SECONDS long for bytes that break an invariant, for each of them
	@SECONDS=$(SECONDS) tests/run -m fuzz

attack: ## attack the socket, with an innocent client beside each attack
	@tests/run -m attack

load: ## have thousands of jobs at once, and look at the answers meanwhile
	@tests/run -m load

soak: ## good and hostile load for MINUTES: nothing may grow
	@MINUTES=$(MINUTES) tests/run -m soak

coverage: ## measure what the default tests reach, and hold it to what is wanted
	@tests/run -m coverage -s

mutation: ## change the decisions line by line and list what no test notices
	@tests/decisions/mutate

bench: ## measure hookd beside its peers
	@benchmarks/run

exposure: ## measure how exposed the services are, and write it into docs/exposure.md
	@UPDATE=1 tests/run tests/system/test_sandbox.py

pages: ## write the tables that documents take from the code
	@.venv/bin/python packaging/pages.py

lint: ## run the linters alone
	@tests/run tests/lint

dist: ## build the wheel and the source archive into dist/
	@packaging/build-dist

deb: ## build the Debian package into dist/
	@packaging/build-deb

rpm: ## build the RPM package into dist/
	@packaging/build-rpm

clean: ## remove what the other targets made
	rm -rf .venv .cache .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	rm -rf *.egg-info
	find . -name __pycache__ -type d -exec rm -rf {} +
