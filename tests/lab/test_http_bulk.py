# SPDX-License-Identifier: Apache-2.0
"""Large content of requests in absolute form: from socket to socket, and never more than its own."""
import socket
import time

import pytest

from lab import sock
from lab.http import Client, Reader, config
from lab.topology import SERVER

ORIGIN = f"{SERVER[4]}:7000"
KIB = 1 << 10
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
COPY = "  - { name: all, action: accept, offload: copy }"
LENGTHS = [256 * KIB - 1, 256 * KIB, 256 * KIB + 1, 5_000_001]


def post(length, path="/"):
    return (f"POST http://{ORIGIN}{path} HTTP/1.1\r\nHost: {ORIGIN}\r\n"
            f"Content-Length: {length}\r\n\r\n").encode()


GET = f"GET http://{ORIGIN}/ HTTP/1.1\r\nHost: {ORIGIN}\r\n\r\n".encode()


def ok(length):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length


class Pair:
    def __init__(self, lab, serve, **more):
        self.limpid = serve(config(**more))
        self.lab, self.listener = lab, lab.listen(4, SERVER[4], 7000)
        self.client, self.server = Client(lab), None

    def begin(self, text):
        """The client asks, and its server is there."""
        sending = sock.Background(self.client.send, text)
        self.server = self.server or Reader(self.lab.accept(self.listener))
        return sending

    def offload(self):
        return self.client.record(self.limpid)["limpid"]["offload"]


@pytest.fixture
def pair(lab, serve):
    return Pair(lab, serve)


@pytest.mark.parametrize("length", LENGTHS)
def test_up(pair, length):
    """Two requests and what is behind them, sent at once."""
    data = sock.pattern(length)
    sending = pair.begin((post(length, "/1") + data) + (post(length, "/2") + data) + GET)
    for path in ("/1", "/2", "/"):
        got = pair.server.message()
        assert got.first.split()[1] == path and got.body == (data if len(path) > 1 else b"")
        pair.server.sock.sendall(OK)
        assert pair.client.message().body == b"ok"
    sending.result()
    assert pair.offload() == ("splice" if length > LENGTHS[2] else "copy")


@pytest.mark.parametrize("length", LENGTHS)
def test_down(pair, length):
    data = sock.pattern(length)
    for _ in range(2):
        pair.begin(GET).result()
        pair.server.message()
        sending = sock.Background(pair.server.sock.sendall, ok(length) + data)
        assert pair.client.message().body == data
        sending.result()
    assert pair.offload() == ("splice" if length > LENGTHS[2] else "copy")


def test_events_of_both_ends_in_one_round(pair):
    """The client's lets the answer be read to its end; the server's is then about bytes that have
    been read, and not about a connection that waits."""
    def unread():
        name = "%s:%d" % pair.server.sock.getpeername()
        out = pair.lab.proxy.run("ss", "-Htn", "src", name).split()
        return int(out[1])
    chunk = b"4000\r\n" + sock.pattern(0x4000) + b"\r\n"
    pair.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(3):
        pair.begin(GET).result()
        pair.server.message()
        pair.server.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not unread():
            pair.server.sock.sendall(chunk)
            time.sleep(0.002)
        with pair.limpid.stopped():
            pair.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            while not sock.silent(pair.client.sock):
                pair.client.rest += pair.client.sock.recv(1 << 20)
            assert b"\r\n0\r\n" not in pair.client.rest
            pair.server.sock.sendall(b"0\r\n\r\n")
        pair.client.message()


def test_more_than_was_asked_for(pair):
    """...of a server: the client never sees it, and its next request has another connection."""
    data = sock.pattern(LENGTHS[-1])
    pair.begin(GET).result()
    pair.server.message()
    sending = sock.Background(pair.server.sock.sendall, ok(len(data)) + data + OK * 3)
    assert pair.client.message().body == data
    sending.result()
    pair.server = None
    pair.begin(GET).result()
    pair.server.message()
    pair.server.sock.sendall(b"HTTP/1.1 204 x\r\n\r\n")
    assert pair.client.head().status == 204


