#!/usr/bin/env bash
# section.sh: sourced; how busy the machine is, and, for the scripts that measure with a test, their sections of README.md.
# BENCHES is this folder.

# cores_in_use: how much of the cores, in percent, is in use for two seconds; a machine that is taken away counts too
cores_in_use() {
  local before
  before=$(head -n 1 /proc/stat)
  sleep 2
  { echo "$before" && head -n 1 /proc/stat; } | awk '{ all = 0; for (i = 2; i <= 9; i++) all += $i; idle = $5 + $6 }
    NR == 1 { all0 = all; idle0 = idle } END { printf "%.0f", 100 * (1 - (idle - idle0) / (all - all0)) }'
}

# read_words SCRIPT DEFAULT WORD...: what the script was called with: [COUNT] [--print]
read_words() {
  local script=$1 word
  COUNT=$2 PRINT=''
  shift 2
  for word in "$@"; do
    case $word in
      --print) PRINT=yes ;;
      *[!0-9]* | '') echo "$script: unknown word '$word'; see its first lines" >&2; exit 64 ;;
      *) COUNT=$word ;;
    esac
  done
}

# about COMMAND OTHERS: what was run, when and where, while other work used so much of the cores
about() {
  printf '`%s` on %s: %s, %s cores, Linux %s; other work used %s %% of the cores before the run.\n\n' "$1" "$(date --utc +%F)" \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r | cut -d - -f 1)" "$2"
}

# measure_tests COMMAND HEADER FILTER...: runs these tests in release mode, one after the other, and prints the section: what was run where, and
# a table of the rows that they told. Their own words go to standard error.
measure_tests() {
  local command=$1 header=$2 others rows
  shift 2
  "$BENCHES/../tests/support/install.sh" mysql redis >&2
  rows=$(mktemp)
  (cd "$BENCHES/.." && cargo test --release --quiet --locked -p lamplighter --test it --no-run) >&2
  others=$(cores_in_use)
  (cd "$BENCHES/.." && LAMPLIGHTER_TABLE=$rows cargo test --release --quiet --locked -p lamplighter --test it -- \
    --nocapture --test-threads 1 "$@") >&2
  about "$command" "$others"
  printf '%s\n' "$header"
  sed -n 's/^| *//p' <<<"$header" | tr -cd '|' | sed 's/|/---|/g; s/^/|/'
  printf '\n'
  cat "$rows"
  rm -f "$rows"
}

# put SCRIPT SECTION: the file SECTION in place of what SCRIPT wrote into README.md before
put() {
  local readme=$BENCHES/README.md
  grep -qF "<!-- results: written by $1 -->" "$readme" || { echo "$readme has no section of $1" >&2; exit 1; }
  awk -v begin="<!-- results: written by $1 -->" -v section="$2" '
    $0 == "<!-- end of results -->" { skips = 0 }
    !skips { print }
    $0 == begin { skips = 1; while ((getline line < section) > 0) print line }' "$readme" >"$2.whole"
  cat "$2.whole" >"$readme"
  rm -f "$2.whole"
}

# write_section SCRIPT PRINT COMMAND HEADER FILTER...: measures and writes, or only prints if PRINT is not empty
write_section() {
  local script=$1 print=$2 section
  shift 2
  section=$(mktemp)
  measure_tests "$@" >"$section"
  cat "$section"
  [ -n "$print" ] || put "$script" "$section"
  rm -f "$section"
}
