# shellcheck shell=bash
# The folder, the processes and the servers of a bench run. Sourced by run.sh.
#
# Everything started here is in a session of its own and on the list of tests/support/keeper.sh, which waits at the end of a pipe: when
# run.sh ends, in whatever way, the keeper kills what is on its list and removes the folder.
APP_PASSWORD=app-secret # as in the tests' fixtures: servers that live for minutes, in a folder that only we can read
MON_PASSWORD=mon-secret

# --- the folder and the processes ---------------------------------------------------------------------------------------------
open_work() {
  WORK=$(mktemp -d /tmp/ll-bench-XXXXXX)
  exec {KEEPER}> >(exec setsid bash "$REPO/tests/support/keeper.sh" 2>/dev/null)
  KEEPER_PID=$!
  echo "+dir $WORK" >&"$KEEPER"
  mkdir -p "$WORK"/{log,results,run,secrets,state,tls,mysql/tmp}
  printf '%s' "$APP_PASSWORD" >"$WORK/secrets/app"
  printf '%s' "$MON_PASSWORD" >"$WORK/secrets/mon"
  declare -gA PIDS=()
  trap close_work EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  # thousands of clients, each with a socket here and one at the server
  ulimit -n "$(ulimit -Hn)"
}
# close_work: ends everything and returns when it is gone
close_work() {
  local code=$? logs
  trap '' INT TERM HUP
  if [ "$code" != 0 ] && [ "$code" -lt 128 ]; then
    logs=$(mktemp -d /tmp/ll-bench-logs-XXXXXX)
    cp -r "$WORK/log/." "$logs" && echo "make bench: the logs are in $logs" >&2
  fi
  exec {KEEPER}>&-
  wait "$KEEPER_PID" || true
  exit "$code"
}

# start NAME COMMAND...: output to $WORK/log/NAME.log
start() {
  local name=$1
  shift
  setsid "$@" </dev/null >>"$WORK/log/$name.log" 2>&1 {KEEPER}>&- &
  PIDS[$name]=$!
  echo "+group ${PIDS[$name]}" >&"$KEEPER"
}
pid_of() { echo "${PIDS[$1]}"; }
alive() { kill -0 "${PIDS[$1]}" 2>/dev/null; }
# stop NAME: SIGTERM, and SIGKILL after ten seconds
stop() {
  local pid=${PIDS[$1]} end=$((SECONDS + 10))
  kill -TERM "$pid"
  while alive "$1"; do
    [ "$SECONDS" -lt "$end" ] || kill -KILL "$pid"
    sleep 0.02
  done
  wait "$pid" || true
  echo "-group $pid" >&"$KEEPER"
  unset "PIDS[$1]"
}
# await NAME SECONDS WHAT COMMAND...: polls COMMAND until it succeeds; fails at once when the process NAME dies
await() {
  local name=$1 seconds=$2 what=$3 end=$((SECONDS + $2))
  shift 3
  until "$@" >/dev/null 2>&1; do
    alive "$name" || fail "$name ended before $what" "$WORK/log/$name.log"
    [ "$SECONDS" -lt "$end" ] || fail "$name: no $what within $seconds s" "$WORK/log/$name.log"
    sleep 0.05
  done
}

# free_port NAME: a port of loopback, below the kernel's range for outgoing connections. Locked as tests/support/ports.rs does, so
# that a test run at the same time does not choose it.
free_port() {
  local number=$((20000 + RANDOM % 12000)) lock
  mkdir -p "$CACHE/ports"
  while :; do
    number=$((number < 31999 ? number + 1 : 20000))
    exec {lock}>"$CACHE/ports/$number"
    if flock --nonblock "$lock" && ! listening "$number"; then break; fi
    exec {lock}>&-
  done
  printf -v "$1" '%s' "$number"
}
listening() {
  local files=(/proc/net/tcp)
  [ ! -r /proc/net/tcp6 ] || files+=(/proc/net/tcp6)
  awk -v want="$(printf '%04X' "$1")" '{ split($2, at, ":"); if (at[length(at)] == want) found = 1 } END { exit !found }' "${files[@]}"
}

