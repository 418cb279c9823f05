#!/usr/bin/env python3
"""A strict fake of Azure's instance metadata service, with the token endpoint of Entra beside it. A server of its own.

  imds.py --listen 127.0.0.1:PORT --control SOCKET [--set JSON]

Strict as the real one: `Metadata: true` required, `X-Forwarded-For` refused, `api-version` required and checked, no name twice in a
query, at most 5 requests a second (20 for tokens, 5 of them at a time), an acknowledgement counts for every machine of the event.
What it says and how it fails is set through HTTP on the unix socket SOCKET:

  POST /set    {"KEY": VALUE, ...}   see SETTINGS below; answers with all settings
  POST /event  {"id": ..., "type": ..., "resources": [...], "in": SECONDS, "source": ..., "duration": ..., "status": ...}
  POST /drop   {"id": ...}           the event is over or cancelled: it leaves the list
  GET  /journal                      every request so far: time, method, target, status, what of the headers matters
"""
import argparse, base64, collections, json, os, random, socket, socketserver, threading, time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlsplit

SETTINGS = {
    "instance": {"vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6", "name": "web_0", "vmScaleSetName": "web", "location": "westeurope",
                 "zone": "1", "priority": "", "resourceId": "/subscriptions/0/x", "tagsList": [], "isHostCompatibilityLayerVm": "false"},
    "identities": ["system"],     # client, object or resource ids that may be named; "system": none named
    "object_id": "6f2ca0c4-41a8-4a5c-a7a5-0b1e1d0c9f11",  # "{n}" in it is the number of the token
    "redis": "",                  # unix socket of a Redis server, which knows each token for it, as a user of its own, before the agent
                                  # does, and at the token's end forgets the user and closes what that user has open, as Azure's does
    "tenant": "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "lifetime": 86400,            # of a token, in seconds; may be 0 or negative
    "true_lifetime": None,        # what the token itself says, if it is something else: a server may end it before
    "federated": "",              # what the file of a workload identity must hold; empty: it is refused
    "delay": {},                  # seconds by endpoint: instance, events, token, entra
    "first_events_delay": 0,      # seconds: the first call turns the service on
    "status": {},                 # a status by endpoint instead of an answer: 410, 429, 500, 403
    "gone_until": 0,              # 410 from everything until this moment (time.time()): the host is being updated
    "body": {},                   # a body by endpoint instead of the right one: junk
    "fuzz": 0,                    # every second good answer damaged, by this seed; 0: none
    "truncate": [],               # endpoints whose answers break off half-way
    "hang_up": False,             # take connections and close them at once: no service here
    "rate": 5,                    # requests a second; 0: no limit
}
VERSIONS = {"instance": ("2017-08-01", "2025-04-07"), "events": ("2017-11-01", "2020-07-01"), "token": ("2018-02-01", "2025-04-07")}
RESOURCES = ("https://storage.azure.com/", "https://storage.azure.com", "https://ossrdbms-aad.database.windows.net",
             "https://redis.azure.com/", "https://redis.azure.com")
TYPES = ("Freeze", "Reboot", "Redeploy", "Preempt", "Terminate")

lock = threading.RLock()
settings = json.loads(json.dumps(SETTINGS))
events, journal = collections.OrderedDict(), []
recent, recent_tokens = collections.deque(), collections.deque()
state = {"incarnation": 1, "events_asked": False, "tokens": 0, "tokens_now": 0, "answers": 0}


def jwt(resource, now):
    """A token with the claims that servers look at, its signature made up."""
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    state["tokens"] += 1
    object_id = settings["object_id"].replace("{n}", str(state["tokens"]))
    claims = {"aud": resource, "iss": f"https://sts.windows.net/{settings['tenant']}/", "iat": int(now) - 300, "nbf": int(now) - 300,
              "exp": int(now) + int(settings["lifetime"] if settings["true_lifetime"] is None else settings["true_lifetime"]), "oid": object_id, "sub": object_id,
              "tid": settings["tenant"], "jti": state["tokens"]}
    token = f"{part({'typ': 'JWT', 'alg': 'RS256'})}.{part(claims)}.c2lnbmF0dXJl"
    if settings["redis"] and "redis" in resource:
        tell_redis("ACL", "SETUSER", object_id, "on", f">{token}", "~*", "&*", "+@all")
        end = threading.Timer(claims["exp"] - now, tell_redis, ("ACL", "DELUSER", object_id))
        end.daemon = True
        end.start()
    return token


