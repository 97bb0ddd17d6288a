# Everything people do with this checkout. `make` alone lists it.
PYTHON ?= python3
DEMO_ARGS ?=
DATA ?=
export WARDSTREAM_HOME ?= $(CURDIR)/.wardstream

.PHONY: help demo test lint types unit integration format bench lock train clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

define install
	@test -x $(1)/bin/python || { echo "==> making the environment $(1)"; $(PYTHON) -m venv $(1); }
	@cmp -s requirements/$(2).lock $(1)/installed.lock || { \
	  echo "==> installing requirements/$(2).lock into $(1)"; \
	  $(1)/bin/python -m pip install --disable-pip-version-check --require-hashes --no-deps --progress-bar on -r requirements/$(2).lock && \
	  cp requirements/$(2).lock $(1)/installed.lock; }
endef

.venv: requirements/runtime.lock
	$(call install,.venv,runtime)
	@touch .venv

.venv-triton: requirements/triton.lock
	$(call install,.venv-triton,triton)
	@touch .venv-triton

.venv-dev: requirements/dev.lock
	$(call install,.venv-dev,dev)
	@touch .venv-dev

demo: .venv .venv-triton  ## Set up and run the main job; DATA=PATH replays a data set, DEMO_ARGS='--once --report FILE' runs without a person
	./wardstream demo $(if $(DATA),--data $(DATA)) $(DEMO_ARGS)

test: .venv-dev .venv-triton lint  ## Set up and pass lint, types and all tests
	@$(MAKE) --no-print-directory -j3 types unit integration

lint: .venv-dev  ## Style
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .

types: .venv-dev  ## Types
	.venv-dev/bin/mypy

unit: .venv-dev  ## The tests that start no broker and no server
	.venv-dev/bin/python -m pytest -q --durations=10 tests/unit

integration: .venv-dev .venv-triton  ## The tests against real Kafka, Triton and peers
	.venv-dev/bin/python -m pytest -q --durations=25 tests/contract tests/integration tests/e2e

format: .venv-dev  ## Rewrite the sources in the house style
	.venv-dev/bin/ruff check --fix . && .venv-dev/bin/ruff format .

bench: .venv-dev .venv-triton  ## Every benchmark, each beside its peer or limit (about 10 minutes; leave the machine alone)
	.venv-dev/bin/python -m benchmarks.hl7_parse
	.venv-dev/bin/python -m benchmarks.patients
	.venv-dev/bin/python -m benchmarks.engine
	.venv-dev/bin/python -m benchmarks.triton
	.venv-dev/bin/python -m benchmarks.pipeline $(if $(DATA),--data $(DATA))

lock:  ## Resolve requirements/*.in anew (needs uv)
	for name in runtime triton; do uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/$$name.in -o requirements/$$name.lock; done
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements/dev.in -c requirements/runtime.lock -o requirements/dev.lock

train: .venv-dev  ## Train everything that ships: make train DATA=folder with cinc2019, cinc2012, eicu, nih_cxr
	@test -n "$(DATA)" || { echo "make train needs DATA=folder"; exit 2; }
	.venv-dev/bin/python -m services.cli train fusion --data $(DATA)
	.venv-dev/bin/python -m services.cli train cxr-pneumonia --data $(DATA)/nih_cxr

clean:  ## Remove environments, caches and local state
	rm -rf .venv .venv-dev .venv-triton .wardstream .mypy_cache .ruff_cache .pytest_cache .hypothesis
