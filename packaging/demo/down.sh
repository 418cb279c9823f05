#!/usr/bin/env bash
# make demo-down: ends every process that make demo started, by its number, and removes its folder. Packages and downloads stay.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=packaging/demo/lib/state.sh
. "$HERE/lib/state.sh"

if [ ! -d "$STATE" ]; then
  echo "make demo-down: nothing to do, $STATE is not there"
  exit 0
fi
[ -O "$STATE" ] || fail "$STATE belongs to somebody else"
exec 9<"$STATE"
flock -n 9 || fail "make demo is still at work in $STATE: end that first"
clear_away
echo "make demo-down: everything stopped, $STATE removed"