# --- certificates: RSA with 2048 bits for servers, as Azure Database for MySQL has them -----------------------------------------
make_certificates() {
  local name log=$WORK/log/certificates.log
  (
    cd "$WORK/tls" || exit 1
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=Lamplighter bench CA" \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca-key.pem -out ca.pem &&
      for name in server client; do
        openssl req -newkey rsa:2048 -nodes -subj "/CN=bench $name" -keyout "$name-key.pem" -out "$name.csr" &&
          openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 \
            -extfile <(echo "subjectAltName=IP:127.0.0.1,DNS:localhost") -out "$name.pem" || exit 1
      done
    # the names under which sysbench looks for them
    cp ca.pem cacert.pem && cp client.pem client-cert.pem
  ) >"$log" 2>&1 || fail "the certificates could not be made" "$log"
}

# --- MySQL ----------------------------------------------------------------------------------------------------------------------
sql() { "$CACHE/mysql9/bin/mysql" --no-defaults --user=root --socket="$WORK/mysql/s" "$@" {KEEPER}>&-; }
mysql_accounts() { # one statement a line: the server reads an init file so
  cat <<SQL
CREATE DATABASE app;
CREATE DATABASE sbtest;
CREATE USER app@'%' IDENTIFIED BY '$APP_PASSWORD';
GRANT ALL ON app.* TO app@'%';
GRANT ALL ON sbtest.* TO app@'%';
CREATE USER mon@'%' IDENTIFIED BY '$MON_PASSWORD';
GRANT REPLICATION CLIENT, PROCESS ON *.* TO mon@'%';
CREATE TABLE app.kv (id INT PRIMARY KEY, v VARCHAR(100) NOT NULL);
INSERT INTO app.kv WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1000) SELECT n, CONCAT('value-', n) FROM s;
SQL
}
# mysql_settings FOLDER: the server's own defaults but for names, sizes and what makes a run wait for the disk
mysql_settings() {
  # shellcheck disable=SC1091
  . "$CACHE/mysql9/env"
  cat <<CNF
[mysqld]
basedir = $MYSQL9_ROOT/usr
lc-messages-dir = $MYSQL9_SHARE
character-sets-dir = $MYSQL9_SHARE/charsets
plugin-dir = $MYSQL9_PLUGINS
datadir = $1/data
tmpdir = $1/tmp
pid-file = $1/pid
socket = $1/s
mysqlx = OFF
secure-file-priv = NULL
skip-name-resolve = ON
gtid-mode = ON
enforce-gtid-consistency = ON
log-bin = bin
session-track-gtids = OWN_GTID
log-output = TABLE
max-connections = 6000
max-connect-errors = 1000000
back-log = 2048
innodb-buffer-pool-size = 128M
innodb-redo-log-capacity = 64M
innodb-flush-log-at-trx-commit = 2
sync-binlog = 0
innodb-buffer-pool-dump-at-shutdown = OFF
innodb-buffer-pool-load-at-startup = OFF
CNF
}
start_mysql() {
  local seed user=()
  [ "$(id -u)" != 0 ] || user=(--user=root)
  # a data folder takes ten seconds to initialise and a moment to copy
  seed=$CACHE/seed/bench-$({ cat "$CACHE/mysql9/complete" && mysql_accounts && mysql_settings /; } | sha256sum | cut -c 1-16)
  if [ ! -d "$seed" ]; then
    say "MySQL: initialising a data folder, kept in the cache"
    mkdir -p "$WORK/seed/tmp" "$CACHE/seed"
    mysql_accounts >"$WORK/seed/accounts.sql"
    mysql_settings "$WORK/seed" >"$WORK/seed/my.cnf"
    "$CACHE/mysql9/bin/mysqld" --defaults-file="$WORK/seed/my.cnf" "${user[@]}" --initialize-insecure --skip-log-bin \
      --init-file="$WORK/seed/accounts.sql" >"$WORK/log/mysql-init.log" 2>&1 {KEEPER}>&- ||
      fail "MySQL could not initialise its data folder" "$WORK/log/mysql-init.log"
    ! grep -F '[ERROR]' "$WORK/log/mysql-init.log" || fail "MySQL refused the accounts" "$WORK/log/mysql-init.log"
    rm -f "$WORK/seed/data/auto.cnf"
    mv -T "$WORK/seed/data" "$seed" || [ -d "$seed" ]
    rm -rf "$WORK/seed"
  fi
  cp -a --reflink=auto --sparse=always "$seed" "$WORK/mysql/data"
  free_port MYSQL_PORT
  {
    mysql_settings "$WORK/mysql"
    printf 'bind-address = 127.0.0.1\nport = %s\nserver-id = 1\n' "$MYSQL_PORT"
    printf 'ssl-ca = %s\nssl-cert = %s\nssl-key = %s\n' "$WORK/tls/"{ca,server,server-key}.pem
  } >"$WORK/mysql/my.cnf"
  start mysql "$CACHE/mysql9/bin/mysqld" --defaults-file="$WORK/mysql/my.cnf" "${user[@]}"
  await mysql 60 "first answer" sql -e 'SELECT 1'
  SERVER_PORT=$MYSQL_PORT
}
# What is started from now on reaches MySQL on a way that is a millisecond longer, or on the short one again.
far_away() {
  free_port SERVER_PORT
  start delay python3 "$BENCHES/delay.py" "$SERVER_PORT" "$MYSQL_PORT" 1
  await delay 10 "port" listening "$SERVER_PORT"
}
near_again() {
  stop delay
  SERVER_PORT=$MYSQL_PORT
}

