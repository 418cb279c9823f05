#!/usr/bin/env bash
# failover.sh [ROUNDS] [--print]: how long nobody can write when the primary changes, through the endpoint and through MySQL Router at the
# same time: ROUNDS planned switch-overs and as many kills with a promotion at once (default 10 each), then one switch-over under 64 busy
# clients. Writes its section of README.md, unless --print: the stall in all, the part of it after the new primary takes writes, and the
# statements that failed. Takes about 5 s a round. Environment: CARGO_TARGET_DIR.
set -euo pipefail
export LC_ALL=C.UTF-8
BENCHES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=benches/section.sh
. "$BENCHES/section.sh"
read_words failover.sh 10 "$@"
export LAMPLIGHTER_STALL_ROUNDS=$COUNT
write_section failover.sh "$PRINT" "make bench-failover ROUNDS=$COUNT" \
  '| the primary is | through | no write done for, median | longest | after another one takes writes, median | longest | statements failed |' \
  failover::stall failover::switch
