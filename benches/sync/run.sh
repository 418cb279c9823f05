#!/usr/bin/env bash
# run.sh: the agent, rclone and azcopy on one container, in one run: wall time, CPU, memory and requests, for files that are all new,
# when nothing changed, and when one in a hundred did. Prints a table, and writes it to benches/sync/README.md between its marks.
# FILES=how many small files (2000)  LATENCY=ms per request (0)  ROUNDS=how often (3, the best counts)  LARGE=MiB of one large file (1024)
# STORAGE=memory (default): a blob service in memory, agent/sync/examples/blobs.rs, as fast as one thread answers; azurite: Microsoft's
# emulator, in JavaScript, slower than any client: what is left of a difference is requests.
set -euo pipefail
export LC_ALL=C
unset RUST_BACKTRACE RUST_LIB_BACKTRACE # the client library would take one for each header that is not there
cd "$(dirname "$0")/../.."
FILES=${FILES:-2000} LATENCY=${LATENCY:-0} ROUNDS=${ROUNDS:-3} LARGE=${LARGE:-1024} STORAGE=${STORAGE:-memory}
case $STORAGE-$LATENCY in memory-* | azurite-0) ;; *) echo "run.sh: STORAGE=memory or azurite; the latter without LATENCY" >&2; exit 64 ;; esac
CACHE=${LAMPLIGHTER_CACHE:-$HOME/.cache/lamplighter}
TARGET=${CARGO_TARGET_DIR:-target}

tests/support/install.sh rclone azcopy "$([ "$STORAGE" = memory ] && echo base || echo azurite)" >&2
azcopy=$CACHE/azcopy/azcopy
cargo build --release -q -p lamplighter
cargo build --release -q -p lamplighter-sync --example blobs
agent=$TARGET/release/lamplighter blobs=$TARGET/release/examples/blobs

base=$(mktemp -d)
work=$base/work
mkdir "$work"
server=
end() {
  [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
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
account=account
case $STORAGE in
  memory)
    printf 'sv=2023-11-03&sig=any' >"$work/sas"
    "$blobs" "$port" "$work/site" "$LATENCY" &
    server=$!
    ;;
  azurite)
    python3 - "$account" >"$work/sas" <<'P'
import base64, hashlib, hmac, sys, urllib.parse
account, key, until, allowed = sys.argv[1], b"a key of a bench", "2049-12-31T00:00:00Z", "rwdlac"
signed = f"{account}\n{allowed}\nb\nsco\n\n{until}\n\n\n2023-11-03\n\n".encode()
signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
quote = lambda text: urllib.parse.quote(text, safe="")
print(f"sv=2023-11-03&ss=b&srt=sco&sp={allowed}&se={quote(until)}&sig={quote(signature)}", end="")
P
    AZURITE_ACCOUNTS="$account:$(printf 'a key of a bench' | base64)" node "$CACHE/azurite/node_modules/azurite/dist/src/blob/main.js" \
      --blobHost 127.0.0.1 --blobPort "$port" --location "$work/azurite" --silent --skipApiVersionCheck --disableTelemetry >"$work/azurite.log" 2>&1 &
    server=$!
    ;;
esac
chmod 600 "$work/sas"
url=http://127.0.0.1:$port/$account/www
for _ in $(seq 200); do curl -s -o "$work/answer" "http://127.0.0.1:$port/requests" && break; sleep 0.1; done
# requests: how many came since the last time it was asked; Azurite does not count
requests() { if [ "$STORAGE" = memory ]; then curl -fs "http://127.0.0.1:$port/requests"; else echo -; fi; }
# put NAME FILE
put() { curl -fs -o "$work/answer" -T "$2" -H 'x-ms-blob-type: BlockBlob' -H 'x-ms-version: 2023-11-03' "$url/$1?$(cat "$work/sas")"; }
if [ "$STORAGE" = azurite ]; then
  curl -fs -o "$work/answer" -X PUT -H 'x-ms-version: 2023-11-03' -H 'Content-Length: 0' "$url?restype=container&$(cat "$work/sas")"
  RCLONE_AZUREBLOB_SAS_URL="$url?$(cat "$work/sas")" rclone copy --config /dev/null --transfers 16 "$work/site" :azureblob:www
