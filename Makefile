# Every target sets up what it needs by itself: a virtual environment in .venv, and as root the
# system packages that the tests use. The second run of a target does none of that again.

SHELL = /bin/sh
.DEFAULT_GOAL = help
MAKEFLAGS += --no-print-directory
export PATH := $(PATH):/usr/sbin:/sbin

export VENV ?= .venv
BIN = $(VENV)/bin
RUN = $(BIN)/.layerctl-installed
DEV = $(BIN)/.groups-installed
SYSTEM = $(BIN)/.system-checked

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(RUN)  ## show the main job in a mount namespace of its own
	@$(BIN)/python -m tools.demo

.PHONY: test
test: $(DEV) $(SYSTEM)  ## run every test (TESTS=... chooses some)
	@$(BIN)/python -m pytest -q -n 2 $(TESTS)

PYTHONS = python3.11 python3.12 python3.13 python3.14 python3.15

.PHONY: test-pythons
test-pythons:  ## run every test under each of PYTHONS that this machine has
	@for python in $(PYTHONS); do \
		"$$python" -c "" 2>/dev/null || continue; \
		"$$python" --version; \
		$(MAKE) test VENV=".venv-$${python##*/}" PYTHON="$$python" || exit; \
	done

KERNEL_TESTS = tests/test_mount_real.py tests/test_mount_property.py tests/test_undo.py \
	tests/test_umount.py
KERNELS = bullseye bookworm trixie sid

.PHONY: test-kernels
test-kernels: $(DEV)  ## run the mount tests on Debian's kernels (KERNELS=..., as root)
	@tools/kernels $(KERNELS) -- $(KERNEL_TESTS)

.PHONY: test-aufs
test-aufs: $(DEV)  ## run the aufs tests on KERNEL=path/to/bzImage (as root)
	@test -n "$(KERNEL)" || { echo "name a kernel image with aufs built in: make test-aufs" \
		"KERNEL=path/to/bzImage (Linux 6.1 sources with the patches of aufs-standalone's branch" \
		"aufs6.1, configured with AUFS_FS, ext4, xfs, loop, 9p and virtio as y)" >&2; exit 2; }
	@tools/kernels "$(abspath $(KERNEL))" -- tests/test_live_aufs.py

BOOTS = systemd initramfs-tools dracut
.PHONY: test-boot
test-boot: $(DEV)  ## boot a Debian: fstab lines and units by systemd, an overlayed root (BOOTS=..., as root)
	@$(BIN)/python -m tools.boot $(BOOTS)

.PHONY: check
check: $(DEV)  ## run ruff, mypy --strict, import-linter, vulture and the rules of the house
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --strict --no-error-summary
	@$(BIN)/lint-imports --no-cache --no-logo
	@$(BIN)/vulture layerctl tools
	@$(BIN)/vulture layerctl tools tests
	@$(BIN)/python -m tools.house

.PHONY: install
install:  ## install below PREFIX (/usr/local), for packagers in DESTDIR
	@python=$$(tools/setup python) && \
		"$$python" tools/install.py --destdir '$(DESTDIR)' --prefix '$(or $(PREFIX),/usr/local)'

.PHONY: uninstall
uninstall:  ## remove what install put there
	@python=$$(tools/setup python --any) && \
		"$$python" tools/install.py --remove --destdir '$(DESTDIR)' --prefix '$(or $(PREFIX),/usr/local)'

REPORTS ?= tests/data/doctor/build.jsonl tests/data/doctor/judge.jsonl
.PHONY: score
score: $(DEV)  ## count the reports (REPORTS=FILES) that doctor --from explains
	@$(BIN)/python -m tools.score $(REPORTS)

.PHONY: bench
bench: $(DEV)  ## print how much time the program costs, as ratios
	@$(BIN)/python -m tools.bench

.PHONY: fuzz
SECONDS ?= 60
fuzz: $(DEV)  ## compare the resolver with the kernel, and work on layers, for SECONDS (60) each
	@$(BIN)/python -m tools.fuzz.stacks --seconds $(SECONDS)
	@$(BIN)/python -m tools.fuzz.working --seconds $(SECONDS)
	@$(BIN)/python -m tools.fuzz.running --seconds $(SECONDS)

