#!/usr/bin/env python3
"""A proxy as Azure Managed Redis has one with the "Enterprise" policy, in front of the nodes of a real cluster.

One address, one database, a certificate by the address's name, and shards that nobody sees: each command goes to the shard that has its
keys. What that means to a client, by Microsoft's "Azure Managed Redis architecture" (cluster policies) and "Azure Managed Redis:
configure" (blocked commands), and by Redis Enterprise's "Multi-key operations" and "Compatibility with Redis Open Source":

- DEL, MSET, MGET, EXISTS, UNLINK and TOUCH may name keys of several slots; every other command that does is answered -CROSSSLOT, and so is
  a transaction as soon as its second slot is named, which EXEC then refuses;
- SELECT, and commands about servers, clusters and persistence, are not there;
- commands without a key are answered for all shards; messages that are published reach all that have subscribed.

Who logs in must show a password of the file --passwords, one a line; it is read again for each AUTH.
"""

import argparse
import asyncio
import binascii
import ssl

SPLIT = {b"DEL": 1, b"MGET": 1, b"EXISTS": 1, b"UNLINK": 1, b"TOUCH": 1, b"MSET": 2}
BLOCKED = set(
    b"ACL ASKING BGREWRITEAOF BGSAVE CLUSTER CONFIG DEBUG FAILOVER LATENCY MIGRATE MODULE MONITOR MOVE PSYNC READONLY "
    b"READWRITE REPLCONF REPLICAOF SAVE SELECT SHUTDOWN SLAVEOF SWAPDB SYNC".split()
)
LISTEN = {b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE"}
CROSSSLOT = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
NOAUTH = b"-NOAUTH Authentication required.\r\n"
OK = b"+OK\r\n"


def slot(key):
    begin = key.find(b"{")
    end = key.find(b"}", begin + 1)
    if begin >= 0 and end > begin + 1:
        key = key[begin + 1 : end]
    return binascii.crc_hqx(key, 0) % 16384


def request(words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


async def read_request(reader):
    """The words of a command; an empty list at the end."""
    line = await reader.readline()
    if not line.startswith(b"*"):
        return []
    words = []
    for _ in range(int(line[1:])):
        length = int((await reader.readline())[1:])
        words.append((await reader.readexactly(length + 2))[:-2])
    return words


async def read_reply(reader):
    """The bytes of a whole reply."""
    line = await reader.readline()
    if not line:
        raise EOFError
    kind = line[:1]
    if kind in b"$=!" and line[1:2] != b"-":
        return line + await reader.readexactly(int(line[1:]) + 2)
    count = int(line[1:]) if kind in b"*%~>" else 0
    parts = [await read_reply(reader) for _ in range(count * (2 if kind == b"%" else 1))]
    return line + b"".join(parts)


class Shard:
    """A client's connection to a node."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def ask(self, words):
        self.writer.write(request(words))
        return await read_reply(self.reader)


class Client:
    def __init__(self, options, reader, writer):
        self.options, self.reader, self.writer = options, reader, writer
        self.known, self.protocol = False, b"2"
        self.shards = {}
        # a transaction: the shard that has it, what was queued before there was one, and whether EXEC will refuse it
        self.multi, self.slot, self.spoilt = False, None, False
        self.watched = None
        self.listens = None

    async def shard(self, index, aside=False):
        """A connection to a shard; aside, one on which no transaction runs."""
        place = index, aside
        if place not in self.shards:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.options.nodes[index], limit=1 << 30)
            self.shards[place] = Shard(reader, writer)
            await self.shards[place].ask([b"HELLO", self.protocol, b"AUTH", b"default", self.options.node_password.encode()])
        return self.shards[place]

    async def at(self, key_slot):
        share = 16384 // len(self.options.nodes)
        return await self.shard(min(key_slot // share, len(self.options.nodes) - 1))

    async def run(self):
        while words := await read_request(self.reader):
            answer = await self.answer(words)
            if answer is None:
                continue
            self.writer.write(answer)
            await self.writer.drain()
            if words[0].upper() == b"QUIT":
                return

    def close(self):
        for shard in self.shards.values():
            shard.writer.close()
        self.writer.close()

    # --- who it is ------------------------------------------------------------------------------------------------------------
    def login(self, password):
        with open(self.options.passwords, "rb") as file:
            self.known = password in file.read().split()
        return OK if self.known else b"-WRONGPASS invalid username-password pair\r\n"

    async def hello(self, words):
        if len(words) > 4 and words[2].upper() == b"AUTH" and self.login(words[4]) != OK:
            return b"-WRONGPASS invalid username-password pair\r\n"
        if not self.known:
            return NOAUTH
        if len(words) > 1:
            self.protocol = words[1]
        replies = [await (await self.shard(index)).ask([b"HELLO", self.protocol]) for index in range(len(self.options.nodes))]
        # what is behind it is nobody's business
        return replies[0].replace(b"$7\r\ncluster\r\n", b"$10\r\nstandalone\r\n")

    # --- what it asks -----------------------------------------------------------------------------------------------------------
    async def answer(self, words):
        name = words[0].upper()
        if name == b"AUTH":
            return self.login(words[-1])
        if name == b"HELLO":
            return await self.hello(words)
        if not self.known:
            return NOAUTH
        if name in BLOCKED:
            self.spoilt = True
            return b"-ERR unknown command '%s', with args beginning with: \r\n" % words[0]
        if self.listens is not None or name in LISTEN:
            return await self.listen(words)
        if name in (b"MULTI", b"EXEC", b"DISCARD", b"UNWATCH"):
            return await self.transaction(name, words)
        return await self.keyed(name, words)

    async def listen(self, words):
        shard = await self.shard(0)
        shard.writer.write(request(words))
        if self.listens is None:
            self.listens = asyncio.ensure_future(self.pass_on(shard))

    async def pass_on(self, shard):
        while bytes_ := await shard.reader.read(65536):
            self.writer.write(bytes_)
            await self.writer.drain()

    async def transaction(self, name, words):
        if name == b"MULTI" and not self.multi:
            self.multi, self.slot, self.spoilt = True, self.watched, False
            if self.slot is not None:
                await (await self.at(self.slot)).ask(words)
            return OK
        if name == b"UNWATCH" and self.watched is None:
            return OK
        if name in (b"EXEC", b"DISCARD") and not self.multi:
            return b"-ERR %s without MULTI\r\n" % name
        at = self.slot if self.multi else self.watched
        spoilt = self.spoilt and name == b"EXEC"
        self.multi, self.slot, self.spoilt, self.watched = False, None, False, None
        if at is None:
            return b"*0\r\n" if name == b"EXEC" and not spoilt else OK
        reply = await (await self.at(at)).ask([b"DISCARD"] if spoilt else words)
        return b"-EXECABORT Transaction discarded because of previous errors.\r\n" if spoilt else reply

    async def keys(self, words):
        reply = await (await self.shard(0, aside=True)).ask([b"COMMAND", b"GETKEYS"] + words)
        if not reply.startswith((b"*", b"~")):
            return []
        return [part for part in reply.split(b"\r\n")[2::2] if part]

    async def keyed(self, name, words):
        slots = {slot(key) for key in await self.keys(words)}
        if name == b"WATCH":
            slots |= {self.watched} - {None}
        if self.multi:
            slots |= {self.slot} - {None}
        if len(slots) > 1:
            if name in SPLIT and not self.multi:
                return await self.split(name, words)
            self.spoilt = True
            return CROSSSLOT
        if not slots and not self.multi:
            return await self.for_all(name, words)
        at = slots.pop() if slots else 0
        shard = await self.at(at)
        if self.multi and self.slot is None:
            self.slot = at
            await shard.ask([b"MULTI"])
        if name == b"WATCH":
            self.watched = at
        return await shard.ask(words)

    async def split(self, name, words):
        step = SPLIT[name]
        replies = []
        for at in range(1, len(words), step):
            shard = await self.at(slot(words[at]))
            replies.append(await shard.ask([name] + words[at : at + step]))
        if name == b"MSET":
            return OK
        if name == b"MGET":
            return b"*%d\r\n" % len(replies) + b"".join(reply.partition(b"\r\n")[2] for reply in replies)
        return b":%d\r\n" % sum(int(reply[1:]) for reply in replies)

    async def for_all(self, name, words):
        """Commands without a key."""
        if name == b"SCAN":
            return await self.scan(words)
        if name not in (b"DBSIZE", b"KEYS", b"FLUSHDB", b"FLUSHALL", b"SCRIPT"):
            reply = await (await self.shard(0)).ask(words)
            return reply.replace(b"cluster_enabled:1", b"cluster_enabled:0")
        replies = [await (await self.shard(index)).ask(words) for index in range(len(self.options.nodes))]
        if name == b"DBSIZE":
            return b":%d\r\n" % sum(int(reply[1:]) for reply in replies)
        if name == b"KEYS":
            count = sum(int(reply.partition(b"\r\n")[0][1:]) for reply in replies)
            return b"*%d\r\n" % count + b"".join(reply.partition(b"\r\n")[2] for reply in replies)
        return replies[0]

    async def scan(self, words):
        """One shard after the other; which one it is is part of the cursor."""
        shards = len(self.options.nodes)
        own, index = divmod(int(words[1]), shards)
        _, _, own, keys = (await (await self.shard(index)).ask([b"SCAN", b"%d" % own] + words[2:])).split(b"\r\n", 3)
        if int(own):
            following = int(own) * shards + index
        else:
            following = (index + 1) % shards
        return b"*2\r\n$%d\r\n%d\r\n" % (len(str(following)), following) + keys


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--passwords", required=True)
    parser.add_argument("--node-password", required=True)
    parser.add_argument("nodes", type=int, nargs="+", help="their ports, in the order of their slots, of which they have equal shares")
    options = parser.parse_args()

    async def serve(reader, writer):
        client = Client(options, reader, writer)
        try:
            await client.run()
        except (EOFError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            client.close()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(options.cert, options.key)
    server = await asyncio.start_server(serve, "127.0.0.1", options.listen, ssl=tls, limit=1 << 30)
    async with server:
        await server.serve_forever()


asyncio.run(main())
