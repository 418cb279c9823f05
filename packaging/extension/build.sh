#!/usr/bin/env bash
# build.sh [PROFILE]: the VM extension handler as a zip, in $OUT: handler, manifest, and the .deb and .rpm it installs.
set -euo pipefail
. "$(dirname "$0")/../versions.sh"
profile=${1:-dist}
version=${PACKAGE_VERSION:-$VERSION}
packages "$profile" "$version"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/packages"
cp "$ROOT"/packaging/extension/{HandlerManifest.json,handler,handler.py} "$work/"
cp "$OUT/lamplighter_${version}_amd64.deb" "$OUT/lamplighter-$version-1.x86_64.rpm" "$work/packages/"
chmod 755 "$work/handler"
find "$work" -exec touch --date "@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$OUT"
# zip has no zone: the same bytes everywhere
python3 - "$work" "$OUT/lamplighter-extension-$version.zip" <<'P'
import os, sys, time, zipfile
work, target = sys.argv[1:]
moment = time.gmtime(max(int(os.environ["SOURCE_DATE_EPOCH"]), 315532800))[:6]
files = sorted(os.path.join(folder, name) for folder, _, names in os.walk(work) for name in names)
with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
    for path in files:
        entry = zipfile.ZipInfo(os.path.relpath(path, work), moment)
        entry.external_attr = (os.stat(path).st_mode & 0o777) << 16
        # packages are compressed already
        entry.compress_type = zipfile.ZIP_STORED if "packages/" in entry.filename else zipfile.ZIP_DEFLATED
        with open(path, "rb") as file:
            archive.writestr(entry, file.read())
P
ls -l "$OUT/lamplighter-extension-$version.zip"
