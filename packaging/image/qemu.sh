#!/usr/bin/env bash
# qemu.sh [PROFILE]: the golden image as whole machines: a disk with a kernel of its own, under emulation. Two machines of one image are
# booted and watched from outside, as the load balancer sees them, until they serve; then the power of one is cut while it works, and it
# must serve again as the machine that it was. Slow (minutes), so it is no part of `make test-packages`. Needs root for the chroot that
# installs a kernel, and nothing of the processor: it is emulated. REUSE=1 takes the image that is there.
set -euo pipefail
. "$(dirname "$0")/../versions.sh"
profile=${1:-dist}
patience=${PATIENCE:-600} # seconds that a boot may take
"$ROOT/tests/support/install.sh" box qemu
image=$OUT/lamplighter-image.tar
[ -n "${REUSE:-}" ] && [ -e "$image" ] || "$ROOT/packaging/image/build.sh" "$profile"

work=$(mktemp -d "${TMPDIR:-/var/tmp}/lamplighter-qemu.XXXXXX")
machines=()
pid() { cat "$work/$1.pid" 2>/dev/null; }
cut_power() { ! kill -KILL "$(pid "$1")" 2>/dev/null || while [ -d "/proc/$(pid "$1")" ]; do sleep 0.1; done; }
finish() {
  local code=$? machine
  for machine in "${machines[@]}"; do
    cut_power "$machine"
    [ $code = 0 ] || { echo "--- console of $machine"; tail -n 40 "$work/$machine.console"; } >&2
  done
  ! mountpoint -q "$work/root/proc" || umount "$work/root/proc"
  rm -rf --one-file-system "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM
said() { echo "qemu.sh: $* ($SECONDS s)"; }

# What a cloud's base image has and a root file system for containers lacks: a kernel, a network, a place to live.
complete() {
  local root=$work/root
  tar --xattrs -xf "$image" -C "$work"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  mount --bind /proc "$root/proc"
  chroot "$root" sh -ec 'export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
    apt-get -qq update
    apt-get -qq -y --no-install-recommends install linux-image-cloud-amd64 initramfs-tools udev kmod zstd' >"$work/apt.log" 2>&1 ||
    { tail -n 20 "$work/apt.log" >&2; die "no kernel could be installed in the image"; }
  umount "$root/proc"
  cp -L "$root/vmlinuz" "$root/initrd.img" "$work/"
  echo '/dev/vda / ext4 rw,noatime 0 1' >"$root/etc/fstab"
  printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/10-any.network"
  chroot "$root" systemctl -q enable systemd-networkd
  # nothing but the application and its configuration is added: what tells the machines apart they make themselves
  printf '<?php echo trim(file_get_contents("/etc/machine-id"));' >"$root/var/www/html/page.php"
  printf '[health]\n\n[health.web]\nurl = "http://127.0.0.1/healthz.php"\n' >"$root/etc/lamplighter/lamplighter.toml"
}

# An emulated processor may be slower than a kernel that tests its timer and a systemd that counts seconds allow for.
emulated="no_timer_check systemd.default_timeout_start_sec=$patience systemd.journald.forward_to_console=1"

# boot MACHINE: powers it on; the first time with a new disk
boot() {
  local machine=$1
  [ -e "$work/$machine.disk" ] || cp --sparse=always "$work/disk" "$work/$machine.disk"
  machines+=("$machine")
  # no way out for the guest; its ports are on loopback, wherever there is room
  qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 1024 -smp 2 -nodefaults -no-reboot -display none -daemonize -pidfile "$work/$machine.pid" \
    -kernel "$work/vmlinuz" -initrd "$work/initrd.img" -append "root=/dev/vda rw console=ttyS0 quiet $emulated" \
    -serial "file:$work/$machine.console" -device virtio-rng-pci -qmp "unix:$work/$machine.qmp,server=on,wait=off" \
    -drive "file=$work/$machine.disk,format=raw,if=virtio,cache=writeback" \
    -netdev "user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:${ports[$machine-lb]}-:8470,hostfwd=tcp:127.0.0.1:${ports[$machine-web]}-:80" \
    -device virtio-net-pci,netdev=n
}
declare -A ports
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# serves MACHINE: waits until the load balancer would send it traffic
serves() {
  local machine=$1 end=$((SECONDS + patience)) code
  until code=$(curl -s -m 5 -o "$work/answer" -w '%{http_code}' "http://127.0.0.1:${ports[$machine-lb]}/lb") && [ "$code" = 200 ]; do
    [ -d "/proc/$(pid "$machine")" ] || die "$machine went off"
    [ $SECONDS -lt $end ] || die "$machine does not serve after $patience s: $code $(cat "$work/answer" 2>/dev/null)"
    sleep 0.2
  done
}
identity() { curl -fsS -m 30 "http://127.0.0.1:${ports[$1-web]}/page.php"; }

complete
truncate -s 3G "$work/disk"
mke2fs -q -t ext4 -F -d "$work/root" "$work/disk"
rm -rf --one-file-system "$work/root"
said "disk made"
for machine in first second; do
  ports[$machine-lb]=$(free_port)
  ports[$machine-web]=$(free_port)
  began=$SECONDS
  boot $machine
  serves $machine
  said "$machine: power on to /lb 200 in $((SECONDS - began)) s"
done
before=$(identity first)
[ "${#before}" = 32 ] || die "no machine-id: '$before'"
[ "$before" != "$(identity second)" ] || die "both machines are $before"
said "two machines, two identities"
cut_power first
began=$SECONDS
boot first
serves first
[ "$before" = "$(identity first)" ] || die "the first machine is not itself after its power was cut"
said "first: after a power cut, power on to /lb 200 in $((SECONDS - began)) s, as the same machine"
said "all ok"
