#!/usr/bin/env bash
# warm.sh [ROUNDS] [--print]: how fast a warm job brings rows of MySQL 9 to Redis, both over TLS, in each format of values, beside a PHP
# script that does the same and `mysql --quick` that only reads the pages. ROUNDS alternating rounds (default 3) of 100,000 rows, as many
# with no limit of rows a second, then one run of a million rows, for the memory. Writes its section of README.md, unless --print. Takes
# about two minutes. Environment: LAMPLIGHTER_BIN (the agent to measure, instead of building it), LAMPLIGHTER_CACHE, CARGO_TARGET_DIR.
set -euo pipefail
umask 077
export LC_ALL=C.UTF-8
BENCHES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$BENCHES/.." && pwd)
CACHE=${LAMPLIGHTER_CACHE:-$HOME/.cache/lamplighter}
ROWS=100000 MANY=1000000 FORMATS=(row-json row-php row-igbinary hash)
# shellcheck source=benches/servers.sh
. "$BENCHES/servers.sh"
# shellcheck source=benches/section.sh
. "$BENCHES/section.sh"
read_words warm.sh 3 "$@"
export APP_PASSWORD REDISCLI_AUTH=redis-secret
say() { printf '[%3d s] %s\n' "$SECONDS" "$*" >&2; }
fail() {
  printf '\nwarm.sh: %s\n' "$1" >&2
  [ ! -s "${2:-}" ] || tail -n 15 "$2" >&2
  exit 1
}

start_redis() {
  free_port REDIS_PORT
  printf '%s' "$REDISCLI_AUTH" >"$WORK/secrets/redis"
  cat >"$WORK/redis.conf" <<CONF
bind 127.0.0.1
port 0
tls-port $REDIS_PORT
tls-cert-file $WORK/tls/server.pem
tls-key-file $WORK/tls/server-key.pem
tls-ca-cert-file $WORK/tls/ca.pem
tls-auth-clients no
unixsocket $WORK/run/redis
requirepass $REDISCLI_AUTH
save ""
dir $WORK/run
CONF
  start redis redis-server "$WORK/redis.conf"
  await redis 20 "first answer" redis PING
}
redis() { redis-cli -e -s "$WORK/run/redis" "$@" {KEEPER}>&-; }

# a row is about 300 bytes, as an article's in a shop
make_rows() {
  sql app <<SQL
SET cte_max_recursion_depth = $MANY;
CREATE TABLE products (id INT UNSIGNED PRIMARY KEY, sku VARCHAR(20) NOT NULL, name VARCHAR(80) NOT NULL, price DECIMAL(10, 2) NOT NULL,
  stock INT NOT NULL, description VARCHAR(400) NOT NULL, updated DATETIME NOT NULL);
INSERT INTO products WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < $MANY)
  SELECT n, CONCAT('SKU-', LPAD(n, 8, '0')), CONCAT('Köln \"', n, '\" / blue'), n / 100, n % 97, REPEAT(SHA2(n, 256), 3), '2026-01-01' + INTERVAL n SECOND FROM s;
SQL
}

# job NAME FORMAT ROWS: a job that runs by hand only
job() {
  cat <<TOML
[[warm]]
name = "$1"
at_boot = false
after_flush = false
database = "app"
query = "SELECT id, sku, name, price, stock, description, updated FROM products WHERE id > ? AND id <= $3 ORDER BY id LIMIT 1000"
key = "$2:{id}"
value = "$2"
TOML
}
configuration() {
  local format
  agent_configuration agent
  mysql_table "$WORK/run/mysql.sock"
  cat <<TOML
[redis]
upstream = "rediss://127.0.0.1:$REDIS_PORT"
password_file = "$WORK/secrets/redis"
tls = { ca = "$WORK/tls/ca.pem" }
TOML
  for format in "${FORMATS[@]}"; do job "$format" "$format" "$ROWS"; done
  job many row-json "$MANY"
}