@pytest.mark.parametrize("direction", ["up", "down"])
def test_slow_reader(pair, direction):
    """Whoever sends is held up, and all of it arrives."""
    data = sock.pattern(30_000_000)
    if direction == "up":
        sending = pair.begin(post(len(data)) + data)
        reader = pair.server
    else:
        pair.begin(GET).result()
        pair.server.message()
        sending = sock.Background(pair.server.sock.sendall, ok(len(data)) + data)
        reader = pair.client
    sending.join(0.2)
    assert sending.is_alive()
    got = reader.message()
    assert got.body == data
    sending.result()
    if direction == "up":
        pair.server.sock.sendall(OK)
        assert pair.client.message().body == b"ok"
    assert pair.offload() == "splice"


def test_both_ways_at_once(pair):
    """An answer that begins before the request is over."""
    data = sock.pattern(LENGTHS[-1])
    sending = pair.begin(post(len(data)) + data)
    pair.server.head()
    answering = sock.Background(pair.server.sock.sendall, ok(len(data)) + data)
    receiving = sock.Background(pair.client.message)
    rest = data[:0] + pair.server.rest
    rest += sock.read_exactly(pair.server.sock, len(data) - len(rest))
    assert rest == data and receiving.result().body == data
    sending.result()
    answering.result()


@pytest.mark.parametrize("end", ["close", "reset"])
def test_server_breaks_off(pair, end):
    pair.begin(GET).result()
    pair.server.message()
    data = sock.pattern(2_000_000)
    sending = sock.Background(pair.server.sock.sendall, ok(3_000_000) + data)
    pair.client.head()
    sock.read_exactly(pair.client.sock, 1_900_000 - len(pair.client.rest))
    sending.result()
    if end == "reset":
        sock.reset(pair.server.sock)
    else:
        pair.server.sock.close()
    sock.read_to_reset(pair.client.sock)
    assert pair.client.record(pair.limpid)["limpid"]["why"] == "server-reset"


def test_client_breaks_off(pair):
    data = sock.pattern(2_000_000)
    sending = pair.begin(post(3_000_000) + data)
    pair.server.head()
    sock.read_exactly(pair.server.sock, 1_900_000 - len(pair.server.rest))
    sending.result()
    sock.reset(pair.client.sock)
    sock.read_to_reset(pair.server.sock)
    assert pair.limpid.records.of(pair.client.name)["limpid"]["why"] == "client-reset"


def test_client_that_reads_no_more(pair):
    pair.begin(GET).result()
    pair.server.message()
    sending = sock.Background(pair.server.sock.sendall, ok(1 << 30) + bytes(40_000_000))
    pair.client.head()
    sock.reset(pair.client.sock)
    with pytest.raises(OSError):
        sending.result()
    assert pair.limpid.records.of(pair.client.name)["limpid"]["why"] == "client-reset"


def test_server_that_wants_no_more(pair):
    """It says why, and closes; the client hears it."""
    sending = pair.begin(post(50_000_000) + bytes(20_000_000))
    pair.server.head()
    sock.read_exactly(pair.server.sock, 1_000_000)
    pair.server.sock.sendall(b"HTTP/1.1 413 no\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    pair.server.sock.close()
    answer = pair.client.message()
    assert answer.status in (413, 502) and answer.get("Connection") == "close"
    sending.result()


@pytest.mark.parametrize("how", ["chunked", "rule"])
def test_copied(lab, serve, how):
    """What has to be read, or is to be."""
    pair = Pair(lab, serve, **({"rules": COPY} if how == "rule" else {}))
    data = sock.pattern(3_000_000)
    pair.begin(GET).result()
    pair.server.message()
    head = ok(len(data)) if how == "rule" else b"HTTP/1.1 200 OK\r\n\r\n"

    def answer():
        pair.server.sock.sendall(head + data)
        pair.server.sock.close()
    sending = sock.Background(answer)
    assert pair.client.message().body == data
    sending.result()
    assert pair.offload() == "copy"
