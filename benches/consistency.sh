#!/usr/bin/env bash
# consistency.sh [PAIRS] [--print]: how long a read takes right after a write that it has to see, in each mode, while one replica is three
# seconds behind; four clients with PAIRS pairs each (default 2500), every answer checked. Writes its section of README.md, unless --print.
# Takes about three minutes. Environment: CARGO_TARGET_DIR.
set -euo pipefail
export LC_ALL=C.UTF-8
BENCHES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=benches/section.sh
. "$BENCHES/section.sh"
read_words consistency.sh 2500 "$@"
export LAMPLIGHTER_PAIRS=$COUNT
write_section consistency.sh "$PRINT" "make bench-consistency" '| reads right after a write | reads | p50 ms | p99 ms |' \
  consistency::a_session consistency::what_was consistency::mariadb
