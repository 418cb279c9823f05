#!/usr/bin/env bash
# check.sh: judges packaging/image/azure.pkr.hcl without Azure. The plugin that it names is in no registry that the tests use; Debian's
# Packer 1.6 brings an azure-arm of its own, which knows every argument but those that came later and wants a managed image beside the
# gallery's: a copy is made so, and judged. Checks also that a planted mistake is found.
set -euo pipefail
. "$(dirname "$0")/../versions.sh"
here=$ROOT/packaging/image
"$ROOT/tests/support/install.sh" packer
packer fmt -check -diff "$here/azure.pkr.hcl"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/provision.sh" "$here/deprovision.sh" "$work/"
touch "$work/lamplighter.deb"
sed -e '/^packer {/,/^}/d' -e '/storage_account_type/d' \
  -e '/^source "azure-arm"/a managed_image_name = "x"\nmanaged_image_resource_group_name = var.group' "$here/azure.pkr.hcl" >"$work/azure.pkr.hcl"
judge() {
  (cd "$work" && CHECKPOINT_DISABLE=1 packer validate -var subscription=00000000-0000-0000-0000-000000000000 -var group=g -var gallery=g \
    -var package=lamplighter.deb "$1") >"$work/said" 2>&1
}
judge azure.pkr.hcl || { cat "$work/said"; die "azure.pkr.hcl is not what azure-arm expects"; }
sed 's/vm_size /vm_sise /' "$work/azure.pkr.hcl" >"$work/planted.pkr.hcl"
! judge planted.pkr.hcl && grep -q vm_sise "$work/said" || { cat "$work/said"; die "a planted mistake was not found"; }
echo "azure.pkr.hcl: its arguments are those of azure-arm (Packer $(packer version | sed -n '1s/Packer v//p'))"
