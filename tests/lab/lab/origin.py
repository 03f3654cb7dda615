# SPDX-License-Identifier: Apache-2.0
"""Flows that know what is due: each says in its head how much goes up and how much comes down.

So either end can tell an orderly end from one in mid-data, whatever becomes of the flow.
"""
import socket
import threading
from dataclasses import dataclass

from .sock import Background, pattern, read_at_most, read_exactly, reset

HEAD = ("GET / HTTP/1.1\r\nHost: {host}\r\nX-Up: {up:08}\r\nX-Down: {down:08}\r\n"
        "X: {seed:08}\r\n\r\n")


@dataclass(frozen=True)
class Size:
    up: int
    down: int


SMALL, MIDDLE, BULK = Size(100, 300), Size(60_000, 150_000), Size(300_000, 2_000_000)


class Origin:
    """Answers on listeners of the ways, each connection in a thread, until closed.

    It says half of what is due and resets when the host is gone.test.
    """

    def __init__(self, ways):
        self.cut = []  # an orderly end came before the last byte
        self.hosts = set()
        self.whole = 0
        self._lock = threading.Lock()
        self._listeners = [way.listen() for way in ways]
        self._threads = [Background(self._accept, s) for s in self._listeners]

    def close(self):
        for s in self._listeners:
            s.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
        for thread in self._threads:
            thread.result()
        for s in self._listeners:
            s.close()

    def _accept(self, listener):
        listener.settimeout(None)
        listener.listen(1024)
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            s.settimeout(60)
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        size = len(HEAD.format(host="good.test", up=0, down=0, seed=0))
        where = "in its head"
        try:
            with s:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                head = read_at_most(s, size)
                if not head:
                    return  # a flow that was dialled and ended before it said anything
                assert len(head) == size, "cut"
                assert head.startswith(b"GET / "), "bytes before it are missing"
                fields = dict(line.split(": ") for line in head.decode().splitlines()[1:-1])
                up, down, seed = (int(fields[k]) for k in ("X-Up", "X-Down", "X"))
                where = f"in {up} bytes"
                self.hosts.add(fields["Host"])
                assert read_exactly(s, up) == pattern(up, seed), "other bytes came"
                if fields["Host"] == "gone.test":
                    s.sendall(pattern(down, seed + 1)[:down // 2])
                    reset(s)
                    return
                s.sendall(pattern(down, seed + 1))
                assert s.recv(1) == b"", "more than was sent"
                with self._lock:
                    self.whole += 1
        except AssertionError as e:
            self.cut.append(f"{where}: {e}")
        except OSError:
            pass


@dataclass
class Outcome:
    """What became of one flow, as its client sees it."""
    name: tuple
    whole: bool
    error: str = ""  # what must not be


def flow(way, size, seed, host="good.test", pieces=False):
    """One flow to an Origin: whole, or ended by a RST; anything else is an error.

    The kernel tells of a RST once, the sending thread or the reading one: what came is asked of
    the wire.
    """
    head = HEAD.format(host=host, up=size.up, down=size.down, seed=seed).encode()
    s = way.socket()
    name = s.getsockname()
    sender = None
    try:
        with s:
            s.connect((way.server, way.port))
            for i in range(0, len(head), 20 if pieces else len(head)):
                s.sendall(head[i:i + (20 if pieces else len(head))])
            sender = Background(s.sendall, pattern(size.up, seed))
            got = bytearray()
            while len(got) < size.down and (data := s.recv(1 << 20)):
                got += data
            if len(got) < size.down:
                error = f"an orderly end after {len(got)} of {size.down}"
                return Outcome(name, False, error if way.client_wire(s).down("FIN") else "")
            if got != pattern(size.down, seed + 1):
                return Outcome(name, False, "other bytes came")
            sender.result()
            s.shutdown(socket.SHUT_WR)
            if s.recv(1) != b"":
                return Outcome(name, False, "more than was sent")
            return Outcome(name, True)
    except TimeoutError:
        return Outcome(name, False, "it hangs")
    except OSError:
        return Outcome(name, False)
