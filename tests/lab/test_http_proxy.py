# SPDX-License-Identifier: Apache-2.0
"""mode: http, requests in absolute form: RFC 9110 and 9112 where a proxy is meant."""
import pytest

from lab import sock
from lab.http import ALL, OK, Client, Origin, basic, config, page, user_config
from lab.names import NS
from lab.nameserver import NameServer
from lab.topology import BLACKHOLE, SERVER, SERVER_2

ORIGIN = "10.77.2.2:7000"
GET = f"GET http://{ORIGIN}/a?b HTTP/1.1\r\nHost: {ORIGIN}\r\n\r\n"


def request(method="GET", path="/", fields="", body="", version="1.1", host=ORIGIN):
    return (f"{method} http://{host}{path} HTTP/{version}\r\nHost: {host}\r\n{fields}\r\n{body}")


@pytest.fixture
def origin(lab):
    return Origin(lab)


@pytest.fixture
def client(lab, limpid):
    # pylint: disable=unused-argument
    return Client(lab)


@pytest.fixture
def limpid(serve):
    """Of one thread: connections to servers are kept by each for itself."""
    return serve(config(more="limits: { threads: 1 }"))


@pytest.fixture
def named(lab):
    server = NameServer(lab.server, NS, {"a.test": [f"A {SERVER[4]}"], "b.test": [f"A {SERVER_2[4]}"]})
    yield f"resolver: {{ servers: [{NS}], timeout: 2s }}"
    server.close()


def exchange(client, origin, text=GET, answer=OK, connection=None):
    """One request and its answer: what the origin saw, what the client got, the connection."""
    client.send(text)
    got, connection = origin.takes(answer, connection)
    return got, client.message(no_body=text.startswith("HEAD")), connection


# --- one exchange -------------------------------------------------------------------------------

def test_get(client, origin, limpid):
    got, answer, _ = exchange(client, origin)
    assert got.first == "GET /a?b HTTP/1.1" and got.get("Host") == ORIGIN
    assert got.get("Via") == "1.1 limpid" and "Connection" not in got
    assert answer.first == "HTTP/1.1 200 OK" and answer.body == b"ok"
    assert answer.get("Via") == "1.1 limpid" and "Connection" not in answer
    record = client.record(limpid)
    assert record["dest_ip"] == SERVER[4] and record["limpid"]["why"] == "finished"


def test_line_for_people(client, origin, limpid):
    exchange(client, origin)
    sock.eventually(lambda: f" | INFO | {client.name[0]} => 10.77.2.2:7000 | Accept"
                    in limpid.stderr(), "the line")


def test_byte_by_byte(lab, serve, origin):
    serve(config(timeouts="{ sniff: 10s }"))
    client = Client(lab)
    for byte in request("POST", fields="Content-Length: 3\r\n", body="abc").encode():
        client.send(bytes([byte]))
    connection = origin.accept()
    assert connection.message().body == b"abc"
    for byte in OK:
        connection.sock.sendall(bytes([byte]))
    assert client.message().body == b"ok"


def test_host_is_the_targets(client, origin):
    """RFC 9112 section 3.2.2: the Host that was received is replaced."""
    got, _, _ = exchange(client, origin, f"GET http://{ORIGIN}/ HTTP/1.1\r\nHost: other\r\n\r\n")
    assert got.get("Host") == ORIGIN


@pytest.mark.parametrize("method, target, want", [
    ("GET", "", "/"), ("GET", "?q", "/?q"), ("OPTIONS", "", "*"), ("OPTIONS", "/", "/")])
def test_path(client, origin, method, target, want):
    got, _, _ = exchange(client, origin, request(method, target))
    assert got.first == f"{method} {want} HTTP/1.1"


def test_ipv6(lab, serve):
    serve(config())
    origin, client = Origin(lab, SERVER[6]), Client(lab, 6)
    got, answer, _ = exchange(client, origin, request(host=f"[{SERVER[6]}]:7000"))
    assert got.get("Host") == f"[{SERVER[6]}]:7000" and answer.status == 200


