#!/usr/bin/env bash
# test.sh [FILTER...]: builds what the package tests install and runs them: lintian and rpmlint, the booted-systemd suite, the
# extension under the guest agent's own code, the image, the templates. PROFILE=dist judges what is shipped; the default, demo, is
# minutes faster and the same in everything but optimisation; dev is the program of `cargo test`, built for this machine, for CI.
# Needs root and a kernel that lets it make namespaces and mounts: where one of them is missing it says which, and fails; nothing is
# left out. The root file system of the boxes is made once.
set -euo pipefail
. "$(dirname "$0")/versions.sh"
# beside what is shipped, not over it
export OUT=$OUT/test
profile=${PROFILE:-demo}
began=$SECONDS
said() { echo "test.sh: $* ($((SECONDS - began)) s)"; }
if ! "$ROOT/tests/packages/box.sh" can; then
  echo "test.sh: THE PACKAGES WERE NOT TESTED: this machine cannot boot a box, see above" >&2
  exit 1
fi
"$ROOT/tests/support/install.sh" deb rpm box judge mysql template packer
# a program that is newer than the boxes' C library does not run in them
box_glibc=2.36
if [ "$profile" = dev ] && [ "$(printf '%s\n' "$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)" $box_glibc | sort -V | tail -1)" != $box_glibc ]; then
  said "this machine's glibc is newer than $box_glibc: the portable program is built instead"
  profile=demo
fi
"$ROOT/packaging/build.sh" "$profile"
[ "$profile" = dev ] || "$ROOT/packaging/check-binary.sh" "$profile"
said "program built"
rm -f "$OUT"/lamplighter*.deb "$OUT"/lamplighter*.rpm
export REUSE=1
for version in 0.1.0 0.1.1; do
  PACKAGE_VERSION=$version "$ROOT/packaging/extension/build.sh" "$profile" # with its .deb and .rpm
done
PACKAGE_VERSION=0.1.0 "$ROOT/packaging/vm-application/build.sh" "$profile"
said "packages built"
lintian --fail-on error,warning --tag-display-limit 0 "$OUT"/lamplighter_0.1.0_amd64.deb
rpmlint -c "$ROOT/packaging/rpm/rpmlintrc.toml" "$OUT"/lamplighter-0.1.0-1.x86_64.rpm >"$OUT/rpmlint.log" 2>&1 || { cat "$OUT/rpmlint.log"; exit 1; }
tail -n 1 "$OUT/rpmlint.log"
"$ROOT/packaging/templates/check.sh" offline
"$ROOT/packaging/image/check.sh"
said "packages and templates judged"
"$ROOT/tests/packages/box.sh" base
# they wait more than they work: twice as many at once as there are processors
threads=${RUST_TEST_THREADS:-$(($(nproc) * 2))}
env -u SOURCE_DATE_EPOCH PROFILE="$profile" cargo test --locked --manifest-path "$ROOT/Cargo.toml" --workspace --test packages -- --test-threads "$threads" "$@"
said "all ok"
