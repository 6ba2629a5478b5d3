# One command each. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

export DO_NOT_TRACK := 1
export ANONYMIZED_TELEMETRY := False
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help run setup weights test coverage check lint types imports configurations openapi openapi-diff metrics-diff watch crash offline e2e-compose e2e-space train register smoke loop bench clean

# Manuals and XQuAD, where they lie on this machine already; else models/data/sources.yaml says where to get them.
export CAPSTONE_TRAIN_DATA ?= $(wildcard ../shared/trainset)

help:  ## show this
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

run: weights  ## set up everything, ingest the example, ask it a question, keep serving on 127.0.0.1:8000
	$(BIN)/capstone up --example --log-level WARNING

# With COVER=1: a file of its own for each part, so that parts can be recorded one after another, or on different machines.
RECORD = $(if $(COVER),COVERAGE_FILE=.coverage.$(subst /,-,$(or $(firstword $(PARTS)),tests)))

test: weights  ## set up everything and run the tests; PARTS="tests/unit tests/e2e" for some; COVER=1 records which lines ran
	$(RECORD) $(BIN)/pytest -n 2 --dist loadfile $(if $(COVER),--cov --cov-report=) $(PARTS)

coverage: setup  ## what share of the code the tests ran, of all that `make test COVER=1` has recorded; fails below the floor
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

check: lint types imports configurations  ## lint, format, types, import rules; workflows, containers, scripts, rules under infra/

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

configurations: setup
	$(BIN)/python -m infra.check

openapi: setup  ## write docs/openapi.json, the HTTP surface of all services
	$(BIN)/python -m infra.openapi

openapi-diff: setup  ## does it break clients of the one in the file BASE=...?
	$(BIN)/api-schema-diff $(BASE) docs/openapi.json

metrics-diff: setup  ## figures of the models beside those of BASE=..., a commit or branch, as Markdown
	$(BIN)/dvc metrics diff --all --md $(BASE)

watch: weights  ## a real Prometheus scrapes the running platform: every expression of rules and dashboards returns data
	$(BIN)/python -m infra.check --bring
	$(BIN)/python -m tests.watch

crash: weights  ## kill -9 the platform again and again during ingest; nothing may be lost, doubled or stuck
	$(BIN)/python -m tests.crash.kill_loop

offline: weights  ## start, ingest and ask in a network namespace that has nothing but loopback
	$(BIN)/python -m tests.offline.cut_network

e2e-compose: setup  ## all services in containers: build, start, ingest, ask, promote, kill each, stop, start again
	$(BIN)/python -m tests.compose.prove

e2e-space: setup  ## the image of the Hugging Face Space: build, start, ask
	$(BIN)/python -m tests.space.prove

train: weights  ## data to release: what is not up to date; hours on two cores if the classifier is not
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro

register: weights  ## put the release into the model registry as `challenger`, if it passes
	$(BIN)/python -m models.register

smoke: weights  ## the whole offline path on a small scale, in a clean clone
	$(BIN)/python -m tests.train.smoke

loop: weights  ## shift the traffic, see the alert fire, a retraining run open and the gate decide; 8 minutes
	$(BIN)/python -m tests.loop.drive

bench: weights  ## the figures of this project, each measured side by side in one run
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/footprint.py
	$(BIN)/python benchmarks/gold.py --only all
	$(BIN)/python benchmarks/retrieval.py
	$(BIN)/python benchmarks/gate.py
	$(BIN)/python benchmarks/swap.py
	$(BIN)/python benchmarks/drift.py

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the environment into .venv; 2 to 5 minutes ..."
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt -e '.[dev]'
	touch $(READY)

weights: setup
	$(BIN)/capstone fetch

clean:  ## remove the environment and caches, not your data
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
