#!/usr/bin/env python3
"""Lamplighter as a VM extension: what the Azure Linux guest agent runs to install, configure, watch and remove the agent.

usage: handler.py install|enable|update|disable|uninstall|reset|watch

The guest agent unpacks the zip into a folder of its own for each version, writes HandlerEnvironment.json and the settings beside it
and runs these commands with a limit of 300 s (enable, uninstall) or 900 s. Each command may be repeated, at any time, also after it
was killed half way: everything is written beside and renamed, and what is right already is left alone.

Public settings:
  configuration  the text of /etc/lamplighter/lamplighter.toml; left out, the file is somebody else's business
  webServer      true: make Apache and PHP use the agent (enable-web); default true
  purge          true: uninstall also removes configuration and state; default false
Protected settings:
  secrets        {"mysql-app": "...", ...}: files beside the configuration, readable by root and the agent only

Exit codes: 0 done; 51 this machine is not supported; 52 a package manager failed; 53 settings are wrong; 54 the agent does not run;
55 a folder cannot be written. Python 3.6 or newer, nothing but its standard library.
"""

import base64
import fcntl
import glob
import grp
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ETC = "/etc/lamplighter"
CONFIG = ETC + "/lamplighter.toml"
# which version of the handler is in charge: an update installs the new one before it uninstalls the old one
OWNER = "/var/lib/lamplighter-extension/owner"
WATCHER = "lamplighter-extension.service"
MESSAGE_MAX = 4096  # of each message, in characters: the whole status must stay below 128 KiB
SECRETS_MAX = 64
ENABLE_WAITS = 30  # seconds; enable may take 300, and what takes longer is told by the watcher
STATUS_MAX = 100 * 1024  # of the whole status, in bytes; the guest agent cuts at 128 KiB
# how long the watcher calls a machine that does not serve yet "transitioning"
SETTLES = 20 * 60
HEARTBEAT = 60
LOCK_WAITS = 600  # for apt or dpkg, which other extensions use at the same time
UNSUPPORTED, PACKAGE, SETTINGS, AGENT, FOLDER = 51, 52, 53, 54, 55


class Failed(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def environment():
    try:
        with open(os.path.join(HERE, "HandlerEnvironment.json")) as file:
            return json.load(file)[0]["handlerEnvironment"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Failed(FOLDER, "HandlerEnvironment.json cannot be used: %s" % error)


def log(message):
    line = "%s %s\n" % (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), message)
    sys.stderr.write(line)
    try:
        path = os.path.join(environment()["logFolder"], "handler.log")
        if os.path.exists(path) and os.path.getsize(path) > 1 << 20:
            os.replace(path, path + ".1")
        with open(path, "a") as file:
            file.write(line)
    except (OSError, Failed, LookupError):
        pass  # the guest agent keeps what is written to standard error


def write(path, text, mode=0o644, group=None):
    """Whole or not at all, and only if it differs. Says whether it did."""
    data = text.encode() if isinstance(text, str) else text
    owner = grp.getgrnam(group).gr_gid if group else 0
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if file.read() == data and (status.st_mode & 0o777, status.st_gid) == (mode, owner):
                return False
    except OSError:
        pass
    try:
        descriptor, fresh = tempfile.mkstemp(dir=os.path.dirname(path), prefix="." + os.path.basename(path))
    except OSError as error:
        raise Failed(FOLDER, "%s cannot be written: %s" % (os.path.dirname(path), error.strerror))
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chown(fresh, 0, owner)
        os.chmod(fresh, mode)
        os.replace(fresh, path)
    except OSError as error:
        os.unlink(fresh)
        raise Failed(FOLDER, "%s cannot be written: %s" % (path, error.strerror))
    return True


def run(*command, **options):
    """Exit code and output of a command, which is never asked anything."""
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C")
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, **options)
    except OSError as error:
        return 127, "%s: %s" % (command[0], error.strerror)
    except subprocess.TimeoutExpired:
        return 124, "%s took too long" % command[0]
    return done.returncode, done.stdout.decode(errors="replace").strip()


# --- settings -----------------------------------------------------------------------------------------------------------------
def sequence():
    """The newest sequence number: the guest agent's word, or else the newest settings file."""
    number = os.environ.get("ConfigSequenceNumber", "")
    if number.isdigit():
        return int(number)
    found = [int(m.group(1)) for m in (re.match(r"(\d+)\.settings$", name) for name in os.listdir(environment()["configFolder"])) if m]
    return max(found) if found else 0


