# Two commands do everything on a fresh machine with python 3.11+ and make:
#   make demo   train SAC on a MuJoCo task, evaluate it, write a report with pictures
#   make test   lint, types, tests
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
export SDL_VIDEODRIVER ?= dummy

.PHONY: install demo test lint types docs bench claims clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "==> installing into .venv (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch numpy
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: install
	@rm -rf runs/demo
	@echo "==> training SAC to balance a double pendulum in MuJoCo (about 2 minutes)"
	@$(BIN)/actrix train sac --env InvertedDoublePendulum-v5 --steps 20000 --hidden 128 128 --batch 128 --rate 1e-3 \
		--eval-every 4000 --eval-episodes 5 --folder runs/demo
	@echo "==> evaluating on starts that training never saw (a random policy scores about 47; the most is about 9,360)"
	@$(BIN)/actrix eval runs/demo --episodes 10
	@echo "==> writing the report"
	@$(BIN)/actrix report runs/demo

lint: install
	@echo "==> lint and format"
	@$(BIN)/ruff check src tests benchmarks
	@$(BIN)/ruff format --check src tests benchmarks

types: install
	@echo "==> types"
	@$(BIN)/mypy

test: lint types
	@echo "==> tests"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations 15

docs: install
	@$(BIN)/python docs/generate.py
	@$(BIN)/mkdocs build --strict --quiet --site-dir site

bench: install
	@$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .venv-bench site build dist .mypy_cache .pytest_cache .ruff_cache
