#!/usr/bin/env python3
"""delay.py LISTEN_PORT SERVER_PORT MILLISECONDS: a way to a server of this machine on which every answer is so late.

Stands for the network between zones where the kernel has no netem. Requests pass at once, so a round trip takes MILLISECONDS longer.
Two threads for each connection: a sleeping thread is on time to some 0.1 ms, a timer of epoll to 1 ms.
"""
import socket
import sys
import threading
import time


def relay(source, sink, seconds):
    try:
        while data := source.recv(65536):
            if seconds:
                time.sleep(seconds)
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client, port, seconds):
    server = socket.create_connection(("127.0.0.1", port))
    for end in (client, server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=relay, args=(client, server, 0), daemon=True).start()
    relay(server, client, seconds)


def main():
    listen, port, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000
    listener = socket.create_server(("127.0.0.1", listen), backlog=1024)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client, port, seconds), daemon=True).start()


main()
