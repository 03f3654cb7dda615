# SPDX-License-Identifier: Apache-2.0
"""What is seen on a wire: the packets that open and end TCP connections.

A packet socket with a filter in the kernel keeps only SYN, FIN and RST, so that bulk costs the
tap nothing and its queue never runs over.  No thread: the packets wait in the socket until a
test asks.  They are queued before the receiving TCP sees them, so what a test learnt from a
socket's error has its packet in the tap already.
"""
import ctypes
import ipaddress
import socket
import struct
import time
from dataclasses import dataclass

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
FLAGS = {"FIN": FIN, "SYN": SYN, "RST": RST, "ACK": ACK}

ETH_P_ALL = 3
SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33

# Classic BPF on the network header: TCP over IPv4 or IPv6 with FIN, SYN or RST set.
_FILTER = [
    (0x30, 0, 0, 0),                # A = first byte
    (0x54, 0, 0, 0xF0),             # A &= 0xf0
    (0x15, 0, 5, 0x40),             # IPv4, else +5
    (0x30, 0, 0, 9),                # A = protocol
    (0x15, 0, 8, 6),                # TCP, else drop
    (0xB1, 0, 0, 0),                # X = header length
    (0x50, 0, 0, 13),               # A = TCP flags
    (0x45, 4, 5, FIN | SYN | RST),  # any: take, else drop
    (0x30, 0, 0, 6),                # A = next header
    (0x15, 0, 3, 6),                # TCP, else drop
    (0x30, 0, 0, 53),               # A = TCP flags
    (0x45, 0, 1, FIN | SYN | RST),  # any: take, else drop
    (0x06, 0, 0, 0x40000),
    (0x06, 0, 0, 0),
]


def _attach_filter(sock):
    code = b"".join(struct.pack("HBBI", *line) for line in _FILTER)
    buf = ctypes.create_string_buffer(code)
    prog = struct.pack("HL", len(_FILTER), ctypes.addressof(buf))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, prog)


@dataclass(frozen=True)
class Packet:
    source: tuple  # (address, port)
    destination: tuple
    flags: int
    payload_bytes: int

    def __str__(self):
        names = " ".join(n for n, bit in FLAGS.items() if self.flags & bit)
        src, dst = ("%s.%d" % end for end in (self.source, self.destination))
        return f"{src} > {dst} {names} len {self.payload_bytes}"


def _parse(data):
    if data[0] >> 4 == 4:
        head = (data[0] & 15) * 4
        total, = struct.unpack_from(">H", data, 2)
        src, dst = data[12:16], data[16:20]
    else:
        head = 40
        total = 40 + struct.unpack_from(">H", data, 4)[0]
        src, dst = data[8:24], data[24:40]
    sport, dport = struct.unpack_from(">HH", data, head)
    payload = total - head - (data[head + 12] >> 4) * 4
    return Packet((str(ipaddress.ip_address(src)), sport), (str(ipaddress.ip_address(dst)), dport),
                  data[head + 13], payload)


class Tap:
    def __init__(self, namespace, interface):
        with namespace.enter():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            _attach_filter(self.sock)
            self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
            self.sock.bind((interface, ETH_P_ALL))
        self.sock.setblocking(False)
        self.seen = []

    def restart(self):
        self.packets()
        self.seen = []

    def packets(self):
        while True:
            try:
                data = self.sock.recv(200)
            except BlockingIOError:
                return self.seen
            self.seen.append(_parse(data))

    def syns_to(self, address):
        """SYNs sent to (ip, port): (ip, port) each came from, without retransmissions."""
        sources = [p.source for p in self.packets()
                   if p.flags & (SYN | ACK) == SYN and p.destination == tuple(address[:2])]
        return list(dict.fromkeys(sources))

    def wire(self, near, far=None):
        return Wire(self, near, far)

    def close(self):
        self.sock.close()


class Wire:
    """One connection as seen by a tap.  near: the (ip, port) that dialled; far: optional."""

    def __init__(self, tap, near, far=None):
        self.tap = tap
        self.near = tuple(near[:2])
        self.far = tuple(far[:2]) if far else None

    def packets(self):
        return [p for p in self.tap.packets()
                if (p.source == self.near and self.far in (None, p.destination))
                or (p.destination == self.near and self.far in (None, p.source))]

    def up(self, flag):
        """How many packets with that flag the dialler sent."""
        return sum(1 for p in self.packets() if p.source == self.near and p.flags & FLAGS[flag])

    def down(self, flag):
        """How many packets with that flag the dialler was sent."""
        return sum(1 for p in self.packets()
                   if p.destination == self.near and p.flags & FLAGS[flag])

    def wait_up(self, flag, seconds=15):
        self._wait(lambda: self.up(flag), f"{flag} up", seconds)

    def wait_down(self, flag, seconds=15):
        self._wait(lambda: self.down(flag), f"{flag} down", seconds)

    def _wait(self, seen, what, seconds):
        deadline = time.monotonic() + seconds
        while not seen():
            if time.monotonic() > deadline:
                raise AssertionError(f"never on the wire: {what}; seen:\n{self}")
            time.sleep(0.002)

    def __str__(self):
        return "\n".join(str(p) for p in self.packets()) or "(nothing)"
