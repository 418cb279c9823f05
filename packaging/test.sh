#!/usr/bin/env bash
# test.sh [FILTER...]: builds what the package tests install and runs them: lintian and rpmlint, the booted-systemd suite, the
# extension under the guest agent's own code, the image, the templates. PROFILE=dist judges what is shipped; the default, demo, is
# minutes faster and the same in everything but optimisation. Needs root. The root file system of the boxes is made once.
set -euo pipefail
. "$(dirname "$0")/versions.sh"
profile=${PROFILE:-demo}
[ "$(id -u)" = 0 ] || die "the boxes need root"
"$ROOT/tests/support/install.sh" zig deb rpm box judge mysql
"$ROOT/packaging/build.sh" "$profile"
"$ROOT/packaging/check-binary.sh" "$profile"
for version in 0.1.0 0.1.1; do
  PACKAGE_VERSION=$version "$ROOT/packaging/deb/build.sh" "$profile"
  PACKAGE_VERSION=$version "$ROOT/packaging/extension/build.sh" "$profile"
done
"$ROOT/packaging/rpm/build.sh" "$profile"
"$ROOT/packaging/vm-application/build.sh" "$profile"
lintian --fail-on error,warning --tag-display-limit 0 "$OUT"/lamplighter_0.1.0_amd64.deb
rpmlint -c "$ROOT/packaging/rpm/rpmlintrc.toml" "$OUT"/lamplighter-*.rpm >"$OUT/rpmlint.log" 2>&1 || { cat "$OUT/rpmlint.log"; exit 1; }
"$ROOT/packaging/templates/check.sh" offline
"$ROOT/tests/packages/box.sh" base
cargo test --manifest-path "$ROOT/Cargo.toml" -p lamplighter --test packages -- "$@"
