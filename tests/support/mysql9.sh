#!/usr/bin/env bash
# mysql9.sh DIR: puts real MySQL 9 (server, client, Router) below DIR without touching this machine's own packages or libc.
#
# Debian 12 has no MySQL, Debian sid has. apt resolves the whole dependency closure against an empty package status, the
# packages are only unpacked below DIR/root, and the programs run by that folder's own dynamic loader through small wrappers in
# DIR/bin. Needs apt, dpkg and an archive mirror, which is taken from this machine's own apt configuration ($DEBIAN_MIRROR
# overrides). No root, no chroot.
# Afterwards: DIR/bin/{mysqld,mysql,mysqladmin,mysqldump,mysqlbinlog,mysqlslap,mysqlrouter,...}, DIR/env (paths as shell
# variables), DIR/complete (the server's version).
set -euo pipefail
DIR=${1:?usage: mysql9.sh DIR}
mkdir -p "$DIR"
DIR=$(cd "$DIR" && pwd)
ARCH=$(dpkg --print-architecture)
PACKAGES=(mysql-server-core mysql-client-core mysql-router libc6 libc-bin)
say() { echo "mysql9.sh: $*"; }

# two test runs may want it at the same moment
exec 9>"$DIR/.lock"
flock 9
[ ! -e "$DIR/complete" ] || exit 0

# the first Debian archive (not the security one) that this machine's apt knows
uris() {
  apt-get indextargets --format '$(SITE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null | awk '{print $2}'
  grep -rhoE '(https?|mirror\+?[a-z]*|file|cdrom)://[^ ]+' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null
}
archive() { grep -E '/debian/?$' | grep -v -e security -e snapshot | head -n 1; }
MIRROR=${DEBIAN_MIRROR:-$( (uris || true) | archive || true)}
[ -n "$MIRROR" ] || { say "no Debian archive in this machine's apt sources; set DEBIAN_MIRROR" >&2; exit 1; }
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
SIGN=
[ ! -r "$KEYRING" ] || SIGN="[signed-by=$KEYRING]"

A=$DIR/apt
rm -rf "$A" "${DIR:?}/root" "${DIR:?}/bin"
mkdir -p "$A/lists/partial" "$A/cache/archives/partial" "$A/state" "$A/parts"
: >"$A/status"
echo "deb $SIGN $MIRROR sid main" >"$A/sources.list"
OPTIONS=(-qq -y
  -o Dir::Etc::sourcelist="$A/sources.list" -o Dir::Etc::sourceparts=-
  -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts="$A/parts"
  -o Dir::State="$A/state" -o Dir::State::Lists="$A/lists" -o Dir::State::status="$A/status"
  -o Dir::Cache="$A/cache" -o Dir::Cache::archives="$A/cache/archives" -o Binary::apt-get::APT::Keep-Downloaded-Packages=true
  -o APT::Keep-Downloaded-Packages=true -o DPkg::Post-Invoke= -o APT::Update::Post-Invoke=
  -o APT::Install-Recommends=false -o APT::Architecture="$ARCH" -o APT::Architectures="$ARCH"
  -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
  -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false
  -o Debug::NoLocking=1 -o APT::Sandbox::User=)
say "reading Debian sid's package list"
apt-get "${OPTIONS[@]}" update
say "downloading ${PACKAGES[*]} and what they need"
apt-get "${OPTIONS[@]}" --download-only install "${PACKAGES[@]}"

say "unpacking"
ROOT=$DIR/root
mkdir -p "$ROOT"
for deb in "$A"/cache/archives/*.deb; do
  case $(basename "$deb") in # pulled in by dependency rules, not needed to run the programs
    perl* | debconf* | adduser* | passwd* | init-system* | dpkg_* | coreutils* | tar_*) ;;
    *) dpkg -x "$deb" "$ROOT" ;;
  esac
done

case $ARCH in
  amd64) LOADER=ld-linux-x86-64.so.2 TRIPLET=x86_64-linux-gnu ;;
  arm64) LOADER=ld-linux-aarch64.so.1 TRIPLET=aarch64-linux-gnu ;;
  *) say "no wrapper for architecture $ARCH" >&2; exit 1 ;;
esac
LOADER=$(find "$ROOT" -name "$LOADER" | head -n 1)
mkdir -p "$DIR/bin"
cat >"$DIR/bin/.run" <<W
#!/bin/sh
# runs root's copy of the program that this link is named after, by root's own loader
name=\${0##*/}; R=$ROOT; T=$TRIPLET
for p in usr/sbin usr/bin; do [ -x "\$R/\$p/\$name" ] && { b=\$R/\$p/\$name; break; }; done
[ -n "\$b" ] || { echo "\$name: not unpacked" >&2; exit 127; }
L=\$R/usr/lib/\$T:\$R/lib/\$T:\$R/usr/lib/mysql-router:\$R/usr/lib/mysqlrouter/plugin:\$R/usr/lib/mysql/private:\$R/usr/lib
exec "$LOADER" --argv0 "\$b" --library-path "\$L" "\$b" "\$@"
W
chmod +x "$DIR/bin/.run"
for program in "$ROOT"/usr/sbin/mysql* "$ROOT"/usr/bin/mysql* "$ROOT"/usr/bin/my_print_defaults; do
  [ -f "$program" ] && [ -x "$program" ] && head -c 4 "$program" | grep -q ELF || continue
  ln -sf .run "$DIR/bin/$(basename "$program")"
done
cat >"$DIR/env" <<E
MYSQL9_ROOT=$ROOT
MYSQL9_SHARE=$ROOT/usr/share/mysql
MYSQL9_PLUGINS=$(find "$ROOT" -type d -path '*mysql/plugin' | head -n 1)
MYSQL9_ROUTER_PLUGINS=$(find "$ROOT" -type d \( -path '*mysqlrouter*' -o -path '*mysql-router*' \) -name 'plugin*' | head -n 1)
E
version=$("$DIR/bin/mysqld" --no-defaults --version | sed -n 's/.* Ver \([^ ]*\).*/\1/p')
"$DIR/bin/mysql" --no-defaults --version >/dev/null
"$DIR/bin/mysqlrouter" --version >/dev/null 2>&1
[ -n "$version" ] || { say "the unpacked mysqld does not run" >&2; exit 1; }
rm -rf "$A"
echo "$version" >"$DIR/complete"
say "MySQL $version, $(du -sm "$ROOT" | cut -f 1) MiB in $ROOT"
