# SPDX-License-Identifier: Apache-2.0
"""A name server of a few lines: every name is the origin.  By TCP, one query a connection."""
import ipaddress
import select
import socket
import struct
import threading


def answer(query, addresses):
    """A reply to one question: A or AAAA, anything else has no answer."""
    ident, = struct.unpack_from(">H", query)
    end = query.index(b"\0", 12) + 5
    kind, = struct.unpack_from(">H", query, end - 4)
    data = {1: addresses.get(4), 28: addresses.get(6)}.get(kind)
    head = struct.pack(">HHHHHH", ident, 0x8580, 1, 1 if data else 0, 0, 0)
    reply = head + query[12:end]
    if data:
        packed = ipaddress.ip_address(data).packed
        reply += struct.pack(">HHHIH", 0xC00C, kind, 1, 60, len(packed)) + packed
    return reply


class NameServer(threading.Thread):
    def __init__(self, namespace, binds, addresses):
        super().__init__(daemon=True)
        self.addresses = addresses
        self.asked = []
        self.sockets, self.listeners = [], []
        self.stop_r, self.stop_w = socket.socketpair()
        for address in binds:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with namespace.enter():
                s = socket.socket(family, socket.SOCK_DGRAM)
                listener = socket.socket(family, socket.SOCK_STREAM)
            s.bind((address, 53))
            listener.bind((address, 53))
            listener.listen(16)
            self.sockets.append(s)
            self.listeners.append(listener)
        self.start()

    def run(self):
        while True:
            ready, _, _ = select.select([self.stop_r, *self.sockets, *self.listeners], [], [])
            if self.stop_r in ready:
                return
            for listener in set(ready) & set(self.listeners):
                self._answer_stream(listener.accept()[0])
            for s in set(ready) & set(self.sockets):
                query, peer = s.recvfrom(65535)
                self.asked.append((s.getsockname()[0], peer[0], query))
                s.sendto(answer(query, self.addresses), peer)

    def _answer_stream(self, s):
        with s, s.makefile("rb") as f:
            s.settimeout(20)
            reply = answer(f.read(struct.unpack(">H", f.read(2))[0]), self.addresses)
            s.sendall(struct.pack(">H", len(reply)) + reply)

    def close(self):
        self.stop_w.send(b"x")
        self.join(5)
        for s in (*self.sockets, *self.listeners, self.stop_r, self.stop_w):
            s.close()
