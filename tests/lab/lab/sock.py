# SPDX-License-Identifier: Apache-2.0
"""Sockets as the scenarios use them: blocking, with a deadline, and checked to the byte."""
import select
import socket
import struct
import threading
import time
import zlib

DEADLINE_S = 20


def reset(sock):
    """Close with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_exactly(sock, n_bytes):
    got = bytearray()
    while len(got) < n_bytes:
        data = sock.recv(min(n_bytes - len(got), 1 << 20))
        assert data, f"the stream ended after {len(got)} of {n_bytes} bytes"
        got += data
    return bytes(got)


def read_at_most(sock, n_bytes):
    """Less only at the end.  (MSG_WAITALL means nothing where a time-out is set.)"""
    got = bytearray()
    while len(got) < n_bytes and (data := sock.recv(n_bytes - len(got))):
        got += data
    return bytes(got)


def read_to_end(sock):
    """All bytes up to the orderly end; a RST is an error."""
    got = bytearray()
    while data := sock.recv(1 << 20):
        got += data
    return bytes(got)


def read_to_reset(sock):
    """All bytes up to the RST; an orderly end is an error, so is silence."""
    got = bytearray()
    try:
        while data := sock.recv(1 << 20):
            got += data
    except (ConnectionResetError, BrokenPipeError):
        return bytes(got)
    raise AssertionError(f"a FIN came after {len(got)} bytes where a RST was due")


def silent(sock, seconds=0.15):
    """Nothing readable, no end, no error for a moment."""
    return not select.select([sock], [], [], seconds)[0]


_BLOCK = bytes((i * 167 + (i >> 8) * 13) & 255 for i in range(65521))


def pattern(n_bytes, seed=1):
    """Bytes that differ at every offset a slip could have."""
    start = seed * 31 % len(_BLOCK)
    return (_BLOCK * ((start + n_bytes) // len(_BLOCK) + 1))[start:start + n_bytes]


class Background(threading.Thread):
    """Call something beside the test; result() gives its value or raises its error."""

    def __init__(self, function, *args):
        super().__init__(daemon=True)
        self._call = (function, args)
        self._value = None
        self._error = None
        self.start()

    def run(self):
        function, args = self._call
        try:
            self._value = function(*args)
        except BaseException as e:  # pylint: disable=broad-except
            self._error = e

    def result(self, seconds=60):
        self.join(seconds)
        assert not self.is_alive(), "still running"
        if self._error:
            raise self._error
        return self._value


def send_phases(sock, plan, seed):
    """Send per plan: (message bytes, how many).  Returns (bytes, crc) of all that was sent."""
    block = memoryview(pattern(8 << 20, seed))
    total, crc, at = 0, 0, 0
    for size, count in plan:
        for _ in range(count):
            at = 0 if at + size > len(block) else at
            piece = block[at:at + size]
            at += size + 7
            sock.sendall(piece)
            crc = zlib.crc32(piece, crc)
            total += size
            if size < 4096 and total % 16 == 0:
                time.sleep(0)
    return total, crc


def receive_sum(sock):
    """Read to the orderly end; (bytes, crc)."""
    buf = bytearray(1 << 20)
    view = memoryview(buf)
    total, crc = 0, 0
    while n := sock.recv_into(buf):
        crc = zlib.crc32(view[:n], crc)
        total += n
    return total, crc


def fill(sock, quiet_s=0.7):
    """Send until the other side has taken nothing for a while.  Returns (bytes, crc)."""
    block = memoryview(pattern(1 << 20, 5))
    total, crc = 0, 0
    sock.setblocking(False)
    while select.select([], [sock], [], quiet_s)[1]:
        offset = total % 1000
        try:
            n = sock.send(block[offset:])
        except BlockingIOError:
            continue
        crc = zlib.crc32(block[offset:offset + n], crc)
        total += n
        assert total < 1 << 30, "no back-pressure: 1 GiB was taken for a reader that does not read"
    sock.settimeout(DEADLINE_S)
    return total, crc


def eventually(condition, what, state=lambda: ""):
    """Poll until true; returns what the condition returned.  @state() tells what is instead."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"did not happen: {what}; {state()}"
        time.sleep(0.005)
    return value


def hear(s):
    """One datagram, and who sent it."""
    data, peer, *_ = s.recvfrom(1 << 16)
    return data, peer[:2]
