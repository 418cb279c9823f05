#!/usr/bin/env bash
# run.sh [quick|full] [--print] [--keep]: the MySQL endpoint beside direct connections, MySQL Router and HAProxy, in one run on one machine.
#   full     (default) about eight minutes; rewrites the tables in README.md, unless --print
#   quick    small numbers, under a minute, to see that everything works; only prints
#   --print  leaves README.md alone
#   --keep   leaves the servers running and the folder there at the end, until Enter or Ctrl-C
# Installs what is missing, builds the agent in release mode and starts one MySQL 9 server, MySQL Router, HAProxy and the agent in a folder below
# /tmp, on free loopback ports and unix sockets. All of it ends with this script, however that ends. Environment:
#   LAMPLIGHTER_BIN    the agent to measure, instead of building one
#   LAMPLIGHTER_CACHE  where downloads are kept (default ~/.cache/lamplighter);  CARGO_TARGET_DIR is honoured
set -euo pipefail
umask 077
export LC_ALL=C.UTF-8
BENCHES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$BENCHES/.." && pwd)
CACHE=${LAMPLIGHTER_CACHE:-$HOME/.cache/lamplighter}
# shellcheck source=benches/servers.sh
. "$BENCHES/servers.sh"
# shellcheck source=benches/section.sh
. "$BENCHES/section.sh"

MODE=full PRINT='' KEEP=''
for word in "$@"; do
  case $word in
    quick | full) MODE=$word ;;
    --print) PRINT=yes ;;
    --keep) KEEP=yes ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    *) echo "run.sh: unknown word '$word'; see run.sh --help" >&2; exit 64 ;;
  esac
done
case $MODE in
  full) CONNECTS=1000 SELECTS=6000 FAR=200 CLIENTS=(1 64 512) SYSBENCH_ROUNDS=3 SYSBENCH_SECONDS=5 IDLE=1000,5000 STARTS=15 COUNTED=200 ;;
  quick) CONNECTS=100 SELECTS=500 FAR=20 CLIENTS=(1 64) SYSBENCH_ROUNDS=1 SYSBENCH_SECONDS=1 IDLE=1000 STARTS=3 COUNTED=20 PRINT=yes ;;
esac

say() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }
# fail MESSAGE [LOGFILE]: the message, the end of the log that explains it, and out
fail() {
  printf '\nmake bench: %s\n' "$1" >&2
  [ ! -s "${2:-}" ] || { printf -- '--- the end of %s\n' "$(basename "$2")" >&2; tail -n 15 "$2" >&2; }
  exit 1
}

# --- what is measured ---------------------------------------------------------------------------------------------------------
# measure NAME ARGUMENT...: one run of measure.php, its result in $WORK/results/NAME.json
measure() {
  local name=$1
  shift
  BENCH_CA=$WORK/tls/ca.pem timeout 600 php -d memory_limit=-1 "$BENCHES/measure.php" "$@" endpoints="$WORK/endpoints" >"$WORK/results/$name.json" 2>"$WORK/log/$name.log" {KEEPER}>&- ||
    fail "the measurement '$name' failed" "$WORK/log/$name.log"
}
# starts NAME CONFIGURATION: how long from exec to READY=1, several times; then how much memory it has, left alone for three seconds
starts() {
  local name=$1 configuration=$2 turn began ready took=() command
  mapfile -t command < <("${name%-*}_command" "$configuration")
  rm -f "$WORK/notify"
  coproc NOTIFY {
    exec {KEEPER}>&-
    exec php "$BENCHES/notify.php" "$WORK/notify"
  }
  # shellcheck disable=SC2153  # coproc sets it
  local listener=$NOTIFY_PID told=${NOTIFY[0]} held=${NOTIFY[1]}
  read -r -t 20 ready <&"$told" || fail "notify.php did not start"
  for ((turn = 1; turn <= STARTS; turn++)); do
    began=${EPOCHREALTIME/./}
    NOTIFY_SOCKET=$WORK/notify start "start-$name" "${command[@]}"
    read -r -t 20 ready <&"$told" || fail "$name was not ready within 20 s" "$WORK/log/start-$name.log"
    took+=($((ready - began)))
    if [ "$turn" = "$STARTS" ]; then
      sleep 3 # not a wait for something: it is to be seen at rest
      memory "start-$name" >"$WORK/results/rest-$name"
    fi
    stop "start-$name"
  done
  exec {held}>&-
  wait "$listener" || true
  printf '%s\n' "${took[@]}" >"$WORK/results/ready-$name"
}
# memory NAME: resident KiB, and how many of them are not pages of a file
memory() { awk '/^VmRSS:/ { rss = $2 } /^RssAnon:/ { anon = $2 } END { print rss, anon }' "/proc/$(pid_of "$1")/status"; }

