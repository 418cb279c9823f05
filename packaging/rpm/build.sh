#!/usr/bin/env bash
# build.sh [PROFILE]: the .rpm, in $OUT. PACKAGE_VERSION overrides the workspace's version. The same files as the .deb, where Red Hat
# and Azure Linux keep them.
set -euo pipefail
. "$(dirname "$0")/../versions.sh"
profile=${1:-dist}
"$ROOT/tests/support/install.sh" rpm
[ -x "$OUT/$profile/lamplighter" ] || "$ROOT/packaging/build.sh" "$profile"
version=${PACKAGE_VERSION:-$VERSION}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

tree=$work/tree
"$ROOT/packaging/stage.sh" "$profile" usr/lib/systemd/system "$tree"
install -d "$tree/usr/share/licenses/lamplighter" "$tree/usr/share/zsh"
install -m 644 "$ROOT/LICENSE-MIT" "$ROOT/LICENSE-APACHE" "$tree/usr/share/licenses/lamplighter/"
mv "$tree/usr/share/zsh/vendor-completions" "$tree/usr/share/zsh/site-functions"
find "$tree" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +

payload=w19.zstdio
[ "$profile" = dist ] || payload=w1.zstdio # a test package is unpacked as often as it is packed
mkdir -p "$OUT"
rpmbuild -bb --quiet --target x86_64-linux \
  --define "_topdir $work/rpm" --define "_rpmdir $work/out" --define "_buildhost localhost" \
  --define "use_source_date_epoch_as_buildtime 1" --define "clamp_mtime_to_source_date_epoch 1" \
  --define "package_version $version" --define "glibc_oldest $GLIBC_OLDEST" --define "tree $tree" --define "payload $payload" \
  --define "changelog_date $(date -u -d "@$SOURCE_DATE_EPOCH" '+%a %b %d %Y')" \
  "$ROOT/packaging/rpm/lamplighter.spec"
cp "$work"/out/x86_64/*.rpm "$OUT/"
ls -l "$OUT/lamplighter-$version-1.x86_64.rpm"