fi
# one file in a hundred gets new content, here and in the container
change() {
  local name
  while read -r name; do
    head -c 6000 /dev/urandom >"$work/site/$name"
    put "$name" "$work/site/$name"
  done < <(cd "$work/site" && find . -name 'f*50.php' -printf '%P\n')
}

entry() { # entry NAME PATH PREFIX MODE
  printf '[state]\ndir = "%s/state-%s"\n[[sync]]\nname = "site"\ncontainer = "%s"\npath = "%s"\nprefix = "%s"\nmode = "%s"\nsas_file = "%s/sas"\nfsync = "never"\nmin_free = "1MiB"\n' \
    "$work" "$1" "$url" "$2" "$3" "$4" "$work" >"$work/$1.toml"
}

# measure NAME COMMAND...: a line of NAME, wall seconds, CPU seconds, MiB, requests
measure() {
  local name=$1
  shift
  requests >/dev/null
  if ! /usr/bin/time -f '%e %U %S %M' -o "$work/time" "$@" >"$work/log" 2>&1; then
    echo "run.sh: $name failed:" >&2
    tail -5 "$work/log" >&2
    return 1
  fi
  awk -v name="$name" -v requests="$(requests)" '{ printf "%s\t%.2f\t%.2f\t%.0f\t%s\n", name, $1, $2 + $3, $4 / 1024, requests }' "$work/time"
}

# pull DEST FOLDER [OPTION...]: rclone's
pull() {
  local dest=$1 folder=$2
  shift 2
  RCLONE_AZUREBLOB_SAS_URL="$url?$(cat "$work/sas")" rclone sync --config /dev/null "$@" \
    ":azureblob:www${folder:+/$folder}" "$dest" --exclude '/p/**' --exclude '/.lamplighter/**'
}
export -f pull
export url work
many="--fast-list --transfers 32 --checkers 32"

results=$work/results
# Each round has directories of its own, and nothing is deleted in between: for some seconds ext4 looks at every deleted inode again
# before it takes a new one, and whoever comes next would pay for it.
export AZCOPY_LOG_LOCATION=$work/az AZCOPY_JOB_PLAN_LOCATION=$work/az AZCOPY_AUTO_LOGIN_TYPE=NONE
azcopy_sync() { measure "$1: azcopy" "$azcopy" sync "$url?$(cat "$work/sas")" "$work/to-azcopy$round" --from-to BlobLocal --recursive; }
agent_sync() { measure "$1" "$agent" sync run --here --config "$work/$2.toml"; }
# all PHASE: every client that looks at the list
all() {
  agent_sync "$1: lamplighter, file by file" "list$round"
  measure "$1: rclone, 32 at once and one list" bash -c "pull $work/to-rclone$round '' $many"
  azcopy_sync "$1"
}
publish() { "$agent" publish "$work/site" "$url/p" --sas-file "$work/sas" --release "$1" >/dev/null; }
for round in $(seq "$ROUNDS"); do
  entry "list$round" "$work/to-list$round" "" tree
  mkdir -p "$work/to-azcopy$round"
  sas=$(cat "$work/sas")
  # a SAS has percent signs, which find's -printf takes for its own
  (cd "$work/site" && find . -type f -printf "url = \"$url/%P?${sas//%/%%}\"\noutput = \"$work/to-curl$round/%P\"\n") >"$work/urls$round"
  all cold
  measure "cold: curl, 32 at once, told every name, nothing checked" curl -fsSZ --parallel-max 32 --create-dirs -K "$work/urls$round"
  measure "cold: rclone, 4 at once (its default) and one list" bash -c "pull $work/to-rclone-default$round '' --fast-list"
  all "no change"
  change
  all "1 % changed"
  diff -r --exclude='.lamplighter*' "$work/to-list$round" "$work/to-rclone$round" >&2
