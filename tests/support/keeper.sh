#!/usr/bin/env bash
# Kept by tests/support/keeper.rs: kills and removes what is still listed when standard input ends.
trap '' INT TERM HUP
declare -A group dir
while read -r verb what; do
  case $verb in
    +group) group[$what]=1 ;;
    -group) unset "group[$what]" ;;
    +dir) dir[$what]=1 ;;
    -dir) unset "dir[$what]" ;;
  esac
done
for g in "${!group[@]}"; do kill -KILL -- "-$g"; done
for g in "${!group[@]}"; do
  for _ in {1..100}; do
    kill -0 -- "-$g" || break
    sleep 0.05
  done
done
for d in "${!dir[@]}"; do rm -rf --one-file-system -- "$d"; done
