# SPDX-License-Identifier: Apache-2.0
"""mode: http, CONNECT: a client asks its proxy for a tunnel."""
import socket

import pytest

from lab import http, sock
from lab.http import ALL, Client, basic, config, page, user_config
from lab.names import NS
from lab.nameserver import NameServer
from lab.topology import BLACKHOLE, PROXY, SERVER, UNREACHABLE

CONNECT = "CONNECT 10.77.2.2:7000 HTTP/1.1\r\nHost: 10.77.2.2:7000\r\n\r\n"


@pytest.fixture
def named(lab):
    server = NameServer(lab.server, NS, {"db.test": [f"A {SERVER[4]}"]})
    yield f"resolver: {{ servers: [{NS}], timeout: 2s }}"
    server.close()


def authority(host, port=7000):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tunnel(lab, client, listener):
    """The tunnel is there, and carries both ways; the server's socket."""
    server = lab.accept(listener)
    client.send(b"question")
    assert sock.read_exactly(server, 8) == b"question"
    server.sendall(b"answer")
    assert sock.read_exactly(client.sock, 6) == b"answer"
    return server


def test_tunnel(lab, serve, family):
    limpid = serve(config())
    listener = lab.listen(family, SERVER[family], 7000)
    client = Client(lab, family)
    answer = client.connect_to(authority(SERVER[family]))
    assert answer.first == "HTTP/1.1 200 Connection established" and not answer.fields
    server = tunnel(lab, client, listener)
    client.sock.close()
    assert sock.read_to_end(server) == b""
    server.close()
    record = client.record(limpid)
    assert (record["dest_ip"], record["dest_port"]) == (SERVER[family], 7000)
    assert record["limpid"]["why"] == "finished" and record["limpid"]["rule"] == "all"
    assert record["flow"] | {"bytes_toserver": 8, "bytes_toclient": 6} == record["flow"]


def test_line_for_people(lab, serve):
    """<time> | INFO | client => server:port | Accept"""
    limpid = serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    client.connect_to("10.77.2.2:7000")
    tunnel(lab, client, listener)
    client.sock.close()
    sock.eventually(lambda: f" | INFO | {client.name[0]} => 10.77.2.2:7000 | Accept\n"
                    in limpid.stderr(), "the line")


def test_byte_by_byte(lab, serve):
    serve(config(timeouts="{ sniff: 5s }"))
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    for byte in CONNECT.encode():
        client.send(bytes([byte]))
    assert client.head().status == 200
    tunnel(lab, client, listener)


def test_first_data_in_the_same_segment(lab, serve):
    serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    client.send(CONNECT + "early words")
    server = lab.accept(listener)
    assert sock.read_exactly(server, 11) == b"early words"
    assert client.head().status == 200


def test_answer_before_the_servers_first_bytes(lab, serve):
    serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    client.send(CONNECT)
    lab.accept(listener).sendall(b"220 hello\r\n")
    want = b"HTTP/1.1 200 Connection established\r\n\r\n220 hello\r\n"
    assert sock.read_exactly(client.sock, len(want)) == want


def test_http_1_0(lab, serve):
    serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    assert client.ask("CONNECT 10.77.2.2:7000 HTTP/1.0\r\n\r\n", no_body=True).status == 200
    tunnel(lab, client, listener)


def test_name(lab, serve, named):
    limpid = serve(config(more=named))
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    assert client.connect_to("DB.test.:7000").status == 200
    tunnel(lab, client, listener).close()
    client.sock.close()
    record = client.record(limpid)
    assert record["limpid"]["target_name"] == "db.test" and record["dest_ip"] == SERVER[4]


def test_half_close_inside(lab, serve):
    serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    client.connect_to("10.77.2.2:7000")
    server = tunnel(lab, client, listener)
    client.sock.shutdown(1)
    assert sock.read_to_end(server) == b""
    server.sendall(b"late")
    server.close()
    assert sock.read_to_end(client.sock) == b"late"


# --- policy -------------------------------------------------------------------------------------

