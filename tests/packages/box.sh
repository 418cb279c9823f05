#!/usr/bin/env bash
# box.sh: a real systemd as PID 1 (Debian 12) in a folder, by systemd-nspawn; boots in about a second. Used by the tests beside it.
#   box.sh base                  makes the root file system all boxes start from, once: $CACHE/packaging/box-HASH (minutes; 500 MB)
#   box.sh can                   says why this machine cannot boot a box, and fails; silent where it can
#   box.sh lay DIR [ROOT]        lays out a box, not switched on: a layer of its own in DIR over the base, or over the folder ROOT
#   box.sh boot DIR              switches it on; lays it out over the base first if nobody did
#   box.sh exec DIR CMD...       runs a command in it
#   box.sh root DIR              prints where its files are
#   box.sh off DIR               shuts it down in order; its files stay
#   box.sh kill DIR              ends it as a power failure would; what was written stays
#   box.sh down DIR              ends it at once and unmounts its files
# A box has a network namespace of its own with nothing but loopback: no server of this machine is reached, none of its ports taken.
# $CACHE is ~/.cache/lamplighter, or $LAMPLIGHTER_CACHE. Needs root, systemd-container, debootstrap, iproute2; no systemd on the host.
set -euo pipefail
export LC_ALL=C
CACHE=${LAMPLIGHTER_CACHE:-$HOME/.cache/lamplighter}
die() { echo "box.sh: $*" >&2; exit 1; }
SUITE=bookworm
PACKAGES=systemd,systemd-sysv,dbus,libpam-systemd,iproute2,procps,ca-certificates,curl,openssl,python3,python3-distro,libjemalloc2,libaio1,libnuma1
MORE="apache2 php-fpm php-mysql rpm cloud-init"
recipe=$(printf '%s' "$SUITE $PACKAGES $MORE 1" | sha256sum | cut -c1-12)
BASE=$CACHE/packaging/box-$recipe

command=${1:?usage: see the head of this file}
shift

# can: each thing a box needs of the kernel and of this user, tried for real in a namespace that is gone afterwards
can() {
  [ "$(id -u)" = 0 ] || die "needs root; this is user $(id -un)"
  local trial
  trial=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf --one-file-system '$trial'" EXIT
  mkdir "$trial/lower" "$trial/upper" "$trial/work" "$trial/root" "$trial/cgroup"
  unshare -m --propagation private true 2>/dev/null || die "no mount namespaces here (a container without CAP_SYS_ADMIN?)"
  unshare -m --propagation private mount -t cgroup2 cgroup2 "$trial/cgroup" 2>/dev/null || die "cgroup2 cannot be mounted here"
  unshare -m --propagation private mount -t overlay overlay -o "lowerdir=$trial/lower,upperdir=$trial/upper,workdir=$trial/work" "$trial/root" 2>/dev/null ||
    die "no overlay can be mounted in ${TMPDIR:-/tmp} (set TMPDIR to a folder of ext4, xfs or tmpfs)"
  unshare -n -p -u -i --fork true 2>/dev/null || die "no namespaces for network, processes, names and messages here"
}

