# Names and numbers that the scripts of this folder share. Sourced, not run.
# shellcheck shell=bash
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${LAMPLIGHTER_CACHE:-$HOME/.cache/lamplighter}
export LC_ALL=C CARGO_TERM_COLOR=never

# the oldest C library a package must run on: that of RHEL 8; Debian 11, Ubuntu 20.04 and Azure Linux have newer ones
GLIBC_OLDEST=2.28
TARGET=x86_64-unknown-linux-gnu
SIZE_MAX=$((15 * 1024 * 1024)) # stripped, in bytes

# where tests/support/install.sh keeps what only packages need
KIT=$CACHE/packaging
ZIG=$KIT/zig-$(sed -n 's/^ZIG_VERSION=//p' "$ROOT/tests/support/install.sh")-$(sed -n 's/^ZIGBUILD_VERSION=//p' "$ROOT/tests/support/install.sh")

VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -1)
# where finished packages go
OUT=${OUT:-$ROOT/target/packages}

# one moment for every time stamp in every package, so that the same commit gives the same bytes
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$ROOT" log -1 --format=%ct 2>/dev/null || stat -c %Y "$ROOT/Cargo.lock")}
export SOURCE_DATE_EPOCH

# packages PROFILE VERSION [deb|rpm...]: builds the packages that something else holds, or takes those of REUSE=1 that are there
packages() {
  local profile=$1 version=$2 kind file
  shift 2
  [ $# -gt 0 ] || set -- deb rpm
  for kind in "$@"; do
    case $kind in deb) file=lamplighter_${version}_amd64.deb ;; rpm) file=lamplighter-$version-1.x86_64.rpm ;; esac
    [ -n "${REUSE:-}" ] && [ -e "$OUT/$file" ] || PACKAGE_VERSION=$version "$ROOT/packaging/$kind/build.sh" "$profile" >/dev/null
  done
}

die() { echo "$(basename "$0"): $*" >&2; exit 1; }