@pytest.mark.parametrize("action", ["reject", "deny"])
def test_refused_by_policy(lab, serve, action, named):
    limpid = serve(config(f"  - {{ name: no, match: {{ domain: .test }}, action: {action} }}\n"
                          + ALL, more=named))
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    client.send("CONNECT db.test:7000 HTTP/1.1\r\nHost: db.test:7000\r\n\r\n")
    text = page(client.message(), 403)
    assert "db.test:7000" in text
    assert client.at_end() and sock.silent(listener)
    record = client.record(limpid)
    assert record["limpid"]["why"] == {"reject": "rejected", "deny": "denied"}[action]


def test_policy_sees_what_is_said_in_the_tunnel(lab, serve):
    """A rule by protocol waits for the client, and the client for its answer: it gets that."""
    limpid = serve(config("  - { name: web, match: { protocol: http }, action: accept }"))
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    assert client.connect_to("10.77.2.2:7000").status == 200
    assert sock.silent(listener)  # nobody has been dialled
    client.send("GET / HTTP/1.1\r\nHost: x.test\r\n\r\n")
    assert http.Reader(lab.accept(listener)).head().get("Host") == "x.test"
    other = Client(lab)
    assert other.connect_to("10.77.2.2:7000").status == 200
    other.send(b"\0 not http")
    assert sock.read_to_reset(other.sock) == b""
    assert other.record(limpid)["limpid"]["why"] == "denied"


def test_the_name_asked_for_is_the_name_for_policy(lab, serve, named):
    """What is said inside the tunnel does not make it another target."""
    limpid = serve(config("  - { name: web, match: { protocol: http, domain: good.test }, "
                          "action: accept }", more=named))
    client = Client(lab)
    assert client.connect_to("db.test:7000").status == 403
    assert client.record(limpid)["limpid"]["why"] == "denied"


# --- what goes wrong ----------------------------------------------------------------------------

@pytest.mark.parametrize("host, status, why", [
    (SERVER[4], 502, "server-refused"), (UNREACHABLE[4], 502, "server-unreachable"),
    (BLACKHOLE[4], 504, "connect-timeout"), ("no.test", 502, "name-unknown"),
    ("0.0.0.0", 502, "server-unreachable"), ("[::]", 502, "server-unreachable"),
    ("[::ffff:0.0.0.0]", 502, "server-unreachable")])
