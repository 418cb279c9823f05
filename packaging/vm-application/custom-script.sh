#!/bin/bash
# custom-script.sh PACKAGE [CONFIGURATION]: for the Custom Script extension: fileUris name this file, the VM application's .tar.gz and a
# lamplighter.toml, commandToExecute is `bash custom-script.sh lamplighter-vm-application-VERSION.tar.gz lamplighter.toml`. Secrets do
# not come this way: put them into Key Vault or use managed identity. May be repeated.
set -euo pipefail
folder=/opt/lamplighter-app
mkdir -p "$folder"
tar -xzf "$1" -C "$folder"
exec "$folder/manage" install "${2:+$(realpath "$2")}"
