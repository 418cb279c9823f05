#!/usr/bin/env bash
# probe.sh [SECONDS]: how long probes take while every core is saturated by traffic through the MySQL endpoint: 500 a second, each over a
# connection of its own, for 20 s by default, on a machine at rest and then under load. The bar: p99 under 5 ms, none over 50 ms.
# Environment: LAMPLIGHTER_BIN (the agent to measure), PROBE_BIN (probe_latency, instead of building it), CARGO_TARGET_DIR.
set -euo pipefail
umask 077
export LC_ALL=C.UTF-8
BENCHES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$BENCHES/.." && pwd)
CACHE=${LAMPLIGHTER_CACHE:-$HOME/.cache/lamplighter}
SECONDS_EACH=${1:-20} RATE=500
# shellcheck source=benches/servers.sh
. "$BENCHES/servers.sh"
# shellcheck source=benches/section.sh
. "$BENCHES/section.sh"
say() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }
fail() {
  printf '\nprobe.sh: %s\n' "$1" >&2
  [ ! -s "${2:-}" ] || tail -n 15 "$2" >&2
  exit 1
}
"$REPO/tests/support/install.sh" mysql php
build_agent
if [ -z "${PROBE_BIN:-}" ]; then
  cargo build --release --quiet --manifest-path "$REPO/Cargo.toml" --package lamplighter-health --example probe_latency
  PROBE_BIN=${CARGO_TARGET_DIR:-$REPO/target}/release/examples/probe_latency
fi
open_work
make_certificates
start_mysql
start_agent
address=$(sed -n 's/^listen = "\(127[^"]*\)"/\1/p' "$WORK/lamplighter.toml" | head -n 1)
say "at rest: $(cores_in_use) % of the cores in use"
"$PROBE_BIN" "$address" "$RATE" "$SECONDS_EACH"
for client in 1 2 3 4 5 6 7 8; do
  start "client-$client" php -r '$c = new mysqli("localhost", "web", "", "app", 0, $argv[1]);
    while (true) for ($i = 1; $i <= 1000; $i++) $c->query("SELECT v FROM kv WHERE id = $i")->fetch_row();' "$WORK/run/mysql.sock"
done
say "eight clients through the endpoint, each as fast as it can: $(cores_in_use) % of the cores in use, load average $(cut -d ' ' -f 1-2 /proc/loadavg)"
"$PROBE_BIN" "$address" "$RATE" "$SECONDS_EACH"
for client in 1 2 3 4 5 6 7 8; do alive "client-$client" || fail "a client ended" "$WORK/log/client-$client.log"; done
