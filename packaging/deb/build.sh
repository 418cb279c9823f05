#!/usr/bin/env bash
# build.sh [PROFILE]: the .deb and its debug symbols, in $OUT. PACKAGE_VERSION overrides the workspace's version (tests of upgrades).
# Plain dpkg-deb over packaging/stage.sh: no debhelper, so that the same layout serves .rpm, and the result depends on nothing
# but the commit.
set -euo pipefail
. "$(dirname "$0")/../versions.sh"
profile=${1:-dist}
"$ROOT/tests/support/install.sh" deb
[ -x "$OUT/$profile/lamplighter" ] || "$ROOT/packaging/build.sh" "$profile"
version=${PACKAGE_VERSION:-$VERSION}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

tree=$work/lamplighter
"$ROOT/packaging/stage.sh" "$profile" lib/systemd/system "$tree"
doc=$tree/usr/share/doc/lamplighter
install -m 644 "$ROOT/packaging/deb/copyright" "$doc/copyright"
install -D -m 644 "$ROOT/packaging/deb/lintian-overrides" "$tree/usr/share/lintian/overrides/lamplighter"
printf 'lamplighter (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- Lamplighter <packages@lamplighter.example>  %s\n' \
  "$version" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"
gzip -9nc "$ROOT/CHANGELOG.md" >"$doc/CHANGELOG.md.gz"
install -d "$tree/DEBIAN"
sed -e "s/@VERSION@/$version/" -e "s/@GLIBC@/$GLIBC_OLDEST/" -e "s/@SIZE@/$(du -ks --exclude=DEBIAN "$tree" | cut -f1)/" \
  "$ROOT/packaging/deb/control" >"$tree/DEBIAN/control"
for script in postinst prerm postrm; do install -m 755 "$ROOT/packaging/deb/$script" "$tree/DEBIAN/$script"; done
(cd "$tree" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
find "$tree" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +

symbols=$work/symbols
[ ! -e "$OUT/$profile/lamplighter.debug" ] || install -D -m 644 "$OUT/$profile/lamplighter.debug" "$symbols/usr/lib/debug/usr/bin/lamplighter.debug"
install -D -m 644 "$ROOT/packaging/deb/copyright" "$symbols/usr/share/doc/lamplighter-dbgsym/copyright"
cp "$doc/changelog.gz" "$symbols/usr/share/doc/lamplighter-dbgsym/"
install -d "$symbols/DEBIAN"
cat >"$symbols/DEBIAN/control" <<C
Package: lamplighter-dbgsym
Version: $version
Architecture: amd64
Maintainer: Lamplighter <packages@lamplighter.example>
Section: debug
Priority: optional
Depends: lamplighter (= $version)
Installed-Size: $(du -ks "$symbols" | cut -f1)
Description: debug symbols for lamplighter
 Names and lines for gdb and for back traces of the program in the package lamplighter.
C
find "$symbols" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$OUT"
compression=(-Zxz)
[ "$profile" = dist ] || compression=(-Zgzip -z1) # a test package is unpacked as often as it is packed
for name in lamplighter:"$tree" lamplighter-dbgsym:"$symbols"; do
  [ "$profile" = dist ] || [ "${name%%:*}" = lamplighter ] || continue
  dpkg-deb --root-owner-group "${compression[@]}" --build "${name#*:}" "$OUT/${name%%:*}_${version}_amd64.deb" >/dev/null
  ls -l "$OUT/${name%%:*}_${version}_amd64.deb"
done