def tell_redis(*words):
    """One command, and its answer awaited."""
    request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(settings["redis"])
        connection.sendall(request.encode())
        connection.recv(1024)


def document():
    now = time.time()
    shown = []
    for event in events.values():
        if event["status"] == "Scheduled" and event["at"] <= now:
            event["status"] = "Started"
            state["incarnation"] += 1
        shown.append({"EventId": event["id"], "EventStatus": event["status"], "EventType": event["type"],
                      "ResourceType": "VirtualMachine", "Resources": event["resources"],
                      "NotBefore": formatdate(event["at"], usegmt=True) if event["status"] == "Scheduled" else "",
                      "Description": event["description"], "EventSource": event["source"], "DurationInSeconds": event["duration"]})
    return {"DocumentIncarnation": state["incarnation"], "Events": shown}


def damaged(data):
    """The answer, no longer what it was: cut off, a byte another one, noise, wrong types, nested beyond reason."""
    random_ = random.Random(settings["fuzz"] * 1000 + state["answers"])
    at = random_.randrange(len(data))
    return random_.choice([
        lambda: data[:at],
        lambda: data[:at] + bytes([data[at] ^ random_.randrange(1, 256)]) + data[at + 1 :],
        lambda: random_.randbytes(random_.randrange(1, 2000)),
        lambda: data.replace(b'"', b"7"),
        lambda: b"[" * 100_000 + data,
        lambda: data.replace(b"[", b"{").replace(b"]", b"}"),
        lambda: data * random_.randrange(2, 2000),
    ])()


class Refusal(Exception):
    def __init__(self, status, text, **more):
        super().__init__(text)
        self.status, self.body = status, {"error": text, **more}


