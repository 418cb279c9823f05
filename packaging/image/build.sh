#!/usr/bin/env bash
# build.sh [PROFILE]: a golden image's root file system as $OUT/lamplighter-image.tar: Debian 12 with systemd, Apache, PHP and the agent,
# set up by packaging/image/provision.sh exactly as Packer or Azure Image Builder would run it. Needs root. BASE=DIR uses that root
# file system instead of a fresh one.
set -euo pipefail
. "$(dirname "$0")/../versions.sh"
profile=${1:-dist}
"$ROOT/tests/support/install.sh" box
packages "$profile" "${PACKAGE_VERSION:-$VERSION}" deb
base=${BASE:-$("$ROOT/tests/packages/box.sh" base | tail -1)}
work=$(mktemp -d "${TMPDIR:-/var/tmp}/lamplighter-image.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
cp -a --reflink=auto "$base" "$work/root"
install -d "$work/root/tmp/lamplighter"
package=lamplighter_${PACKAGE_VERSION:-$VERSION}_amd64.deb
cp "$OUT/$package" "$ROOT/packaging/image/provision.sh" "$ROOT/packaging/image/deprovision.sh" "$work/root/tmp/lamplighter/"
chroot "$work/root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive bash /tmp/lamplighter/provision.sh "/tmp/lamplighter/$package"
chroot "$work/root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin bash /tmp/lamplighter/deprovision.sh
mkdir -p "$OUT"
tar --sort=name --numeric-owner --xattrs -C "$work" -cf "$OUT/lamplighter-image.tar" root
ls -l "$OUT/lamplighter-image.tar"