def protected(text, thumbprint):
    """Protected settings are encrypted for a certificate whose key the guest agent keeps beside the handlers."""
    if not re.match(r"^[0-9A-Fa-f]{40,64}$", thumbprint or ""):
        raise Failed(SETTINGS, "protected settings name no certificate")
    base = os.path.join(os.path.dirname(HERE), thumbprint)
    try:
        message = base64.b64decode(text, validate=True)
    except ValueError:
        raise Failed(SETTINGS, "protected settings are not base64")
    command = ["openssl", "cms", "-decrypt", "-inform", "DER", "-inkey", base + ".prv"]
    if os.path.exists(base + ".crt"):
        command += ["-recip", base + ".crt"]
    done = subprocess.run(command, input=message, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        # openssl's own words could hold a piece of the secret
        raise Failed(SETTINGS, "protected settings cannot be decrypted with the certificate %s" % thumbprint)
    return done.stdout.decode()


def settings():
    path = os.path.join(environment()["configFolder"], "%d.settings" % sequence())
    try:
        with open(path) as file:
            text = file.read()
    except OSError as error:
        raise Failed(SETTINGS, "the settings cannot be read: %s" % error.strerror)
    if not text.strip():
        return {}, {}
    try:
        handler = json.loads(text)["runtimeSettings"][0]["handlerSettings"]
        public = handler.get("publicSettings") or {}
        secret = handler.get("protectedSettings") or {}
        if isinstance(secret, str):
            secret = json.loads(protected(secret, handler.get("protectedSettingsCertThumbprint")))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise Failed(SETTINGS, "the settings are not what an extension is given: no JSON, or of another form")
    return public, secret


def checked(public, secret):
    """The settings, if they are what the head of this file says; every mistake at once."""
    wrong = ["no setting is called %r" % key for key in sorted(set(public) - {"configuration", "webServer", "purge"})]
    wrong += ["no protected setting is called %r" % key for key in sorted(set(secret) - {"secrets"})]
    secrets = secret.get("secrets") or {}
    if not isinstance(public.get("configuration", ""), str):
        wrong.append("configuration must be text: the whole lamplighter.toml")
    wrong += ["%s must be true or false" % key for key in ("webServer", "purge") if not isinstance(public.get(key, True), bool)]
    if not isinstance(secrets, dict) or len(secrets) > SECRETS_MAX:
        wrong.append("secrets must be an object of at most %d names with their texts" % SECRETS_MAX)
        secrets = {}
    for name, value in sorted(secrets.items()):
        if not re.match(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", name) or name == "lamplighter.toml":
            wrong.append("%r is no name for a secret's file" % name)
        if not isinstance(value, str) or not value:
            wrong.append("the secret %r must be text that is not empty" % name)
    if wrong:
        raise Failed(SETTINGS, "; ".join(wrong))
    return public, secrets


# --- what is told ---------------------------------------------------------------------------------------------------------------
def told(status, code, message):
    return {"status": status, "code": code, "formattedMessage": {"lang": "en-US", "message": message[:MESSAGE_MAX]}}


def report(operation, status, code, message, parts=()):
    """Writes status/N.status: what the portal shows."""
    entry = dict(told(status, code, message), name="Lamplighter", operation=operation)
    entry["substatus"] = [dict(told(*part[1:]), name=part[0]) for part in parts]
    document = [{"version": 1.0, "timestampUTC": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "status": entry}]
    text = json.dumps(document)
    # the last part is what the load balancer is told, and stays
    while len(text) > STATUS_MAX and len(entry["substatus"]) > 1:
        del entry["substatus"][-2]
        text = json.dumps(document)
    write(os.path.join(environment()["statusFolder"], "%d.status" % sequence()), text)


def heartbeat(status, code, message):
    document = [{"version": 1.0, "heartbeat": {"status": status, "code": code, "message": message[:MESSAGE_MAX]}}]
    path = environment().get("heartbeatFile") or os.path.join(HERE, "heartbeat.log")
    write(path, json.dumps(document))
    os.utime(path)


def look():
    """How the agent is: (status, code, message, parts)."""
    code, state = run("systemctl", "show", "-p", "ActiveState,SubState,StatusText,ExecMainStatus,Job", "lamplighter.service", timeout=20)
    unit = dict(line.split("=", 1) for line in state.splitlines() if "=" in line)
    text = unit.get("StatusText") or unit.get("SubState", "unknown")
    parts = [("service", "success" if unit.get("ActiveState") == "active" else "error", 0, text)]
    # a restart that is under way passes through all of these, and where it is between two of them its job is still there
    if unit.get("ActiveState") in ("activating", "reloading", "deactivating") or unit.get("Job", "0") not in ("", "0"):
        parts = [("service", "transitioning", 0, text)]
        return "transitioning", 0, "the agent is starting", parts
    if unit.get("ActiveState") != "active":
        _, journal = run("journalctl", "-u", "lamplighter.service", "-n", "20", "--no-pager", "-o", "cat", timeout=20)
        return "error", AGENT, "the agent does not run (exit code %s): %s" % (unit.get("ExecMainStatus"), journal[-2000:]), parts
    code, text = run("/usr/bin/lamplighter", "status", "--json", timeout=20)
    try:
        status = json.loads(text) if code == 0 else {}
    except ValueError:
        status = {}
    if "configuration" in [component.get("name") for component in status.get("components", [])]:
        return "success", 0, "the agent is installed and waits for " + CONFIG, parts
    if not status:
        return "success", 0, "the agent runs and has no [health] table: " + parts[0][3], parts
    for component in status["components"]:
        if component["condition"] != "ok":
            parts.append((component["name"], "warning", 0, "%s: %s" % (component["condition"], component["reason"])))
    serves, reason = status["serving"], status["serving_reason"]
    parts.append(("load balancer", "success" if serves else "transitioning", 0, "200" if serves else "503: " + reason))
    if serves:
        return "success", 0, "the agent runs and the load balancer is told 200", parts
    return "transitioning", 0, "the agent runs; the load balancer is told 503: " + reason, parts


# --- the package ------------------------------------------------------------------------------------------------------------------
def package():
    for program, kind in (("dpkg", "deb"), ("rpm", "rpm")):
        found = glob.glob(os.path.join(HERE, "packages", "lamplighter*." + kind))
        if found and run("sh", "-c", "command -v " + program)[0] == 0:
            return kind, found[0]
    raise Failed(UNSUPPORTED, "neither dpkg nor rpm is on this machine")


def fingerprint():
    """Tells one package from another, also where the version is the same."""
    with open(package()[1], "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def install_package():
    kind, file = package()
    mark = os.path.join(os.path.dirname(OWNER), "package")
    try:
        with open(mark) as known:
            if known.read() == fingerprint() and os.path.exists("/usr/bin/lamplighter"):
                return log("the package is installed already")
    except OSError:
        pass
    if kind == "deb":
        # what an interrupted run of any package left behind is finished first
        install = ("sh", "-c", 'dpkg --configure -a --force-confold && dpkg -i --force-confold "$1"', "sh", file)
    else:
        install = ("rpm", "-U", "--force", "--nodeps", file)
    end = time.time() + LOCK_WAITS
    while True:
        code, text = run(*install, timeout=LOCK_WAITS)
        busy = re.search(r"lock|is another process using it|Could not get lock", text, re.I)
        if code == 0 or not busy or time.time() > end:
            break
        log("the package manager is busy; trying again")
        time.sleep(3)
    if code != 0:
        raise Failed(PACKAGE, "installing %s failed: %s" % (os.path.basename(file), text[-1500:]))
    log("installed " + os.path.basename(file))
    write(mark, fingerprint())


def take_charge():
    os.makedirs(os.path.dirname(OWNER), mode=0o755, exist_ok=True)
    write(OWNER, HERE)


def in_charge():
    try:
        with open(OWNER) as file:
            return file.read() == HERE
    except OSError:
        return True


# --- the commands -------------------------------------------------------------------------------------------------------------------
def install():
    take_charge()
    install_package()
    heartbeat("notready", 0, "installed")


def update():
    # the old version's uninstall comes after this and finds that it is no longer in charge
    install()


def configure(public, secrets):
    """Writes secrets and configuration, the latter only if the agent finds nothing wrong with it. Says whether anything changed."""
    changed = False
    for name, value in sorted(secrets.items()):
        changed |= write(os.path.join(ETC, name), value, 0o640, "lamplighter")
    if "configuration" in public:
        # beside the real one, so that names of secrets are looked for in the same folder
        trial = os.path.join(ETC, ".trial.toml")
        write(trial, public["configuration"], 0o640, "lamplighter")
        code, text = run("/usr/bin/lamplighter", "check", "--config", trial, timeout=60)
        os.unlink(trial)
        if code != 0:
            raise Failed(SETTINGS, "the configuration cannot be used; the one before it stays: " + text.replace(trial, CONFIG)[:3000])
        changed |= write(CONFIG, public["configuration"], 0o640, "lamplighter")
    return changed


def watch_in_background():
    """The guest agent wants this command to end soon; how the agent fares is told by a unit of its own."""
    run("systemctl", "reset-failed", WATCHER)
    run("systemctl", "stop", WATCHER)
    code, text = run("systemd-run", "--unit=" + WATCHER, "--collect", "--property=Restart=on-failure", "--property=RestartSec=30s",
                     "--property=MemoryMax=128M", "--setenv=ConfigSequenceNumber=%d" % sequence(), os.path.join(HERE, "handler"), "watch")
    if code != 0:
        log("nothing watches the agent for the portal: " + text)


def enable():
    take_charge()
    public, secrets = checked(*settings())
    report("Enable", "transitioning", 0, "configuring")
    install_package()
    changed = configure(public, secrets)
    if public.get("webServer", True):
        code, text = run("/usr/share/lamplighter/enable-web", timeout=120)
        if code != 0:
            raise Failed(AGENT, "the web server was not set up: " + text[-1500:])
    run("systemctl", "unmask", "lamplighter.service")
    run("systemctl", "enable", "lamplighter.service")
    # an agent that waits for its configuration finds it by itself; one that runs gets it without refusing anybody
    active = run("systemctl", "is-active", "--quiet", "lamplighter.service")[0] == 0
    waits = active and "waiting" in run("systemctl", "show", "-P", "StatusText", "lamplighter.service")[1]
    if not active:
        run("systemctl", "reset-failed", "lamplighter.service")
        run("systemctl", "start", "--no-block", "lamplighter.service")
    elif changed and not waits:
        run("systemctl", "restart", "--no-block", "lamplighter.service")
    end = time.time() + ENABLE_WAITS
    while True:
        status, code, message, parts = look()
        settled = status != "transitioning" and not ("configuration" in public and "waits for" in message)
        if settled or time.time() > end:
            break
        time.sleep(1)
    report("Enable", status, code, message, parts)
    heartbeat("ready" if status != "error" else "notready", code, message)
    watch_in_background()
    if status == "error":
        raise Failed(AGENT, message)


def watch():
    """Runs as a unit of its own: keeps status and heartbeat true."""
    start = time.time()
    while in_charge():
        status, code, message, parts = look()
        if status == "transitioning" and time.time() - start > SETTLES:
            status, code = "error", AGENT
        report("Enable", status, code, message, parts)
        heartbeat("ready" if status != "error" else "notready", code, message)
        time.sleep(5 if status == "transitioning" else HEARTBEAT)


def disable():
    # the application's way to its database goes through the agent: who is disabled stops managing it, not serving
    run("systemctl", "stop", WATCHER)
    heartbeat("notready", 0, "disabled; the agent itself goes on")


def uninstall():
    if not in_charge():
        return log("another version has taken over; nothing to remove")
    run("systemctl", "stop", WATCHER)
    try:
        purge = checked(*settings())[0].get("purge", False)
    except Failed:
        purge = False
    if run("sh", "-c", "command -v dpkg")[0] == 0:
        if run("dpkg-query", "-W", "lamplighter")[0] == 0:
            code, text = run("dpkg", "--purge" if purge else "--remove", "lamplighter", timeout=240)
            if code != 0:
                raise Failed(PACKAGE, "removing the package failed: " + text[-1500:])
    elif run("rpm", "-q", "lamplighter")[0] == 0:
        code, text = run("rpm", "-e", "lamplighter", timeout=240)
        if code != 0:
            raise Failed(PACKAGE, "removing the package failed: " + text[-1500:])
        if purge:
            run("rm", "-rf", ETC, "/var/lib/lamplighter")
    run("rm", "-rf", os.path.dirname(OWNER))
    log("removed" + (" with configuration and state" if purge else "; configuration and state stay"))


def reset():
    run("systemctl", "stop", WATCHER)
    for path in glob.glob(os.path.join(environment()["statusFolder"], "*.status")) + [os.path.join(os.path.dirname(OWNER), "package")]:
        if os.path.exists(path):
            os.unlink(path)


COMMANDS = {"install": install, "enable": enable, "update": update, "disable": disable, "uninstall": uninstall, "reset": reset}


def main():
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name == "watch":
        return watch()
    if name not in COMMANDS:
        sys.exit(__doc__)
    os.makedirs(os.path.dirname(OWNER), mode=0o755, exist_ok=True)
    log("%s, sequence %s" % (name, os.environ.get("ConfigSequenceNumber", "?")))
    try:
        # the guest agent never runs two of our commands at once, but one that it gave up may still run
        with open(os.path.join(os.path.dirname(OWNER), "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            COMMANDS[name]()
    except Failed as failed:
        log("%s failed: %s" % (name, failed))
        try:
            if name in ("enable", "install", "update"):
                report(name.capitalize(), "error", failed.code, str(failed))
                heartbeat("notready", failed.code, str(failed))
        except (Failed, OSError) as error:
            log("the status cannot be written either: %s" % error)
        sys.exit(failed.code)


if __name__ == "__main__":
    main()