def throttle(queue, limit):
    now = time.monotonic()
    while queue and queue[0] <= now - 1:
        queue.popleft()
    if limit and len(queue) >= limit:
        raise Refusal(429, "Too many requests")
    queue.append(now)


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log_message = lambda *_: None

    def serve(self):
        began = time.time()
        if settings["hang_up"]:
            return self.connection.close()
        url = urlsplit(self.path)
        pairs = parse_qsl(url.query, keep_blank_values=True)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        endpoint = {"/metadata/instance": "instance", "/metadata/scheduledevents": "events",
                    "/metadata/identity/oauth2/token": "token"}.get(url.path, "entra" if url.path.endswith("/oauth2/v2.0/token") else None)
        note = {"at": began, "method": self.command, "target": self.path, "metadata": self.headers.get("Metadata"),
                "endpoint": endpoint, "body": "" if endpoint == "entra" else body.decode("utf-8", "replace")}
        try:
            status, answer = 200, self.answer(endpoint, dict(pairs), pairs, body)
        except Refusal as refusal:
            status, answer = refusal.status, refusal.body
        note["status"] = status
        text = settings["body"].get(endpoint) if status == 200 else None
        data = (json.dumps(answer) if text is None else text).encode()
        with lock:
            state["answers"] += status == 200
            if status == 200 and settings["fuzz"] and state["answers"] % 2:
                note["damaged"], data = True, damaged(data)
            journal.append(note)
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if endpoint in settings["truncate"]:
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
            else:
                self.wfile.write(data)
        except OSError:
            pass

    do_GET = do_POST = do_PUT = serve

    def answer(self, endpoint, query, pairs, body):
        if endpoint is None:
            raise Refusal(404, "Not found")
        if endpoint != "entra":
            with lock:
                throttle(recent_tokens if endpoint == "token" else recent, settings["rate"] and (20 if endpoint == "token" else settings["rate"]))
            if self.headers.get("Metadata") != "true":
                raise Refusal(400, "Bad request. Required metadata header not specified")
            if self.headers.get("X-Forwarded-For") is not None:
                raise Refusal(400, "Bad request. Request was forwarded")
            if len(query) != len(pairs):
                raise Refusal(400, "Bad request. A query parameter is repeated")
            oldest, newest = VERSIONS[endpoint]
            if not oldest <= query.get("api-version", "") <= newest:
                raise Refusal(400, "Bad request. api-version is invalid or was not specified in the request.", **{"newest-versions": [newest]})
        if time.time() < settings["gone_until"]:
            raise Refusal(410, "Gone")
        if endpoint in settings["status"]:
            raise Refusal(settings["status"][endpoint], "told to")
        delay = settings["delay"].get(endpoint, 0)
        if endpoint == "events":
            with lock:
                first, state["events_asked"] = not state["events_asked"], True
            delay = max(delay, settings["first_events_delay"] if first else 0)
        time.sleep(delay)
        with lock:
            return getattr(self, endpoint)(query, body)

    def instance(self, query, body):
        if self.command != "GET":
            raise Refusal(405, "Method not allowed")
        return {"compute": settings["instance"], "network": {"interface": []}}

    def events(self, query, body):
        if self.command == "GET":
            return document()
        try:
            ids = [request["EventId"] for request in json.loads(body)["StartRequests"]]
        except (ValueError, KeyError, TypeError):
            raise Refusal(400, "Bad request. The body is not understood")
        if not ids or any(id not in events for id in ids):
            raise Refusal(400, "Bad request. No such event")
        for id in ids:
            if events[id]["status"] == "Scheduled":
                events[id]["status"] = "Started"
                state["incarnation"] += 1
        return {}

    def token(self, query, body):
        if self.command != "GET":
            raise Refusal(405, "Method not allowed")
        named = [query[key] for key in ("client_id", "object_id", "msi_res_id") if key in query]
        if len(named) > 1 or (named or ["system"])[0] not in settings["identities"]:
            raise Refusal(400, "invalid_request", error_description="Identity not found")
        if query.get("resource") not in RESOURCES:
            raise Refusal(400, "invalid_resource", error_description=f"AADSTS500011: no such resource {query.get('resource')}")
        now = time.time()
        return {"access_token": jwt(query["resource"], now), "client_id": (named or ["system"])[0], "expires_in": str(settings["lifetime"]),
                "expires_on": str(int(now) + int(settings["lifetime"])), "ext_expires_in": "86399", "not_before": str(int(now) - 300),
                "resource": query["resource"], "token_type": "Bearer"}

    def entra(self, query, body):
        form = dict(parse_qsl(body.decode()))
        if form.get("grant_type") != "client_credentials" or not form.get("client_assertion_type", "").endswith("jwt-bearer"):
            raise Refusal(400, "unsupported_grant_type", error_description="AADSTS70003")
        if not settings["federated"] or form.get("client_assertion") != settings["federated"]:
            raise Refusal(401, "invalid_client", error_description="AADSTS700024: Client assertion is not within its valid time range.")
        scope = form.get("scope", "")
        if not scope.endswith("/.default") or scope[: -len("/.default")] not in RESOURCES:
            raise Refusal(400, "invalid_scope", error_description="AADSTS70011")
        return {"token_type": "Bearer", "expires_in": settings["lifetime"], "ext_expires_in": 86399,
                "access_token": jwt(scope[: -len("/.default")], time.time())}


class Control(BaseHTTPRequestHandler):
    log_message = lambda *_: None
    address_string = lambda *_: "control"

    def reply(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        with lock:
            self.reply(200, journal)

    def do_POST(self):
        wanted = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        with lock:
            if self.path == "/set":
                if set(wanted) - set(SETTINGS):
                    return self.reply(400, f"no such setting: {sorted(set(wanted) - set(SETTINGS))}")
                settings.update(wanted)
                return self.reply(200, settings)
            if self.path == "/event":
                if wanted["type"] not in TYPES:
                    return self.reply(400, f"no such type: {wanted['type']}")
                events[wanted["id"]] = {"id": wanted["id"], "type": wanted["type"], "resources": wanted["resources"],
                                        "status": wanted.get("status", "Scheduled"), "at": time.time() + wanted.get("in", 900),
                                        "source": wanted.get("source", "Platform"), "duration": wanted.get("duration", -1),
                                        "description": wanted.get("description", "")}
            elif self.path == "/drop":
                events.pop(wanted["id"], None)
            state["incarnation"] += 1
            self.reply(200, document())


class Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128


class Unix(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("control", 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--control", required=True)
    parser.add_argument("--set", default="{}")
    options = parser.parse_args()
    settings.update(json.loads(options.set))
    host, port = options.listen.rsplit(":", 1)
    if os.path.exists(options.control):
        os.unlink(options.control)
    service = Tcp((host, int(port)), Service)
    control = Unix(options.control, Control)
    threading.Thread(target=control.serve_forever, daemon=True).start()
    service.serve_forever()


if __name__ == "__main__":
    main()
