# SPDX-License-Identifier: Apache-2.0
"""A name server that says, or does not say, what a scenario wants."""
import ipaddress
import select
import socket
import struct
import threading

TYPES = {"A": 1, "CNAME": 5, "AAAA": 28}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3


def _name(text):
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def _question(data):
    """Name, type, and where the question ends."""
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1:at + 1 + data[at]].decode())
        at += 1 + data[at]
    return ".".join(labels).lower(), struct.unpack_from(">H", data, at + 1)[0], at + 5


class NameServer:
    """Answers from @zone, {name: ["A 192.0.2.1", "CNAME other.test", ...]}, by UDP and TCP.

    moods: {type or "any": mood} for all names.  "silent": no answer; "servfail"; "truncated": by
    UDP no more than that; "wrong-id": an answer to another question comes first; "hold": no
    answer before release().  asked: (name, type, "udp" or "tcp"), as they came.
    """

    def __init__(self, namespace, address, zone, moods=None, port=53, ttl_s=60):
        self.address, self.zone, self.moods, self.ttl_s = address, zone, moods or {}, ttl_s
        self.asked, self.held, self.lock = [], [], threading.Lock()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with namespace.enter():
            self.udp = socket.socket(family, socket.SOCK_DGRAM)
            self.tcp = socket.socket(family, socket.SOCK_STREAM)
        for s in (self.udp, self.tcp):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((address, port))
        self.tcp.listen(16)
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        self._stop.close()
        self._thread.join()
        for s in (self._stopped, self.tcp, self.udp):
            s.close()

    def count(self, name, kind=None, how=None):
        with self.lock:
            return sum(1 for q in self.asked
                       if q[0] == name and kind in (None, q[1]) and how in (None, q[2]))

    def release(self):
        """Answer what was held, and hold no more."""
        with self.lock:
            self.moods = {k: m for k, m in self.moods.items() if m != "hold"}
            held, self.held = self.held, []
        for send, answer in held:
            send(answer)

    def _records(self, name, kind):
        """What there is of a kind, behind the aliases that lead to it."""
        chain = []
        while len(chain) < 16:
            records = [r.split() for r in self.zone.get(name, ())]
            found = [(name, k, value) for k, value in records if k == kind]
            alias = next((value for k, value in records if k == "CNAME"), None)
            if found or not alias:
                return chain + found
            chain.append((name, "CNAME", alias))
            name = alias
        return chain

    def _answer(self, data, limit_bytes):
        name, number, end = _question(data)
        kind = TYPE_NAMES.get(number, str(number))
        mood = self.moods.get(kind, self.moods.get("any"))
        records = self._records(name, kind)
        known = name in self.zone
        code = SERVFAIL if mood == "servfail" else NOERROR if known else NXDOMAIN
        body = b""
        for owner, k, value in records if code == NOERROR else ():
            rdata = _name(value) if k == "CNAME" else ipaddress.ip_address(value).packed
            body += _name(owner) + struct.pack(">HHIH", TYPES[k], 1, self.ttl_s, len(rdata)) + rdata
        n = len(records) if code == NOERROR else 0
        flags = 0x8180 | code
        if mood == "truncated" and limit_bytes or len(body) + end > (limit_bytes or 65535):
            flags, n, body = flags | 0x0200, 0, b""
        return (name, kind, mood,
                data[:2] + struct.pack(">HHHHH", flags, 1, n, 0, 0) + data[12:end] + body)

    def _handle(self, data, send, how):
        name, kind, mood, answer = self._answer(data, 1232 if how == "udp" else 0)
        with self.lock:
            self.asked.append((name, kind, how))
            if mood == "hold":
                self.held.append((send, answer))
                return
        if mood == "silent":
            return
        if mood == "wrong-id":
            lie = bytes([answer[0] ^ 0x55, answer[1] ^ 0x55]) + answer[2:].replace(
                ipaddress.ip_address("10.77.2.2").packed, ipaddress.ip_address("10.77.2.3").packed)
            send(lie)
        send(answer)

    def _serve(self):
        while True:
            ready = select.select([self.udp, self.tcp, self._stopped], [], [])[0]
            if self._stopped in ready:
                return
            if self.udp in ready:
                data, peer = self.udp.recvfrom(2000)
                self._handle(data, lambda a, peer=peer: self.udp.sendto(a, peer), "udp")
            if self.tcp in ready:
                s, _ = self.tcp.accept()
                threading.Thread(target=self._serve_stream, args=(s,), daemon=True).start()

    def _serve_stream(self, s):
        with s, s.makefile("rb") as f:
            try:
                while len(head := f.read(2)) == 2:
                    data = f.read(struct.unpack(">H", head)[0])
                    self._handle(data, lambda a: s.sendall(struct.pack(">H", len(a)) + a), "tcp")
            except OSError:
                pass
