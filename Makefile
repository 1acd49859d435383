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
# Which broker is started where there is a choice: kafka or embedded.
BROKER ?=
export BROKER
TEST_FLAGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
BENCH_CONNECT_ARGS ?=
CHAOS_ARGS ?=
KILLS ?= 50
# The simulation: one seed to replay, or how many to run, and from where
SEED ?=
SEEDS ?= 2000
FIRST ?= 0
SECONDS ?= 120

WITH_KAFKA := runtime/kafka/with-kafka
DEMO := --release -p tidemill-examples --bin demo
CHAOS := --release -p tidemill-examples --features failpoints --bin chaos
BENCH := --release -p tidemill-benches --bin bench
# Fail points, the simulation and its mutations are for tests alone; with another set of features
# cargo would build Tidemill twice.
# Databases beside Kafka: everything that tests can turn on
comma := ,
empty :=
CONNECT := $(subst $(empty) $(empty),$(comma),$(addprefix tidemill-connect/,\
  failpoints postgres-cdc revision-service simulation testing))
TEST := --release --workspace --features tidemill/failpoints,tidemill/mutations,tidemill-examples/simulation,$(CONNECT)
CONNECT_TESTS := $(TEST) $(addprefix --test ,outbox outbox_tailing cdc sink listen event_sourcing \
  saga revision)
BENCH_CONNECT := --release -p tidemill-benches --bin bench-connect
SIM := $(TEST) --test sim
EMBEDDED := $(TEST) --bin tidemill-broker

.PHONY: help setup setup-build kafka-jars kafka demo test golden conformance sim bench bench-connect chaos \
  chaos-connect lint doc clean-cache

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | \
	  awk -F '\t' '{ printf "  make %-14s %s\n", $$1, $$2 }'

setup: ## install the missing system packages (as root, with apt-get) or name them
	@.ci/setup
	@.ci/fresh

# Without what only Apache Kafka and the tests need.
setup-build:
	@.ci/setup --for-build
	@.ci/fresh

kafka-jars: setup
	@[[ -n "$(KAFKA)" ]] || runtime/kafka/kafka fetch >/dev/null

kafka: kafka-jars ## start an Apache Kafka for hand use; Ctrl-C stops it
	@exec runtime/kafka/kafka run

# Each target builds first and starts the broker then: a build can take many minutes or fail.

demo: $(if $(filter kafka,$(BROKER)),kafka-jars,setup-build) ## the main job, killed again and again, with its result verified (BROKER=kafka, DEMO_ARGS=...)
	$(CARGO) build $(DEMO)
	$(if $(filter kafka,$(BROKER)),$(WITH_KAFKA)) $(CARGO) run --quiet $(DEMO) -- \
	  $(if $(KAFKA),--bootstrap-servers $(KAFKA)) $(DEMO_ARGS)

test: kafka-jars ## all tests on Apache Kafka, those with a broker on the embedded one too (TEST_FLAGS=...)
	$(CARGO) build $(EMBEDDED)
	CARGO="$(CARGO)" .ci/test $(TEST) $(TEST_FLAGS)

# Scenarios that are gone leave no vector behind.
golden: setup ## let Kafka Streams write the golden vectors of core/tests/golden again
	@classpath=$$(core/tests/golden/java/build) && cd core/tests/golden && \
	  count=$$(find scenarios/random -name '*.json' | wc -l) && rm -rf vectors scenarios/random && \
	  java -cp "$$classpath" tidemill.golden.Golden random scenarios/random "$$count" && \
	  java -cp "$$classpath" tidemill.golden.Golden vectors scenarios vectors

# By another name in the environment: to bash SECONDS is the age of the shell.
conformance: kafka-jars ## crashing clients without Tidemill on each broker, SECONDS=120 long (BROKER=...)
	$(CARGO) build $(EMBEDDED)
	$(CARGO) test $(TEST) --test workload --no-run
	for broker in $(or $(BROKER),kafka embedded); do \
	  BROKER=$$broker TIDEMILL_TEST_WORKLOAD_SECONDS=$(SECONDS) $(WITH_KAFKA) \
	    $(CARGO) test $(TEST) --test workload transactions_of -- --nocapture || exit; \
	done

sim: setup-build ## simulated clusters with faults: SEEDS=2000, or one again with SEED=n
	$(CARGO) test $(SIM) --no-run
	TIDEMILL_SIM_SEED=$(SEED) TIDEMILL_SIM_SEEDS=$(SEEDS) TIDEMILL_SIM_FIRST=$(FIRST) \
	  $(CARGO) test --quiet $(SIM) -- --nocapture everything_holds

bench: kafka-jars ## measure against a raw client loop and Kafka Streams (BENCH_ARGS=...)
	$(CARGO) build $(BENCH)
	$(if $(filter embedded,$(BROKER)),$(CARGO) build $(EMBEDDED))
	$(WITH_KAFKA) $(CARGO) run --quiet $(BENCH) -- $(BENCH_ARGS)

chaos: $(if $(filter embedded,$(BROKER)),setup-build,kafka-jars) ## the demo's topology under KILLS=50 random kills (BROKER=embedded, CHAOS_ARGS=...)
	$(CARGO) build $(CHAOS)
	$(if $(filter embedded,$(BROKER)),,$(WITH_KAFKA)) $(CARGO) run --quiet $(CHAOS) -- \
	  --kills $(KILLS) $(CHAOS_ARGS)

# Each pattern's own kill loop, on PostgreSQL and on the broker.
chaos-connect: KILLS = 200
chaos-connect: $(if $(filter embedded,$(BROKER)),setup,kafka-jars) ## the cures of the dual-write problem, each under KILLS=200 kills (BROKER=embedded)
	$(CARGO) build $(EMBEDDED)
	$(CARGO) test $(CONNECT_TESTS) --no-run
	TIDEMILL_TEST_KILLS=$(KILLS) $(WITH_KAFKA) \
	  $(CARGO) test $(CONNECT_TESTS) -- --nocapture --test-threads=1 chaos_

bench-connect: kafka-jars ## relay and change data capture against a plain loop (BENCH_CONNECT_ARGS=...)
	$(CARGO) build $(BENCH_CONNECT)
	$(WITH_KAFKA) $(CARGO) run --quiet $(BENCH_CONNECT) -- $(BENCH_CONNECT_ARGS)

lint: setup-build ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(TEST) --all-targets -- -D warnings
	@for features in "" postgres postgres-cdc; do \
	  $(CARGO) clippy --quiet --release -p tidemill-connect --features "$$features" -- -D warnings || exit 1; \
	done

doc: setup-build ## the API documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --workspace --release --features tidemill/simulation

clean-cache: ## remove what make keeps in TIDEMILL_CACHE (broker jars, build output)
	rm -rf "$(TIDEMILL_CACHE)"/kafka-* "$(TIDEMILL_CACHE)/target"
