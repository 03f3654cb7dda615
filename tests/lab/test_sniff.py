# SPDX-License-Identifier: Apache-2.0
"""What the client says first is understood however it is cut up, and arrives unchanged."""
import socket
import ssl

import pytest

from lab import configs
from lab.sock import read_exactly, read_to_end
from lab.tls import TLS10, TLS12, TLS13, client_hello, records
from lab.topology import Way

# Only a known name lets a connection through, so each one that passes was understood.
NAMED = configs.rules("""
  - name: named
    match: { domain: [name.test, "*.name.test"] }
    action: accept
""", "{ sniff: 5s, connect: 2s, deny: 300ms }")
HEAD = (b"GET /where?is=it HTTP/1.1\r\nUser-Agent: lab/1\r\nHost: Www.Name.Test:8080\r\n"
        b"Accept: */*\r\n\r\n")


@pytest.fixture
def limpid(serve):
    return serve(NAMED)


@pytest.fixture
def way(lab, mode, family, limpid):
    # pylint: disable=unused-argument
    return Way(lab, mode, family)


@pytest.fixture
def plain_way(lab, limpid):
    # pylint: disable=unused-argument
    return Way(lab)


def send_in_pieces(client, data, sizes):
    at = 0
    for size in sizes:
        client.send(data[at:at + size])
        at += size
    client.sendall(data[at:])


def passes(way, limpid, data, sizes=()):
    """The server gets exactly these bytes; returns the record."""
    listener = way.listen()
    client = way.connect()
    name = client.getsockname()
    send_in_pieces(client, data, sizes)
    server = way.lab.accept(listener)
    assert read_exactly(server, len(data)) == data
    server.sendall(b"answer")
    assert read_exactly(client, 6) == b"answer"
    client.close()
    assert read_to_end(server) == b""
    server.close()
    listener.close()
    r = limpid.records.of(name)
    assert r["limpid"]["why"] == "finished"
    assert r["limpid"]["rule"] == "named"
    assert r["flow"]["bytes_toserver"] == len(data)
    return r


# --- ClientHello ------------------------------------------------------------------------------
def test_hello_whole(way, limpid):
    r = passes(way, limpid, client_hello("a.name.test", alpn=("h2", "http/1.1")))
    assert r["app_proto"] == "tls"
    assert r["tls"]["sni"] == "a.name.test"
    assert r["tls"]["version"] == "TLS 1.3"


ACKS = """
table inet acks {
	counter bare { }
	chain input {
		type filter hook input priority 0;
		tcp dport 7000 tcp flags & (fin | syn | rst | psh | ack) == ack counter name bare
	}
}
"""


def test_hello_completes_the_handshake(way, limpid):
    """What is known to follow at once is the handshake's third segment; no bare ACK goes before."""
    # pylint: disable=unused-argument
    way.lab.server.nft(ACKS)
    try:
        data = client_hello("a.name.test")
        listener = way.listen()
        client = way.connect()
        client.sendall(data)
        assert read_exactly(way.lab.accept(listener), len(data)) == data
        seen = way.lab.server.run("nft", "list", "counter", "inet", "acks", "bare")
        assert "packets 0 " in seen
    finally:
        way.lab.server.nft("delete table inet acks")


def delayed_acks(namespace):
    """How often an ACK in this namespace has waited for its timer."""
    words = [line.split() for line in namespace.run("cat", "/proc/net/netstat").splitlines()]
    names, values = [w for w in words if w[0] == "TcpExt:"]
    return int(values[names.index("DelayedACKs")])


def pieces_arrive(sender, receiver):
    """Two small writes of one who has not turned off Nagle's algorithm: the second of them
    waits until the first is acknowledged."""
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    sender.sendall(b"first")
    sender.sendall(b"second")
    assert read_exactly(receiver, 11) == b"firstsecond"


