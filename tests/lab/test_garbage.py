# SPDX-License-Identifier: Apache-2.0
"""Conversations that are right, changed at random and cut anywhere, for every way in at once.
Nothing may come of it but refusals: best under the sanitizers."""
import contextlib
import random
import socket
import struct

import pytest

from lab import configs, sock
from lab import socks as s5
from lab.introduce import tlv, v1, v2
from lab.topology import CLIENT, PROXY, SERVER
from test_dns import query, truth

SOCKS, MIXED, PROXY_HEADER, BEHIND, DNS = range(52160, 52165)
CONFIG = f"""
listeners:
  - {{ name: socks, mode: socks, address: ["0.0.0.0:{SOCKS}"] }}
  - {{ name: mixed, mode: mixed, address: ["0.0.0.0:{MIXED}"] }}
  - {{ name: header, mode: proxy-protocol, address: ["0.0.0.0:{PROXY_HEADER}"],
      trusted: 10.77.1.4 }}
  - {{ name: behind, mode: socks, proxy-protocol: optional, address: ["0.0.0.0:{BEHIND}"],
      trusted: 10.77.1.4 }}
  - {{ name: dns, mode: dns, address: ["0.0.0.0:{DNS}"] }}
  - {{ name: routed, mode: tproxy, network: [tcp, udp],
      address: ["127.0.0.1:50080", "[::1]:50080"] }}
rules:
  - {{ name: bad, match: {{ domain: bad.test }}, action: reject }}
  - {{ name: all, action: accept }}
timeouts: {{ sniff: 300ms, connect: 1s, dns: 500ms, udp: 1s, idle: 2s, drain: 1s }}
resolver: {{ servers: [{SERVER[4]}], timeout: 50ms, attempts: 1 }}
{configs.RECORD}"""

OTHER, TARGET = ("198.18.0.7", 4000), (SERVER[4], 7000)
STREAMS = [
    b"\5\1\0" + s5.request5(*TARGET) + b"data", b"\5\1\0" + s5.request5("db.test", 7000),
    b"\5\1\0" + s5.request5("0.0.0.0", 0, s5.ASSOCIATE),
    b"\5\1\0" + s5.request5(*TARGET, s5.BIND), s5.request4(*TARGET),
    s5.request4("db.test", 7000), v1(OTHER, TARGET) + b"hello",
    v1(OTHER, TARGET) + b"\5\1\0" + s5.request5(*TARGET),
    v2(OTHER, TARGET, tlv(1, b"h2") + tlv(2, b"a.test") + tlv(0x20, b"\1\0\0\0\0")) + b"hello",
    f"CONNECT {SERVER[4]}:7000 HTTP/1.1\r\nHost: db.test\r\n\r\n".encode(),
    f"GET http://{SERVER[4]}:7000/ HTTP/1.1\r\nHost: {SERVER[4]}:7000\r\nContent-Length: 5\r\n\r\n"
    .encode() + b"hello",
    struct.pack(">H", len(query())) + query()]
DATAGRAMS = [
    query(), query("www.test", edns=4096), truth(query()),
    b"\0\0\0" + s5.address(SERVER[4], 53) + query(),
    b"\0\0\0" + s5.address("db.test", 7000) + b"hello",
    b"\0\0\0" + s5.address(SERVER[6], 7000) + b"hello"]


class Chance(random.Random):
    def change(self, data):
        data = bytearray(data)
        for _ in range(self.choice([0, 1, 1, 2, 3, 8])):
            at = self.randrange(len(data) + 1)
            how = self.randrange(6)
            if how == 0:
                data[at:at + 1] = bytes([self.randrange(256)])
            elif how == 1:
                data[at:at] = self.randbytes(self.choice([1, 2, 40, 300]))
            elif how == 2:
                del data[at:at + self.choice([1, 2, 10])]
            elif how == 3:
                del data[at:]
            elif how == 4:
                data += self.choice(STREAMS + DATAGRAMS)
            else:
                data[at:at + 1] = self.choice([b"\0", b"\xff", b"\r", b"\n", b" "])
        return bytes(data)


class Crowd:
    """Clients and servers that say changed things, and end as they like."""

    def __init__(self, lab, seed):
        self.lab, self.chance, self.streams, self.relays = lab, Chance(seed), [], []
        self.routed = lab.udp(lab.client, 4, CLIENT["routed"][4])
        self.taken = lab.udp(lab.client, 4, CLIENT["tproxy"][4])
        self.echoes = [lab.udp(lab.server, 4, SERVER[4], port) for port in (53, 7000)]
        self.listener = lab.listen(4, *TARGET)
        for s in (self.routed, self.taken, self.listener, *self.echoes):
            s.setblocking(False)

    def connect(self):
        s = self.lab.socket(self.lab.client, 4)
        s.bind((CLIENT["routed"][4], 0))
        s.connect((PROXY[4], self.chance.choice([SOCKS, MIXED, PROXY_HEADER, BEHIND, DNS])))
        data = self.chance.change(self.chance.choice(STREAMS))
        at = self.chance.randrange(len(data) + 1)
        s.sendall(data[:at])
        s.sendall(data[at:])
        self.streams.append(s)
        end = self.chance.random()
        if end < 0.3:
            s.shutdown(socket.SHUT_WR)
        elif end < 0.6:
            self.streams.pop()
            self.lab.sockets.remove(s)
            sock.reset(s)

    def leave(self):
        s = self.streams.pop(self.chance.randrange(len(self.streams)))
        s.setblocking(False)
        with contextlib.suppress(OSError):
            said = s.recv(1000)
            at = said.find(b"\5\0\0\1" + socket.inet_aton(PROXY[4]))
            if at >= 0:
                self.relays.append(struct.unpack(">H", said[at + 8:at + 10])[0])
        if self.chance.random() < 0.5:
            sock.reset(s)
        s.close()
        if s in self.lab.sockets:
            self.lab.sockets.remove(s)

    def datagrams(self):
        for _ in range(4):
            data = self.chance.change(self.chance.choice(DATAGRAMS))[:60000]
            self.routed.sendto(data, (PROXY[4], DNS))
            self.taken.sendto(data, (SERVER[4], self.chance.choice([53, 443, 7000])))
            if self.relays:
                self.routed.sendto(data, (PROXY[4], self.chance.choice(self.relays[-5:])))
        for echo in self.echoes:
            data, peer = echo.recvfrom(65535)
            echo.sendto(self.chance.change(data)[:60000], peer)

    def round(self):
        for step in (self.connect, self.datagrams, lambda: self.streams.append(self.accept())):
            with contextlib.suppress(OSError):
                step()
        while len(self.streams) > 60:
            self.leave()

    def accept(self):
        s = self.lab.accept(self.listener)
        s.send(b"answer")
        return s

    def end(self):
        while self.streams:
            self.leave()


@pytest.mark.tsan
@pytest.mark.parametrize("seed", range(2))
def test_garbage(lab, serve, seed):
    limpid = serve(CONFIG)
    before = limpid.descriptors()
    crowd = Crowd(lab, seed)
    for _ in range(1000):
        crowd.round()
    crowd.end()
    sock.eventually(lambda: limpid.descriptors() <= before + 20, "descriptors are given back")
    assert limpid.alive() and crowd.relays
    assert not [r for r in limpid.records.poll() if r["limpid"]["why"] == "internal"]
    client = lab.socket(lab.client, 4)
    client.bind((CLIENT["routed"][4], lab.free_port()))
    client.connect((PROXY[4], SOCKS))
    client.sendall(b"\5\1\0")
    assert sock.read_exactly(client, 2) == b"\5\0"
