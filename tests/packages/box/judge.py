#!/usr/bin/env python3
"""Drives the extension with the Azure Linux guest agent's own code, as it would on a machine in Azure.

usage: judge.py PACKAGES LIB enable ZIP VERSION SEQUENCE SETTINGS   the agent's whole way to an enabled extension: download, unzip,
                                                                    settings, install or update from an older version, enable
       judge.py PACKAGES LIB look - VERSION SEQUENCE                what it reads of status and heartbeat
       judge.py PACKAGES LIB uninstall - VERSION SEQUENCE           disable and uninstall

PACKAGES holds the module `azurelinuxagent` (Debian's package waagent, unpacked); LIB stands for the guest agent's folder and is kept
between calls; SETTINGS is a file {"public": {...}, "protected": {...}} or broken on purpose. Prints one JSON object: "outcome" is "ok" or
the guest agent's own complaint, "status", "substatus", "heartbeat", "state", "seconds". Only the fabric is made up: the zip is put where
the agent looks, protected settings are encrypted for a certificate made here. Run as root.
"""
import base64
import json
import os
import shutil
import subprocess
import sys
import time

packages, lib, action, zip_path, version, sequence = sys.argv[1:7]
lib = os.path.abspath(lib)
log = os.path.join(lib, "log")
os.makedirs(log, exist_ok=True)
sys.path.insert(0, packages)

from azurelinuxagent.common import conf, logger  # noqa: E402
conf.get_lib_dir = lambda *a, **k: lib
conf.get_ext_log_dir = lambda *a, **k: log
logger.add_logger_appender(logger.AppenderType.FILE, logger.LogLevel.INFO, path=os.path.join(log, "agent.log"))
import azurelinuxagent.ga.exthandlers as eh  # noqa: E402
from azurelinuxagent.common.protocol import restapi  # noqa: E402


class Wire:
    """Stands for the fabric: nothing is fetched."""

    def get_endpoint(self):
        return "168.63.129.16"

    class client:
        @staticmethod
        def get_artifact_request(*_a, **_k):
            return None, None


def certificate():
    made = os.path.join(lib, "thumbprint")
    if not os.path.exists(made):
        key, crt = os.path.join(lib, "key"), os.path.join(lib, "crt")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab", "-days", "2",
                        "-keyout", key, "-out", crt], check=True, capture_output=True)
        out = subprocess.run(["openssl", "x509", "-noout", "-fingerprint", "-sha1", "-in", crt], check=True, capture_output=True).stdout
        thumbprint = out.decode().split("=")[1].strip().replace(":", "")
        os.rename(key, os.path.join(lib, thumbprint + ".prv"))
        os.rename(crt, os.path.join(lib, thumbprint + ".crt"))
        with open(made, "w") as file:
            file.write(thumbprint)
    with open(made) as file:
        return file.read()


def encrypted(secret):
    crt = os.path.join(lib, certificate() + ".crt")
    done = subprocess.run(["openssl", "cms", "-encrypt", "-aes256", "-outform", "DER", crt], input=json.dumps(secret).encode(),
                          check=True, capture_output=True)
    return base64.b64encode(done.stdout).decode()


given = {}
if len(sys.argv) > 7:
    with open(sys.argv[7]) as file:
        given = json.load(file)
secret = given.get("protected")
handler = restapi.Extension("Lamplighter.Agent.Linux")
handler.version, handler.state = version, "enabled"
settings = restapi.ExtensionSettings(
    name="Lamplighter", sequenceNumber=int(sequence), publicSettings=given.get("public", {}),
    protectedSettings=secret if isinstance(secret, str) else encrypted(secret) if secret else None,
    certificateThumbprint=certificate() if secret else None)
handler.settings.append(settings)
inst = eh.ExtHandlerInstance(handler, Wire(), extension=settings)
inst.pkg = restapi.ExtHandlerPackage(version)
inst.pkg.uris = ["none"]
if zip_path != "-":
    shutil.copy(zip_path, os.path.join(lib, inst.get_extension_package_zipfile_name()))

agent = object.__new__(eh.ExtHandlersHandler)
start, outcome = time.time(), "ok"
try:
    if action == "enable":
        agent.handle_enable(inst, settings)
    elif action == "uninstall":
        inst.disable(extension=settings)
        inst.uninstall(extension=settings)
except Exception as error:  # the agent's own verdict, whatever its type
    outcome = "%s: %s" % (type(error).__name__, error)
seconds = time.time() - start
status = inst.collect_ext_status(settings)
beat = inst.collect_heartbeat() if action != "uninstall" else None
print(json.dumps({
    "outcome": outcome,
    "status": status.status if status else None,
    "code": status.code if status else None,
    "message": status.message if status else None,
    "substatus": {sub.name: [sub.status, sub.message] for sub in status.substatusList} if status else {},
    "heartbeat": beat,
    "state": inst.get_handler_state(),
    "seconds": seconds,
}))
