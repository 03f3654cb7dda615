# SPDX-License-Identifier: Apache-2.0
"""mode: http, many clients at once: each gets its own answers, whatever the others do."""
import itertools
import random
import socket
import threading
import zlib

import pytest

from lab import sock
from lab.http import ALL, LISTENERS, Client, Origin, Reader, config
from lab.topology import SERVER, SERVER_2

PORT = 7000
CLIENTS, BATCHES = 12, 20
KINDS = ("plain", "chunked", "end", "last", "head", "hints", "cut", "refused")


def answer_to(request):
    """What the path asks for, with what came in, so that its client can see whose it is."""
    _, mark, kind, size = request.first.split()[1].split("/")
    body = sock.pattern(int(size), int(mark))
    head = f"HTTP/1.1 200 OK\r\nX-Mark: {mark}\r\nX-Sum: {zlib.crc32(request.body)}\r\n"
    if kind == "hints":
        head = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + head
    if kind == "chunked":
        cut = len(body) // 3
        pieces = [p for p in (body[:cut], body[cut:]) if p]
        framed = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)
        return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + framed + b"0\r\n\r\n"
    if kind == "end":
        return f"{head}\r\n".encode() + body
    if kind == "last":
        head += "Connection: close\r\n"
    return f"{head}Content-Length: {size}\r\n\r\n".encode() + (b"" if kind == "head" else body)


def serve_one(connection):
    reader = Reader(connection)
    try:
        while True:
            request = reader.message()
            kind = request.first.split("/")[2]
            if kind == "cut":
                sock.reset(connection)
                return
            connection.sendall(answer_to(request))
            if kind in ("end", "last"):
                break
    except (AssertionError, OSError):
        pass  # the proxy has closed it
    connection.close()


def serve_all(listener):
    listener.settimeout(None)
    try:
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()
    except OSError:
        pass


def request_of(rng, kind, mark, size):
    """(its bytes, its content); `refused` goes where policy does not let it."""
    host = rng.choice((SERVER[4], SERVER_2[4])) + (":7009" if kind == "refused" else f":{PORT}")
    body = b"" if kind == "head" else sock.pattern(rng.choice((0, 1, 3000, 90000)), mark + 7)
    method = "HEAD" if kind == "head" else "POST" if body else "GET"
    head = f"{method} http://{host}/{mark}/{kind}/{size} HTTP/1.1\r\nHost: {host}\r\n"
    if body and rng.random() < 0.5:
        framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + framed, body
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body, body


def check(client, kind, mark, size, body):
    """Its answer, and nobody else's.  True: the connection goes on."""
    answer = client.message(no_body=kind == "head")
    if answer.status == 103:
        answer = client.message()
    if kind in ("cut", "refused"):
        assert answer.status == {"cut": 502, "refused": 403}[kind]
    else:
        assert (answer.get("X-Mark"), answer.get("X-Sum")) == (str(mark), str(zlib.crc32(body)))
        assert answer.body == (b"" if kind == "head" else sock.pattern(size, mark))
    return answer.get("Connection") != "close"


def client_of(lab, pair, seed, marks):
    """Batches of requests, each sent ahead of the answers; how often it came anew."""
    def come():
        client = Client(lab)
        if pair:
            client.sock = pair.client_context.wrap_socket(client.sock, server_hostname="name.test")
            lab.sockets.append(client.sock)
        return client

    rng, client, n_anew = random.Random(seed), come(), 0
    for _ in range(BATCHES):
        batch = []
        for _ in range(rng.choice((1, 1, 1, 4))):
            kind = rng.choice(KINDS)
            mark, size = next(marks), rng.choice((0, 1, 500, 70000, 300000))
            batch.append((request_of(rng, kind, mark, size), kind, mark, size))
        sending = b"".join(request for (request, _), *_ in batch)
        if len(sending) > 100000:  # more than may lie about while nobody reads
            sending, batch = batch[0][0][0], batch[:1]
        client.sock.sendall(sending)
        if not all(check(client, kind, mark, size, body) for (_, body), kind, mark, size in batch) \
                or rng.random() < 0.1:
            n_anew += 1
            (sock.reset if rng.random() < 0.3 else socket.socket.close)(client.sock)
            client = come()
    return n_anew


@pytest.mark.tsan
@pytest.mark.parametrize("mode", ["http", "https"])
def test_storm(lab, serve, tls_pair, mode):
    """Origins that go on, end, answer in chunks, or break off; clients that come and go."""
    folder = tls_pair.key.parent
    listeners, more = LISTENERS, "limits: { threads: 4 }"
    if mode == "https":
        listeners = LISTENERS.replace("mode: http", "mode: https, tls: front")
        more += (f'\ntls: {{ front: {{ certificate: "{folder}/certificate.pem", '
                 f'key: "{folder}/key.pem" }} }}')
    serve(config("  - { name: no, match: { port: 7009 }, action: reject }\n" + ALL, more=more,
                 timeouts="{ connect: 10s }", listeners=listeners))
    origins = [Origin(lab, address, PORT).listener for address in (SERVER[4], SERVER_2[4])]
    serving = [sock.Background(serve_all, listener) for listener in origins]
    marks = itertools.count(1)
    clients = [sock.Background(client_of, lab, tls_pair if mode == "https" else None, seed, marks)
               for seed in range(CLIENTS)]
    assert sum(client.result() for client in clients) > CLIENTS
    for listener, server in zip(origins, serving):
        listener.shutdown(socket.SHUT_RDWR)  # a close would not wake who waits for clients
        server.result()
