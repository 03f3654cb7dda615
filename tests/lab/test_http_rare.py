# SPDX-License-Identifier: Apache-2.0
"""mode: http, what is rare: slow and cut messages, early answers, odd versions and statuses."""
import email.utils
import time

import pytest

from lab import sock
from lab.http import OK, Client, Origin, Reader, config, page

ORIGIN = "10.77.2.2:7000"


def request(method="GET", path="/", fields="", body="", version="1.1"):
    return (f"{method} http://{ORIGIN}{path} HTTP/{version}\r\nHost: {ORIGIN}\r\n{fields}\r\n"
            f"{body}")


@pytest.fixture
def limpid(serve):
    return serve(config(more="limits: { threads: 1 }"))


@pytest.fixture
def client(lab, limpid):
    # pylint: disable=unused-argument
    return Client(lab)


@pytest.fixture
def origin(lab):
    return Origin(lab)


def exchange(client, origin, text=None, answer=OK, connection=None):
    client.send(text or request())
    got, connection = origin.takes(answer, connection)
    return got, client.message(), connection


# --- slow ---------------------------------------------------------------------------------------
def test_client_that_reads_later(lab, serve):
    """An answer that has not been taken is no idle connection, however far its end has come."""
    serve(config(timeouts="{ keep-alive: 200ms }"))
    listener, waiting = lab.listen(4, "10.77.2.2", 7000), []
    for size in range(200000, 1000000, 25000):
        client = Client(lab)
        client.send(request())
        server = Reader(lab.accept(listener))
        server.message()
        answer = f"HTTP/1.1 200 OK\r\nConnection: close\r\n{CHUNKED}\r\n{size:x}\r\n".encode()
        sent = sock.Background(server.sock.sendall, answer + bytes(size) + b"\r\n0\r\n\r\n")
        waiting.append((client, size, sent))
    time.sleep(1)
    for client, size, sent in waiting:
        assert len(client.message().body) == size
        sent.result()


def test_slow_second_head(client, origin):
    """Once, and then the end."""
    exchange(client, origin)
    client.send("GET http://")
    page(client.message(), 408)
    assert client.at_end()


def test_beginnings_of_heads_have_a_limit_together(lab, serve, origin):
    """Those of later requests, too; and nothing of it stays counted."""
    limpid = serve(config(timeouts="{ sniff: 20s }",
                          more="limits: { look-ahead-total: 1MiB, threads: 1 }"))
    kept = None
    for _ in range(2):
        clients = [Client(lab) for _ in range(20)]
        for client in clients:
            _, _, kept = exchange(client, origin, connection=kept)
            client.send(request(fields="X: " + "x" * 60000).rstrip())
        names = [client.name for client in clients]
        first = limpid.records.wait(lambda r, names=names: r["event_type"] == "flow" and
                                    (r["src_ip"], r["src_port"]) in names)
        assert first["limpid"]["why"] == "limit"
        for client in clients:
            client.record(limpid)
    exchange(Client(lab), origin, request(fields="X: " + "x" * 60000 + "\r\n"), connection=kept)


@pytest.mark.parametrize("before", ["", "pipelined"])
def test_dripped_second_head(client, origin, before):
    """timeouts.sniff is for the whole head, not from byte to byte."""
    _, _, connection = exchange(client, origin)
    client.send((request() if before else "") + "GET http://")
    if before:
        origin.takes(connection=connection)
        assert client.message().body == b"ok"
    for _ in range(400):
        if not sock.silent(client.sock, 0.05):
            break
        client.send("a")
    page(client.message(), 408)


def test_slow_content(lab, serve, origin):
    """It is the client who is late, not the server."""
    serve(config(timeouts="{ idle: 300ms }"))
    client = Client(lab)
    client.send(request("POST", fields="Content-Length: 2\r\n", body="a"))
    connection = origin.accept()
    connection.head()
    page(client.message(), 408)
    sock.read_to_reset(connection.sock)


# --- answers that come before the request has gone ----------------------------------------------

def test_early_answer(client, origin):
    """A server that goes on reads the rest of the request: it gets that, then the next one."""
    data = sock.pattern(1 << 20)
    client.send(request("POST", fields=f"Content-Length: {len(data)}\r\n").encode() + data[:1000])
    connection = origin.accept()
    connection.head()
    connection.sock.sendall(OK)
    answer = client.message()
    assert answer.body == b"ok" and "Connection" not in answer
    sending = sock.Background(client.send, data[1000:] + request(path="/next").encode())
    while len(connection.rest) < len(data):
        connection.rest += connection.sock.recv(1 << 20)
    sending.result()
    assert connection.rest[:len(data)] == data
    connection.rest = connection.rest[len(data):]
    assert origin.takes(connection=connection)[0].first == "GET /next HTTP/1.1"
    assert client.message().body == b"ok"


def test_early_answer_is_enough(client, origin):
    """A client that has its answer and ends in the middle of its request."""
    client.send(request("POST", fields="Content-Length: 9\r\n", body="half"))
    connection = origin.accept()
    connection.head()
    connection.sock.sendall(OK)
    assert client.message().body == b"ok"
    client.sock.shutdown(1)
    assert client.at_end()
    sock.read_to_reset(connection.sock)


def test_early_answer_and_the_servers_end(client, origin):
    """What the client still sends is read and dropped: a RST would take its answer back."""
    n = 4 << 20
    client.send(request("POST", fields=f"Content-Length: {n}\r\n"))
    connection = origin.accept()
    connection.head()
    connection.sock.sendall(b"HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
    connection.sock.close()
    client.send(bytes(n))
    answer = client.message()
    assert answer.status == 413 and answer.get("Connection") == "close" and client.at_end()


def test_refused_with_much_content(lab, serve):
    serve(config("  - { name: no, action: reject }\n"))
    client = Client(lab)
    client.send(request("POST", fields=f"Content-Length: {4 << 20}\r\n").encode() + bytes(4 << 20))
    page(client.message(), 403)
    assert client.at_end()


def test_expectation_and_a_final_answer(client, origin):
    """After 100 the content is sure to come; so the connection goes on after an early answer."""
    client.send(request("POST", fields="Expect: 100-continue\r\nContent-Length: 4\r\n"))
    connection = origin.accept()
    connection.head()
    connection.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert client.head().status == 100
    assert "Connection" not in client.message()
    client.send("data")
    assert sock.read_exactly(connection.sock, 4) == b"data"
    exchange(client, origin, connection=connection)


def test_expectation_of_http_1_0(client, origin):
    """RFC 9110 section 10.1.1: it is ignored; and the client is never sent a 100."""
    client.send(request("POST", fields="Expect: 100-continue\r\nContent-Length: 1\r\n", body="x",
                        version="1.0"))
    got, _ = origin.takes(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert "Expect" not in got and client.message().status == 200


def test_interim_answer_after_chunks(client, origin):
    """It says nothing about how the one before it was framed."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    _, _, connection = exchange(client, origin, answer=chunked)
    client.send(request())
    origin.takes(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, connection)
    assert [name for name, _ in client.head().fields] == ["Link", "Via"]
    assert client.message().body == b"ok"


# --- ends ---------------------------------------------------------------------------------------

def test_client_resets_while_it_waits(client, origin):
    client.send(request())
    connection = origin.accept()
    connection.message()
    sock.reset(client.sock)
    sock.read_to_reset(connection.sock)


@pytest.mark.parametrize("framing, content", [("Content-Length: 9", "half"),
                                              ("Transfer-Encoding: chunked", "9\r\nhalf")])
def test_client_ends_in_the_middle(client, origin, framing, content):
    """The server must not take it for the whole."""
    client.send(request("POST", fields=f"{framing}\r\n", body=content))
    connection = origin.accept()
    connection.head()
    client.sock.shutdown(1)
    sock.read_to_reset(connection.sock)


def test_server_resets_in_the_middle(client, origin):
    client.send(request("POST", fields="Content-Length: 9\r\n", body="half"))
    connection = origin.accept()
    connection.head()
    sock.reset(connection.sock)
    page(client.message(), 502)


def test_bad_request_behind_a_good_one(client, origin):
    """Answers keep their order, and nothing of the bad one is forwarded."""
    client.send(request(path="/1") + "G@T / HTTP/1.1\r\n\r\n" + request(path="/3"))
    _, connection = origin.takes()
    assert client.message().body == b"ok"
    page(client.message(), 400)
    assert client.at_end() and sock.silent(connection.sock)


def test_answer_nobody_asked_for(client, origin):
    """It is never given to the next one who asks."""
    client.send(request(path="/1") + request(path="/2"))
    evil = b"HTTP/1.1 200 Evil\r\nContent-Length: 4\r\n\r\nevil"
    origin.takes(OK + evil)
    got, connection = origin.takes(OK)
    assert got.first == "GET /2 HTTP/1.1"
    assert [client.message().body for _ in range(2)] == [b"ok", b"ok"]
    connection.sock.sendall(evil)
    try:
        assert connection.sock.recv(1) == b""
    except ConnectionResetError:
        pass
    exchange(client, origin)


def test_server_closes_in_the_same_round(client, origin, limpid):
    """A request that cannot be sent again, and behind it the end of the connection that waits:
    limpid learns of both at once, and has looked at neither."""
    _, _, waiting = exchange(client, origin)
    with limpid.stopped():
        client.send(request("POST", fields="Content-Length: 4\r\n", body="data"))
        waiting.sock.close()
    got, _ = origin.takes()
    assert got.body == b"data"
    assert client.message().status == 200


# --- versions, statuses, fields -----------------------------------------------------------------

def test_higher_minor_versions(client, origin):
    """RFC 9110 section 2.5: read as the highest that is known; our own is said."""
    got, answer, connection = exchange(client, origin, request(version="1.7"),
                                       b"HTTP/1.7 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert got.first == "GET / HTTP/1.1" and answer.first == "HTTP/1.1 200 OK"
    exchange(client, origin, connection=connection)


@pytest.mark.parametrize("version", ["0.9", "2.0", "3.0"])
def test_other_major_versions(client, origin, version):
    exchange(client, origin)
    client.send(request(version=version))
    page(client.message(), 505)


@pytest.mark.parametrize("line", ["999 Request denied", "299 ", "200"])
def test_status_goes_on(client, origin, line):
    _, answer, connection = exchange(client, origin,
                                     answer=f"HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n".encode())
    assert answer.first.strip() == f"HTTP/1.1 {line}".strip()
    exchange(client, origin, connection=connection)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", b"HTTP/1.1 200 OK\n",
                                    b"HTTP/1.1 200 OK\r\nX: y\n"])
def test_answer_with_bare_lf(client, origin, answer):
    """It is refused at once: a CRLF to end it may never come."""
    client.send(request())
    origin.takes(answer)
    refused = client.message()
    assert refused.status == 502
    assert refused.get("Proxy-Status") == "limpid; error=http_protocol_error"


def is_date(value):
    moment = email.utils.parsedate_to_datetime(value)
    return moment and email.utils.format_datetime(moment, usegmt=True) == value


def test_date(client, origin):
    """RFC 9110 section 6.6.1: an answer without one gets one, and so do our own."""
    _, answer, connection = exchange(client, origin)
    assert is_date(answer.get("Date"))
    _, answer, _ = exchange(client, origin, connection=connection,
                            answer=OK.replace(b"\r\n\r\n", b"\r\nDate: then\r\n\r\n"))
    assert answer.get("Date") == "then"
    assert is_date(client.ask(request("OPTIONS", fields="Max-Forwards: 0\r\n")).get("Date"))
    assert is_date(client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").get("Date"))


@pytest.mark.parametrize("value, want", [("99999999999999999999", None), ("007", "6"),
                                         ("x", 400), ("-1", 400), ("", 400), ("1, 2", 400)])
def test_odd_max_forwards(client, origin, value, want):
    """RFC 9110 section 7.6.2: a number too large becomes the largest that is known."""
    text = request("OPTIONS", fields=f"Max-Forwards: {value}\r\n")
    if want == 400:
        client.send(text)
        page(client.message(), 400)
        return
    got, _, _ = exchange(client, origin, text)
    assert 0 < int(got.get("Max-Forwards")) < 1 << 31
    assert want in (None, got.get("Max-Forwards"))


def test_options_of_the_proxy(client, origin):
    """RFC 9110 section 9.3.7: an asterisk is the server that is spoken to."""
    for _ in range(2):
        answer = client.ask("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.status == 200 and answer.body == b"" and "Connection" not in answer
    exchange(client, origin)


@pytest.mark.parametrize("fields", ["Proxy-Connection: close\r\n", "Connection: Close\r\n",
                                    "Connection: keep-alive\r\nConnection: x, close\r\n"])
def test_client_wants_no_more(client, origin, fields):
    _, answer, _ = exchange(client, origin, request(fields=fields))
    assert answer.get("Connection") == "close" and client.at_end()


def test_too_many_fields(client, origin):
    exchange(client, origin)
    client.send(request(fields="X: y\r\n" * 200))
    page(client.message(), 431)


def test_trailers_that_are_none(client, origin):
    """What a trailer may not say, or says badly, does not go on."""
    trailers = ("Content-Length: 5\r\nTransfer-Encoding: x\r\nHost: x\r\nConnection: x\r\n"
                "Proxy-Authorization: x\r\nX-Sum: 1\r\n")
    got, _, connection = exchange(client, origin, request(
        "POST", fields="Transfer-Encoding: chunked\r\n", body=f"1\r\na\r\n0\r\n{trailers}\r\n"))
    assert got.trailers == b"X-Sum: 1\r\n"
    got, _, _ = exchange(client, origin, request(
        "POST", fields="Transfer-Encoding: chunked\r\n",
        body="1\r\na\r\n0\r\nX : 1\r\n\r\n"), connection=connection)
    assert got.trailers == b""


CHUNKED = "Transfer-Encoding: chunked\r\n"


def test_trailers_named_by_connection(client, origin):
    """RFC 9110 section 7.6.1: fields that Connection names end here, be they trailers."""
    head, content = CHUNKED + "Connection: X-Hop\r\n", "1\r\na\r\n0\r\nX-Hop: 1\r\n\r\n"
    got, answer, connection = exchange(
        client, origin, request("POST", fields=head, body=content),
        f"HTTP/1.1 200 OK\r\n{head}\r\n{content}".encode())
    assert got.body == answer.body == b"a" and got.trailers == answer.trailers == b""
    content = content.replace("X-Hop", "X-Sum")
    got, answer, _ = exchange(client, origin, request("POST", fields=CHUNKED, body=content),
                              f"HTTP/1.1 200 OK\r\n{CHUNKED}\r\n{content}".encode(), connection)
    assert got.trailers == answer.trailers == b"X-Sum: 1\r\n"


def test_trailers_of_both_directions_at_once(client, origin):
    """The answer is whole while the request's trailers are not."""
    client.send(request("POST", fields=CHUNKED, body="1\r\na\r\n0\r\nX-Up: 1\r\n"))
    connection = origin.accept()
    connection.head()
    connection.sock.sendall(f"HTTP/1.1 200 OK\r\n{CHUNKED}\r\n0\r\nX-Down: 1\r\n\r\n".encode())
    assert client.message().trailers == b"X-Down: 1\r\n"
    client.send("\r\n")
    while not connection.rest.endswith(b"\r\n\r\n"):
        connection.rest += sock.read_exactly(connection.sock, 1)
    assert connection.rest == b"1\r\na\r\n0\r\nX-Up: 1\r\n\r\n"
    connection.rest = b""
    exchange(client, origin, connection=connection)


@pytest.mark.parametrize("said, want", [
    ("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMA\r\n", ()),
    ("Upgrade: websocket\r\n", ()), ("Upgrade: websocket, x\r\nConnection: Upgrade\r\n", ()),
    ("Upgrade: WebSocket\r\nConnection: x, upgrade\r\n", ("Upgrade", "Connection"))])
def test_upgrade(client, origin, said, want):
    """Only what both neighbours say goes on; h2c never does: requests in it could not be seen."""
    got, _, connection = exchange(client, origin, request(fields=said))
    for name in ("Upgrade", "Connection", "HTTP2-Settings"):
        assert (name in got) == (name in want)
    exchange(client, origin, connection=connection)  # it was not taken up


@pytest.mark.parametrize("head", ["Upgrade: foo\r\nConnection: upgrade\r\n", "Upgrade: websocket\r\n",
                                  "Connection: upgrade\r\n"])
@pytest.mark.parametrize("asked", ["", "Upgrade: websocket\r\nConnection: upgrade\r\n"])
def test_switched_without_being_asked(client, origin, head, asked):
    client.send(request(fields=asked))
    connection = origin.accept()
    connection.head()
    connection.sock.sendall(f"HTTP/1.1 101 X\r\n{head}\r\nabc".encode())
    page_of = client.message()
    assert page_of.status == 502 and b"abc" not in page_of.body


def test_longest_head_of_an_answer(client, origin):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: \r\n\r\n"
    fill = b"x" * ((64 << 10) - len(head))
    _, answer, _ = exchange(client, origin, answer=head.replace(b"X: ", b"X: " + fill) + b"ok")
    assert answer.get("X") == fill.decode() and answer.body == b"ok"


def test_many_interim_answers(client, origin):
    """However many come at once, and longer as they are when they go on."""
    client.send(request())
    origin.takes(b"HTTP/1.1 103\r\n\r\n" * 3000 + OK)
    assert [client.head().status for _ in range(3000)] == [103] * 3000
    assert client.message().body == b"ok"


# --- what a browser sends -----------------------------------------------------------------------

@pytest.mark.parametrize("length", [9_000, 50_000])
@pytest.mark.parametrize("pieces", [1, 7])
def test_long_heads(client, origin, length, pieces):
    """Cookies of any length that limits.look-ahead allows, both ways, whole and in pieces."""
    up, down = "u" * length, "d" * length
    text = request(fields=f"Cookie: {up}\r\n")
    step = len(text) // pieces + 1
    for i in range(0, len(text), step):
        client.send(text[i:i + step])
    connection = origin.accept()
    assert connection.message().get("Cookie") == up
    text = f"HTTP/1.1 200 OK\r\nSet-Cookie: {down}\r\nContent-Length: 2\r\n\r\nok".encode()
    for i in range(0, len(text), step):
        connection.sock.sendall(text[i:i + step])
    answer = client.message()
    assert answer.get("Set-Cookie") == down and answer.body == b"ok"


def test_pipelined_of_every_kind(client, origin):
    """Each answer is where its own kind of request says that it ends."""
    client.send(request("HEAD", "/1") + request("POST", "/2", "Content-Length: 3\r\n", "abc") +
                request("PUT", "/3", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n") +
                request("GET", "/4") + request("GET", "/5") + request("OPTIONS", ""))
    connection = None
    for first, answer in [
            ("HEAD /1", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"), ("POST /2", OK),
            ("PUT /3", b"HTTP/1.1 204 x\r\n\r\n"),
            ("GET /4", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
            ("GET /5", b"HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n"), ("OPTIONS *", OK)]:
        got, connection = origin.takes(answer, connection)
        assert got.first == f"{first} HTTP/1.1"
        assert got.body == (b"abc" if first[:2] in ("PO", "PU") else b"")
    assert client.message(no_body=True).get("Content-Length") == "7"
    assert client.message().body == b"ok" and client.message().status == 204
    assert client.message().body == b"x"
    assert client.message(no_body=True).status == 304 and client.message().body == b"ok"


def test_connect_afterwards_and_more_than_is_looked_at(lab, serve, origin):
    """What has come behind the CONNECT is the tunnel's, however much it is."""
    serve(config(more="limits: { look-ahead: 1KiB }"))
    client, inside = Client(lab), b"inside" * 1000
    exchange(client, origin)
    client.send(f"CONNECT {ORIGIN} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + inside)
    assert client.message(no_body=True).status == 200
    assert sock.read_exactly(origin.accept().sock, len(inside)) == inside


@pytest.mark.parametrize("scheme", ["NTLM", "negotiate"])
def test_login_to_the_server_by_connection(lab, client, origin, scheme):
    """RFC 4559: who logs in so logs the connection in, and it is for nobody else."""
    other = Client(lab)
    log_in = request(fields=f"Authorization: {scheme} TlRM\r\n")
    _, _, hers = exchange(client, origin, log_in)
    _, _, free = exchange(other, origin)
    for _ in range(2):
        exchange(other, origin, connection=free)
        exchange(client, origin, connection=hers)
    exchange(client, origin, request("POST", fields="Content-Length: 2\r\n", body="ok"),
             connection=hers)
    client.sock.close()
    assert sock.read_to_end(hers.sock) == b""


@pytest.mark.parametrize("said, differs", [
    (f"HTTP/1.1\r\nHost: {ORIGIN}", False), ("HTTP/1.1\r\nHost: 10.77.2.2", False),
    ("HTTP/1.1\r\nHost:", False), ("HTTP/1.0", False), ("HTTP/1.1\r\nHost: 10.77.2.3:7000", True)])
def test_mismatch(lab, serve, origin, said, differs):
    """It is about names: no Host names no other, nor does the same without its port."""
    serve(config("  - { name: no, match: { mismatch: true }, action: reject }\n"
                 "  - { name: all, action: accept }"))
    client = Client(lab)
    client.send(f"GET http://{ORIGIN}/ {said}\r\n\r\n")
    if not differs:
        origin.takes()
    assert client.message().status == (403 if differs else 200)
