# make run     build and see what mailmill does
# make test    every test, and a short cut of each scenario of make torture
# make lint    formatting, clippy with warnings as errors
# make doc     the documentation of the code
# make bench   criterion benches, one for each stage (BENCH=parse for one; SAVE=NAME keeps the figures, AGAINST=NAME compares with them)
# make perf    instructions that a mail costs a worker, against benches/perf.txt (ACCEPT=1 for new figures)
# make torture every scenario of tests/torture for TORTURE_SECONDS, and a table of what was lost and doubled
# make fuzz    every fuzz target (TIME=60 seconds each)
#
# One profile for everything: RocksDB takes 18 minutes to compile on 2 cores, and each further profile as long again.

CARGO := .ci/cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
TIME ?= 60
BENCH ?= parse plan claim commit settle flow bombs
SAVE ?=
AGAINST ?=
TORTURE_SECONDS ?= 540
ACCEPT ?=

# ccache, where it is installed, makes a second build of RocksDB cheap.
ifneq ($(shell command -v ccache),)
export CXX ?= g++
ifeq ($(findstring ccache,$(CXX)),)
export CXX := ccache $(CXX)
endif
endif

.PHONY: run build test lint doc bench perf torture fuzz setup

setup:
	@.ci/setup

build: setup
	$(CARGO) build --release

run: build
	$(TARGET)/release/mailmill demo

test: setup
	@.ci/setup-mail
	$(CARGO) test --release
	$(CARGO) test --release --test torture

lint: setup
	cargo fmt --check
	$(CARGO) clippy --release --all-targets -- -D warnings
	$(CARGO) clippy --release --test torture -- -D warnings

doc: setup
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --no-deps

# Baselines are criterion's: bombs has none.
BASELINE = $(if $(SAVE),--save-baseline $(SAVE))$(if $(AGAINST),--baseline $(AGAINST))
bench: setup
	$(CARGO) bench $(addprefix --bench ,$(if $(BASELINE),$(filter-out bombs,$(BENCH)),$(BENCH))) $(if $(BASELINE),-- $(BASELINE))

perf: build
	CARGO_TARGET_DIR=$(TARGET) benches/perf.sh $(if $(ACCEPT),--accept)

torture: setup
	TORTURE_SECONDS=$(TORTURE_SECONDS) $(CARGO) test --release --test torture

fuzz: setup
	fuzz/run.sh $(TIME)
