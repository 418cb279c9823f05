# The front door. Every target is one line that calls a script or cargo; look there for what it does.
.PHONY: demo demo-down test bench fmt lint

demo: ## the whole architecture on this machine, driven with real requests, left running to look at
	@packaging/demo/up.sh
demo-down: ## stop the demo and remove everything it made
	@packaging/demo/down.sh
test: ## install the real servers the tests need, run every test
	@tests/support/install.sh && cargo test --workspace
bench: ## compare the endpoint with direct connections and its peers; rewrites benches/README.md
	@benches/run.sh
fmt:
	@cargo fmt --all
lint:
	@cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings
