#!/usr/bin/env python3
"""Stands before a storage server and gives lists in small pages; whoever asks for a later page waits while the file HOLD is there.

  storage_pages.py --listen PORT --server PORT --cert PEM --key PEM --ca PEM --page N --hold FILE --journal FILE

TLS on both sides; requests and answers pass as they are but for `maxresults` and the status of a refusal. JOURNAL has a line for each list: its status and the
marker it was asked with, `first` where there was none; `asked MARKER` is written when a later page is waited for."""
import argparse, http.client, os, ssl, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

parser = argparse.ArgumentParser()
for name in ("listen", "server", "page"):
    parser.add_argument(f"--{name}", type=int, required=True)
for name in ("cert", "key", "ca", "hold", "journal"):
    parser.add_argument(f"--{name}", required=True)
options = parser.parse_args()
lock = threading.Lock()


def note(line):
    with lock, open(options.journal, "a") as file:
        file.write(line + "\n")


class Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log_message = lambda *_: None

    def serve(self):
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        target, marker = self.path, None
        if query.get("comp") == "list":
            marker = query.get("marker") or "first"
            target = f"{url.path}?{urlencode(query | {'maxresults': options.page})}"
            if marker != "first":
                note(f"asked {marker}")
                while os.path.exists(options.hold):
                    time.sleep(0.02)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        context = ssl.create_default_context(cafile=options.ca)
        server = http.client.HTTPSConnection("127.0.0.1", options.server, context=context)
        server.request(self.command, target, body, dict(self.headers))
        answer = server.getresponse()
        data = answer.read()
        # for a token that has ended Azurite says 403; Azure says 401
        status = 401 if marker and answer.status == 403 else answer.status
        if marker:
            note(f"{status} {marker}")
        self.send_response(status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "keep-alive", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_HEAD = do_DELETE = serve


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(options.cert, options.key)
service = ThreadingHTTPServer(("127.0.0.1", options.listen), Pages)
service.socket = context.wrap_socket(service.socket, server_side=True, do_handshake_on_connect=False)
service.serve_forever()
