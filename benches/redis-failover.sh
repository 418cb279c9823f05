#!/usr/bin/env bash
# redis-failover.sh [ROUNDS] [--print]: how long nobody can write when Redis changes its primary, under 64 clients that write and read
# through the endpoint: ROUNDS hand-overs and as many kills with a promotion at once (default 10 each). Writes its section of README.md,
# unless --print: from when the new primary answers to the first good write and to the last client's, and what became of every command.
# Takes about a second a round. Environment: CARGO_TARGET_DIR.
set -euo pipefail
export LC_ALL=C.UTF-8
BENCHES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=benches/section.sh
. "$BENCHES/section.sh"
read_words redis-failover.sh 10 "$@"
export LAMPLIGHTER_FAILOVER_ROUNDS=$COUNT LAMPLIGHTER_FAILOVER_CLIENTS=64
write_section redis-failover.sh "$PRINT" "make bench-redis-failover ROUNDS=$COUNT" \
  '| the primary is | the new one answers, then a good write after, median | longest | then one of every client, median | longest | no good write of a client for, median | longest | commands | errors that clients were told | counted by the agent | answers of the server as a replica |' \
  redis::failover
