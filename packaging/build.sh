#!/usr/bin/env bash
# build.sh [PROFILE]: the portable program, stripped, with its debug symbols beside it, in $OUT/PROFILE/.
# PROFILE is `dist` (default: what is shipped), `demo` (less optimised, minutes faster: what the package tests install), or `dev`:
# the very program that `cargo test` has built, for this machine only: what CI installs, because it costs nothing there.
# One program serves every distribution with glibc $GLIBC_OLDEST or newer: it is linked against that version's interface, which
# packaging/check-binary.sh reads back from the result. The same commit built twice gives the same bytes: paths are mapped away,
# and nothing asks for the time.
set -euo pipefail
. "$(dirname "$0")/versions.sh"
profile=${1:-dist}
case $profile in dist | demo | dev) ;; *) die "no profile '$profile' (dist, demo, dev)" ;; esac
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
if [ "$profile" = dev ]; then
  # of the whole workspace, so that what its tests have built is taken as it is
  # (SOURCE_DATE_EPOCH would have every C library built again)
  env -u SOURCE_DATE_EPOCH cargo test --locked --manifest-path "$ROOT/Cargo.toml" --workspace --test packages --no-run
  mkdir -p "$OUT/dev"
  strip --strip-all -o "$OUT/dev/lamplighter.new" "$CARGO_TARGET_DIR/debug/lamplighter"
  chmod 755 "$OUT/dev/lamplighter.new"
  mv "$OUT/dev/lamplighter.new" "$OUT/dev/lamplighter"
  ls -l "$OUT/dev/lamplighter"
  exit 0
fi
"$ROOT/tests/support/install.sh" zig

export CARGO_INCREMENTAL=0
revision=${LAMPLIGHTER_REVISION:-$(git -C "$ROOT" describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || echo unknown)}
export LAMPLIGHTER_REVISION=$revision
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="--remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$ROOT=/lamplighter --remap-path-prefix=$CARGO_TARGET_DIR=/target"
export CFLAGS="-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$CARGO_TARGET_DIR=/target"
export PATH=$ZIG/bin:$PATH CARGO_ZIGBUILD_ZIG_PATH=$ZIG/bin/python-zig

cd "$ROOT"
cargo zigbuild --locked -p lamplighter --bin lamplighter --profile "$profile" --target "$TARGET.$GLIBC_OLDEST"

built=$CARGO_TARGET_DIR/$TARGET/$profile/lamplighter out=$OUT/$profile
mkdir -p "$out"
objcopy --only-keep-debug --compress-debug-sections "$built" "$out/lamplighter.debug"
strip --strip-all --remove-section=.comment -o "$out/lamplighter.new" "$built"
(cd "$out" && objcopy --add-gnu-debuglink=lamplighter.debug lamplighter.new)
chmod 755 "$out/lamplighter.new"
mv "$out/lamplighter.new" "$out/lamplighter"
printf '%s\n' "$revision" >"$out/revision"
ls -l "$out/lamplighter" "$out/lamplighter.debug"
