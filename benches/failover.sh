#!/usr/bin/env bash
# failover.sh [ROUNDS]: how long nobody can write when the primary changes, through the endpoint and through MySQL Router at the same time:
# ROUNDS planned switch-overs and as many kills with a promotion at once (default 10 each). Prints a table of medians: the stall in all,
# the part of it after the new primary takes writes, and the statements that failed. Takes about 5 s a round.
# Environment: CARGO_TARGET_DIR.
set -euo pipefail
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$REPO/tests/support/install.sh" mysql
LAMPLIGHTER_STALL_ROUNDS=${1:-10} cargo test --release --quiet --manifest-path "$REPO/Cargo.toml" --package lamplighter --test it -- failover::stall --nocapture
