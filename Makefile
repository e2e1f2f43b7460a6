# Every habit of the project. `make demo` and `make test` need nothing set up before.
VENV ?= .venv
MINUTES ?= 10
# Tests at a time: many of them wait for processes and sockets while others compute.
WORKERS ?= 3
BIN := $(VENV)/bin
# What the engine is built for: make demo GPU=cuda, make demo BUILD=portable (docs/install.md).
ifdef GPU
export OLM_GPU := $(GPU)
endif
ifdef BUILD
export OLM_BUILD := $(BUILD)
endif

.PHONY: attack help demo test dev format lint types imports unit tests generated build bench fuzz clean uninstall chosen

help:           ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

demo: $(VENV)/.olm  ## set everything up and let a model answer a prompt
	$(BIN)/olm run demo "Why is the sky blue? Answer in one sentence."
	@.ci/next $(VENV)

test: dev lint types imports tests build  ## set everything up and run every check that CI runs

dev: $(VENV)/.dev  ## the environment to work in

$(VENV)/.olm: pyproject.toml .ci/setup
	@.ci/setup $(VENV)
	@touch $@

$(VENV)/.dev: pyproject.toml .ci/setup
	@.ci/setup $(VENV) dev
	@touch $@ $(VENV)/.olm

ifneq ($(GPU)$(BUILD),)
$(VENV)/.olm $(VENV)/.dev: chosen
endif

format: dev     ## rewrite the code in the house style
	$(BIN)/ruff check --fix -q .
	$(BIN)/ruff format -q .

lint: dev       ## style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: dev      ## mypy, strict
	$(BIN)/mypy

imports: dev    ## which part may import which
	$(BIN)/lint-imports

unit: dev       ## the quick tests, without models or processes: make unit ARGS="-k store"
	$(BIN)/pytest tests/unit tests/property $(ARGS)

tests: dev      ## all tests: make tests ARGS="tests/e2e -k pull" WORKERS=0
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

generated: dev  ## write again what is generated: man pages, completions, tables of the grammars
	$(BIN)/python -m olmkit.cli.generated.manpages
	$(BIN)/python -c 'from olmkit.modelfile.syntax import save_tables as save; save()'
	$(BIN)/python -c 'from olmkit.modelfile.gotemplate.syntax.expressions import save_tables as save; save()'
	cd tests && $(abspath $(BIN))/python -m support.oracle

build: dev      ## wheel and sdist, checked by installing the wheel elsewhere
	.ci/build $(VENV)

bench: dev      ## ratios against llama-server and plain Python (builds llama-server once)
	$(BIN)/python benchmarks/run.py

attack: dev    ## every attack of docs/security.md on daemons of its own, and a table of what it did
	PYTHONPATH=tests $(BIN)/pytest -q -p support.attacktable -o addopts="--import-mode=importlib" \
	    tests/integration/test_hostile_clients.py tests/integration/test_hostile_registries.py \
	    tests/integration/test_runner_bounds.py tests/integration/test_children.py \
	    tests/integration/test_chat_worker.py tests/integration/test_pip_limits.py \
	    tests/integration/test_localsocket.py tests/integration/test_unix_socket.py \
	    tests/integration/test_access_api.py tests/e2e/test_terminal_escapes.py

fuzz: dev       ## the property tests again and again with new seeds: make fuzz MINUTES=60
	@end=$$(( $$(date +%s) + 60 * $(MINUTES) )); rounds=0; \
	while [ $$(date +%s) -lt $$end ]; do \
	    $(BIN)/pytest -q -x tests/property --hypothesis-profile=fuzz --hypothesis-seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ') || exit 1; \
	    rounds=$$((rounds + 1)); \
	done; echo "$$rounds rounds in $(MINUTES) minutes, nothing found"

clean:          ## remove what the targets made, but not downloaded models
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache benchmarks/.build

uninstall:      ## remove all that the targets made on this machine; your own models stay
	@.ci/uninstall $(VENV)
