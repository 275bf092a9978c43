.DEFAULT_GOAL := help

.PHONY: help
help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: control-plane
control-plane: ## Find or build etcd, kube-apiserver and kube-controller-manager for the tests
	@tests/control-plane/build.sh
