# shellcheck shell=bash
# The demo's folder, its processes and its messages. Sourced by up.sh and down.sh; everything else builds on it.
#
# STATE holds all that the demo ever makes: data, sockets, certificates, secrets, logs and the list of its processes. It is not
# below $HOME, because www-data has to reach the sockets and root's home is closed to it.
# shellcheck disable=SC2034  # used by the files that source this one
DEMO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
REPO=$(cd "$DEMO/../.." && pwd)
CACHE=${LAMPLIGHTER_CACHE:-$HOME/.cache/lamplighter}
STATE=${LAMPLIGHTER_DEMO_DIR:-/var/lib/lamplighter-demo}
LOGS=$STATE/log

# --- messages -----------------------------------------------------------------------------------------------------------------
if [ -t 1 ]; then BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' PLAIN=$'\e[0m'; else BOLD='' DIM='' RED='' PLAIN=''; fi
say() { printf '%s[%3d s]%s %s\n' "$DIM" "$SECONDS" "$PLAIN" "$*"; }
# fail MESSAGE [LOGFILE]: the message, the end of the log that explains it, and out
fail() {
  printf '\n%smake demo: %s%s\n' "$RED$BOLD" "$1" "$PLAIN" >&2
  if [ -n "${2:-}" ] && [ -s "$2" ]; then
    printf '%s--- the end of %s%s\n' "$DIM" "$2" "$PLAIN" >&2
    tail -n 15 "$2" >&2
  fi
  exit 1
}

# --- processes ----------------------------------------------------------------------------------------------------------------
# $STATE/processes has one line per process, "name pid birth", in the order of their start. The birth (clock ticks since boot)
# is there so that a number the kernel has given to somebody else since is never signalled.
# look_up PID: sets BIRTH, empty when there is no such process; without a fork, which a Ctrl-C could kill
look_up() {
  local stat=() line=
  BIRTH=
  read -r line 2>/dev/null <"/proc/$1/stat" || return 0
  read -r -a stat <<<"${line##*) }"
  BIRTH=${stat[19]}
}
is_ours() {
  look_up "$1"
  [ -n "$BIRTH" ] && [ "$BIRTH" = "$2" ]
}

# start NAME COMMAND...: in a session of its own (Ctrl-C in the terminal does not reach it), output to $LOGS/NAME.log
start() {
  local name=$1
  shift
  STARTING=yes # up.sh waits with an interrupt until the process is on the list
  setsid "$@" </dev/null >>"$LOGS/$name.log" 2>&1 9<&- &
  look_up $!
  echo "$name $! $BIRTH" >>"$STATE/processes"
  STARTING=
  [ -z "${INTERRUPTED:-}" ] || interrupted
}

# alive NAME: is the newest process of that name there, and not a zombie?
alive() {
  local pid birth
  read -r pid birth < <(awk -v n="$1" '$1 == n { line = $2 " " $3 } END { print line }' "$STATE/processes" 2>/dev/null) || return 1
  is_ours "$pid" "$birth" && ! grep -qs '^State:[[:space:]]*Z' "/proc/$pid/status"
}

# await NAME SECONDS WHAT COMMAND...: polls COMMAND until it succeeds; fails at once when the process NAME dies
await() {
  local name=$1 seconds=$2 what=$3 end=$((SECONDS + $2))
  shift 3
  until "$@" >/dev/null 2>&1; do
    alive "$name" || fail "$name ended before $what" "$LOGS/$name.log"
    [ "$SECONDS" -lt "$end" ] || fail "$name: $what did not happen within $seconds s" "$LOGS/$name.log"
    sleep 0.1
  done
}

# await_end NAME SECONDS: waits for a process that does its work and ends; its exit code, or 124 when it takes too long
await_end() {
  local pid end=$((SECONDS + $2))
  pid=$(awk -v n="$1" '$1 == n { pid = $2 } END { print pid }' "$STATE/processes")
  while alive "$1"; do
    [ "$SECONDS" -lt "$end" ] || return 124
    sleep 0.1
  done
  wait "$pid"
}

# stop_everything: SIGTERM to all, newest first; after 5 s once more (a draining daemon takes that as "now"); after 20 s SIGKILL
stop_everything() {
  local name pid birth waited left=()
  [ -s "$STATE/processes" ] || return 0
  [ "$(cat "$STATE/boot")" = "$(cat /proc/sys/kernel/random/boot_id)" ] || return 0
  while read -r name pid birth; do
    # a leader that has died may have left workers: while they live, the kernel gives its number to nobody else
    if is_ours "$pid" "$birth" || { [ ! -e "/proc/$pid" ] && kill -0 -- "-$pid" 2>/dev/null; }; then left=("$pid" "${left[@]}"); fi
  done <"$STATE/processes"
  for pid in "${left[@]}"; do kill -TERM "$pid" 2>/dev/null; done
  for ((waited = 0; waited < 200; waited++)); do
    # the whole group: a worker that outlives its parent is still ours
    for pid in "${!left[@]}"; do kill -0 -- "-${left[pid]}" 2>/dev/null || unset 'left[pid]'; done
    [ ${#left[@]} -gt 0 ] || break
    if [ "$waited" = 50 ]; then for pid in "${left[@]}"; do kill -TERM -- "-$pid" 2>/dev/null; done; fi
    sleep 0.1
  done
  for pid in "${left[@]}"; do kill -KILL -- "-$pid" 2>/dev/null; done
  rm -f "$STATE/processes"
}

# everything_alive: is all of it still running? (What does its work and ends is not in question.)
everything_alive() {
  local name
  for name in mysql-0 mysql-1 mysql-2 redis storage agent php-fpm apache prometheus; do alive "$name" || return 1; done
}

# clear_away: nothing of the demo is left: no process, no file
clear_away() {
  stop_everything
  # only what this demo made: a wrong LAMPLIGHTER_DEMO_DIR must not cost somebody a folder
  [ -e "$STATE/boot" ] || { rmdir "$STATE" 2>/dev/null || fail "$STATE is not the demo's folder: left alone"; return 0; }
  rm -rf --one-file-system -- "$STATE"
}

# --- ports and settings -------------------------------------------------------------------------------------------------------
# setting NAME VALUE: a shell variable now, and a line in $STATE/settings for the report and for the next call of up.sh
setting() {
  printf -v "$1" '%s' "$2"
  # shellcheck disable=SC2163  # the variable whose name is in $1
  export "$1"
  printf 'export %s=%q\n' "$1" "$2" >>"$STATE/settings"
}

# port NAME DEFAULT: the first port from DEFAULT on that nothing on this machine uses; becomes the setting NAME
port() {
  local number=$2
  while port_taken "$number"; do
    number=$((number + 1))
    [ "$number" -lt $(($2 + 200)) ] || fail "no free port between $2 and $number"
  done
  [ "$number" = "$2" ] || say "port $2 is taken, using $number"
  PORTS_GIVEN+=" $number "
  setting "$1" "$number"
}
PORTS_GIVEN=
port_taken() {
  case $PORTS_GIVEN in *" $1 "*) return 0 ;; esac
  local files=(/proc/net/tcp)
  [ ! -r /proc/net/tcp6 ] || files+=(/proc/net/tcp6)
  awk -v want="$(printf '%04X' "$1")" '{ split($2, at, ":"); if (at[length(at)] == want) found = 1 } END { exit !found }' "${files[@]}"
}

# secret NAME OWNER: a random password in $STATE/secrets/NAME that only OWNER (and root) reads
secret() {
  (umask 077 && openssl rand -hex 16 | tr -d '\n' >"$STATE/secrets/$1")
  chown "$2" "$STATE/secrets/$1"
}

# render TEMPLATE TARGET: @NAME@ in a file of config/ becomes the value of the variable NAME; an unknown name is an error
render() {
  local text name
  text=$(<"$DEMO/config/$1")
  for name in $(grep -oE '@[A-Z0-9_]+@' "$DEMO/config/$1" | sort -u | tr -d @); do
    [ -n "${!name+set}" ] || fail "config/$1 wants $name, which is not set"
    text=${text//"@$name@"/"${!name}"}
  done
  printf '%s\n' "$text" >"$2"
}
