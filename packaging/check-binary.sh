#!/usr/bin/env bash
# check-binary.sh [PROFILE]: reads back from the program what packages promise: the oldest glibc it runs on, that it needs no other
# library, its size (only of `dist`), that it is stripped and its symbols lie beside it, hardened as distributions want it, and that
# it holds no path of the machine that built it.
set -euo pipefail
. "$(dirname "$0")/versions.sh"
profile=${1:-dist}
[ "$profile" != dev ] || die "a program of the profile dev runs where it was built; there is nothing to promise"
program=$OUT/$profile/lamplighter
[ -x "$program" ] || die "$program is not there; run packaging/build.sh $profile"
bad=0
check() { if "${@:2}"; then echo "ok    $1"; else echo "FAIL  $1"; bad=1; fi; }

newest=$(objdump -T "$program" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -1)
check "newest glibc symbol is $newest, at most GLIBC_$GLIBC_OLDEST" \
  test "$(printf '%s\nGLIBC_%s\n' "$newest" "$GLIBC_OLDEST" | sort -V | tail -1)" = "GLIBC_$GLIBC_OLDEST"
needed=$(objdump -p "$program" | awk '$1 == "NEEDED" { print $2 }' | sort | tr '\n' ' ')
only_libc() { ! tr ' ' '\n' <<<"$needed" | grep -qvE '^((libc|libm|libdl|libpthread|librt|libutil)\.so\.[0-9]+|ld-linux-x86-64\.so\.2|)$'; }
check "needs nothing but glibc: $needed" only_libc
check "machine code is x86-64 for any CPU, position independent" sh -c "readelf -h '$program' | grep -q 'Type: *DYN'"
check "full RELRO" sh -c "readelf -l '$program' | grep -q GNU_RELRO && readelf -d '$program' | grep -qE 'BIND_NOW|NOW'"
check "no executable stack" sh -c "readelf -lW '$program' | grep GNU_STACK | grep -q 'RW '"
check "stripped" sh -c "! readelf -S '$program' | grep -q '\.symtab'"
check "names the file with its symbols" sh -c "readelf -S '$program' | grep -q gnu_debuglink"
no_paths() { ! grep -qaF -e "$HOME/" -e "$ROOT" -e "$CARGO_TARGET_DIR_OR_NONE" "$program"; }
CARGO_TARGET_DIR_OR_NONE=${CARGO_TARGET_DIR:-$HOME/}
check "no path of this machine" no_paths
size=$(stat -c %s "$program")
if [ "$profile" = dist ]; then
  check "$((size / 1024)) KiB, at most $((SIZE_MAX / 1024)) KiB" test "$size" -le "$SIZE_MAX"
fi
version=$("$program" --version | head -1)
check "runs: $version" test -n "$version"
exit $bad
