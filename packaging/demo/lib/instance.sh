# shellcheck shell=bash
# Starts what an instance of the scale set has: Apache with php-fpm and the shop, the agent, and a Prometheus that looks at the agent.
# Sourced by up.sh after servers.sh.

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
