.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# Where cargo builds.
target := $(or $(CARGO_TARGET_DIR),target)

# Prints where etcd, kube-apiserver and kube-controller-manager are.
assets := tests/control-plane/build.sh | tail -n 1

say := @printf '\n== %s\n'

.PHONY: help
help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Try it: a control plane and the operator on this machine. ONCE=1 ends by itself, CLUSTER=current uses your cluster
ifeq ($(CLUSTER),current)
	$(say) 'the operator: 3 to 5 minutes to build once'
	@cargo build --locked --bin technical-user-operator
else
	$(say) 'the operator and a control plane, side by side: 4 to 10 minutes to build once, on 2 cores'
	@tests/control-plane/build.sh >/dev/null & control_plane=$$!; \
	  trap 'kill $$control_plane 2>/dev/null || true' EXIT; \
	  cargo build --locked --package technical-user-operator --package support --bins && wait $$control_plane
endif
	@ONCE=$(ONCE) CLUSTER=$(CLUSTER) exec tests/demo/demo.sh $(target)/debug

.PHONY: test
test: control-plane check ## Everything that must be green: `make check` and all tests, also against a real API server
	$(say) 'tests: 10 to 15 minutes on 2 cores, and a minute to build them once'
	@KUBEBUILDER_ASSETS=$$($(assets)) RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((3 * $$(nproc)))} cargo test --workspace --locked

.PHONY: check
check: ## Formatting, clippy and documentation without a warning, generated files up to date
	$(say) 'formatting'
	@cargo fmt --all --check
	$(say) 'clippy: a minute, 3 the first time'
	@cargo clippy --workspace --all-targets --locked -- -D warnings
	$(say) 'documentation: a minute, 3 the first time'
	@RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	$(say) 'generated files, layers and public names: 2 minutes the first time'
	@cargo test --locked --test crds --test layers --test public_names

.PHONY: build
build: ## Build the operator: target/debug/technical-user-operator
	$(say) 'the operator: 2 to 3 minutes to build once, seconds after that'
	@cargo build --locked

.PHONY: prove
prove: control-plane ## The long runs: the whole model, every fault and pairs of them, long comparisons with a real API server
	$(say) 'long runs: some hours on 2 cores, and 10 minutes to build once; pairs of faults get 10 minutes each, or PROVE_SECONDS'
	@mkdir -p target/figures && touch target/figures/.began
	@PROVE=1 KUBEBUILDER_ASSETS=$$($(assets)) cargo test --release --workspace --locked
	$(say) 'figures'
	@find target/figures -name '*.json' -newer target/figures/.began | sort | while read -r figures; do \
	  echo "$$(basename "$$figures" .json): $$(tr -s '\n ' ' ' <"$$figures")"; \
	done

.PHONY: bench
bench: control-plane ## The benchmark, with its figures
	$(say) 'benchmark: 10 minutes to build once'
	@cargo bench --locked --bench figures

.PHONY: crds
crds: build ## Write crds/ from the Rust types
	@mkdir -p crds
	@$(target)/debug/technical-user-operator crd | awk 'BEGIN { RS = "---\n" } \
		match($$0, /plural: [a-z]+/) { name = substr($$0, RSTART + 8, RLENGTH - 8); \
		file = "crds/iam.cyoda.com_" name ".yaml"; printf "%s", $$0 >file; close(file) }'

.PHONY: control-plane
control-plane: ## Find or build etcd, kube-apiserver and kube-controller-manager for the tests
	@tests/control-plane/build.sh
