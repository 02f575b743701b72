# Every target installs what it needs first. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo test check browser docs serve bench proof soak clean
help: ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## create .venv with everything in it
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: install ## train a small network, compress it through the real service, print before and after
	$(BIN)/python examples/demo.py

check: install ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check ## check, then every test that needs no extra hardware
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not benchmark and not soak"

browser: ## install Debian's Chromium, which the tests of the web page use where they find it (as root)
	apt-get update -q && apt-get install -y -q --no-install-recommends chromium

soak: install ## minutes of killed processes, broken connections and hostile models
	$(BIN)/python -m pytest -m soak -s

proof: install ## the slower proofs on the pretrained networks of ../shared
	$(BIN)/python -m pytest -m "slow and not benchmark and not soak" -s

bench: install ## speed and memory, as ratios taken in one run
	$(BIN)/python -m pytest tests/benchmarks -m benchmark -s

docs: install ## the documentation, as pages under build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

serve: install ## API and one worker on http://127.0.0.1:8000
	$(BIN)/sosp serve

clean: ## remove what the targets made
	rm -rf $(VENV) demo-out build *.egg-info