def test_no_server(lab, serve, named, host, status, why):
    limpid = serve(config(more=named))
    client = Client(lab)
    client.send(f"CONNECT {host}:7009 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert why in page(client.message(), status)
    assert client.at_end()
    assert client.record(limpid)["limpid"]["why"] == why


def test_loop(lab, serve):
    serve(config())
    client = Client(lab)
    client.send(f"CONNECT {PROXY[4]}:{http.PORT} HTTP/1.1\r\nHost: x\r\n\r\n")
    page(client.message(), 508)


@pytest.mark.parametrize("request_line", [
    "CONNECT 10.77.2.2 HTTP/1.1",               # no port
    "CONNECT 10.77.2.2:72536 HTTP/1.1",         # 7000 + 65536
    "CONNECT 10.77.2.2:0 HTTP/1.1",
    "CONNECT :7000 HTTP/1.1",
    "CONNECT http://10.77.2.2:7000/ HTTP/1.1",
    "CONNECT  10.77.2.2:7000 HTTP/1.1",
    "CONNECT 10.77.2.2:7000 HTTP/1.x",
    "CONNECT 10.77.2.2:7000",
    "GET / HTTP/1.1",                           # origin form, to a proxy
    "\x05\x01\x00",                             # SOCKS
    "SSH-2.0-OpenSSH_9.2",
])
def test_bad_request(lab, serve, request_line):
    limpid = serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    client.send(f"{request_line}\r\nHost: 10.77.2.2:7000\r\n\r\n")
    page(client.message(), 400)
    assert client.at_end() and sock.silent(listener)
    assert client.record(limpid)["limpid"]["why"] == "greeting"


@pytest.mark.parametrize("fields", [
    "Content-Length: 1\r\n", "Content-Length: 0\r\nContent-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n", " folded: x\r\n", "Space : x\r\n",
    "Nul: \x00\r\n", "Cr: \r x\r\n", "Lf: x\n"])
def test_bad_fields(lab, serve, fields):
    serve(config())
    client = Client(lab)
    client.send(f"CONNECT 10.77.2.2:7000 HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
    page(client.message(), 400)


def test_no_host(lab, serve):
    """RFC 9112 section 3.2: HTTP/1.1 has one, and one only."""
    serve(config())
    client = Client(lab)
    client.send("CONNECT 10.77.2.2:7000 HTTP/1.1\r\n\r\n")
    assert "no Host field" in page(client.message(), 400)
    client = Client(lab)
    client.send("CONNECT 10.77.2.2:7000 HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n")
    page(client.message(), 400)


@pytest.mark.parametrize("text", ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                                  "CONNECT 10.77.2.2:7000 HTTP/2.0\r\n\r\n",
                                  "GET http://10.77.2.2:7000/ HTTP/0.9\r\n\r\n"])
def test_other_major_version(lab, serve, text):
    serve(config())
    client = Client(lab)
    client.send(text)
    page(client.message(), 505)


@pytest.mark.parametrize("fields", ["Content-Length: 0\r\n", "Proxy-Connection: keep-alive\r\n"])
def test_what_old_clients_say(lab, serve, fields):
    """WinINET says Content-Length: 0, which leaves nothing open."""
    serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    assert client.connect_to("10.77.2.2:7000", fields).status == 200
    tunnel(lab, client, listener)


def test_higher_minor_version(lab, serve):
    """RFC 9110 section 2.5: it is read as the highest that is known."""
    serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    client.send(CONNECT.replace("HTTP/1.1", "HTTP/1.7"))
    assert client.head().first == "HTTP/1.1 200 Connection established"
    tunnel(lab, client, listener)


@pytest.mark.parametrize("start, status", [("GET http://x/", 414),
                                           ("GET http://x/ HTTP/1.1\r\nX: ", 431),
                                           ("GET http://x/ HTTP/1.1\r\n" + "X: y\r\n" * 200,
                                            431)])
def test_too_long(lab, serve, start, status):
    serve(config(more="limits: { look-ahead: 4KiB }"))
    client = Client(lab)
    client.send(start + "a" * 8000)
    page(client.message(), status)


def test_slow_head(lab, serve):
    limpid = serve(config())
    client = Client(lab)
    client.send("CONNECT 10.77.2.2:7000 HTTP/1.1\r\n")
    page(client.message(), 408)
    assert client.record(limpid)["limpid"]["why"] == "no-target"


@pytest.mark.parametrize("said", ["", "CONN", CONNECT[:-2]])
def test_client_leaves(lab, serve, said):
    limpid = serve(config())
    client = Client(lab)
    client.send(said)
    sock.reset(client.sock)
    assert client.record(limpid)["limpid"]["why"] in ("client-reset", "client-gone")


def test_page_is_escaped(lab, serve):
    serve(config())
    client = Client(lab)
    client.send("CONNECT <b>&'\":80 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"<b>" not in client.message().body


# --- users --------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def with_users(tmp_path_factory):
    return user_config(tmp_path_factory)


def test_user(lab, serve, with_users):
    limpid = serve(with_users)
    listener = lab.listen(4, SERVER[4], 7000)
    for _ in range(2):  # the second time it is remembered
        client = Client(lab)
        assert client.connect_to("10.77.2.2:7000", basic("ann", "open sesame")).status == 200
        tunnel(lab, client, listener).close()
        assert client.record(limpid)["limpid"]["user"] == "ann"


def test_first_data_waits_for_the_login(lab, serve, with_users):
    serve(with_users)
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    client.send(CONNECT[:-2] + basic("ann", "open sesame") + "\r\nearly words")
    assert sock.read_exactly(lab.accept(listener), 11) == b"early words"


@pytest.mark.parametrize("fields", [
    "", basic("ann", "open says me"), basic("bob", "open sesame"), basic("", ""),
    "Proxy-Authorization: Digest x\r\n", "Proxy-Authorization: Basic ?\r\n",
    basic("ann", "open sesame") * 2, "Authorization: Basic YW5uOm9wZW4gc2VzYW1l\r\n"])
def test_no_user(lab, serve, with_users, fields):
    limpid = serve(with_users)
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    client.send(CONNECT[:-2] + fields + "\r\n")
    answer = client.message()
    page(answer, 407, keep=not fields.startswith("Proxy-"))
    assert answer.get("Proxy-Authenticate") == 'Basic realm="limpid", charset="UTF-8"'
    assert sock.silent(listener)
    record = client.record(limpid)
    if not fields.startswith("Proxy-"):
        assert record["limpid"]["why"] == "finished"
        record = limpid.records.wait(lambda r: r["event_type"] == "http" and
                                     r["flow_id"] == record["flow_id"])
        assert (record["http"]["http_method"], record["http"]["status"]) == ("CONNECT", 407)
    assert record["limpid"]["why"] == "login"


def test_login_when_told(lab, serve, with_users):
    """...on the same connection: for a tunnel, after a request that was served, too."""
    limpid = serve(with_users)
    listener = lab.listen(4, SERVER[4], 7000)
    ann, client = basic("ann", "open sesame"), Client(lab)
    for _ in range(2):
        page(client.ask(CONNECT), 407, keep=True)
    client.send(f"GET http://10.77.2.2:7000/ HTTP/1.1\r\nHost: 10.77.2.2:7000\r\n{ann}\r\n")
    server = http.Reader(lab.accept(listener))
    server.message()
    server.sock.sendall(http.OK)
    assert client.message().body == b"ok"
    page(client.ask(CONNECT), 407, keep=True)
    assert client.connect_to("10.77.2.2:7000", ann).status == 200
    tunnel(lab, client, listener).close()
    said = client.record(limpid)["limpid"]
    assert said | {"user": "ann", "rule": "hers", "why": "finished"} == said


@pytest.mark.parametrize("ask", [
    CONNECT.replace("1.1", "1.0"), CONNECT[:-2] + "Connection: close\r\n\r\n",
    CONNECT[:-2] + "Proxy-Connection: close\r\n\r\n", CONNECT + "\x16\x03\x01",
    CONNECT + "GET http://10.77.2.2:7000/ HTTP/1.1\r\nHost: 10.77.2.2:7000\r\n\r\n"],
    ids=["1.0", "close", "proxy-close", "hello", "request"])
@pytest.mark.parametrize("first", [True, False])
def test_no_login_and_the_end(lab, serve, with_users, ask, first):
    """The client wants it, or has sent on as if there were a tunnel: none of that is a request."""
    serve(with_users)
    client = Client(lab)
    if not first:
        page(client.ask(CONNECT), 407, keep=True)
    page(client.ask(ask), 407)
    client.sock.shutdown(socket.SHUT_WR)
    assert client.at_end()


def test_no_login_and_content(lab, serve, with_users):
    serve(with_users)
    for first in (True, False):
        client = Client(lab)
        if not first:
            page(client.ask(CONNECT), 407, keep=True)
        page(client.ask(CONNECT[:-2] + "Content-Length: 3\r\n\r\nabc"), 400)


# --- another name inside ------------------------------------------------------------------------

MISMATCH = "  - { name: no, match: { mismatch: true }, action: reject }\n" + ALL


@pytest.mark.parametrize("host, why", [("db.test", "finished"), ("other.test", "rejected")])
def test_mismatch(lab, serve, named, host, why):
    """Rules can see that the tunnel is not for the name that it was asked for."""
    limpid = serve(config(MISMATCH, more=named))
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    assert client.connect_to("db.test:7000").status == 200
    client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
    if why == "finished":
        server = lab.accept(listener)
        assert http.Reader(server).head().get("Host") == host
        server.close()
    else:
        assert sock.read_to_reset(client.sock) == b"" and sock.silent(listener)
    record = client.record(limpid)
    assert record["limpid"]["why"] == why
    assert record["limpid"]["rule"] == ("all" if why == "finished" else "no")


def test_no_name_no_mismatch(lab, serve):
    """The dial is early: nothing that the client says can change what an address is."""
    serve(config(MISMATCH))
    listener = lab.listen(4, SERVER[4], 7000)
    client = Client(lab)
    assert client.connect_to("10.77.2.2:7000").status == 200
    tunnel(lab, client, listener)
