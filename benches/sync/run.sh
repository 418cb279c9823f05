#!/usr/bin/env bash
# run.sh: the agent, rclone and azcopy on one container, in one run: wall time, CPU, memory and requests, for files that are all new, and
# when nothing changed. Prints a table, and writes it to benches/sync/README.md between its marks.
# The storage is a blob service in memory (agent/sync/examples/blobs.rs), because an emulator in JavaScript is slower than any client.
# FILES=how many small files (2000)  LATENCY=ms per request (0)  ROUNDS=how often (3, the best counts)  LARGE=MiB of one large file (1024)
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/../.."
FILES=${FILES:-2000} LATENCY=${LATENCY:-0} ROUNDS=${ROUNDS:-3} LARGE=${LARGE:-1024}
CACHE=${LAMPLIGHTER_CACHE:-$HOME/.cache/lamplighter}
TARGET=${CARGO_TARGET_DIR:-target}

tests/support/install.sh rclone azcopy >&2
azcopy=$CACHE/azcopy/azcopy
cargo build --release -q -p lamplighter
cargo build --release -q -p lamplighter-sync --example blobs
agent=$TARGET/release/lamplighter blobs=$TARGET/release/examples/blobs

base=$(mktemp -d)
work=$base/work
mkdir "$work"
server=
end() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  umount "$work" 2>/dev/null || true
  rm -rf "$base"
}
trap end EXIT
# A file system of its own where that can be had (root): what others delete meanwhile costs whoever makes files beside them.
if truncate -s 16G "$base/disk" && mkfs.ext4 -q "$base/disk" && mount -o loop "$base/disk" "$work" 2>/dev/null; then
  echo "run.sh: on a fresh ext4" >&2
