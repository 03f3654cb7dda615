# SPDX-License-Identifier: Apache-2.0
"""target: which name says where to go: the one that limpid was asked for, or the one inside."""
import pytest

from lab import http, sock
from lab import socks as s5
from lab.http import ALL, Client, LISTENERS, config
from lab.names import NS
from lab.nameserver import NameServer
from lab.tls import client_hello
from lab.topology import SERVER, SERVER_2

PORT = 7000
ASKED, SAID = f"a.test:{PORT}", f"b.test:{PORT}"
MISMATCH = "  - { name: no, match: { mismatch: true }, action: reject }\n" + ALL


class Names:
    """a.test and b.test, and what is said to the servers behind them."""

    def __init__(self, lab, serve):
        self.lab, self.serve, self.limpid = lab, serve, None
        zone = {"a.test": [f"A {SERVER[4]}"], "b.test": [f"A {SERVER_2[4]}"]}
        self.server = NameServer(lab.server, NS, zone)
        self.a, self.b = (lab.listen(4, s[4], PORT) for s in (SERVER, SERVER_2))

    def start(self, target, rules=ALL, mode="mixed", **more):
        listeners = LISTENERS.replace("mode: http", f"mode: {mode}, target: {target}")
        self.limpid = self.serve(config(rules, listeners=listeners, **more,
                                        more=f"resolver: {{ servers: [{NS}], timeout: 2s }}"))

    def connect(self, asked=ASKED):
        client = Client(self.lab)
        assert client.connect_to(asked).status == 200
        return client

    def socks(self, asked=ASKED):
        client = Client(self.lab)
        host, port = asked.split(":")
        client.send(b"\5\1\0" + s5.request5(host, int(port)))
        assert sock.read_exactly(client.sock, 2) == b"\5\0"
        assert s5.read_reply5(client.sock).status == s5.OK
        return client

    def arrives(self, client, said, server):
        """@said comes to @server and to no other; the record."""
        client.send(said)
        other = self.b if server is self.a else self.a
        s = self.lab.accept(server)
        assert sock.read_exactly(s, len(said)) == (said if isinstance(said, bytes)
                                                   else said.encode())
        s.sendall(b"answer")
        assert sock.read_exactly(client.sock, 6) == b"answer"
        assert sock.silent(other)
        s.close()
        return client.record(self.limpid)


@pytest.fixture
def names(lab, serve):
    n = Names(lab, serve)
    yield n
    n.server.close()


def get(host):
    return f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"


WAYS = pytest.mark.parametrize("way", ["connect", "socks"])


@WAYS
@pytest.mark.parametrize("target, said, reached", [
    ("request", client_hello("b.test"), "a"),
    ("sni", client_hello("b.test"), "b"),
    ("sni", client_hello("a.test"), "a"),
    ("sni", client_hello(), "a"),
    ("sni", get("b.test"), "a"),
    ("host", get("b.test"), "b"),
    ("host", client_hello("b.test"), "a"),
    ("host", get(SERVER_2[4]), "b"),
    ("[sni, host]", client_hello("b.test"), "b"),
    ("[sni, host]", get("b.test"), "b"),
    ("[sni, host]", "SSH-2.0-x\r\n", "a"),
], ids=lambda value: value if isinstance(value, str) and "\n" not in value else "said")
def test_tunnel(names, way, target, said, reached):
    names.start(target)
    record = names.arrives(getattr(names, way)(), said, getattr(names, reached))
    assert record["dest_ip"] == {"a": SERVER, "b": SERVER_2}[reached][4]
    if b"b.test" in (said if isinstance(said, bytes) else said.encode()) and reached == "b":
        assert record["limpid"]["target_name"] == "b.test"
    assert record["limpid"].get("asked") == (ASKED if reached == "b" else None)


@WAYS
def test_asked_for_an_address(names, way):
    names.start("sni")
    names.arrives(getattr(names, way)(f"{SERVER[4]}:{PORT}"), client_hello("b.test"), names.b)


def test_piece_by_piece(names):
    names.start("sni", timeouts="{ sniff: 10s }")
    client, hello = names.connect(), client_hello("b.test")
    for byte in hello[:-1]:
        client.send(bytes([byte]))
    assert sock.silent(names.a) and sock.silent(names.b)
    client.send(hello[-1:])
    assert sock.read_exactly(names.lab.accept(names.b), len(hello)) == hello


def test_said_with_the_request(names):
    names.start("sni")
    client, hello = Client(names.lab), client_hello("b.test")
    client.send(f"CONNECT {ASKED} HTTP/1.1\r\nHost: {ASKED}\r\n\r\n".encode() + hello)
    assert sock.read_exactly(names.lab.accept(names.b), len(hello)) == hello
    assert client.head().status == 200