make_base() {
  [ ! -e "$BASE/complete" ] || return 0
  mkdir -p "$CACHE/packaging"
  exec 9>"$CACHE/packaging/.box.lock"
  flock 9
  [ ! -e "$BASE/complete" ] || return 0
  local mirror
  mirror=$(apt-get indextargets --no-release-info --format '$(REPO_URI)|$(RELEASE)' 'Created-By: Packages' | awk -F'|' -v s="$SUITE" '$2 == s { print $1; exit }')
  [ -n "$mirror" ] || mirror=$(grep -rhoE '(https?|mirror\+?[a-z]*|file)://[^ ]+/debian/?' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | grep -v security | head -1)
  [ -n "$mirror" ] || die "no $SUITE archive in this machine's apt sources"
  # one that was interrupted
  ! mountpoint -q "$BASE/root/proc" || umount "$BASE/root/proc"
  rm -rf --one-file-system "$BASE"
  mkdir -p "$BASE"
  echo "box.sh: making the root file system of the boxes (once, minutes)"
  debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$BASE/root" "$mirror" >"$BASE/log" 2>&1 || { tail -5 "$BASE/log" >&2; die "debootstrap failed"; }
  printf '#!/bin/sh\nexit 101\n' >"$BASE/root/usr/sbin/policy-rc.d"
  chmod 755 "$BASE/root/usr/sbin/policy-rc.d"
  cp /etc/resolv.conf "$BASE/root/etc/resolv.conf"
  mkdir -p "$BASE/root/etc/apt/apt.conf.d"
  cp -r /etc/apt/apt.conf.d/. "$BASE/root/etc/apt/apt.conf.d/" 2>/dev/null || true
  mount --bind /proc "$BASE/root/proc"
  chroot "$BASE/root" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $MORE >>"$BASE/log" 2>&1 ||
    { umount "$BASE/root/proc"; tail -5 "$BASE/log" >&2; die "apt-get failed"; }
  umount "$BASE/root/proc"
  rm -f "$BASE/root/usr/sbin/policy-rc.d" "$BASE/root"/var/cache/apt/archives/*.deb
  # as a freshly made machine: nothing of the web server runs until somebody says so
  chroot "$BASE/root" systemctl -q disable apache2 php8.2-fpm apache-htcacheclean 2>/dev/null || true
  ln -sf /dev/null "$BASE/root/etc/systemd/system/console-getty.service"
  # costs every boot seconds; the test that wants it takes this away
  touch "$BASE/root/etc/cloud/cloud-init.disabled"
  : >"$BASE/root/etc/machine-id"
  mkdir -p "$BASE/root/var/log/journal"
  touch "$BASE/complete"
}

pid() { [ -f "$DIR/nspawn.pid" ] && cat "$DIR/nspawn.pid"; }
is_up() { local p; p=$(pid) && [ -n "$p" ] && [ -d "/proc/$p" ] && grep -q systemd-nspawn "/proc/$p/cmdline"; }
init() { awk '{ print $1 }' "/proc/$(pid)/task/$(pid)/children"; }
inside() {
  nsenter -t "$(init)" -m -u -i -n -p -C -- env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/root TERM=dumb LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}
# A box in a container can lose a unit at its boot to the outer kernel, whose control group was not there yet (exit status 219,
# systemd.exec(5)): no fault of anything within, and no real machine has it.
mend() {
  local unit
  for unit in $(inside systemctl list-units --failed --plain --no-legend | cut -d' ' -f1); do
    [ "$(inside systemctl show -P ExecMainStatus "$unit")" != 219 ] || inside systemctl restart "$unit" || true
  done
}
unmount() { ! mountpoint -q "$DIR/root" || umount "$DIR/root" || umount -l "$DIR/root"; }

case $command in
  base) make_base; echo "$BASE/root"; exit 0 ;;
  can) can; exit 0 ;;
esac
DIR=${1:?DIR}
shift
mkdir -p "$DIR"
DIR=$(cd "$DIR" && pwd)
# short names: interfaces and machines have limits; unlike any other box at this moment
name=box-$(printf '%s' "$DIR" | sha256sum | cut -c1-8)
lay() {
  local lower=${1:-}
  [ -n "$lower" ] || { make_base; lower=$BASE/root; }
  mkdir -p "$DIR/upper" "$DIR/work" "$DIR/root"
  mountpoint -q "$DIR/root" || mount -t overlay overlay -o "lowerdir=$lower,upperdir=$DIR/upper,workdir=$DIR/work" "$DIR/root"
}
case $command in
  lay) lay "${1:-}" ;;
  boot)
    ! is_up || die "it is up"
    mountpoint -q "$DIR/root" || lay
    [ -e "/run/netns/$name" ] || { ip netns add "$name"; ip -n "$name" link set lo up; }
    arguments=(--boot --directory="$DIR/root" --machine="$name" --register=no --keep-unit --network-namespace-path="/run/netns/$name"
      --console=passive --link-journal=no --resolv-conf=off --timezone=off --quiet)
    for bind in ${BOX_BIND:-}; do arguments+=(--bind-ro="$bind"); done
    # plain cgroup2 in a mount namespace of its own, as today's distributions have it
    setsid unshare -m --propagation private -- sh -c 'umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec "$@"' sh \
      systemd-nspawn "${arguments[@]}" </dev/null >"$DIR/nspawn.log" 2>&1 &
    echo $! >"$DIR/nspawn.pid"
    for _ in $(seq 1800); do
      sleep 0.1
      is_up || { cat "$DIR/nspawn.log" >&2; die "it ended at once"; }
      [ -n "$(init)" ] && state=$(inside systemctl is-system-running 2>/dev/null || true) && case $state in running) exit 0 ;; degraded) mend; exit 0 ;; esac
    done
    cat "$DIR/nspawn.log" >&2
    die "not up after three minutes"
    ;;
  exec) is_up || die "not up"; inside "$@" ;;
  root) echo "$DIR/root" ;;
  off | kill | down)
    if is_up; then
      p=$(pid)
      if [ "$command" = off ]; then kill -TERM "$p"; else kill -KILL "$(init)"; fi
      for _ in $(seq 1200); do [ -d "/proc/$p" ] || break; sleep 0.1; done
      [ ! -d "/proc/$p" ] || { kill -KILL "$p"; [ "$command" != off ] || die "it did not shut down within two minutes"; }
    fi
    rm -f "$DIR/nspawn.pid"
    if [ "$command" = down ]; then
      unmount
      ip netns del "$name" 2>/dev/null || true
    fi
    ;;
  *) die "no command '$command'" ;;
esac
