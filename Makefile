# The two commands of a newcomer are `make demo` and `make test`; each sets up all that it needs.
# KERNEL=6.1 chooses a kernel of lab/kernels.toml for the demo.

PYTHON ?= python3
BIN := .venv/bin
INPUTS := pyproject.toml setup.py build_ffi.py build_share.py $(wildcard _native/*)

.PHONY: demo test test-more soak bench lint clean

demo: .venv/ready
	$(BIN)/python lab/run $(if $(KERNEL),--kernel $(KERNEL)) --rwdir . --env TERM --env COLUMNS -- \
		$(BIN)/pfkeyx demo --output handover.svg

# A kernel keeps one core busy, so that they are tested side by side.
test: .venv/ready
	$(PYTHON) lab/setup --tests
	$(BIN)/tox run-parallel --parallel auto --parallel-no-spinner

# What takes longer: the newest kernel booted; and the tests of PF_KEY and of moves again where a kernel has
# SADB_X_ADDRUPDATE, for which the source of each is fetched, and a module built.
MORE := kernel-7,addrupdate-6.1,addrupdate-6.12,addrupdate-7

test-more: .venv/ready
	$(PYTHON) lab/setup --tests
	$(BIN)/tox run-parallel --parallel auto --parallel-no-spinner -e $(MORE)

# The long forms of the tests that `make test` runs short.
soak: .venv/ready
	$(PYTHON) lab/setup --tests
	SOAK=1 $(BIN)/tox run
	SOAK=1 $(BIN)/tox run -e $(MORE)

# How fast it is, on the newest kernel: ratios to a bare loop and to `ip`, which are kept in bench/results and shown in
# docs/reference/performance.md. SIZES="100 1000" chooses how many SAs there are.
bench: export MACHINE = $(shell sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)
bench: .venv/ready
	$(PYTHON) lab/setup --tests
	mkdir -p bench/results
	$(BIN)/python -m compileall -q pfkeyx  # as an installed package is; a guest throws away what it compiles
	$(BIN)/python lab/run --kernel 7 --user-mode --timeout 36000 --rwdir bench/results --env MACHINE -- \
		unshare --net $(BIN)/python -m bench --output bench/results/7.json $(SIZES)
	$(BIN)/python -m bench.page bench/results/7.json

lint: .venv/ready
	$(BIN)/tox run -e lint,types

.venv/ready: $(INPUTS) lab/setup
	$(PYTHON) lab/setup
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .tox build dist *.egg-info pfkeyx/*.so .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
