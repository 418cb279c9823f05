# The front door. Every target is one line that calls a script or cargo; look there for what it does.
.PHONY: large-values fuzz-redis test-drivers bench-failover bench-consistency bench-probe bench-redis bench-redis-failover bench-warm bench-sync endurance-sync demo demo-down test fuzz-sessions crosstalk chaos fleet renewals bench fmt lint deb rpm extension vm-application image packages test-packages test-qemu

demo: ## the whole architecture on this machine, driven with real requests, left running to look at
	@packaging/demo/up.sh
demo-down: ## stop the demo and remove everything it made
	@packaging/demo/down.sh
test: ## install the real servers the tests need, run every test; they wait more than they work: half as many again at once as there are processors
	@tests/support/install.sh && RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(($$(nproc) * 3 / 2))} cargo test --workspace
fuzz-sessions: ## random sessions direct and through the endpoint, packet by packet; SEED=first SESSIONS=how many (default 1000)
	@tests/support/install.sh mysql && LAMPLIGHTER_FUZZ_SEED=$(or $(SEED),1000) LAMPLIGHTER_FUZZ_SESSIONS=$(or $(SESSIONS),1000) cargo test -p lamplighter --test it -- sessions:: --nocapture
test-drivers: ## the drivers of every language, those that are compiled too, directly and through the endpoint
	@tests/support/install.sh mysql php drivers compiled-drivers && LAMPLIGHTER_ALL_DRIVERS=1 cargo test -p lamplighter --test it -- drivers::
crosstalk: ## millions of tagged questions while everything breaks; QUESTIONS=how many CLIENTS=at once
	@tests/support/install.sh mysql && LAMPLIGHTER_CROSSTALK_QUESTIONS=$(or $(QUESTIONS),2000000) LAMPLIGHTER_CROSSTALK_CLIENTS=$(or $(CLIENTS),32) LAMPLIGHTER_CROSSTALK_STEP=1 cargo test -p lamplighter --test it -- crosstalk:: --nocapture
chaos: ## half an hour of random faults under 64 clients that keep account; SECONDS=how long SEED=first
	@tests/support/install.sh mysql && LAMPLIGHTER_CHAOS_SECONDS=$(or $(SECONDS),1800) LAMPLIGHTER_CHAOS_SEED=$(or $(SEED),1) cargo test -p lamplighter --test it -- failover::chaos --nocapture
fleet: ## many instances that share the connections of one server, 1 -> INSTANCES -> a tenth of them, under load (default 50)
	@tests/support/install.sh mysql redis && LAMPLIGHTER_FLEET=$(or $(INSTANCES),50) cargo test -p lamplighter --test it -- admission::fleet --nocapture
large-values: ## a value of 512 MiB, Redis' own limit, through the Redis endpoint and back in bounded memory; MIB=how large
	@tests/support/install.sh redis && LAMPLIGHTER_VALUE_MIB=$(or $(MIB),512) cargo test -p lamplighter --test it -- redis::large --nocapture
fuzz-redis: ## random commands direct and through the Redis endpoint; SEED=first SESSIONS=how many (default 100)
	@tests/support/install.sh redis && LAMPLIGHTER_FUZZ_SEED=$(or $(SEED),1) LAMPLIGHTER_FUZZ_SESSIONS=$(or $(SESSIONS),100) cargo test -p lamplighter --test it -- redis::differential --nocapture
renewals: ## Redis by tokens that live LIFETIME seconds (default 420): each is replaced three minutes before its end; takes nine minutes
	@tests/support/install.sh redis php && LAMPLIGHTER_TOKEN_LIFETIME=$(or $(LIFETIME),420) cargo test -p lamplighter --test it -- platform::renewals --nocapture
bench: ## compare the endpoint with direct connections and its peers; rewrites benches/README.md
	@benches/run.sh
bench-consistency: ## reads after writes in each mode, while one replica is three seconds behind; rewrites its section of benches/README.md
	@benches/consistency.sh
bench-sync: ## files: beside rclone and azcopy, on the same storage; rewrites benches/sync/README.md
	@benches/sync/run.sh
endurance-sync: ## files: killed two hundred times at any moment
	@LAMPLIGHTER_KILLS=200 cargo test -p lamplighter --test it -- files::faults::killed --nocapture
bench-redis: ## compare the Redis endpoint with direct connections and twemproxy; rewrites its section of benches/README.md; ROUNDS=how many
	@benches/redis.sh $(ROUNDS)
bench-redis-failover: ## Redis' primary killed or handed over under load: how long nobody can write; rewrites its section of benches/README.md; ROUNDS=how many
	@benches/redis-failover.sh $(ROUNDS)
bench-warm: ## rows of MySQL to Redis by warm jobs, beside a PHP script; rewrites its section of benches/README.md; ROUNDS=how many
	@benches/warm.sh $(ROUNDS)
bench-failover: ## how long nobody can write when the primary changes, beside MySQL Router; rewrites its section of benches/README.md; ROUNDS=how many
	@benches/failover.sh $(ROUNDS)
bench-probe: ## how long probes take at rest and while both cores are saturated through the endpoint; prints a table
	@benches/probe.sh
fmt:
	@cargo fmt --all
lint:
	@cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings && cargo clippy --workspace --test packages -- -D warnings
deb: ## the .deb and its debug symbols, in target/packages
	@packaging/deb/build.sh
rpm: ## the .rpm, likewise
	@packaging/rpm/build.sh
extension: ## the VM extension handler's zip, likewise
	@packaging/extension/build.sh
vm-application: ## the VM application's package, likewise
	@packaging/vm-application/build.sh
image: ## a golden image's root file system with Apache, PHP and the agent, likewise; needs root
	@packaging/image/build.sh
packages: ## all that is shipped, checked, with the list of what is in it and its digests
	@packaging/release.sh
test-packages: ## install, upgrade, break and remove all of it in booted machines; needs root
	@packaging/test.sh
test-qemu: ## the golden image as whole machines with kernels of their own, slowly; needs root
	@packaging/image/qemu.sh