# cpu NAME: the CPU time that a process has used, in ms
cpu() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/^.*[)] /, ""); print int(($12 + $13) * 1000 / hz) }' "/proc/$(pid_of "$1")/stat"; }
# note WHAT ROWS COMMAND...: runs it, which prints how many ms it took, and the ms of CPU and KiB of memory of its process; notes all, and
# what the servers used meanwhile
note() {
  local what=$1 rows=$2 before figures
  shift 2
  before="$(cpu mysql) $(cpu redis)"
  figures=$("$@") || fail "$what failed" "$WORK/log/agent.log"
  echo "$what $rows $figures $before $(cpu mysql) $(cpu redis)" >>"$WORK/results/all"
}
# by_agent JOB ROWS: the agent's memory is the most that it had meanwhile
by_agent() {
  local before told
  echo 5 >"/proc/$(pid_of agent)/clear_refs"
  before=$(cpu agent)
  told=$("$AGENT" warm run "$1" --json --config "$WORK/lamplighter.toml" 2>>"$WORK/log/warm.log" {KEEPER}>&-)
  php -r '$told = json_decode($argv[1], true); $told["keys"] == $argv[2] && $told["kept"] + $told["skipped"] == 0 || exit(1); echo $told["last"]["duration_ms"];' "$told" "$2"
  echo " $(($(cpu agent) - before)) $(awk '/^VmHWM:/ { print $2 }' "/proc/$(pid_of agent)/status")"
}
php_warm() { php "$BENCHES/warm.php" "$1" format="$2" rows="$ROWS" mysql_port="$MYSQL_PORT" redis_port="$REDIS_PORT" ca="$WORK/tls/ca.pem" {KEEPER}>&-; }
# timed COMMAND...: what a program of ours used, by wait4(2)
timed() {
  python3 -c 'import os, subprocess, sys, time
begun = time.monotonic()
child = subprocess.Popen(sys.argv[1:], stdin=sys.stdin, stdout=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
print(int((time.monotonic() - begun) * 1000), int((used.ru_utime + used.ru_stime) * 1000), used.ru_maxrss)
sys.exit(status != 0)' "$@" {KEEPER}>&-
}
by_php() { timed php "$BENCHES/warm.php" write format="$1" rows="$ROWS" mysql_port="$MYSQL_PORT" redis_port="$REDIS_PORT" ca="$WORK/tls/ca.pem"; }
by_mysql() {
  MYSQL_PWD=$APP_PASSWORD timed "$CACHE/mysql9/bin/mysql" --no-defaults --quick --host=127.0.0.1 --port="$MYSQL_PORT" --user=app \
    --ssl-mode=VERIFY_CA --ssl-ca="$WORK/tls/ca.pem" app <"$WORK/pages.sql"
}
pages() {
  local last
  for ((last = 0; last < ROWS; last += 1000)); do
    echo "SELECT id, sku, name, price, stock, description, updated FROM products WHERE id > $last AND id <= $ROWS ORDER BY id LIMIT 1000;"
  done
}

measure() {
  local round format
  for ((round = 1; round <= COUNT; round++)); do
    for format in "${FORMATS[@]}"; do
      redis FLUSHALL >/dev/null
      note "job,$format" "$ROWS" by_agent "$format" "$ROWS"
      php_warm check "$format" >/dev/null || fail "wrong values: $(php_warm check "$format")"
      redis FLUSHALL >/dev/null
      note "PHP,$format" "$ROWS" by_php "$format"
    done
    note mysql "$ROWS" by_mysql
    say "round $round of $COUNT"
  done
  redis FLUSHALL >/dev/null
  note job,many "$MANY" by_agent many "$MANY"
  unlimited
}
# the same without the budget that leaves MySQL and Redis to the application
unlimited() {
  local round
  stop agent
  sed -i 's/^\[redis\]$/&\nwarm_rows_per_second = 1000000000/' "$WORK/lamplighter.toml"
  start_agent
  for ((round = 1; round <= COUNT; round++)); do
    redis FLUSHALL >/dev/null
    note job,unlimited "$ROWS" by_agent row-json "$ROWS"
  done
}

# table: medians; what, rows/s, CPU of each in µs a row, memory
table() {
  echo '| 100,000 rows | a second | CPU µs a row: its own | MySQL | Redis | its memory at most, MiB |'
  echo '|---|---:|---:|---:|---:|---:|'
  python3 - "$WORK/results/all" <<'PY'
import statistics, sys
seen = {}
for line in open(sys.argv[1]):
    what, *numbers = line.split()
    rows, took, own, memory, mysql0, redis0, mysql1, redis1 = map(int, numbers)
    each = lambda ms: ms * 1000 / rows
    seen.setdefault(what, []).append((rows * 1000 / took, each(own), each(mysql1 - mysql0), each(redis1 - redis0), memory / 1024))
formats = "row-json", "row-php", "row-igbinary", "hash"
names = {f"job,{of}": f"warm job, `{of}`" for of in formats}
names |= {"job,many": "warm job, `row-json`, 1,000,000 rows", "job,unlimited": "warm job, `row-json`, no limit of rows a second"}
names |= {f"PHP,{of}": f"PHP script, `{of}`" for of in formats}
names |= {"mysql": "`mysql --quick` reads the pages, nothing is written"}
for what, name in names.items():
    rate, own, mysql, redis, memory = map(statistics.median, zip(*seen[what]))
    print(f"| {name} | {rate:,.0f} | {own:.1f} | {mysql:.1f} | {redis:.1f} | {memory:.1f} |")
PY
}

"$REPO/tests/support/install.sh" mysql php redis >&2
build_agent >&2
open_work
make_certificates
start_mysql >&2
start_redis
make_rows
pages >"$WORK/pages.sql"
configuration >"$WORK/lamplighter.toml"
start_agent
say "servers, agent and rows are there"
others=$(cores_in_use)
measure
{ about "make bench-warm ROUNDS=$COUNT" "$others" && table; } >"$WORK/section"
cat "$WORK/section"
[ -n "$PRINT" ] || put warm.sh "$WORK/section"
