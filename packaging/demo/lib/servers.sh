# shellcheck shell=bash
# Starts the servers that a cloud would give: MySQL with two replicas, Redis, blob storage; all with this demo's own certificates.
# Sourced by up.sh after state.sh.

# --- certificates: one authority, one certificate per server, good for 127.0.0.1 only -------------------------------------------
make_certificates() {
  local tls=$STATE/tls name log=$LOGS/certificates.log
  {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=Lamplighter demo CA" \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
      -keyout "$tls/ca-key.pem" -out "$tls/ca.pem" &&
      for name in mysql redis storage; do
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name.demo" \
          -keyout "$tls/$name-key.pem" -out "$tls/$name.csr" &&
          openssl x509 -req -in "$tls/$name.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca-key.pem" -CAcreateserial -days 30 \
            -extfile <(echo "subjectAltName=IP:127.0.0.1,DNS:localhost") -out "$tls/$name.pem" || return 1
      done
  } >"$log" 2>&1 || fail "the certificates could not be made" "$log"
  rm -f "$tls"/*.csr "$tls"/*.srl "$tls/ca-key.pem"
  chmod 644 "$tls"/*.pem
  chmod 640 "$tls"/*-key.pem
  chgrp redis "$tls/redis-key.pem"
}

# --- MySQL: node 0 is the primary ---------------------------------------------------------------------------------------------
NODES=(0 1 2)
node_dir() { echo "$STATE/mysql/$1"; }
# sql NODE [ARGUMENT...]: the mysql client as root, over the node's own socket
sql() {
  local node=$1
  shift
  "$CACHE/mysql9/bin/mysql" --defaults-file="$STATE/secrets/mysql-root.cnf" --socket="$(node_dir "$node")/mysqld.sock" "$@"
}
mysqld_node() {
  local node=$1 port=NODE_PORT_$1
  NODE_DIR=$(node_dir "$node") NODE_ID=$((node + 1)) NODE_PORT=${!port} NODE_READ_ONLY=$([ "$node" = 0 ] && echo OFF || echo ON) \
    render mysql.cnf "$(node_dir "$node")/my.cnf"
  start "mysql-$node" "$CACHE/mysql9/bin/mysqld" --defaults-file="$(node_dir "$node")/my.cnf"
}

# One data folder is initialised, with all accounts; the replicas start as copies of it. No binary log is written meanwhile, so all
# three begin with an empty GTID set and replication carries everything from there.
prepare_mysql() {
  local node first
  first=$(node_dir 0)
  # shellcheck disable=SC1091
  . "$CACHE/mysql9/env"
  # shellcheck disable=SC2034  # render puts it into mysql.cnf
  MYSQL_USER=$(id -un)
  for node in "${NODES[@]}"; do mkdir -p "$(node_dir "$node")/tmp"; done
  secret mysql-root root
  secret mysql-repl root
  secret mysql-shop "$AGENT_UID"
  secret mysql-monitor "$AGENT_UID"
  touch "$STATE/secrets/"{mysql-root.cnf,accounts.sql} && chmod 600 "$STATE/secrets/"{mysql-root.cnf,accounts.sql}
  printf '[client]\nuser=root\npassword=%s\n' "$(cat "$STATE/secrets/mysql-root")" >"$STATE/secrets/mysql-root.cnf"
  cat >"$STATE/secrets/accounts.sql" <<SQL
ALTER USER root@localhost IDENTIFIED BY '$(cat "$STATE/secrets/mysql-root")';
CREATE USER repl@'%' IDENTIFIED BY '$(cat "$STATE/secrets/mysql-repl")' REQUIRE SSL;
GRANT REPLICATION SLAVE ON *.* TO repl@'%';
CREATE DATABASE shop;
CREATE USER shop@'%' IDENTIFIED BY '$(cat "$STATE/secrets/mysql-shop")' REQUIRE SSL;
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.* TO shop@'%';
CREATE USER monitor@'%' IDENTIFIED BY '$(cat "$STATE/secrets/mysql-monitor")' REQUIRE SSL;
GRANT REPLICATION CLIENT ON *.* TO monitor@'%';
SQL
  NODE_DIR=$first NODE_ID=1 NODE_PORT=$NODE_PORT_0 NODE_READ_ONLY=OFF render mysql.cnf "$first/my.cnf"
  start mysql-init "$CACHE/mysql9/bin/mysqld" --defaults-file="$first/my.cnf" --skip-log-bin --initialize-insecure \
    --init-file="$STATE/secrets/accounts.sql"
  await_end mysql-init 90 || fail "MySQL could not initialise its data folder" "$LOGS/mysql-init.log"
  rm -f "$STATE/secrets/accounts.sql"
  for node in 1 2; do
    cp -a "$first/data" "$(node_dir "$node")/data"
    rm -f "$(node_dir "$node")/data/auto.cnf"
  done
}

start_mysql() {
  local node
  for node in "${NODES[@]}"; do mysqld_node "$node"; done
  for node in "${NODES[@]}"; do await "mysql-$node" 60 "its first answer" sql "$node" -e 'SELECT 1'; done
  for node in 1 2; do
    sql "$node" >>"$LOGS/mysql-setup.log" 2>&1 <<SQL || fail "replica $node could not be told its source" "$LOGS/mysql-setup.log"
CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = $NODE_PORT_0, SOURCE_USER = 'repl',
  SOURCE_PASSWORD = '$(cat "$STATE/secrets/mysql-repl")', SOURCE_AUTO_POSITION = 1, SOURCE_SSL = 1, SOURCE_SSL_CA = '$STATE/tls/ca.pem',
  SOURCE_SSL_VERIFY_SERVER_CERT = 1, SOURCE_CONNECT_RETRY = 1, SOURCE_HEARTBEAT_PERIOD = 1;
START REPLICA;
SQL
  done
  php "$DEMO/seed/rows.php" | sql 0 shop >>"$LOGS/mysql-setup.log" 2>&1 || fail "the shop's tables could not be made" "$LOGS/mysql-setup.log"
  replicas_have_all
}
# replicas_have_all: waits until both replicas have executed everything the primary has
replicas_have_all() {
  local done_so_far node
  done_so_far=$(sql 0 -BN --raw -e 'SELECT @@gtid_executed')
  for node in 1 2; do
    [ "$(sql "$node" -BN -e "SELECT WAIT_FOR_EXECUTED_GTID_SET('$done_so_far', 30)")" = 0 ] ||
      fail "replica $node does not follow the primary" "$LOGS/mysql-$node.log"
  done
}

# --- Redis --------------------------------------------------------------------------------------------------------------------
start_redis() {
  local reader
  mkdir -p "$STATE/redis"
  chown redis: "$STATE/redis"
  secret redis redis
  for reader in php:www-data agent:"$AGENT_UID"; do
    install -m 400 -o "${reader#*:}" "$STATE/secrets/redis" "$STATE/secrets/redis-${reader%:*}"
  done
  (umask 077 && printf 'requirepass %s\n' "$(cat "$STATE/secrets/redis")" >"$STATE/secrets/redis.conf")
  chown redis "$STATE/secrets/redis.conf"
  render redis.conf "$STATE/redis.conf"
  start redis setpriv --reuid redis --regid redis --init-groups redis-server "$STATE/redis.conf"
  await redis 15 "its first answer" redis_answers
}
# redis_do COMMAND...: redis-cli over TLS; the password by the environment, where nobody else can read it
redis_do() {
  REDISCLI_AUTH=$(cat "$STATE/secrets/redis") redis-cli --no-auth-warning --tls --cacert "$STATE/tls/ca.pem" -h 127.0.0.1 -p "$REDIS_PORT" "$@"
}
redis_answers() { [ "$(redis_do ping)" = PONG ]; }

# --- blob storage -------------------------------------------------------------------------------------------------------------
start_storage() {
  mkdir -p "$STATE/storage"
  touch "$STATE/secrets/storage-"{key,editor.sas,agent.sas} && chmod 600 "$STATE/secrets/storage-"*
  openssl rand -base64 64 | tr -d '\n' >"$STATE/secrets/storage-key"
  # the account's key by the environment: it never stands in a command line
  AZURITE_ACCOUNTS="demoshop:$(cat "$STATE/secrets/storage-key")" start storage node "$CACHE/azurite/node_modules/azurite/dist/src/blob/main.js" \
    --blobHost 127.0.0.1 --blobPort "$STORAGE_PORT" --location "$STATE/storage" --silent --disableTelemetry --skipApiVersionCheck \
    --disableProductStyleUrl --cert "$STATE/tls/storage.pem" --key "$STATE/tls/storage-key.pem"
  setting STORAGE_URL "https://127.0.0.1:$STORAGE_PORT/demoshop"
  await storage 30 "its first answer" curl --silent --cacert "$STATE/tls/ca.pem" --output /dev/null "$STORAGE_URL"
  php "$DEMO/seed/sas.php" demoshop rwdlac <"$STATE/secrets/storage-key" >"$STATE/secrets/storage-editor.sas"
  php "$DEMO/seed/sas.php" demoshop rl <"$STATE/secrets/storage-key" >"$STATE/secrets/storage-agent.sas"
  chown "$AGENT_UID" "$STATE/secrets/storage-agent.sas"
}

# make_site FOLDER: what the shop's editors have made: pictures and styles
make_site() {
  mkdir -p "$1/pictures"
  php "$DEMO/seed/pictures.php" "$1/pictures"
  cp -r "$DEMO/container/css" "$1/"
}

# upload FOLDER: what an editor does: every file of the folder into the container
upload() {
  local file kind signature list
  signature=$(cat "$STATE/secrets/storage-editor.sas")
  list=$STATE/secrets/upload.curl
  (
    umask 077
    cd "$1" || exit 1
    find . -type f -printf '%P\n' | sort | while read -r file; do
      case $file in *.svg) kind=image/svg+xml ;; *.css) kind=text/css ;; *) kind=application/octet-stream ;; esac
      printf 'next\ncacert = "%s"\nupload-file = "%s"\nurl = "%s/www/%s?%s"\nheader = "x-ms-blob-type: BlockBlob"\nheader = "Content-Type: %s"\nfail\nsilent\nshow-error\n' \
        "$STATE/tls/ca.pem" "$file" "$STORAGE_URL" "$file" "$signature" "$kind"
    done >"$list"
    curl --fail --silent --show-error --config "$list"
  ) >>"$LOGS/upload.log" 2>&1 || fail "the upload to the storage container failed" "$LOGS/upload.log"
  rm -f "$list"
}
create_container() {
  curl --fail --silent --show-error --config - >>"$LOGS/upload.log" 2>&1 <<CURL || fail "the storage container could not be made" "$LOGS/upload.log"
request = PUT
cacert = "$STATE/tls/ca.pem"
url = "$STORAGE_URL/www?restype=container&$(cat "$STATE/secrets/storage-editor.sas")"
header = "Content-Length: 0"
CURL
}