fi
python3 - "$work/site" "$FILES" <<'P'
import os, random, sys
base, count = sys.argv[1], int(sys.argv[2])
random.seed(7)
for n in range(count):
    folder = f"{base}/d{n % 40:02}/e{n % 7}"
    os.makedirs(folder, exist_ok=True)
    size = 0 if n % 200 == 0 else int(min(random.lognormvariate(8.5, 1.2), 400_000))
    # half of it compresses, as source code does
    with open(f"{folder}/f{n:05}.php", "wb") as file:
        file.write(os.urandom(size // 2) + b"<?php echo 1; // " * (size // 34))
P
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir "$work/empty"
"$blobs" "$port" "$work/site" "$LATENCY" &
server=$!
for _ in $(seq 100); do curl -fs "http://127.0.0.1:$port/requests" >/dev/null && break; sleep 0.1; done
url=http://127.0.0.1:$port/account/www
printf 'sv=2023-11-03&sig=any' >"$work/sas"
chmod 600 "$work/sas"

entry() { # entry NAME PATH PREFIX MODE
  printf '[state]\ndir = "%s/state-%s"\n[[sync]]\nname = "site"\ncontainer = "%s"\npath = "%s"\nprefix = "%s"\nmode = "%s"\nsas_file = "%s/sas"\nfsync = "never"\nmin_free = "1MiB"\n' \
    "$work" "$1" "$url" "$2" "$3" "$4" "$work" >"$work/$1.toml"
}

# measure NAME COMMAND...: a line of NAME, wall seconds, CPU seconds, MiB, requests
measure() {
  local name=$1
  shift
  curl -fs "http://127.0.0.1:$port/requests" >/dev/null
  if ! /usr/bin/time -f '%e %U %S %M' -o "$work/time" "$@" >"$work/log" 2>&1; then
    echo "run.sh: $name failed:" >&2
    tail -5 "$work/log" >&2
    return 1
  fi
  local requests
  requests=$(curl -fs "http://127.0.0.1:$port/requests")
  awk -v name="$name" -v requests="$requests" '{ printf "%s\t%.2f\t%.2f\t%.0f\t%s\n", name, $1, $2 + $3, $4 / 1024, requests }' "$work/time"
}

rclone() { # rclone DEST [FOLDER]
  RCLONE_AZUREBLOB_SAS_URL="$url?$(cat "$work/sas")" command rclone sync --config /dev/null --fast-list --transfers 32 --checkers 32 \
    ":azureblob:www${2:+/$2}" "$1" --exclude '/p/**' --exclude '/.lamplighter/**'
}
export -f rclone
export url work

results=$work/results
# Each round has directories of its own, and nothing is deleted in between: for some seconds ext4 looks at every deleted inode again
# before it takes a new one, and whoever comes next would pay for it.
for round in $(seq "$ROUNDS"); do
  export round
  entry list$round "$work/to-list$round" "" tree
  measure "cold: lamplighter, file by file" "$agent" sync run --here --config "$work/list$round.toml"
  measure "no change: lamplighter, list" "$agent" sync run --here --config "$work/list$round.toml"
  measure "cold: rclone" bash -c "rclone $work/to-rclone$round"
  measure "no change: rclone" bash -c "rclone $work/to-rclone$round"
  export AZCOPY_LOG_LOCATION=$work/az AZCOPY_JOB_PLAN_LOCATION=$work/az AZCOPY_AUTO_LOGIN_TYPE=NONE
  mkdir -p "$work/to-azcopy$round"
  measure "cold: azcopy" "$azcopy" sync "$url?$(cat "$work/sas")" "$work/to-azcopy$round" --from-to BlobLocal --recursive
  measure "no change: azcopy" "$azcopy" sync "$url?$(cat "$work/sas")" "$work/to-azcopy$round" --from-to BlobLocal --recursive
  diff -r --exclude='.lamplighter*' "$work/to-list$round" "$work/to-rclone$round" >&2
done >"$results"
"$agent" publish "$work/site" "$url/p" --sas-file "$work/sas" --release r1 >/dev/null
for round in $(seq "$ROUNDS"); do
  entry bundle$round "$work/to-bundle$round" p/ release
  measure "cold: lamplighter, bundle into a release" "$agent" sync run --here --config "$work/bundle$round.toml"
  measure "no change: lamplighter, manifest (a new process, which looks at every file)" "$agent" sync run --here --config "$work/bundle$round.toml"
done >>"$results"
diff -r --exclude='.lamplighter*' "$work/site" "$work/to-bundle$round/current" >&2

# one large file, beside a plain download of it
head -c "${LARGE}M" /dev/urandom >"$work/large"
curl -fs -o /dev/null -T "$work/large" -H 'x-ms-blob-type: BlockBlob' "$url/large/file"
for round in $(seq "$ROUNDS"); do
  measure "$LARGE MiB in one file: curl, one connection" curl -fs -o "$work/large-curl$round" "$url/large/file"
  entry large$round "$work/to-large$round" large/ tree
  measure "$LARGE MiB in one file: lamplighter" "$agent" sync run --here --config "$work/large$round.toml"
  measure "$LARGE MiB in one file: rclone" bash -c "rclone $work/to-large-rclone$round large"
  mkdir -p "$work/to-large-azcopy$round"
  measure "$LARGE MiB in one file: azcopy" "$azcopy" copy "$url/large/file?$(cat "$work/sas")" "$work/to-large-azcopy$round/file" --from-to BlobLocal
  cmp "$work/large" "$work/large-curl$round"
  for by in "" -rclone -azcopy; do cmp "$work/large" "$work/to-large$by$round/file"; done
  rm -rf "$work"/large-curl* "$work"/to-large*
done >>"$results"

table=$(sort -s -t$'\t' -k1,1 -k2,2n "$results" | awk -F'\t' 'BEGIN { print "| what | wall s | CPU s | MiB | requests |"; print "|---|---|---|---|---|" }
  !seen[$1]++ { printf "| %s | %s | %s | %s | %s |\n", $1, $2, $3, $4, $5 }')
echo "$table"
python3 - "$table" "$FILES" "$LATENCY" "$ROUNDS" <<'P'
import re, sys
table, files, latency, rounds = sys.argv[1:]
path = "benches/sync/README.md"
text = open(path).read()
mark = f"<!-- files {files} latency {latency} -->"
block = f"{mark}\n{files} small files, {latency} ms per request, the best of {rounds}:\n\n{table}\n<!-- end -->"
text, count = re.subn(re.escape(mark) + r".*?<!-- end -->", lambda _: block, text, flags=re.S)
open(path, "w").write(text if count else text.rstrip() + "\n\n" + block + "\n")
P
