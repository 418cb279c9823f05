#!/bin/bash
# provision.sh PACKAGE.deb: turns a Debian or Ubuntu into an instance of the scale set, all but its configuration: Apache, PHP, the agent,
# set up for each other. Run as root inside the image: by Packer, Azure Image Builder, cloud-init, or in a chroot. May be repeated.
set -euo pipefail
package=$(realpath "$1")
export DEBIAN_FRONTEND=noninteractive
# what is there already (an image of one's own, a mirror that is away) is not asked for again
missing=()
for need in apache2 php-fpm php-mysql curl; do dpkg-query -W -f '${Status}' "$need" 2>/dev/null | grep -q 'ok installed' || missing+=("$need"); done
if [ ${#missing[@]} -gt 0 ]; then
  apt-get -o DPkg::Lock::Timeout=300 -qq update
  apt-get -o DPkg::Lock::Timeout=300 -qq -y --no-install-recommends install "${missing[@]}"
fi
dpkg -i --force-confold "$package"
/usr/share/lamplighter/enable-web
fpm=$(basename -s .service "$(ls /lib/systemd/system/php*-fpm.service | tail -1)")
systemctl enable -q apache2 "$fpm" lamplighter

# a stop of the machine: the agent sheds first, while Apache still serves. systemd stops in the opposite order of starting
install -d /etc/systemd/system/lamplighter.service.d
cat >/etc/systemd/system/lamplighter.service.d/image.conf <<C
[Unit]
After=apache2.service $fpm.service
C

# hardening (zz: after the file of Debian that says otherwise): the web server says little, PHP shows no errors, nobody but root reads what systemd runs with
cat >/etc/apache2/conf-available/zz-lamplighter-image.conf <<'C'
ServerTokens Prod
ServerSignature Off
TraceEnable Off
C
a2enconf -q zz-lamplighter-image
for ini in /etc/php/*/fpm; do
  install -d "$ini/conf.d"
  printf 'expose_php = Off\ndisplay_errors = Off\nlog_errors = On\n' >"$ini/conf.d/90-lamplighter-image.ini"
done
install -d /etc/sysctl.d
cat >/etc/sysctl.d/90-lamplighter.conf <<'C'
# sockets with long accept queues need the kernel's consent
net.core.somaxconn = 4096
fs.protected_fifos = 2
kernel.dmesg_restrict = 1
kernel.kptr_restrict = 2
C
# the guest agent, where it is: extensions wait until cloud-init has written the configuration
if [ -f /etc/waagent.conf ]; then
  sed -i 's/^#\? *Extensions.WaitForCloudInit=.*/Extensions.WaitForCloudInit=y/' /etc/waagent.conf
  grep -q '^Extensions.WaitForCloudInit=y' /etc/waagent.conf || echo Extensions.WaitForCloudInit=y >>/etc/waagent.conf
fi
echo "provision.sh: $(lamplighter --version | head -1)"