.PHONY: inject
inject: $(DEV) $(SYSTEM)  ## make every call fail, of all commands or COMMANDS, and kill work on layers (as root, hours)
	@$(BIN)/python -m tools.inject $(COMMANDS) $(INJECT)
	@test -n "$(COMMANDS)" || $(BIN)/python -m tools.inject.kills

.PHONY: mutation
COUNT ?= 100
mutation: $(DEV) $(SYSTEM)  ## break COUNT (100) lines one at a time: do the tests notice? (as root)
	@$(BIN)/python -m pip --quiet install --group mutation
	@$(BIN)/python -m tools.mutation --count $(COUNT)

.PHONY: fuzz-texts
fuzz-texts: $(DEV)  ## read 10,000 mutated and random texts
	@$(BIN)/python -m tools.fuzz.texts --count 10000

.PHONY: attack
RUNS ?= 200
attack: $(DEV)  ## attack each command that root runs with a hostile neighbour, RUNS times (200)
	@$(BIN)/python -m tools.attack --runs $(RUNS)

.PHONY: real-system
real-system: $(DEV)  ## compare the resolver with the kernel on a Debian in six layers (as root)
	@$(BIN)/python -m tools.real_system

.PHONY: engines
engines: $(DEV)  ## compare with what real Docker, podman and containerd (ENGINES=...) report (as root)
	@tools/setup engines
	@$(BIN)/python -m tools.engines $(ENGINES)

.PHONY: xfstests
xfstests: $(DEV)  ## run the overlay group of XFSTESTS=path, built, with check as fsck.overlay (as root, an hour)
	@test -n "$(XFSTESTS)" || { echo "name a built checkout: make xfstests XFSTESTS=path" \
		"TESTS='overlay/045 overlay/046 overlay/056'" >&2; exit 2; }
	@$(BIN)/python -m tools.oracles.xfstests "$(XFSTESTS)" $(TESTS)

.PHONY: try-tests
try-tests: $(DEV)  ## run the cases of binpash/try in TRY=path with layerctl in its place (as root)
	@test -n "$(TRY)" || { echo "name a checkout: make try-tests TRY=path" >&2; exit 2; }
	@$(BIN)/python -m tools.oracles.try_tests "$(TRY)"

.PHONY: real-runs
real-runs: $(DEV)  ## install and remove a package over a debootstrap, in DEBIAN=path or a new one (as root)
	@$(BIN)/python -m tools.oracles.real_runs $(DEBIAN)

.PHONY: unionmount
unionmount: $(DEV)  ## judge what the suite in UNIONMOUNT=path leaves, also after commit, deref and trim (as root)
	@test -n "$(UNIONMOUNT)" || { echo "name a checkout of unionmount-testsuite:" \
		"make unionmount UNIONMOUNT=path" >&2; exit 2; }
	@$(BIN)/python -m tools.oracles.unionmount "$(UNIONMOUNT)" $(ARGUMENTS)

.PHONY: generate
generate: $(DEV)  ## write the completions, manual pages and tables of the docs anew
	@$(BIN)/python tools/generate.py

.PHONY: docs
docs: $(DEV) $(SYSTEM)  ## write what the examples of the docs print anew (as root)
	@LAYERCTL_UPDATE_DOCS=1 $(BIN)/python -m pytest -q tests/test_docs.py

.PHONY: golden
golden: $(DEV)  ## write the expected outputs of the tests anew
	@LAYERCTL_UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q tests/test_golden.py

.PHONY: clean
clean:  ## remove what the other targets made
	@rm -rf .venv .venv-* .kernels .mutation .engines .boot build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find layerctl tests tools -name __pycache__ -prune -exec rm -rf {} +

$(RUN): pyproject.toml tools/setup
	@tools/setup run
	@touch $@

$(DEV): $(RUN)
	@tools/setup dev
	@touch $@

$(SYSTEM): $(RUN) tools/setup
	@tools/setup system
