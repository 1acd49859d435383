# Tidemill: everything a fresh machine needs to build, run and test. `make` alone prints the targets.
#
# One profile, release, for everything: RocksDB and librdkafka are C++ and C and take many minutes to
# compile, and each profile would compile them again. It keeps overflow checks (see Cargo.toml).

SHELL := /bin/bash
.DEFAULT_GOAL := help

# Outside the checkout, so that a fresh clone does not compile RocksDB again.
TIDEMILL_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tidemill
CARGO_TARGET_DIR ?= $(TIDEMILL_CACHE)/target
export TIDEMILL_CACHE CARGO_TARGET_DIR

CARGO ?= cargo
# A cluster of your own for demo, test, bench and chaos: make demo KAFKA=host:port
KAFKA ?=
export KAFKA
TEST_FLAGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
CHAOS_ARGS ?=
KILLS ?= 50
SECONDS ?= 120

WITH_KAFKA := runtime/kafka/with-kafka
# All programs: demo and chaos start the worker program, which cargo does not build for them.
EXAMPLES := --release -p tidemill-examples --bins
DEMO := --release -p tidemill-examples --bin demo
CHAOS := --release -p tidemill-examples --features failpoints --bin chaos
BENCH := --release -p tidemill-benches --bin bench
# The fail points are for tests alone; with another set of features cargo would build Tidemill twice.
TEST := --release --workspace --features tidemill/failpoints

.PHONY: help setup kafka-jars kafka demo test conformance bench chaos lint doc clean-cache

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | \
	  awk -F '\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

setup: ## install the missing system packages (as root, with apt-get) or name them
	@.ci/setup
	@.ci/fresh

kafka-jars: setup
	@[[ -n "$(KAFKA)" ]] || runtime/kafka/kafka fetch >/dev/null

kafka: kafka-jars ## start an Apache Kafka for hand use; Ctrl-C stops it
	@exec runtime/kafka/kafka run

# Each target builds first and starts the broker then: a build can take many minutes or fail.

demo: kafka-jars ## the main job, killed again and again, with its result verified (DEMO_ARGS=...)
	$(CARGO) build $(EXAMPLES)
	$(WITH_KAFKA) $(CARGO) run --quiet $(DEMO) -- $(DEMO_ARGS)

test: kafka-jars ## all tests, against a real Apache Kafka (TEST_FLAGS=...)
	$(CARGO) test $(TEST) --no-run $(TEST_FLAGS)
	$(WITH_KAFKA) $(CARGO) test $(TEST) $(TEST_FLAGS)

# By another name in the environment: to bash SECONDS is the age of the shell.
conformance: kafka-jars ## crashing clients without Tidemill against a broker, SECONDS=120 long
	$(CARGO) test $(TEST) --test workload --no-run
	TIDEMILL_TEST_WORKLOAD_SECONDS=$(SECONDS) $(WITH_KAFKA) \
	  $(CARGO) test $(TEST) --test workload transactions_of -- --nocapture

bench: kafka-jars ## measure against a raw client loop and Kafka Streams (BENCH_ARGS=...)
	$(CARGO) build $(BENCH)
	$(WITH_KAFKA) $(CARGO) run --quiet $(BENCH) -- $(BENCH_ARGS)

chaos: kafka-jars ## the demo's topology under KILLS=50 random kills (CHAOS_ARGS=...)
	$(CARGO) build $(EXAMPLES) --features failpoints
	$(WITH_KAFKA) $(CARGO) run --quiet $(CHAOS) -- --kills $(KILLS) $(CHAOS_ARGS)

lint: setup ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(TEST) --all-targets -- -D warnings

doc: setup ## the API documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --workspace --release

clean-cache: ## remove what make keeps in TIDEMILL_CACHE (broker jars, build output)
	rm -rf "$(TIDEMILL_CACHE)"/kafka-* "$(TIDEMILL_CACHE)/target"
