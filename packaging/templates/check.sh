#!/usr/bin/env bash
# check.sh [offline|all]: judges packaging/templates/azuredeploy.json without Azure. offline: names and values against the models of
# Azure's SDK, references within the template, and that this check still finds planted mistakes. all: checkov's policies as well
# (its exceptions, with reasons, are in checkov.yaml beside this).
set -euo pipefail
. "$(dirname "$0")/../versions.sh"
here=$ROOT/packaging/templates
"$ROOT/tests/support/install.sh" template
python=$KIT/azure-sdk/bin/python
"$python" "$here/check.py" "$here/azuredeploy.json"
# a check that finds nothing in a wrong template is worth nothing
planted() {
  sed "s/$1/$2/" "$here/azuredeploy.json" >"$work/planted.json"
  ! cmp -s "$work/planted.json" "$here/azuredeploy.json" || die "nothing to plant: $1"
  ! "$python" "$here/check.py" "$work/planted.json" >"$work/said" || die "not found: $1 -> $2"
  grep -q "$3" "$work/said" || { cat "$work/said"; die "found something else: $1 -> $2"; }
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
planted '"notBeforeTimeout"' '"notBeforeTimout"' notBeforeTimout
planted '"automaticRepairsPolicy": {' '"automaticRepairsPolicy": { "enable": true,' automaticRepairsPolicy.enable
planted '"probeThreshold"' '"probeTreshold"' probeTreshold
planted '"AllProbedUp"' '"AllProbed"' AllProbed
planted '"allowSharedKeyAccess"' '"allowSharedKeys"' allowSharedKeys
planted "parameters('vmSize')" "parameters('size')" "parameters('size')"
[ "${1:-all}" = all ] || exit 0
"$ROOT/tests/support/install.sh" checkov
checkov=$(echo "$KIT"/checkov-*/bin/checkov)
LOG_LEVEL=ERROR "$checkov" --quiet --compact --skip-download --framework arm --config-file "$here/checkov.yaml" --file "$here/azuredeploy.json"
