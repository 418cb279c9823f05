#!/usr/bin/env bash
# build.sh [PROFILE]: the package of a VM application, in $OUT: one .tar.gz with the .deb, the .rpm and the script that the install,
# update and remove commands run. Azure puts it on the machine as a file named after the application, without an extension, with the
# configuration, if there is one, beside it as NAME-config; commands run in that folder.
#
#   install  mkdir -p /opt/lamplighter-app && tar -xzf lamplighter -C /opt/lamplighter-app && /opt/lamplighter-app/manage install "$PWD/lamplighter-config"
#   update   mkdir -p /opt/lamplighter-app && tar -xzf lamplighter -C /opt/lamplighter-app && /opt/lamplighter-app/manage install "$PWD/lamplighter-config"
#   remove   /opt/lamplighter-app/manage remove
set -euo pipefail
. "$(dirname "$0")/../versions.sh"
profile=${1:-dist}
version=${PACKAGE_VERSION:-$VERSION}
packages "$profile" "$version"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$OUT/lamplighter_${version}_amd64.deb" "$OUT/lamplighter-$version-1.x86_64.rpm" "$work/"
install -m 755 "$ROOT/packaging/vm-application/manage" "$work/manage"
tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -C "$work" -cf - . | gzip -1n >"$OUT/lamplighter-vm-application-$version.tar.gz"
ls -l "$OUT/lamplighter-vm-application-$version.tar.gz"
