# shellcheck shell=bash
# Plays the outside world: the load balancer that probes before it sends, customers, an editor with a new picture, an operator who
# drains the instance. Every act leaves what it saw in $STATE/seen/ for the report. Sourced by up.sh after instance.sh.
SEEN=$STATE/seen
SHOP_BATCHES=4
SHOP_BATCH=120
SHOP_CONCURRENCY=4

# --- customers ----------------------------------------------------------------------------------------------------------------
# batch NUMBER: one curl configuration of SHOP_BATCH requests: half the list of lamps, a third single lamps, orders, pictures
batch() {
  local i lamp shop="http://127.0.0.1:$SHOP_PORT"
  for ((i = 0; i < SHOP_BATCH; i++)); do
    lamp=$(((i * 7 + i / 12 + $1 * 5) % 24 + 1))
    [ "$i" = 0 ] || echo next
    case $((i % 12)) in
      1 | 4 | 7 | 10) printf 'url = "%s/product.php?id=%d"\n' "$shop" "$lamp" ;;
      5) printf 'url = "%s/order.php"\ndata = "product=%d&quantity=%d&customer=%s"\n' "$shop" "$lamp" $((i % 3 + 1)) "$(customer "$i")" ;;
      8) printf 'url = "%s/media/pictures/storm-lantern.svg"\n' "$shop" ;;
      *) printf 'url = "%s/"\n' "$shop" ;;
    esac
    # shellcheck disable=SC2016  # curl's own variables
    printf 'silent\nmax-time = 10\noutput = /dev/null\nwrite-out = "%%{http_code}\\t%%{time_total}\\t%%{method}\\t%%{url}\\t%%header{x-shop-trace}\\n"\n'
  done
}
customer() {
  local names=(Ada Grace Edsger Barbara Alan Radia Donald Frances)
  echo "${names[$1 % 8]}"
}

# drive: the load balancer asks the probe before every batch and sends only to an instance that is ready
drive() {
  local number
  for ((number = 1; number <= SHOP_BATCHES; number++)); do
    probe /lb >>"$SEEN/lb"
    [ "$(tail -n 1 "$SEEN/lb" | cut -f 1)" = 200 ] || fail "the load balancer would not send to this instance: /lb is not 200" "$SEEN/lb"
    batch "$number" >"$SEEN/batch.curl"
    curl --no-progress-meter --parallel --parallel-max "$SHOP_CONCURRENCY" --config "$SEEN/batch.curl" >>"$SEEN/requests" 2>>"$LOGS/traffic.log" || true
    say "customers: $(wc -l <"$SEEN/requests") requests, $(grep -vc '^200' "$SEEN/requests" || true) of them not answered with 200"
  done
  rm -f "$SEEN/batch.curl"
  [ "$(grep -c '^200' "$SEEN/requests")" -gt 0 ] || fail "the shop answered no request" "$LOGS/php-error.log"
}
# probe PATH: code, tab, body on one line
probe() { curl --silent --max-time 5 --write-out '\t%{http_code}\n' "http://127.0.0.1:$HEALTH_PORT$1" | tr -d '\n' | sed 's/\(.*\)\t\([0-9]*\)$/\2\t\1\n/'; }

# --- what the servers count ---------------------------------------------------------------------------------------------------
# sample FILE: what every MySQL node has counted for the account shop (the agent's), and Redis for all; one "server name value" a line.
# By account, so that neither replication nor this look itself is in it.
sample() {
  local node
  for node in "${NODES[@]}"; do
    sql "$node" -BN performance_schema <<'SQL' | sed "s/^/node$node\t/"
SELECT 'connections', COALESCE(SUM(TOTAL_CONNECTIONS), 0) FROM accounts WHERE USER = 'shop';
SELECT EVENT_NAME, SUM(COUNT_STAR) FROM events_statements_summary_by_account_by_event_name WHERE USER = 'shop' GROUP BY EVENT_NAME;
SQL
  done >"$SEEN/$1"
  redis_do info stats | tr -d '\r' | sed -n 's/^\(keyspace_hits\|keyspace_misses\):/redis\t\1\t/p' >>"$SEEN/$1"
}

# --- an editor ----------------------------------------------------------------------------------------------------------------
blob_etag() { curl --silent --head --cacert "$STATE/tls/ca.pem" --config - <<<"url = \"$STORAGE_URL/www/$1?$(cat "$STATE/secrets/storage-agent.sas")\"" | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p'; }
# shop_shows NAME FILE: does Apache serve exactly this file?
shop_shows() { curl --silent --max-time 5 "http://127.0.0.1:$SHOP_PORT/media/$1" | cmp -s - "$2"; }
# replace_picture: a new version of one blob; how long until the shop shows it, and was anything else touched?
replace_picture() {
  local name=pictures/storm-lantern.svg before after started fresh=$STATE/editor/fresh
  find "$STATE/site/css" "$STATE/site/pictures" -type f ! -path "*/$name" -printf '%P %i %T@\n' | sort >"$SEEN/others-before"
  before=$(blob_etag "$name")
  mkdir -p "$fresh/pictures"
  sed 's|</svg>|<rect x="8" y="8" width="64" height="24" rx="6" fill="#c0392b"/><text x="40" y="25" font-family="sans-serif" font-size="14" fill="#fff" text-anchor="middle">SALE</text></svg>|' \
    "$STATE/editor/www/$name" >"$fresh/$name"
  started=$(date +%s%N)
  upload "$fresh"
  after=$(blob_etag "$name")
  await agent 30 "the new picture in the shop" shop_shows "$name" "$fresh/$name"
  printf '%s\t%s\t%s\t%s\n' "$name" "$before" "$after" $((($(date +%s%N) - started) / 1000000)) >"$SEEN/replaced"
  find "$STATE/site/css" "$STATE/site/pictures" -type f ! -path "*/$name" -printf '%P %i %T@\n' | sort >"$SEEN/others-after"
}

# --- an operator --------------------------------------------------------------------------------------------------------------
lb_is() { [ "$(probe /lb | cut -f 1)" = "$1" ]; }
drain_and_undrain() {
  agent drain >>"$LOGS/operator.log" 2>&1 || fail "lamplighter drain did not work" "$LOGS/operator.log"
  await agent 15 "/lb 503 after lamplighter drain" lb_is 503
  probe /lb >"$SEEN/drained"
  curl --silent --output /dev/null --write-out '%{http_code}\n' "http://127.0.0.1:$SHOP_PORT/" >>"$SEEN/drained"
  agent undrain >>"$LOGS/operator.log" 2>&1 || fail "lamplighter undrain did not work" "$LOGS/operator.log"
  await agent 15 "/lb 200 after lamplighter undrain" lb_is 200
}