def test_hello_in_pieces_is_not_held_up(way, limpid):
    # pylint: disable=unused-argument
    data = client_hello("a.name.test")
    listener = way.listen()
    client = way.connect()
    before = delayed_acks(way.lab.proxy)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    send_in_pieces(client, data, [100])
    assert read_exactly(way.lab.accept(listener), len(data)) == data
    assert delayed_acks(way.lab.proxy) == before


def test_answer_in_pieces_is_not_held_up(way, limpid):
    # pylint: disable=unused-argument
    data = client_hello("a.name.test")
    listener = way.listen()
    client = way.connect()
    client.sendall(data)
    server = way.lab.accept(listener)
    assert read_exactly(server, len(data)) == data
    before = delayed_acks(way.lab.proxy)
    pieces_arrive(server, client)
    assert delayed_acks(way.lab.proxy) == before


def test_hello_one_byte_per_segment(way, limpid):
    data = client_hello("a.name.test")
    assert passes(way, limpid, data, [1] * len(data))["tls"]["sni"] == "a.name.test"


def test_hello_at_every_cut(plain_way, limpid):
    data = client_hello("name.test")
    for cut in range(1, len(data)):
        assert passes(plain_way, limpid, data, [cut])["tls"]["sni"] == "name.test", cut


@pytest.mark.parametrize("record_bytes", [1, 5, 100])
def test_hello_over_many_records(way, limpid, record_bytes):
    data = client_hello("name.test", record_bytes=record_bytes)
    assert passes(way, limpid, data, [7] * 20)["tls"]["sni"] == "name.test"


def test_hello_of_post_quantum_size(way, limpid):
    data = client_hello("name.test", key_share_bytes=1216)
    assert passes(way, limpid, data, [1400])["tls"]["sni"] == "name.test"


def test_hello_over_16_kib(way, limpid):
    data = client_hello("name.test", padding_bytes=40_000)
    assert passes(way, limpid, data, [1448] * 10)["tls"]["sni"] == "name.test"


def test_hello_with_bytes_behind_it(way, limpid):
    """Early data follows at once: looking must not eat or reorder it."""
    data = client_hello("name.test") + bytes(range(256)) * 200
    assert passes(way, limpid, data, [300])["tls"]["sni"] == "name.test"


@pytest.mark.parametrize("hello, version", [
    (dict(versions=(TLS12, TLS13)), "TLS 1.3"),
    (dict(versions=(TLS12,)), "TLS 1.2"),
    (dict(versions=None, legacy=TLS12), "TLS 1.2"),
    (dict(versions=None, legacy=TLS10), "TLS 1.0"),
], ids=["1.3", "1.2", "legacy-1.2", "legacy-1.0"])
def test_true_version(plain_way, limpid, hello, version):
    r = passes(plain_way, limpid, client_hello("name.test", **hello))
    assert r["tls"]["version"].upper().replace("V", " ").replace("  ", " ") == version.upper()


