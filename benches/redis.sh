#!/usr/bin/env bash
# redis.sh: the Redis endpoint beside direct connections and twemproxy (Debian's nutcracker), in one run on this machine.
# One Redis with TLS and a password; PHP's new + connect + GET, and redis-benchmark GET/SET at pipeline 1 and 16, in alternating rounds.
# Prints a table of medians and of ratios within the run. ROUNDS=n (default 5). Builds the agent in release mode; LAMPLIGHTER_BIN=path
# takes another one. Listens on loopback and unix sockets only; nothing it starts outlives it.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
ROUNDS=${ROUNDS:-5}
tests/support/install.sh base php redis bench
BIN=${LAMPLIGHTER_BIN:-}
if [ -z "$BIN" ]; then
  cargo build --release -p lamplighter
  BIN=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/lamplighter
fi
dir=$(mktemp -d /tmp/ll-bench-redis.XXXXXX)
pids=()
stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap stop EXIT
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
TLS=$(port) PLAIN=$(port) ADMIN=$(port) PROBE=$(port) METRICS=$(port) STATS=$(port)
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" \
  -addext "basicConstraints=critical,CA:FALSE" -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null
redis-server --port "$PLAIN" --bind 127.0.0.1 --tls-port "$TLS" --tls-cert-file "$dir/cert.pem" --tls-key-file "$dir/key.pem" \
  --tls-ca-cert-file "$dir/cert.pem" --tls-auth-clients no --unixsocket "$dir/redis.sock" --save "" --logfile "$dir/redis.log" --dir "$dir" &
pids+=($!)
cat >"$dir/lamplighter.toml" <<EOF
[state]
dir = "$dir/state"
[health]
listen = "127.0.0.1:$PROBE"
metrics_listen = "127.0.0.1:$METRICS"
admin_listen = "127.0.0.1:$ADMIN"
admin_socket = "$dir/admin.sock"
runtime_dir = "$dir/run"
[redis]
listen = ["unix:$dir/lamplighter.sock"]
upstream = "rediss://localhost:$TLS"
tls = { ca = "$dir/cert.pem" }
EOF
mkdir -p "$dir/state" "$dir/run"
"$BIN" run --config "$dir/lamplighter.toml" >"$dir/agent.log" 2>&1 &
pids+=($!)
AGENT=$!
cat >"$dir/nutcracker.yml" <<EOF
pool:
  listen: $dir/nutcracker.sock 0777
  redis: true
  hash: fnv1a_64
  distribution: ketama
  servers:
    - 127.0.0.1:$PLAIN:1
EOF
nutcracker -c "$dir/nutcracker.yml" -a 127.0.0.1 -s "$STATS" -o "$dir/nutcracker.log" &
pids+=($!)
for socket in redis lamplighter nutcracker; do
  for _ in $(seq 200); do [ -S "$dir/$socket.sock" ] && break; sleep 0.05; done
done
for _ in $(seq 200); do redis-cli -s "$dir/lamplighter.sock" set key value 2>/dev/null | grep -q OK && break; sleep 0.05; done

cat >"$dir/request.php" <<'EOF'
<?php // one request: new client, connect, GET; prints the p10 and p50 in microseconds
[, $dir, $tls, $which] = $argv;
$times = [];
for ($i = 0; $i < ($which === 'tls' ? 150 : 1000); $i++) {
    $from = hrtime(true);
    $r = new Redis();
    if ($which === 'tls') {
        $r->connect('tls://localhost', (int) $tls, 5, null, 0, 5, ['stream' => ['cafile' => "$dir/cert.pem"]]);
    } else {
        $r->connect("$dir/$which.sock");
    }
    if ($r->get('key') !== 'value') { fwrite(STDERR, "wrong answer\n"); exit(1); }
    unset($r);
    $times[] = (hrtime(true) - $from) / 1000;
}
sort($times);
printf("%.0f %.0f\n", $times[count($times) / 10], $times[count($times) / 2]);
EOF
bench() { # bench WHICH TEST PIPELINE
  local where=(-s "$dir/$1.sock")
  [ "$1" = tls ] && where=(-h localhost -p "$TLS" --tls --cacert "$dir/cert.pem")
  redis-benchmark "${where[@]}" -c 20 -d 256 -t "$2" -P "$3" -n $((20000 * $3 / (1 + $3 / 4))) --csv 2>/dev/null | tail -1 | cut -d, -f2 | tr -d '"'
}
for round in $(seq "$ROUNDS"); do
  for which in redis tls nutcracker lamplighter; do
    echo "php $which $(php "$dir/request.php" "$dir" "$TLS" "$which")" >>"$dir/results"
    for test in get set; do
      for pipeline in 1 16; do echo "$test$pipeline $which $(bench "$which" "$test" "$pipeline")" >>"$dir/results"; done
    done
  done
done
rss() { awk '/VmRSS/ {print $2}' "/proc/$AGENT/status"; }
before=$(rss)
memory=$(php -r '$c = []; for ($i = 0; $i < 900; $i++) { $c[] = stream_socket_client("unix://$argv[1]"); fwrite($c[$i], "PING\r\n"); fgets($c[$i]); }
  preg_match("/VmRSS:\s+(\d+)/", file_get_contents("/proc/$argv[2]/status"), $m); printf("%.1f", ($m[1] - $argv[3]) / 900);' "$dir/lamplighter.sock" "$AGENT" "$before")
python3 - "$dir/results" "$memory" <<'EOF'
import statistics, sys
seen = {}
for line in open(sys.argv[1]):
    test, which, *numbers = line.split()
    seen.setdefault((test, which), []).append(float(numbers[-1]))
names = {"redis": "direct unix", "tls": "direct TLS", "nutcracker": "twemproxy, plain upstream", "lamplighter": "endpoint, TLS upstream"}
median = lambda test, which: statistics.median(seen[test, which])
print("| what | " + " | ".join(names.values()) + " | endpoint to TLS | endpoint to twemproxy |")
print("|---|" + "---:|" * 6)
for test, label in [("php", "PHP: new, connect, GET, p50, µs"), ("get1", "GET/s"), ("set1", "SET/s"), ("get16", "GET/s, pipeline 16"), ("set16", "SET/s, pipeline 16")]:
    row = [median(test, which) for which in names]
    ratio = lambda to: statistics.median(a / b for a, b in zip(seen[test, "lamplighter"], seen[test, to]))
    print(f"| {label} | " + " | ".join(f"{value:,.0f}" for value in row) + f" | {ratio('tls'):.2f} | {ratio('nutcracker'):.2f} |")
print(f"| memory for each idle client, KiB | | | | {sys.argv[2]} | | |")
EOF
