#!/bin/bash
# deprovision.sh: the last step of an image: takes away what must not be in two machines at once, secrets first, then looks whether all
# of it is gone and fails if not. Run as root; afterwards the image is captured, not booted.
set -euo pipefail
if [ -d /run/systemd/system ]; then systemctl stop lamplighter.service lamplighter.socket 2>/dev/null || true; fi
# ours: configuration and secrets come with the instance; state belongs to a machine
rm -rf /etc/lamplighter/* /etc/lamplighter/.[!.]* /var/lib/lamplighter /run/lamplighter /var/lib/lamplighter-extension /opt/lamplighter-app
# Azure's and cloud-init's, where they are
if command -v waagent >/dev/null; then waagent -force -deprovision+user >/dev/null 2>&1 || true; fi
if command -v cloud-init >/dev/null; then cloud-init clean --logs --machine-id >/dev/null 2>&1 || cloud-init clean --logs >/dev/null; fi
# the machine's identity: made anew at the first boot
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /etc/ssh/ssh_host_*
rm -f /etc/hostname /var/lib/dhcp/* /var/lib/NetworkManager/*.lease
# what happened here
home=/root
rm -rf /tmp/lamplighter /var/tmp/* "$home"/.bash_history "$home"/.ssh "$home"/.cache
find /var/log -type f -delete
rm -rf /var/log/journal/*
apt-get clean 2>/dev/null || true

left=$(
  find /etc/lamplighter /var/lib/lamplighter /etc/ssh/ssh_host_* /var/log/journal "$home"/.ssh -mindepth 1 2>/dev/null || true
  [ ! -s /etc/machine-id ] || echo /etc/machine-id
)
[ -z "$left" ] || { echo "deprovision.sh: still there: $left" >&2; exit 1; }