done >"$results"
tar -C "$work/site" -cf "$work/site.tar" .
for round in $(seq "$ROUNDS"); do
  entry "bundle$round" "$work/to-bundle$round" p/ release
  publish "cold-$round"
  mkdir "$work/to-tar$round"
  measure "cold: tar, from a file here, nothing checked" tar -C "$work/to-tar$round" -xf "$work/site.tar"
  agent_sync "cold: lamplighter, bundle into a release" "bundle$round"
  agent_sync "no change: lamplighter, manifest (a new process, which looks at every file)" "bundle$round"
  change
  publish "changed-$round"
  agent_sync "1 % changed: lamplighter, manifest into a release" "bundle$round"
done >>"$results"
diff -r --exclude='.lamplighter*' "$work/site" "$work/to-bundle$round/current" >&2

# one large file, beside a plain download of it
head -c "${LARGE}M" /dev/urandom >"$work/large"
put large/file "$work/large"
mkdir "$work/large-site"
ln "$work/large" "$work/large-site/file"
"$agent" publish "$work/large-site" "$url/q" --sas-file "$work/sas" --release large --no-bundle >/dev/null
md5_of() { curl -fs "$url/large/file?$(cat "$work/sas")" | tee "$1" | md5sum >"$1.md5"; }
export -f md5_of
for round in $(seq "$ROUNDS"); do
  measure "$LARGE MiB in one file: curl, one connection" curl -fs -o "$work/large-curl$round" "$url/large/file?$(cat "$work/sas")"
  measure "$LARGE MiB in one file: curl, one connection, through md5sum" bash -c "md5_of $work/large-curl-md5$round"
  entry large$round "$work/to-large$round" large/ tree
  measure "$LARGE MiB in one file: lamplighter" "$agent" sync run --here --config "$work/large$round.toml"
  entry large-release$round "$work/to-large-release$round" q/ release
  measure "$LARGE MiB in one file: lamplighter, manifest into a release" "$agent" sync run --here --config "$work/large-release$round.toml"
  measure "$LARGE MiB in one file: rclone" bash -c "pull $work/to-large-rclone$round large $many"
  mkdir -p "$work/to-large-azcopy$round"
  measure "$LARGE MiB in one file: azcopy" "$azcopy" copy "$url/large/file?$(cat "$work/sas")" "$work/to-large-azcopy$round/file" --from-to BlobLocal
  cmp "$work/large" "$work/large-curl$round"
  for by in "" -rclone -azcopy; do cmp "$work/large" "$work/to-large$by$round/file"; done
  cmp "$work/large" "$work/to-large-release$round/current/file"
  rm -rf "$work"/large-curl* "$work"/to-large*
done >>"$results"

table=$(sort -s -t$'\t' -k1,1 -k2,2n "$results" | awk -F'\t' 'BEGIN { print "| what | wall s | CPU s | MiB | requests |"; print "|---|---|---|---|---|" }
  !seen[$1]++ { printf "| %s | %s | %s | %s | %s |\n", $1, $2, $3, $4, $5 }')
echo "$table"
python3 - "$table" "$FILES" "$LATENCY" "$ROUNDS" "$STORAGE" <<'P'
import re, sys
table, files, latency, rounds, storage = sys.argv[1:]
path = "benches/sync/README.md"
text = open(path).read()
which = " azurite" if storage == "azurite" else ""
mark = f"<!-- files {files} latency {latency}{which} -->"
block = f"{mark}\n{files} small files,{' Azurite,' if which else ''} {latency} ms per request, the best of {rounds}:\n\n{table}\n<!-- end -->"
text, count = re.subn(re.escape(mark) + r".*?<!-- end -->", lambda _: block, text, flags=re.S)
open(path, "w").write(text if count else text.rstrip() + "\n\n" + block + "\n")
P
