# shellcheck shell=bash
# Starts what an instance of the scale set has: Apache with php-fpm and the shop, the agent, and a Prometheus that looks at the agent.
# Sourced by up.sh after servers.sh.

# --- the agent: build, start --------------------------------------------------------------------------------------------------
# An account that no user has, as systemd's DynamicUser gives one: the demo adds nothing to /etc/passwd.
choose_agent_account() {
  AGENT_UID=64870
  while getent passwd "$AGENT_UID" >/dev/null || getent group "$AGENT_UID" >/dev/null; do AGENT_UID=$((AGENT_UID + 1)); done
  AGENT_GID=$AGENT_UID
}

# start_build: an agent that was built for release before is brought up to date; without one, the demo's profile is ready sooner
start_build() {
  local target
  target=$(cargo metadata --manifest-path "$REPO/Cargo.toml" --format-version 1 --no-deps | php -r 'echo json_decode(stream_get_contents(STDIN))->target_directory;') ||
    fail "cargo cannot read the workspace"
  PROFILE=demo
  [ ! -x "$target/release/lamplighter" ] || PROFILE=release
  AGENT_PROGRAM=$target/$PROFILE/lamplighter
  start build cargo build --profile "$PROFILE" --manifest-path "$REPO/Cargo.toml" --package lamplighter --bin lamplighter
}
# finish_build: waits for cargo, telling how far it is, and puts the program where the agent's account can run it
finish_build() {
  local last=$SECONDS
  while alive build; do
    if [ $((SECONDS - last)) -ge 10 ]; then
      last=$SECONDS
      say "still building: $(grep -c Compiling "$LOGS/build.log") crates so far, now $(awk '/Compiling/ { crate = $2 } END { print crate }' "$LOGS/build.log")"
    fi
    sleep 0.2
  done
  await_end build 1 || fail "cargo build --profile $PROFILE failed" "$LOGS/build.log"
  install -m 755 "$AGENT_PROGRAM" "$STATE/lamplighter"
  say "agent: built, $("$STATE/lamplighter" --version | head -n 1)"
}

# agent COMMAND...: the agent's own command line, as its account
agent() { setpriv --reuid "$AGENT_UID" --regid "$AGENT_GID" --clear-groups "$STATE/lamplighter" "$@" --config "$STATE/lamplighter.toml"; }
start_agent() {
  # the sockets' folder is the agent's; whoever may talk to it is decided by the agent (peer_users), not by the folder
  install -d -o "$AGENT_UID" -g "$AGENT_GID" "$STATE/run" "$STATE/state" "$STATE/site"
  setting SHOP_MYSQL_SOCKET "$STATE/run/mysql.sock"
  setting SHOP_MYSQL_USER web
  setting SHOP_REDIS_HOST tls://127.0.0.1
  setting SHOP_REDIS_PORT "$REDIS_PORT"
  setting SHOP_REDIS_CA "$STATE/tls/ca.pem"
  setting SHOP_REDIS_PASSWORD_FILE "$STATE/secrets/redis-php"
  render lamplighter.toml "$STATE/lamplighter.toml"
  agent check >"$LOGS/agent-check.log" 2>&1 || fail "lamplighter check refuses the demo's configuration" "$LOGS/agent-check.log"
  start agent setpriv --reuid "$AGENT_UID" --regid "$AGENT_GID" --clear-groups "$STATE/lamplighter" run --config "$STATE/lamplighter.toml"
  await agent 20 "its first answer" page_is 200 "http://127.0.0.1:$HEALTH_PORT/livez"
  await agent 20 "its MySQL socket" test -S "$SHOP_MYSQL_SOCKET"
}
# warm: are all 24 products in Redis?
warm() {
  local keys=() id
  for ((id = 1; id <= 24; id++)); do keys+=("shop:product:$id"); done
  [ "$(redis_do exists "${keys[@]}")" = 24 ]
}

# --- Apache and PHP -----------------------------------------------------------------------------------------------------------
start_web() {
  local fpm
  fpm=$(compgen -G '/usr/sbin/php-fpm*' | sort -V | tail -n 1)
  mkdir -p "$STATE/web"
  cp -r "$DEMO/shop/public" "$DEMO/shop/lib" "$STATE/web/"
  render php-fpm.conf "$STATE/web/php-fpm.conf"
  render apache2.conf "$STATE/web/apache2.conf"
  start php-fpm "$fpm" --nodaemonize --fpm-config "$STATE/web/php-fpm.conf"
  await php-fpm 15 "its socket" test -S "$STATE/web/php.sock"
  start apache /usr/sbin/apache2 -f "$STATE/web/apache2.conf" -DFOREGROUND
  await apache 15 "its first answer" page_is 200 "http://127.0.0.1:$SHOP_PORT/healthz.php"
}
# page_is CODE URL
page_is() { [ "$(curl --silent --max-time 5 --output /dev/null --write-out '%{http_code}' "$2")" = "$1" ]; }

# --- Prometheus ---------------------------------------------------------------------------------------------------------------
start_prometheus() {
  mkdir -p "$STATE/prometheus"
  chown prometheus: "$STATE/prometheus"
  render prometheus.yml "$STATE/prometheus.yml"
  start prometheus setpriv --reuid prometheus --regid prometheus --init-groups prometheus --config.file="$STATE/prometheus.yml" \
    --storage.tsdb.path="$STATE/prometheus" --web.listen-address="127.0.0.1:$PROMETHEUS_PORT" --log.level=warn
  await prometheus 20 "its readiness" page_is 200 "http://127.0.0.1:$PROMETHEUS_PORT/-/ready"
}
# scraped_since SECOND: has Prometheus scraped the agent, successfully, after that moment (Unix time)?
scraped_since() {
  curl --silent --max-time 5 --get --data-urlencode "query=timestamp(up{job=\"lamplighter\"} == 1) > $1" \
    "http://127.0.0.1:$PROMETHEUS_PORT/api/v1/query" | grep -q '"value"'
}
