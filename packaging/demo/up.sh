#!/usr/bin/env bash
# make demo: one instance of the scale set and the services it uses, all on this machine, all real: MySQL 9 (primary and two
# replicas), Redis, blob storage (Azurite), Apache, PHP, Prometheus, and the agent between them. Builds, starts, drives the shop with
# HTTP requests, prints what happened for each step of the architecture, and leaves everything running. make demo-down ends it.
#
# Needs root (every server runs under its own account) and apt. Everything listens on 127.0.0.1 or on unix sockets, on the usual
# ports below or the next free ones. Environment:
#   LAMPLIGHTER_DEMO_DIR  the folder for all it makes (default /var/lib/lamplighter-demo)
#   LAMPLIGHTER_CACHE     where downloads are kept (default ~/.cache/lamplighter);  CARGO_TARGET_DIR is honoured
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=packaging/demo/lib/state.sh
. "$HERE/lib/state.sh"
# shellcheck source=packaging/demo/lib/servers.sh
. "$HERE/lib/servers.sh"
# shellcheck source=packaging/demo/lib/instance.sh
. "$HERE/lib/instance.sh"
# shellcheck source=packaging/demo/lib/traffic.sh
. "$HERE/lib/traffic.sh"

[ "$(id -u)" = 0 ] || fail "needs root: Apache, Redis, Prometheus and the agent each run under an account of their own"
[ ${#STATE} -le 60 ] || fail "LAMPLIGHTER_DEMO_DIR is too long for the path of a unix socket: $STATE"
command -v cargo >/dev/null || fail "needs Rust: cargo is not in the PATH"

show_report() { sed -E "s/^([1-9a-z].{25})/$BOLD\1$PLAIN/; s/^(Lamplighter: [^,]*)/$BOLD\1$PLAIN/" "$STATE/report"; }

# --- only one at a time, and no leftovers -------------------------------------------------------------------------------------
claim() {
  mkdir -p "$STATE"
  [ -O "$STATE" ] || fail "$STATE belongs to somebody else"
  exec 9<"$STATE"
  flock -n 9 || fail "another make demo is at work in $STATE"
}
claim
if [ -f "$STATE/report" ] && everything_alive; then
  show_report
  say "it was running already: this is its report. make demo-down ends it."
  exit 0
fi
if [ -e "$STATE/boot" ]; then
  say "an earlier demo was left behind in $STATE: removing it"
  clear_away
  claim
fi
[ -z "$(ls -A "$STATE" 2>/dev/null)" ] || fail "$STATE is not empty and not the demo's: choose another LAMPLIGHTER_DEMO_DIR"
mkdir -p "$STATE"/{log,secrets,tls,mysql,site,seen}
chmod 711 "$STATE/secrets"
cp /proc/sys/kernel/random/boot_id "$STATE/boot"

interrupted() {
  if [ -n "${STARTING:-}" ]; then
    INTERRUPTED=yes
    return
  fi
  trap '' INT TERM HUP PIPE
  printf '\n' >&2
  say "interrupted: stopping and removing everything" >&2 || true
  trap - EXIT
  clear_away
  exit 130
}
ended() {
  local code=$?
  [ "$code" != 0 ] || return 0
  trap '' INT TERM HUP PIPE
  stop_everything
  printf 'Everything is stopped. The logs stay in %s until make demo-down.\n' "$LOGS" >&2
}
trap interrupted INT TERM HUP PIPE
trap ended EXIT

# --- install, build -----------------------------------------------------------------------------------------------------------
say "looking for the programs it needs"
"$REPO/tests/support/install.sh" mysql php redis azurite apache prometheus 2>&1 | tee "$LOGS/install.log" | sed 's/^/        /' ||
  fail "the installation failed" "$LOGS/install.log"
start_build
say "building the agent while the servers start (cargo build --profile $PROFILE)"

# --- the services of the cloud ------------------------------------------------------------------------------------------------
port NODE_PORT_0 23306
port NODE_PORT_1 23307
port NODE_PORT_2 23308
port REDIS_PORT 26380
port STORAGE_PORT 20000
port SHOP_PORT 8080
port HEALTH_PORT 8470
port ADMIN_PORT 8471
port METRICS_PORT 9470
port PROMETHEUS_PORT 9490
start_prometheus
say "Prometheus: on $PROMETHEUS_PORT, looking for the agent every second"
choose_agent_account
make_certificates
say "MySQL: initialising the data folder"
prepare_mysql
start_mysql
say "MySQL: primary on $NODE_PORT_0, replicas on $NODE_PORT_1 and $NODE_PORT_2, TLS only, 24 products on all three"
start_redis
say "Redis: on $REDIS_PORT, TLS and password only"
start_storage
create_container
make_site "$STATE/editor/www"
upload "$STATE/editor/www"
say "storage: container www has $(find "$STATE/editor/www" -type f | wc -l) files (pictures and a style sheet)"

# --- the instance -------------------------------------------------------------------------------------------------------------
finish_build
start_agent
say "agent: ready"
start_web
await agent 30 "/lb 200" lb_is 200
say "Apache and PHP: the shop is on http://127.0.0.1:$SHOP_PORT/, and the agent has told the load balancer so"
await agent 30 "the pictures and styles on the instance's disk" diff -r --exclude='.lamplighter*' "$STATE/editor/www" "$STATE/site"
await agent 30 "24 warm keys in Redis" warm
say "agent: files synced, keys warmed"

# --- the day of an instance ---------------------------------------------------------------------------------------------------
sample before
drive
replicas_have_all
sample after
replace_picture
say "editor: a replaced picture arrived on the instance"
drain_and_undrain
say "operator: drained the instance and brought it back"
await prometheus 20 "a scrape after the last request" scraped_since "$(date +%s)"
setting TOOK "$SECONDS"
php "$DEMO/report.php" "$SEEN" >"$STATE/report" 2>"$LOGS/report.log" || fail "the report could not be made" "$LOGS/report.log"
trap - EXIT INT TERM HUP PIPE
show_report