# ticks NAME: the CPU time that a process has used, in ticks of the kernel's clock; nothing is in front of a direct connection
ticks() {
  case $1 in
    tls | tcp) echo 0 ;;
    *) awk '{ sub(/^.*[)] /, ""); print $12 + $13 }' "/proc/$(pid_of "$1")/stat" ;;
  esac
}
# process_of ENDPOINT: what is in front of MySQL there
process_of() { case $1 in endpoint) echo agent ;; *) echo "$1" ;; esac; }

# sysbench: rounds, each of which visits every endpoint with every number of clients. A line for each: how many clients, the endpoint,
# queries/s, p95 in ms, queries in all, and the ticks that its process and MySQL used meanwhile, connecting included
busy() {
  local round SYSBENCH_THREADS=4
  sysbench_conf prepare 127.0.0.1 "$MYSQL_PORT" '' 0
  run_sysbench prepare oltp_read_only prepare >"$WORK/log/sysbench-prepare.log" 2>&1 ||
    fail "sysbench could not make its tables" "$WORK/log/sysbench-prepare.log"
  for ((round = 1; round <= SYSBENCH_ROUNDS; round++)); do
    for SYSBENCH_THREADS in "${CLIENTS[@]}"; do
      busy_round
      say "  round $round of $SYSBENCH_ROUNDS, $SYSBENCH_THREADS clients: $(tail -n 6 "$WORK/results/busy" | awk '{ printf "%s%s %s", (NR > 1 ? ", " : ""), $2, ($3 + 0 ? int($3) : $3) }') queries/s"
    done
  done
}
busy_round() {
  local key host port socket tls rest process before log
  while IFS='|' read -r key rest host port socket tls rest; do
    sysbench_conf "$key" "$host" "$port" "$socket" "$tls"
    process=$(process_of "$key") log=$WORK/log/sysbench-$key.log
    before="$(ticks "$process") $(ticks mysql)"
    if run_sysbench "$key" oltp_point_select run >"$log" 2>&1; then
      awk -v of="$SYSBENCH_THREADS $key" -v before="$before" -v after="$(ticks "$process") $(ticks mysql)" '
        / queries: / { gsub(/[(]/, "", $3); all = $2; rate = $3 } /95th percentile:/ { p95 = $3 }
        END { split(before, b); split(after, a); print of, rate, p95, all, a[1] - b[1], a[2] - b[2] }' "$log" >>"$WORK/results/busy"
    else
      printf '%s %s failed %s\n' "$SYSBENCH_THREADS" "$key" "$(grep -m 1 -i -e fatal -e error "$log" | tr -d '|')" >>"$WORK/results/busy"
    fi
  done < <(grep -E '^(tls|tcp|haproxy|router-pass|router-share|endpoint)\|' "$WORK/endpoints")
}
# sysbench_conf NAME HOST PORT SOCKET TLS: a file, so that the password is in no command line. Everywhere with the same account and
# password, the endpoint included.
sysbench_conf() {
  {
    printf 'db-driver=mysql\nmysql-db=sbtest\nmysql-user=app\nmysql-password=%s\n' "$APP_PASSWORD"
    if [ -n "$4" ]; then printf 'mysql-host=localhost\nmysql-socket=%s\n' "$4"; else printf 'mysql-host=%s\nmysql-port=%s\n' "$2" "$3"; fi
    [ "$5" = 0 ] || printf 'mysql-ssl=on\n'
    printf 'tables=4\ntable-size=10000\nthreads=%s\ntime=%s\ndb-ps-mode=disable\n' "$SYSBENCH_THREADS" "$SYSBENCH_SECONDS"
  } >"$WORK/sysbench-$1.conf"
}
# run_sysbench NAME WORKLOAD VERB: in the folder where sysbench looks for cacert.pem and its client certificate
run_sysbench() { (cd "$WORK/tls" && exec timeout 120 sysbench --config-file="$WORK/sysbench-$1.conf" "$2" "$3") {KEEPER}>&-; }

# What reaches the server beside the statements themselves: the log of one endpoint after the other, on warm pools. Not of the
# monitor, which has an account of its own.
commands() {
  local key mode
  for mode in request owners; do
    for key in tls router-share endpoint; do
      # the first run warms the pool, the second one is counted
      measure "warm-$mode-$key" "$mode" n=5 only="$key"
      sql -e 'TRUNCATE mysql.general_log; SET GLOBAL general_log = ON'
      measure "counted-$mode-$key" "$mode" n="$COUNTED" only="$key"
      # the last one of the commands may still be on its way
      sql -e 'DO SLEEP(0.3); SET GLOBAL general_log = OFF'
      sql -BN -e "SELECT COUNT(*), COUNT(DISTINCT thread_id), command_type, CASE WHEN argument LIKE 'SELECT v FROM kv%' THEN 'the statement'
          WHEN command_type = 'Query' THEN LEFT(REGEXP_REPLACE(CONVERT(argument USING utf8mb4), '[[:space:]]+', ' '), 40) ELSE '' END AS what
        FROM mysql.general_log WHERE user_host LIKE '%[app]%' GROUP BY 3, 4 ORDER BY 1 DESC" >"$WORK/results/log-$mode-$key"
    done
  done
}

# --- the run, in functions: bash reads a script while it runs it, and a file that is edited meanwhile must do no harm ---------------
install_and_start() {
  "$REPO/tests/support/install.sh" mysql php bench
  build_agent
  open_work
  say "starting MySQL, MySQL Router, HAProxy and the agent in $WORK"
  make_certificates
  start_mysql
  start_peers
  cut -d '|' -f 1,2 "$WORK/endpoints" >"$WORK/results/names"
  {
    printf 'mode=%s\nconnects=%s\nselects=%s\nfar=%s\nticks=%s\nsysbench=%s x %s s\nstarts=%s\ncounted=%s\n' \
      "$MODE" "$CONNECTS" "$SELECTS" "$FAR" "$(getconf CLK_TCK)" "$SYSBENCH_ROUNDS" "$SYSBENCH_SECONDS" "$STARTS" "$COUNTED"
    printf 'date=%s\ncores=%s\nothers_before=%s\n' "$(date --utc +%F)" "$(nproc)" "$(cores_in_use)"
    printf 'cpu=%s\nkernel=%s\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(uname -r | cut -d - -f 1)"
    printf 'agent=%s\nmysql=%s\nrouter=%s\nhaproxy=%s\nphp=%s\nsysbench_version=%s\n' "$("$AGENT" --version | head -n 1)" \
      "$(cat "$CACHE/mysql9/complete")" "$("$CACHE/mysql9/bin/mysqlrouter" --version | grep -oE 'Ver [0-9.]+' | cut -c 5-)" \
      "$(haproxy -v | awk 'NR == 1 { print $3 }')" "$(php -r 'echo PHP_VERSION;')" "$(sysbench --version | cut -d ' ' -f 2)"
  } >"$WORK/results/about"
}

measure_all() {
  say "connect, log in, one point SELECT, quit: $CONNECTS times each, all endpoints in turn"
  measure connect request n="$CONNECTS"
  say "point SELECT on a held connection: $SELECTS times each, all endpoints in turn"
  measure held held n="$SELECTS"
  say "the same with two clients taking turns"
  measure owners owners n="$SELECTS"
  say "what reaches the server, by its general log: $COUNTED statements each"
  commands
  say "${CLIENTS[*]} busy clients: sysbench, $SYSBENCH_ROUNDS x $SYSBENCH_SECONDS s each"
  busy
  stop_peers
  say "the server a millisecond away: PHP requests, and two clients taking turns, $FAR times each"
  far_away
  start_peers
  measure far-connect request n="$FAR" only=tls,tcp,haproxy,router-pass-tls,router-pool,router-share,endpoint
  measure far-owners owners n="$FAR" only=tls,tcp,haproxy,router-pass-tls,router-pool,router-share,endpoint
  # new processes from here on: the work so far has left its mark on the old ones
  stop_peers
  near_again
  rm -f "$WORK/lamplighter.toml" "$WORK/router-share.conf"
  say "memory with idle clients ($IDLE): the endpoint"
  start_agent
  measure idle-endpoint idle pid="$(pid_of agent)" counts="$IDLE" only=endpoint,unix
  stop agent
  say "memory with idle clients ($IDLE): MySQL Router"
  start_router share
  measure idle-router-share idle pid="$(pid_of router-share)" counts="$IDLE" only=router-share,unix
  stop router-share
  say "start to READY=1 and memory at rest: $STARTS starts each"
  agent_configuration second >"$WORK/health-only.toml"
  starts agent-health "$WORK/health-only.toml"
  { agent_configuration second && mysql_table "$WORK/run/second-mysql.sock"; } >"$WORK/with-mysql.toml"
  starts agent-mysql "$WORK/with-mysql.toml"
  starts router-share "$WORK/router-share.conf"
  printf 'others_after=%s\n' "$(cores_in_use)" >>"$WORK/results/about"
}

tell() {
  php "$BENCHES/report.php" "$WORK/results" >"$WORK/report.md" {KEEPER}>&- || fail "the report could not be made"
  echo
  cat "$WORK/report.md"
  ! grep -q '^Failed: ' "$WORK/report.md" || fail "not everything could be measured; README.md is left as it was"
  if [ -n "$PRINT" ]; then
    say "done; README.md is left as it was"
  else
    php "$BENCHES/report.php" --into "$BENCHES/README.md" "$WORK/report.md" {KEEPER}>&-
    say "done; the tables are in benches/README.md"
  fi
  if [ -n "$KEEP" ]; then
    start_peers
    echo "Kept in $WORK until Enter or Ctrl-C:"
    cut -d '|' -f 1,3-6 "$WORK/endpoints" | sed 's/^/  /'
    read -r || true
  fi
}

main() {
  install_and_start
  measure_all
  tell
}
main
exit