# --- MySQL Router, one process for each way to use it: in one process they would fill one another's pool ------------------------------
#   pass   pass-through: the client's own TLS, if any
#   pool   TLS to the server; a server connection goes to the pool when its client leaves
#   share  TLS to the server; a server connection goes to the pool after every statement, and to whoever is next
# router_configuration KIND: on a port of its own and $WORK/run/router-KIND.sock
router_configuration() {
  local port
  free_port port
  # shellcheck disable=SC1091
  . "$CACHE/mysql9/env"
  mkdir -p "$WORK/run/router-$1"
  cat <<CNF
[DEFAULT]
logging_folder=
plugin_folder=$MYSQL9_ROUTER_PLUGINS
runtime_folder=$WORK/run/router-$1
data_folder=$WORK/run/router-$1
config_folder=$WORK/run/router-$1
max_total_connections=10000
client_ssl_cert=$WORK/tls/server.pem
client_ssl_key=$WORK/tls/server-key.pem
[logger]
level=WARNING
[io]
threads=$(nproc)
[connection_pool]
max_idle_server_connections=64
idle_timeout=60
[routing:$1]
bind_address=127.0.0.1
bind_port=$port
socket=$WORK/run/router-$1.sock
destinations=127.0.0.1:$SERVER_PORT
routing_strategy=first-available
protocol=classic
max_connections=10000
max_connect_errors=1000000
client_connect_timeout=30
CNF
  case $1 in
    pass) printf 'client_ssl_mode=PASSTHROUGH\nserver_ssl_mode=AS_CLIENT\n' ;;
    *) printf 'client_ssl_mode=PREFERRED\nserver_ssl_mode=REQUIRED\nserver_ssl_verify=VERIFY_CA\nserver_ssl_ca=%s\n' "$WORK/tls/ca.pem" ;;
  esac
  [ "$1" != pool ] || printf 'connection_sharing=0\n'
  [ "$1" != share ] || printf 'connection_sharing=1\nconnection_sharing_delay=0\n'
}
# router_command CONFIGURATION: its command line, one word a line
router_command() {
  printf '%s\n' "$CACHE/mysql9/bin/mysqlrouter" -c "$1"
  [ "$(id -u)" != 0 ] || echo --user=root
}
# start_router KIND
start_router() {
  local configuration=$WORK/router-$1.conf command
  [ -e "$configuration" ] || router_configuration "$1" >"$configuration"
  mapfile -t command < <(router_command "$configuration")
  rm -f "$WORK/run/router-$1.sock"
  start "router-$1" "${command[@]}"
  await "router-$1" 30 "socket" test -S "$WORK/run/router-$1.sock"
}

# --- HAProxy: passes bytes on and knows nothing of MySQL, so TLS is the client's own --------------------------------------------------
haproxy_configuration() {
  local port
  free_port port
  cat <<CNF
global
  maxconn 6000
defaults
  mode tcp
  timeout connect 30s
  timeout client 10m
  timeout server 10m
listen mysql
  bind 127.0.0.1:$port
  server mysql 127.0.0.1:$SERVER_PORT
CNF
}
haproxy_port() { sed -n 's/^  bind 127.0.0.1://p' "$WORK/haproxy.conf"; }
start_haproxy() {
  haproxy_configuration >"$WORK/haproxy.conf"
  start haproxy haproxy -db -f "$WORK/haproxy.conf"
  await haproxy 30 "port" listening "$(haproxy_port)"
}

