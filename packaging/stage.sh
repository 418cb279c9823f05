#!/usr/bin/env bash
# stage.sh PROFILE UNITS DEST: lays out below DEST what every package installs: one layout for .deb, .rpm, image and extension.
# UNITS is where this distribution keeps units: lib/systemd/system (Debian and Ubuntu before usr-merge) or usr/lib/systemd/system.
set -euo pipefail
. "$(dirname "$0")/versions.sh"
profile=${1:?usage: stage.sh PROFILE UNITS DEST} units=${2:?} dest=${3:?}
program=$OUT/$profile/lamplighter
[ -x "$program" ] || die "$program is not there; run packaging/build.sh $profile"
put() { install -D -m "$1" "$2" "$dest/$3"; }

put 755 "$program" usr/bin/lamplighter
put 644 "$ROOT/systemd/lamplighter.service" "$units/lamplighter.service"
put 644 "$ROOT/systemd/lamplighter.socket" "$units/lamplighter.socket"
put 755 "$ROOT/systemd/leaving" usr/lib/lamplighter/leaving
put 644 "$ROOT/systemd/sysusers.d/lamplighter.conf" usr/lib/sysusers.d/lamplighter.conf
put 644 "$ROOT/systemd/tmpfiles.d/lamplighter.conf" usr/lib/tmpfiles.d/lamplighter.conf

# for the web server: enable-web puts these where Apache and PHP look, on either family of distributions
put 755 "$ROOT/packaging/web/enable-web" usr/share/lamplighter/enable-web
put 644 "$ROOT/packaging/web/apache.conf" usr/share/lamplighter/apache.conf
put 644 "$ROOT/config/php/php.ini" usr/share/lamplighter/php.ini
put 644 "$ROOT/config/php/healthz.php" usr/share/lamplighter/healthz.php

doc=usr/share/doc/lamplighter
put 644 "$ROOT/README.md" "$doc/README.md"
put 644 "$ROOT/docs/install.md" "$doc/install.md"
put 644 "$ROOT/docs/runbook.md" "$doc/runbook.md"
put 644 "$ROOT/docs/metrics.md" "$doc/metrics.md"
put 644 "$ROOT/config/lamplighter.toml" "$doc/examples/lamplighter.toml"
for example in "$ROOT"/config/examples/*.toml; do put 644 "$example" "$doc/examples/$(basename "$example")"; done
put 644 "$ROOT/systemd/examples/lamplighter.conf" "$doc/examples/lamplighter.service.conf"
for example in "$ROOT"/config/php/*.php "$ROOT"/config/php/*.md; do put 644 "$example" "$doc/examples/php/$(basename "$example")"; done

install -d -m 755 "$dest/etc/lamplighter"
# the program knows its own command line best: one page and one completion are the same text as --help
"$program" generate man "$dest/usr/share/man/man8"
gzip -9n "$dest"/usr/share/man/man8/*
install -d "$dest/usr/share/bash-completion/completions" "$dest/usr/share/zsh/vendor-completions" "$dest/usr/share/fish/vendor_completions.d"
"$program" generate bash >"$dest/usr/share/bash-completion/completions/lamplighter"
"$program" generate zsh >"$dest/usr/share/zsh/vendor-completions/_lamplighter"
"$program" generate fish >"$dest/usr/share/fish/vendor_completions.d/lamplighter.fish"
find "$dest" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
