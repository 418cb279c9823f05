#!/usr/bin/env python3
"""A MySQL server whose account proves itself by a token, as Azure Database for MySQL has it, in front of a real server.

  entra_mysql.py --listen PORT --server PORT --cert PEM --key PEM --tokens FILE

Speaks TLS; takes `mysql_clear_password` only, and only a token that stands in FILE (one a line, `*` for any, read at each login). Whoever gets in
is passed on to the real server, byte for byte, as its account `entra`, which has no password. No login without TLS."""
import argparse, socket, ssl, struct, threading

SSL, CONNECT_WITH_DB, LENENC, PLUGIN_AUTH, ATTRS = 1 << 11, 1 << 3, 1 << 21, 1 << 19, 1 << 20


def read_exact(stream, count):
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        if not piece:
            raise ConnectionError("ended")
        data += piece
    return data


def read_packet(stream):
    head = read_exact(stream, 4)
    return head[3], read_exact(stream, int.from_bytes(head[:3], "little"))


def write_packet(stream, seq, body):
    stream.sendall(len(body).to_bytes(3, "little") + bytes([seq]) + body)


def lenenc(data, at):
    first = data[at]
    if first < 0xFB:
        return first, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for stream in (source, sink):
        try:
            stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def refuse(stream, seq, text):
    write_packet(stream, seq, b"\xff" + struct.pack("<H", 1045) + b"#28000" + text.encode())
    stream.close()


def serve(client, options, context):
    server = socket.create_connection(("127.0.0.1", options.server))
    _, greeting = read_packet(server)
    write_packet(client, 0, greeting)
    seq, request = read_packet(client)
    if len(request) != 32 or not struct.unpack("<I", request[:4])[0] & SSL:
        return refuse(client, seq + 1, "TLS is required")
    client = context.wrap_socket(client, server_side=True)
    seq, response = read_packet(client)
    flags = struct.unpack("<I", response[:4])[0]
    end = response.index(b"\0", 32)
    length, at = lenenc(response, end + 1)
    secret, rest = response[at : at + length], response[at + length :]
    plugin_at = 0
    database = b""
    if flags & CONNECT_WITH_DB:
        plugin_at = rest.index(b"\0") + 1
        database = rest[:plugin_at]
    plugin_end = rest.index(b"\0", plugin_at)
    plugin = rest[plugin_at:plugin_end]
    if plugin != b"mysql_clear_password":
        write_packet(client, seq + 1, b"\xfemysql_clear_password\0")
        seq, secret = read_packet(client)
    with open(options.tokens) as file:
        accepted = {line.strip() for line in file if line.strip()}
    token = secret[:-1].decode("utf-8", "replace") if secret.endswith(b"\0") else ""
    if not token or not ("*" in accepted or token in accepted):
        return refuse(client, seq + 1, "Access denied: the token is not accepted")
    attributes = rest[plugin_end + 1 :]
    answer = struct.pack("<I", flags & ~SSL) + response[4:32] + b"entra\0" + b"\0" + database + b"caching_sha2_password\0" + attributes
    write_packet(server, 1, answer)
    _, verdict = read_packet(server)
    write_packet(client, seq + 1, verdict)
    threading.Thread(target=pump, args=(client, server), daemon=True).start()
    pump(server, client)


def guarded(*arguments):
    try:
        serve(*arguments)
    except (OSError, ValueError, KeyError, IndexError) as error:
        print(f"login: {error}", flush=True)
        arguments[0].close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--cert", "--key", "--tokens"):
        parser.add_argument(name, required=True)
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--server", type=int, required=True)
    options = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert, options.key)
    listener = socket.create_server(("127.0.0.1", options.listen), backlog=128)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=guarded, args=(client, options, context), daemon=True).start()


if __name__ == "__main__":
    main()