# --- the agent --------------------------------------------------------------------------------------------------------------------
build_agent() {
  local target
  if [ -n "${LAMPLIGHTER_BIN:-}" ]; then
    AGENT=$LAMPLIGHTER_BIN
  else
    say "building the agent (cargo build --release)"
    cargo build --release --quiet --manifest-path "$REPO/Cargo.toml" --package lamplighter
    target=$(cargo metadata --manifest-path "$REPO/Cargo.toml" --format-version 1 --no-deps | php -r 'echo json_decode(stream_get_contents(STDIN))->target_directory;')
    AGENT=$target/release/lamplighter
  fi
  "$AGENT" --version >/dev/null || fail "the agent does not run: $AGENT"
}
# agent_configuration NAME: probe, metrics and admin on free ports and a socket; the smallest agent there is
agent_configuration() {
  local probe_port metrics_port admin_port
  free_port probe_port
  free_port metrics_port
  free_port admin_port
  mkdir -p "$WORK/run/$1"
  cat <<TOML
[state]
dir = "$WORK/state"
[health]
listen = "127.0.0.1:$probe_port"
metrics_listen = "127.0.0.1:$metrics_port"
admin_listen = "127.0.0.1:$admin_port"
admin_socket = "$WORK/run/$1/admin.sock"
runtime_dir = "$WORK/run/$1"
TOML
}
# mysql_table SOCKET: the endpoint at its defaults. The monitor has an account of its own, so that the server's log can tell it apart.
mysql_table() {
  cat <<TOML
[mysql]
listen = ["unix:$1"]
primary = "127.0.0.1:$SERVER_PORT"
user = "app"
password_file = "$WORK/secrets/app"
tls = { ca = "$WORK/tls/ca.pem" }
[mysql.clients.web]
peer_users = ["$(id -un)"]
[mysql.clients.app]
password_file = "$WORK/secrets/app"
[mysql.monitor]
user = "mon"
password_file = "$WORK/secrets/mon"
TOML
}
agent_command() { printf '%s\n' "$AGENT" run --config "$1"; }
start_agent() {
  local configuration=$WORK/lamplighter.toml command
  [ -e "$configuration" ] || { agent_configuration agent && mysql_table "$WORK/run/mysql.sock"; } >"$configuration"
  mapfile -t command < <(agent_command "$configuration")
  rm -f "$WORK/run/mysql.sock"
  start agent "${command[@]}"
  await agent 30 "socket" test -S "$WORK/run/mysql.sock"
}

# start_peers: all that is in front of MySQL, new processes with configurations of their own; and the list of them
start_peers() {
  local kind
  for kind in pass pool share; do
    rm -f "$WORK/router-$kind.conf"
    start_router "$kind"
  done
  start_haproxy
  rm -f "$WORK/lamplighter.toml"
  start_agent
  write_endpoints
}
stop_peers() {
  local name
  for name in agent haproxy router-pass router-pool router-share; do stop "$name"; done
}

# write_endpoints: key|name|host|port|socket|tls|user|password
write_endpoints() {
  local pass_port
  pass_port=$(sed -n 's/^bind_port=//p' "$WORK/router-pass.conf")
  cat >"$WORK/endpoints" <<LIST
tls|direct, TCP + TLS|127.0.0.1|$SERVER_PORT||1|app|$APP_PASSWORD
tcp|direct, TCP without TLS|127.0.0.1|$SERVER_PORT||0|app|$APP_PASSWORD
unix|direct, unix socket|localhost|0|$WORK/mysql/s|0|app|$APP_PASSWORD
haproxy|HAProxy, TCP + TLS end to end|127.0.0.1|$(haproxy_port)||1|app|$APP_PASSWORD
router-pass-tls|Router pass-through, TCP + TLS end to end|127.0.0.1|$pass_port||1|app|$APP_PASSWORD
router-pass|Router pass-through, TCP without TLS|127.0.0.1|$pass_port||0|app|$APP_PASSWORD
router-pool|Router pool, unix socket in, TLS out|localhost|0|$WORK/run/router-pool.sock|0|app|$APP_PASSWORD
router-share|Router sharing, unix socket in, TLS out|localhost|0|$WORK/run/router-share.sock|0|app|$APP_PASSWORD
endpoint|Lamplighter, unix socket in, TLS out|localhost|0|$WORK/run/mysql.sock|0|web|
LIST
}
