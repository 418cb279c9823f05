#!/usr/bin/env bash
# release.sh [--twice]: everything that is shipped, in $OUT: program checked, .deb, .rpm, extension, VM application, the list of
# what is in the program, and SHA256SUMS. With --twice the program is built a second time from nothing, and must be the same.
set -euo pipefail
. "$(dirname "$0")/versions.sh"
"$ROOT/packaging/build.sh" dist
"$ROOT/packaging/check-binary.sh" dist
if [ "${1:-}" = --twice ]; then
  first=$(sha256sum <"$OUT/dist/lamplighter")
  again=$(mktemp -d)
  trap 'rm -rf "$again"' EXIT
  CARGO_TARGET_DIR=$again/target OUT=$again/out "$ROOT/packaging/build.sh" dist
  [ "$first" = "$(sha256sum <"$again/out/dist/lamplighter")" ] || die "two builds of the same commit differ"
  echo "two builds are the same: ${first%% *}"
fi
for part in deb rpm extension vm-application; do "$ROOT/packaging/$part/build.sh" dist; done
python3 "$ROOT/packaging/sbom.py" "$ROOT" "$TARGET" >"$OUT/lamplighter-$VERSION.cdx.json"
(cd "$OUT" && sha256sum lamplighter*.deb lamplighter*.rpm lamplighter*.zip lamplighter*.tar.gz lamplighter*.json >SHA256SUMS)
cat "$OUT/SHA256SUMS"
