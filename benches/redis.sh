#!/usr/bin/env bash
# redis.sh [ROUNDS] [--print]: the Redis endpoint beside direct connections and twemproxy (Debian's nutcracker), in one run on this machine.
# One Redis with TLS; PHP's new + connect + GET, and redis-benchmark SET/GET at pipeline 1 and 16, in ROUNDS alternating rounds (default 5).
# twemproxy knows no TLS and asks Redis' plain port, the endpoint does so in one of its two columns. Writes its section of README.md, unless
# --print: medians, ratios within the rounds, the bars, and the processor time of a command. Takes about two minutes. Environment:
# LAMPLIGHTER_BIN (the agent to measure, instead of building it). Listens on loopback and unix sockets only; nothing it starts outlives it.
set -euo pipefail
export LC_ALL=C.UTF-8
BENCHES=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=benches/section.sh
. "$BENCHES/section.sh"
read_words redis.sh 5 "$@"
cd "$BENCHES/.."
tests/support/install.sh base php redis bench >&2
BIN=${LAMPLIGHTER_BIN:-}
if [ -z "$BIN" ]; then
  cargo build --release -p lamplighter >&2
  BIN=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/lamplighter
fi
others=$(cores_in_use)
dir=$(mktemp -d /tmp/ll-bench-redis.XXXXXX)
declare -A PID
stop() {
  for pid in "${PID[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap stop EXIT
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
TLS=$(port) PLAIN=$(port) STATS=$(port)
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" \
  -addext "basicConstraints=critical,CA:FALSE" -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null
redis-server --port "$PLAIN" --bind 127.0.0.1 --tls-port "$TLS" --tls-cert-file "$dir/cert.pem" --tls-key-file "$dir/key.pem" \
  --tls-ca-cert-file "$dir/cert.pem" --tls-auth-clients no --unixsocket "$dir/redis.sock" --save "" --logfile "$dir/redis.log" --dir "$dir" >&2 &
PID[redis]=$!

agent() { # agent NAME UPSTREAM: an agent whose endpoint is NAME.sock
  mkdir -p "$dir/$1"
  cat >"$dir/$1.toml" <<EOF
[state]
dir = "$dir/$1"
[health]
listen = "127.0.0.1:$(port)"
metrics_listen = "127.0.0.1:$(port)"
admin_listen = "127.0.0.1:$(port)"
admin_socket = "$dir/$1/admin.sock"
runtime_dir = "$dir/$1"
[redis]
listen = ["unix:$dir/$1.sock"]
upstream = "$2"
EOF
  [[ $2 != rediss:* ]] || echo "tls = { ca = \"$dir/cert.pem\" }" >>"$dir/$1.toml"
  "$BIN" run --config "$dir/$1.toml" >"$dir/$1.log" 2>&1 &
  PID[$1]=$!
}
agent secure "rediss://localhost:$TLS"
agent plain "redis://127.0.0.1:$PLAIN"
cat >"$dir/nutcracker.yml" <<EOF
pool:
  listen: $dir/nutcracker.sock 0777
  redis: true
  hash: fnv1a_64
  distribution: ketama
  servers:
    - 127.0.0.1:$PLAIN:1
EOF
nutcracker -c "$dir/nutcracker.yml" -a 127.0.0.1 -s "$STATS" -o "$dir/nutcracker.log" >&2 &
PID[nutcracker]=$!
for socket in redis nutcracker secure plain; do
  for _ in $(seq 200); do redis-cli -s "$dir/$socket.sock" set key value 2>/dev/null | grep -q OK && break; sleep 0.05; done
done

cat >"$dir/request.php" <<'EOF'
<?php // one request: new client, connect, GET; prints the p50 in microseconds
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
printf("%.0f\n", $times[count($times) / 2]);
EOF
ticks() { # ticks WHICH: processor time of a process, in hundredths of a second (proc_pid_stat(5)); 0 if there is none
  if [ -n "${PID[$1]:-}" ]; then sed 's/.*) //' "/proc/${PID[$1]}/stat" | awk '{ print $12 + $13 }'; else echo 0; fi
}
bench() { # bench WHICH TEST PIPELINE: commands a second; then microseconds of processor time for each: the client's, the proxy's, Redis'
  local where=(-s "$dir/$1.sock") count=$(($3 == 1 ? 30000 : 300000)) proxy=$1 TIMEFORMAT='%U %S' before after
  [ "$1" != tls ] || where=(-h localhost -p "$TLS" --tls --cacert "$dir/cert.pem")
  [ "$1" != redis ] || proxy=none
  before="$(ticks "$proxy") $(ticks redis)"
  { time redis-benchmark "${where[@]}" -c 20 -d 256 -t "$2" -P "$3" -n "$count" --csv >"$dir/rate" 2>"$dir/errors"; } 2>"$dir/client"
  after="$(ticks "$proxy") $(ticks redis)"
  echo "$(tail -n 1 "$dir/rate" | cut -d, -f2 | tr -d '"') $(cat "$dir/client") $before $after" | awk -v n="$count" \
    '{ printf "%s %.3f %.3f %.3f\n", $1, ($2 + $3) * 1e6 / n, ($6 - $4) * 1e4 / n, ($7 - $5) * 1e4 / n }'
}
for round in $(seq "$COUNT"); do
  echo "round $round of $COUNT" >&2
  for which in redis tls nutcracker plain secure; do
    echo "php $which $(php "$dir/request.php" "$dir" "$TLS" "$which")" >>"$dir/results"
    for test in set get; do
      for pipeline in 1 16; do echo "$test$pipeline $which $(bench "$which" "$test" "$pipeline")" >>"$dir/results"; done
    done
  done
done
rss() { awk '/VmRSS/ {print $2}' "/proc/${PID[secure]}/status"; }
memory=$(php -r '$c = []; for ($i = 0; $i < 900; $i++) { $c[] = stream_socket_client("unix://$argv[1]"); fwrite($c[$i], "PING\r\n"); fgets($c[$i]); }
  preg_match("/VmRSS:\s+(\d+)/", file_get_contents("/proc/$argv[2]/status"), $m); printf("%.1f", ($m[1] - $argv[3]) / 900);' "$dir/secure.sock" "${PID[secure]}" "$(rss)")
about "make bench-redis ROUNDS=$COUNT" "$others" >"$dir/section"
python3 - "$dir/results" "$memory" >>"$dir/section" <<'EOF'
import statistics, sys
seen = {}
for line in open(sys.argv[1]):
    test, which, *numbers = line.split()
    seen.setdefault((test, which), []).append([float(number) for number in numbers])
names = {"redis": "direct unix", "tls": "direct TLS", "nutcracker": "twemproxy, plain upstream", "plain": "endpoint, plain upstream", "secure": "endpoint, TLS upstream"}
tests = {"php": "PHP: new, connect, GET, p50, µs", "get1": "GET/s", "set1": "SET/s", "get16": "GET/s, pipeline 16", "set16": "SET/s, pipeline 16"}
first = lambda test, which: [run[0] for run in seen[test, which]]
ratio = lambda test, one, other: statistics.median(a / b for a, b in zip(first(test, one), first(test, other)))

def table(head, rows):
    print("| " + " | ".join(head) + " |\n|---|" + "---:|" * (len(head) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()

table(["what", *names.values(), "TLS to TLS", "TLS to twemproxy", "plain to twemproxy"], [
    [label, *(f"{statistics.median(first(test, which)):,.0f}" for which in names), f"{ratio(test, 'secure', 'tls'):.2f}",
     f"{ratio(test, 'secure', 'nutcracker'):.2f}", f"{ratio(test, 'plain', 'nutcracker'):.2f}"] for test, label in tests.items()])
php = statistics.median(first("php", "secure"))
bars = [("PHP: new, connect, GET, p50", f"{php:.0f} µs", "<= 100 µs", php <= 100)]
for test in list(tests)[1:]:
    for other, label, bar in ("tls", "direct TLS", 1.0), ("nutcracker", "twemproxy", 1.5):
        found = ratio(test, "secure", other)
        bars.append((f"{tests[test]}, to {label}", f"{found:.2f}", f">= {bar}", found >= bar))
bars.append(("memory for each idle client", f"{sys.argv[2]} KiB", "<= 4 KiB", float(sys.argv[2]) <= 4))
table(["the endpoint with TLS upstream", "found", "bar", "holds"], [[*row, "yes" if holds else "**no**"] for *row, holds in bars])
print("Processor time of a command, µs: the client's + the proxy's + Redis'.\n")
time = lambda test, which: " + ".join(f"{statistics.median(run[place] for run in seen[test, which]):.2f}" for place in (1, 2, 3))
table(["what", *names.values()], [[label, *(time(test, which) for which in names)] for test, label in list(tests.items())[1:]])
EOF
cat "$dir/section"
[ -n "$PRINT" ] || put redis.sh "$dir/section"