def test_port_of_the_host_field(names):
    names.start("host")
    listener = names.lab.listen(4, SERVER_2[4], PORT + 1)
    names.arrives(names.connect(), get(f"b.test:{PORT + 1}"), listener)


@WAYS
def test_server_speaks_first(names, way):
    """What would say the name does not come: its time over, the request counts."""
    names.start("sni")
    client = getattr(names, way)()
    server = names.lab.accept(names.a)
    server.sendall(b"220 hello")
    assert sock.read_exactly(client.sock, 9) == b"220 hello"


def test_name_that_comes_late_goes_nowhere_else(names):
    names.start("sni", MISMATCH)
    client = names.connect()
    server = names.lab.accept(names.a)  # its time is over
    client.send(client_hello("b.test"))
    sock.read_to_reset(client.sock)
    assert sock.read_to_reset(server) == b""
    assert client.record(names.limpid)["limpid"]["why"] == "narrowed"


@pytest.mark.parametrize("domain, why", [("a.test", "denied"), ("b.test", "finished")])
def test_policy_is_about_the_name_inside(names, domain, why):
    names.start("sni", f"  - {{ name: one, match: {{ domain: {domain} }}, action: accept }}")
    client = names.connect()
    if why == "finished":
        record = names.arrives(client, client_hello("b.test"), names.b)
        assert record["limpid"]["rule"] == "one"
    else:
        client.send(client_hello("b.test"))
        sock.read_to_reset(client.sock)
        assert sock.silent(names.a) and sock.silent(names.b)
        assert client.record(names.limpid)["limpid"]["why"] == why


@pytest.mark.parametrize("target, said", [("sni", client_hello("b.test")), ("host", get("b.test")),
                                          ("request", client_hello("b.test"))],
                         ids=["sni", "host", "request"])
def test_mismatch(names, target, said):
    """Rules see that the names differ, whichever counts."""
    names.start(target, MISMATCH)
    client = names.connect()
    client.send(said)
    sock.read_to_reset(client.sock)
    assert sock.silent(names.a) and sock.silent(names.b)
    record = client.record(names.limpid)["limpid"]
    assert record["rule"] == "no" and record["mismatch"] is True


def test_no_mismatch(names):
    names.start("sni", MISMATCH)
    names.arrives(names.connect(), client_hello("a.test"), names.a)


def test_name_that_is_unknown(names):
    names.start("sni")
    client = names.connect()
    client.send(client_hello("no.test"))
    sock.read_to_reset(client.sock)
    record = client.record(names.limpid)
    assert record["limpid"]["why"] == "name-unknown" and sock.silent(names.a)


def test_bind_names_nobody_inside(names):
    """Who waits to be connected to has said all there is; the server's bytes come at once."""
    names.start("sni", ALL.replace("}", ", bind: true }"), timeouts="{ sniff: 30s }")
    client = Client(names.lab)
    client.send(b"\5\1\0" + s5.request5(SERVER[4], 21, s5.BIND))
    assert sock.read_exactly(client.sock, 2) == b"\5\0"
    first = s5.read_reply5(client.sock)
    server = names.lab.socket(names.lab.server, 4)
    server.bind((SERVER[4], 0))
    server.connect(first.address)
    assert s5.read_reply5(client.sock).status == s5.OK
    server.sendall(b"data")
    assert sock.read_exactly(client.sock, 4) == b"data"


# --- absolute form ------------------------------------------------------------------------------

def absolute(host):
    return f"GET http://{ASKED}/x HTTP/1.1\r\nHost: {host}\r\n\r\n"


@pytest.mark.parametrize("target, reached", [("request", "a"), ("sni", "a"), ("host", "b")])
def test_absolute_form(names, target, reached):
    names.start(target, mode="http")
    client = Client(names.lab)
    client.send(absolute(SAID))
    server = http.Reader(names.lab.accept(getattr(names, reached)))
    got = server.message()
    assert got.first == "GET /x HTTP/1.1" and got.get("Host") == f"{reached}.test:{PORT}"
    server.sock.sendall(b"HTTP/1.1 204 x\r\n\r\n")
    assert client.head().status == 204
    client.send(absolute(ASKED))  # the next request says the same twice
    server = http.Reader(names.lab.accept(names.a)) if reached == "b" else server
    assert server.message().get("Host") == ASKED


def test_absolute_form_without_port_in_host(names):
    names.start("host", mode="http")
    client = Client(names.lab)
    client.send(absolute("b.test"))
    assert http.Reader(names.lab.accept(names.b)).message().get("Host") == "b.test"


@pytest.mark.parametrize("target", ["request", "host"])
def test_mismatch_in_absolute_form(names, target):
    names.start(target, MISMATCH, mode="http")
    assert Client(names.lab).ask(absolute(SAID)).status == 403