def test_hop_by_hop(client, origin):
    """RFC 9110 section 7.6.1: both ways; and what Connection names."""
    hop = ("Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n"
           "Proxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: h2c\r\n"
           "X-End: 1\r\nX-End: 2\r\n")
    got, answer, _ = exchange(
        client, origin, request(fields=hop + "Proxy-Authorization: Basic Og==\r\n"),
        f"HTTP/1.1 200 OK\r\n{hop}Proxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n".encode())
    for m in (got, answer):
        assert m.all("X-End") == ["1", "2"]
        assert not {name.lower() for name, _ in m.fields} - {
            "host", "via", "x-end", "content-length", "date"}


def test_head(client, origin):
    _, answer, connection = exchange(client, origin, request("HEAD"),
                                     b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert answer.get("Content-Length") == "5"
    exchange(client, origin, connection=connection)


@pytest.mark.parametrize("status", [204, 304])
def test_no_content(client, origin, status):
    client.send(request())
    _, connection = origin.takes(f"HTTP/1.1 {status} X\r\nETag: x\r\n\r\n".encode())
    assert client.head().status == status
    exchange(client, origin, connection=connection)


@pytest.mark.parametrize("length", [1, 1000, 1 << 20])
def test_content_both_ways(client, origin, length):
    data = sock.pattern(length)
    asking = sock.Background(client.send, request("POST", fields=f"Content-Length: {length}\r\n")
                             .encode() + data)
    connection = origin.accept()
    assert connection.message().body == data
    asking.result()
    sending = sock.Background(connection.sock.sendall,
                              b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + data)
    assert client.message().body == data
    sending.result()


def chunks(data, size):
    return b"".join(b"%x;x=y\r\n%s\r\n" % (len(data[i:i + size]), data[i:i + size])
                    for i in range(0, len(data), size)) + b"0\r\nX-Sum: 1\r\nHost: no\r\n\r\n"


CHUNKED = "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n"


@pytest.mark.parametrize("length, size", [(0, 1), (10, 1), (70000, 999), (1 << 20, 1 << 19)])
def test_chunked_both_ways(client, origin, length, size):
    """Trailers and what announces them (RFC 9110 section 6.6.2), which is not hop by hop."""
    data = sock.pattern(length)
    asking = sock.Background(client.send, request("PUT", fields=CHUNKED).encode() +
                             chunks(data, size))
    connection = origin.accept()
    got = connection.message()
    assert got.body == data and got.trailers == b"X-Sum: 1\r\n"
    assert got.get("Trailer") == "X-Sum"
    asking.result()
    sending = sock.Background(
        connection.sock.sendall,
        f"HTTP/1.1 200 OK\r\n{CHUNKED}\r\n".encode() + chunks(data, size))
    answer = client.message()
    assert answer.body == data and answer.trailers == b"X-Sum: 1\r\n"
    assert answer.get("Trailer") == "X-Sum"
    sending.result()


def test_to_the_end_becomes_chunks(client, origin):
    client.send(GET)
    _, connection = origin.takes(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    connection.sock.close()
    answer = client.message()
    assert answer.get("Transfer-Encoding") == "chunked" and answer.body == b"all of it"
    exchange(client, origin)


def test_http_1_0_server(client, origin):
    client.send(GET)
    _, connection = origin.takes(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
    answer = client.message()
    assert answer.first == "HTTP/1.1 200 OK" and answer.get("Via") == "1.0 limpid"
    assert sock.read_to_end(connection.sock) == b""


@pytest.mark.parametrize("head", ["Content-Length: 2\r\n\r\nok",
                                  "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"])
def test_http_1_0_client(client, origin, head):
    """RFC 9112 section 6.1 and appendix C.2.2: no chunks, and no persistence."""
    got, answer, _ = exchange(client, origin, request(version="1.0"),
                              f"HTTP/1.1 200 OK\r\n{head}".encode())
    assert got.first == "GET / HTTP/1.1" and got.get("Via") == "1.0 limpid"
    assert "Transfer-Encoding" not in answer and answer.body == b"ok"
    assert answer.get("Connection") == "close" and client.at_end()


def test_expect_100(client, origin):
    client.send(request("PUT", fields="Expect: 100-continue\r\nContent-Length: 4\r\n"))
    connection = origin.accept()
    assert connection.head().get("Expect") == "100-continue"
    connection.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.head().status == 100
    client.send("data")
    assert sock.read_exactly(connection.sock, 4) == b"data"
    connection.sock.sendall(OK)
    assert client.message().status == 200


def test_expect_refused(client, origin):
    """The final answer comes without the content: nobody knows where the next request begins."""
    client.send(request("PUT", fields="Expect: 100-continue\r\nContent-Length: 4\r\n"))
    connection = origin.accept()
    connection.head()
    connection.sock.sendall(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
    answer = client.message()
    assert answer.status == 417 and answer.get("Connection") == "close" and client.at_end()


def test_early_hints(client, origin):
    client.send(GET)
    origin.takes(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK)
    assert [client.head().status for _ in range(2)] == [103, 102]
    assert client.message().body == b"ok"


def test_websocket(client, origin, limpid):
    client.send(request(fields="Connection: Upgrade\r\nUpgrade: websocket\r\n"
                               "Sec-WebSocket-Key: x\r\n") + "sent ahead")
    connection = origin.accept()
    got = connection.head()
    assert (got.get("Connection"), got.get("Upgrade")) == ("Upgrade", "websocket")
    connection.sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                            b"Upgrade: websocket\r\n\r\nframes")
    answer = client.head()
    assert answer.status == 101 and answer.get("Upgrade") == "websocket"
    while len(client.rest) < 6:
        client.rest += client.sock.recv(100)
    assert client.rest == b"frames"
    while len(connection.rest) < 10:
        connection.rest += connection.sock.recv(100)
    assert connection.rest == b"sent ahead"
    connection.sock.sendall(b"more")
    assert sock.read_exactly(client.sock, 4) == b"more"
    client.send("up")
    assert sock.read_exactly(connection.sock, 2) == b"up"
    client.sock.close()
    assert sock.read_to_end(connection.sock) == b""
    connection.sock.close()
    assert client.record(limpid)["limpid"]["why"] == "finished"


@pytest.mark.parametrize("forwards, want", [("5", "4"), ("1", "0"), (None, None)])
def test_max_forwards(client, origin, forwards, want):
    got, _, _ = exchange(client, origin, request(
        "OPTIONS", fields=f"Max-Forwards: {forwards}\r\n" if forwards else ""))
    assert got.get("Max-Forwards") == want


def test_max_forwards_is_over(client, origin):
    assert client.ask(request("OPTIONS", fields="Max-Forwards: 0\r\n")).status == 200
    assert client.ask(request("TRACE", fields="Max-Forwards: 0\r\n")).status == 405
    got, _, _ = exchange(client, origin, request("GET", fields="Max-Forwards: 0\r\n"))
    assert got.get("Max-Forwards") == "0"


# --- one after another --------------------------------------------------------------------------

def test_keep_alive(client, origin):
    connection = None
    for i in range(5):
        got, answer, connection = exchange(client, origin, request(path=f"/{i}"),
                                           connection=connection)
        assert got.first == f"GET /{i} HTTP/1.1" and answer.body == b"ok"


def test_each_to_its_own_origin(lab, client, origin):
    other = Origin(lab, SERVER_2[4])
    one = two = None
    for _ in range(2):
        _, _, one = exchange(client, origin, connection=one)
        _, _, two = exchange(client, other, request(host="10.77.2.3:7000"), connection=two)


def test_pipelined(client, origin):
    client.send("".join(request(path=f"/{i}") for i in range(4)))
    connection = origin.accept()
    for i in range(4):
        assert connection.message().first == f"GET /{i} HTTP/1.1"
        connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % i)
    assert [client.message().body for _ in range(4)] == [b"0", b"1", b"2", b"3"]


def test_pooled_for_another_client(lab, client, origin):
    _, _, connection = exchange(client, origin)
    client.sock.close()
    exchange(Client(lab), origin, connection=connection)


def test_names(lab, serve, named):
    limpid = serve(config(more=named))
    a, b, client = Origin(lab), Origin(lab, SERVER_2[4]), Client(lab)
    got, _, kept = exchange(client, a, request(host="a.test:7000"))
    assert got.get("Host") == "a.test:7000"
    exchange(client, b, request(host="B.test:7000"))
    exchange(client, a, request(host="a.test:7000"), connection=kept)
    assert client.record(limpid)["limpid"]["target_name"] == "a.test"


@pytest.mark.parametrize("then", ["10.77.2.2", "a.test"])
@pytest.mark.parametrize("first", ["10.77.2.2", "a.test"])
def test_connect_afterwards(lab, serve, named, origin, first, then):
    """Nothing is left of how the last server was dialled."""
    serve(config(more=named))
    client = Client(lab)
    exchange(client, origin, request(host=f"{first}:7000"))
    tunnelled = lab.listen(4, SERVER[4], 7443)
    assert client.connect_to(f"{then}:7443").status == 200
    client.send("inside")
    assert sock.read_exactly(lab.accept(tunnelled), 6) == b"inside"


@pytest.mark.parametrize("then, status", [("10.77.2.2:7009", 502), ("no.test:80", 502)])
def test_connect_afterwards_that_fails(lab, serve, named, origin, then, status):
    serve(config(more=named))
    client = Client(lab)
    exchange(client, origin, request(host="a.test:7000"))
    assert client.connect_to(then).status == status


def test_client_closes(client, origin):
    client.send(request(fields="Connection: close\r\n"))
    _, connection = origin.takes()
    assert client.message().get("Connection") == "close" and client.at_end()
    exchange(Client(origin.lab), origin, connection=connection)  # the server's goes on


def test_server_closes(client, origin):
    client.send(GET)
    _, connection = origin.takes(b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
                                 b"Content-Length: 2\r\n\r\nok")
    assert "Connection" not in client.message()
    assert sock.read_to_end(connection.sock) == b""
    exchange(client, origin)


def test_stale_connection_is_tried_once_more(client, origin):
    _, _, connection = exchange(client, origin)
    client.send(GET)
    connection.message()
    connection.sock.close()  # with the request in its hands
    origin.takes()
    assert client.message().body == b"ok"


def test_post_is_not_sent_twice(client, origin):
    _, _, connection = exchange(client, origin)
    client.send(request("POST", fields="Content-Length: 0\r\n"))
    connection.message()
    connection.sock.close()
    assert client.message().status == 502


def test_server_that_closed_meanwhile(client, origin):
    _, _, connection = exchange(client, origin)
    connection.sock.close()
    exchange(client, origin)


def test_half_closed_client(client, origin):
    client.send(GET)
    client.sock.shutdown(1)
    origin.takes()
    assert client.message().body == b"ok" and client.at_end()


# --- policy -------------------------------------------------------------------------------------

def test_policy_for_each_request(lab, serve, named):
    limpid = serve(config("  - { name: a, match: { domain: a.test }, action: accept }\n"
                          "  - { name: no, match: { protocol: http }, action: reject }\n",
                          more=named))
    a, b, client = Origin(lab), Origin(lab, SERVER_2[4]), Client(lab)
    _, _, kept = exchange(client, a, request(host="a.test:7000"))
    client.send(request(host="b.test:7000"))
    answer = client.message()
    assert answer.status == 403 and b"http://b.test:7000/" in answer.body
    assert sock.silent(b.listener)
    exchange(client, a, request(host="a.test:7000"), connection=kept)
    sock.eventually(lambda: f" | INFO | {client.name[0]} => b.test:7000 | Reject"
                    in limpid.stderr(), "the line")


def test_policy_for_the_address_of_a_name(lab, serve, named):
    serve(config(f"  - {{ name: no, match: {{ destination: {SERVER_2[4]} }}, action: reject }}\n"
                 + ALL, more=named))
    a, client = Origin(lab), Client(lab)
    exchange(client, a, request(host="a.test:7000"))
    assert client.ask(request(host="b.test:7000")).status == 403


def test_record_of_each_request(lab, serve, named):
    limpid = serve(config("  - { name: a, match: { domain: a.test }, action: accept }\n", more=named))
    a, client = Origin(lab), Client(lab)
    exchange(client, a, request("POST", "/x?y", "User-Agent: me\r\nContent-Length: 3\r\n", "abc",
                                host="a.test:7000"),
             b"HTTP/1.1 201 Made\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
    client.ask(request(host="b.test:7000"))
    made, refused = limpid.records.wait(lambda r: r["event_type"] == "http", count=2)
    assert made["http"] == {
        "hostname": "a.test", "url": "http://a.test:7000/x?y", "http_method": "POST",
        "http_user_agent": "me", "http_content_type": "text/plain", "status": 201,
        "protocol": "HTTP/1.1", "length": 2, "request_length": 3}
    assert (made["dest_ip"], made["dest_port"]) == (SERVER[4], 7000)
    assert made["limpid"] | {"rule": "a", "action": "accept", "why": "finished"} == made["limpid"]
    assert refused["http"]["status"] == 403 and refused["http"]["hostname"] == "b.test"
    assert refused["limpid"]["why"] == "denied"
    flow = client.record(limpid)
    assert flow["flow_id"] == made["flow_id"] == refused["flow_id"]


# --- no server ----------------------------------------------------------------------------------

@pytest.mark.parametrize("host, status", [("10.77.2.2:7009", 502), (f"{BLACKHOLE[4]}:80", 504),
                                          ("no.test", 502)])
def test_no_server(lab, serve, named, origin, host, status):
    serve(config(more=named))
    client = Client(lab)
    answer = client.ask(request(host=host))
    assert answer.status == status and f"http://{host}/".encode() in answer.body
    exchange(client, origin)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"SSH-2.0-x\r\n", b"\x15\x03\x01"])
def test_server_breaks_off(client, origin, answer):
    client.send(GET)
    connection = origin.accept()
    connection.message()
    connection.sock.sendall(answer)
    connection.sock.close()
    assert client.message().status == 502


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf"])
def test_server_breaks_off_in_the_middle(client, origin, limpid, answer):
    """The client must not take it for the whole."""
    client.send(GET)
    _, connection = origin.takes(answer)
    client.head()
    connection.sock.close()
    sock.read_to_reset(client.sock)
    assert client.record(limpid)["limpid"]["why"] == "server-reset"


@pytest.mark.parametrize("head", [
    "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 2\r\nContent-Length: 3\r\n",
    "Content-Length: 2,2\r\n", "Content-Length: +2\r\n", "Transfer-Encoding: x\r\n",
    "X: a\r\n b\r\n", "X\r\n", "Bad Name: x\r\n", "X: \x00\r\n", "Connection: Content-Length\r\n"])
def test_bad_answer(client, origin, head):
    client.send(GET)
    _, connection = origin.takes(f"HTTP/1.1 200 OK\r\n{head}\r\nok".encode())
    assert client.message().status == 502
    try:
        assert connection.sock.recv(1) == b""
    except ConnectionResetError:
        pass


def test_server_is_slow(lab, serve, origin):
    serve(config(timeouts="{ idle: 300ms, keep-alive: 300ms }"))
    client = Client(lab)
    client.send(GET)
    origin.accept().message()
    assert client.message().status == 504


def test_idle_client_is_closed(lab, serve, origin):
    serve(config(timeouts="{ keep-alive: 300ms }"))
    client = Client(lab)
    _, _, connection = exchange(client, origin)
    assert client.at_end()
    assert sock.read_to_end(connection.sock) == b""


def test_shutdown(lab, serve, keeper, origin):
    """Who is between two requests is not waited for, and the last answer says that it is."""
    limpid = serve(config(timeouts="{ drain: 10m, sniff: 400ms }", more="limits: { threads: 1 }"))
    idle, busy = Client(lab), Client(lab)
    _, _, kept = exchange(idle, origin)
    busy.send(request())
    kept.message()
    limpid.terminate()
    assert idle.at_end()
    kept.sock.sendall(OK)
    assert busy.message().get("Connection") == "close" and busy.at_end()
    for client in (idle, busy):
        client.sock.close()
    keeper.stop()


def test_second_request_in_origin_form(client, origin):
    exchange(client, origin)
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    page(client.message(), 400)


def test_back_pressure(client, origin):
    """A client that does not read costs no more than a read."""
    client.send(GET)
    connection = origin.accept()
    connection.message()
    connection.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
    taken, _ = sock.fill(connection.sock)
    assert taken < 64 << 20


# --- users --------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def with_users(tmp_path_factory):
    return user_config(tmp_path_factory)


ANN = basic("ann", "open sesame")


def test_user(lab, serve, with_users, origin):
    """The login is for limpid: the server is not told; and each request has to say it."""
    limpid = serve(with_users)
    client = Client(lab)
    got, _, kept = exchange(client, origin, request(fields=ANN))
    assert "Proxy-Authorization" not in got
    exchange(client, origin, request(fields=ANN), connection=kept)
    answer = client.ask(request())
    assert answer.status == 407 and answer.get("Proxy-Authenticate").startswith("Basic realm=")
    assert client.ask(request(fields=basic("ann", "guess"))).status == 407
    exchange(client, origin, request(fields=ANN), connection=kept)
    made = limpid.records.wait(lambda r: r["event_type"] == "http" and r["http"]["status"] == 200)
    assert made["limpid"]["user"] == "ann"


@pytest.mark.parametrize("refused, status", [
    (request(path="/2"), 407), (request(path="/2", fields=basic("ann", "guess")), 407),
    (request(path="/2", fields="Transfer-Encoding: x, chunked\r\n"), 501),
    (request("CONNECT").replace(f"http://{ORIGIN}/", ORIGIN), 407)],
                         ids=["no login", "wrong login", "no service", "tunnel"])
def test_record_of_who_is_not_known(lab, serve, with_users, origin, refused, status):
    """It names nobody, and no rule: those of the request before are not its own."""
    limpid = serve(with_users)
    client = Client(lab)
    exchange(client, origin, request(fields=ANN))
    assert client.ask(refused).status == status
    record = client.record(limpid)
    if not refused.startswith("CONNECT"):
        record = limpid.records.wait(lambda r: r["src_port"] == client.name[1] and
                                     r.get("http", {}).get("url") == f"http://{ORIGIN}/2")
        assert record["http"]["status"] == status
    assert not {"user", "rule", "action"} & record["limpid"].keys() and "dest_ip" not in record


def test_logins_that_wait_for_each_other(lab, serve, with_users, origin):
    """One password is checked after the other, which takes longer than timeouts.sniff: that is the
    client's time, and none of them is late; neither with its first request nor with a later one."""
    serve(with_users)
    later = Client(lab)
    exchange(later, origin, request(fields=ANN))
    crowd = [later]
    for i in range(30):
        crowd.append(Client(lab))
        crowd[-1].send(request(fields=basic("ann", str(i))))
    again = request(fields=basic("ann", "guess"))
    later.send(again[:20])  # in two reads, as a rule
    sock.silent(later.sock, 0.02)
    later.send(again[20:])
    assert {client.message().status for client in crowd} == {407}


def test_pipelined_logins(lab, serve, with_users, origin):
    serve(with_users)
    client = Client(lab)
    client.send(request(path="/1", fields=ANN) + request(path="/2", fields=ANN))
    connection = origin.accept()
    for path in ("/1", "/2"):
        assert origin.takes(connection=connection)[0].first == f"GET {path} HTTP/1.1"
        assert client.message().status == 200


def test_mismatch(lab, serve, origin):
    serve(config("  - { name: no, match: { mismatch: true }, action: reject }\n" + ALL))
    client = Client(lab)
    exchange(client, origin)
    assert client.ask(f"GET http://{ORIGIN}/ HTTP/1.1\r\nHost: other\r\n\r\n").status == 403
