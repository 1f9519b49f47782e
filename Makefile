# Every chore has one name. `make demo` and `make test` do all the set-up on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_HOME ?= data/demo

.PHONY: demo test ui check bench cluster-demo clean

demo: $(READY)
	$(BIN)/geoloc demo --home $(DEMO_HOME)

test: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

ui: $(READY)
	mkdir -p $(DEMO_HOME)/dagster
	cp dagster.demo.yaml $(DEMO_HOME)/dagster/dagster.yaml
	DAGSTER_HOME=$(abspath $(DEMO_HOME)/dagster) $(BIN)/dagster instance info > /dev/null  # fresh records are opened by one process alone
	GEOLOC_HOME=$(DEMO_HOME) GEOLOC_PROFILE=demo DAGSTER_HOME=$(abspath $(DEMO_HOME)/dagster) $(BIN)/dagster dev -w workspace.yaml

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/audit

bench: $(READY)
	$(BIN)/python -m benchmarks

# A Ray cluster, PostgreSQL (apt-get install postgresql) and Dagster on loopback; WORLD='--prefectures 13,47 --density 0.25' for a quicker look.
cluster-demo: $(VENV)/.ready-ray
	$(BIN)/python -m benchmarks.cluster_demo $(WORLD)

clean:
	rm -rf $(VENV) data

# The spatial extension of DuckDB comes as a wheel and is put where DuckDB looks for it; nothing is downloaded at run time.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	$(BIN)/python -c 'from geoloc_pipeline.osm.spatial import ensure_spatial; ensure_spatial()'
	touch $(READY)

$(VENV)/.ready-ray: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,ray]' -c constraints.txt
	touch $(VENV)/.ready-ray