def test_hello_of_openssl(way, limpid):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    tls = context.wrap_bio(incoming, outgoing, server_hostname="deep.name.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    r = passes(way, limpid, outgoing.read(), [100, 100])
    assert r["tls"]["sni"] == "deep.name.test"


def test_whole_tls_session(way, limpid, tls_pair):
    """A real handshake and data cross untouched."""
    listener = way.listen()
    client = way.connect()
    name = client.getsockname()
    serving = tls_pair.serve_one(way.lab, listener)
    with tls_pair.client_context.wrap_socket(client, server_hostname="name.test") as tls:
        tls.sendall(b"secret")
        assert tls.recv(100) == b"terces"
    assert serving.result() == b"secret"
    r = limpid.records.of(name)
    assert r["tls"]["sni"] == "name.test"


# --- HTTP -------------------------------------------------------------------------------------
def http_facts(r):
    assert r["app_proto"] == "http"
    assert r["http"]["hostname"] == "www.name.test"
    assert r["http"]["http_method"] == "GET"
    assert r["http"]["url"] == "/where?is=it"
    assert r["http"]["http_user_agent"] == "lab/1"


def test_head_whole(way, limpid):
    http_facts(passes(way, limpid, HEAD))


def test_head_one_byte_per_segment(way, limpid):
    http_facts(passes(way, limpid, HEAD, [1] * len(HEAD)))


def test_head_at_every_cut(plain_way, limpid):
    for cut in range(1, len(HEAD)):
        http_facts(passes(plain_way, limpid, HEAD, [cut]))


def test_head_with_body_behind_it(way, limpid):
    data = b"POST / HTTP/1.1\r\nHost: name.test\r\nContent-Length: 90000\r\n\r\n" + b"z" * 90_000
    r = passes(way, limpid, data)
    assert r["http"]["http_method"] == "POST"


# --- what is none of the two ------------------------------------------------------------------
BROKEN = {
    "garbage": bytes(range(128, 256)) * 20,
    "zeros": bytes(3000),
    "other protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "truncated record": client_hello("name.test")[:60],
    "bad lengths": client_hello("name.test")[:43] + b"\xff" * 400,
    "wrong handshake type": records(b"\x02\0\0\x04abcd"),
    "empty records": b"\x16\3\1\0\0" * 300,
    "bad name": client_hello("name.test\0.evil"),
    "two Hosts": b"GET / HTTP/1.1\r\nHost: name.test\r\nHost: evil.test\r\n\r\n",
    "bad field": b"GET / HTTP/1.1\r\nHost : name.test\r\n\r\n",
    "endless head": b"GET / HTTP/1.1\r\nHost: name.test\r\nX: " + b"x" * 200_000,
    "head without end": b"GET / HTTP/1.1\r\nHost: name.test\r\n",
    "hello over 64 KiB": client_hello("name.test", padding_bytes=65_400),
}


@pytest.fixture
def strict_limpid(serve):
    return serve(configs.rules("""
  - { name: named, match: { domain: [name.test] }, action: accept }
""", "{ sniff: 300ms, connect: 2s, deny: 100ms }"))


@pytest.mark.parametrize("what", BROKEN)
def test_broken_first_bytes_never_satisfy_a_rule(lab, strict_limpid, what):
    """Not understood is not known: the implicit deny holds it, then resets it."""
    way = Way(lab)
    listener = way.listen()
    client = way.connect()
    name = client.getsockname()
    try:
        client.sendall(BROKEN[what])
        client.settimeout(20)
        client.recv(1)
        raise AssertionError("no RST came")
    except ConnectionError:
        pass
    near = way.client_wire(client)
    assert near.down("RST") and near.down("FIN") == 0
    r = strict_limpid.records.of(name)
    assert r["limpid"]["why"] in ("denied", "look-ahead")
    assert r["flow"]["bytes_toserver"] == 0
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("what", BROKEN)
def test_broken_first_bytes_pass_where_no_name_is_asked(lab, serve, what):
    """Looking is not judging: without a rule that asks, the bytes go through unchanged."""
    limpid = serve(configs.rules("  - { name: all, action: accept }"))
    way = Way(lab)
    client, server = way.pair()
    name = client.getsockname()
    client.sendall(BROKEN[what])
    client.shutdown(1)
    assert read_to_end(server) == BROKEN[what]
    server.sendall(b"ok")
    server.close()
    assert read_to_end(client) == b"ok"
    r = limpid.records.of(name)
    assert r["limpid"]["why"] == "finished"
    assert r["flow"]["bytes_toserver"] == len(BROKEN[what])


def test_head_of_one_megabyte(lab, serve):
    """The limits hold: it passes where nobody asks for its name."""
    limpid = serve(configs.rules("  - { name: all, action: accept }"))
    before = limpid.rss_bytes()
    data = b"GET / HTTP/1.1\r\nHost: name.test\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n"
    client, server = Way(lab).pair()
    client.sendall(data)
    client.shutdown(1)
    assert read_to_end(server) == data
    assert limpid.rss_bytes() - before < 16 << 20
