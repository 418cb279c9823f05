#!/bin/bash
# load.sh SECONDS: inside a box: pages and probes for so long, then what failed. Prints "pages N failed N" and "probes N failed N".
# Pages: four at a time through Apache and PHP; probes: /lb and /health/azure ten times a second, each with Azure's time-out of 5 s.
seconds=$1
rm -f /tmp/probes /tmp/lamp-errors
probe() {
  local end=$(($(date +%s) + seconds)) code path
  while [ "$(date +%s)" -lt "$end" ]; do
    for path in lb health/azure; do
      code=$(curl -s -m 5 -o /tmp/probe.body -w '%{http_code} %{time_total}' "http://127.0.0.1:8470/$path")
      echo "$path $code $(head -c 60 /tmp/probe.body)" >>/tmp/probes
    done
    sleep 0.1
  done
}
probe &
# a page that takes longer than 30 s has failed; every body must have the same length
ab -q -t "$seconds" -n 1000000 -c 4 -s 30 http://127.0.0.1/lamp.php >/tmp/ab 2>&1
wait
pages=$(awk '/^Complete requests/ { print $3 }' /tmp/ab)
failed=$(awk '/^Failed requests/ { f += $3 } /^Non-2xx/ { f += $3 } END { print f + 0 }' /tmp/ab)
echo "pages ${pages:-0} failed ${failed:-0}"
awk '$2 != 200 { bad++ } END { print "probes " NR " failed " bad + 0 }' /tmp/probes
awk '/^ *(99%|100%)/ { print "pages, ms:", $1, $2 }' /tmp/ab
sort -k3 -n /tmp/probes | tail -1 | awk '{ print "slowest probe, s:", $3 }'
grep -v ' 200 ' /tmp/probes | head -5
[ ! -e /tmp/lamp-errors ] || sort /tmp/lamp-errors | uniq -c | head -5
