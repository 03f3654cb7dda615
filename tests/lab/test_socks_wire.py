# SPDX-License-Identifier: Apache-2.0
"""SOCKS to the byte, as RFC 1928, RFC 1929 and the papers on 4 and 4A have it: cut and split
everywhere, odd addresses, addresses in disguise, and clients that go on talking."""
import socket

import pytest

from lab import socks as s5
from lab import sock
from lab.socks import Socks
from lab.topology import BLACKHOLE, NO_ROUTE, PROXY, SERVER, UNREACHABLE


@pytest.fixture
def socks(lab, keeper):
    s = Socks(lab, keeper)
    yield s
    s.close()


ZONE = {"db.test": [f"A {SERVER[4]}"], "mapped.test": [f"AAAA ::ffff:{SERVER[4]}"]}
GREETINGS = {"5": b"\5\1\0" + s5.request5(SERVER[4], 7000),
             "5-v6": b"\5\3\1\0\2" + s5.request5(SERVER[6], 7000),
             "5-name": b"\5\1\0" + s5.request5("db.test", 7000),
             "4": s5.request4(SERVER[4], 7000),
             "4a": s5.request4("db.test", 7000)}


@pytest.mark.parametrize("end", ["fin", "rst"])
@pytest.mark.parametrize("kind", GREETINGS)
def test_cut_at_each_byte(socks, kind, end):
    """Nothing is dialled; a FIN is answered by a FIN, and what was due before can be read."""
    listeners = socks.listen(4), socks.listen(6)
    socks.start(timeouts="{ sniff: 20s }")
    whole, names = GREETINGS[kind], []
    for cut in range(len(whole)):
        client = socks.connect()
        client.sendall(whole[:cut])
        names.append(client.getsockname())
        if end == "rst":
            sock.reset(client)
            continue
        client.shutdown(socket.SHUT_WR)
        greeted = kind[0] == "5" and cut >= 2 + whole[1]
        assert sock.read_to_end(client) == (b"\5\0" if greeted else b""), cut
    for name in names:
        # who resets at once may be gone before it was accepted
        assert socks.limpid.records.of(name)["limpid"]["why"] in (
            ("no-target",) if end == "fin" else ("client-reset", "no-target"))
    assert all(sock.silent(listener, 0.02) for listener in listeners)


@pytest.mark.parametrize("kind", GREETINGS)
def test_split_at_each_byte(socks, kind):
    socks.name_server(ZONE)
    listener = socks.listen(6 if "v6" in kind else 4)
    socks.start(timeouts="{ sniff: 20s }")
    whole = GREETINGS[kind]
    for at in range(1, len(whole)):
        client = socks.connect()
        client.sendall(whole[:at])
        sock.silent(client, 0.002)
        client.sendall(whole[at:])
        if kind[0] == "5":
            assert sock.read_exactly(client, 2) == b"\5\0"
            assert s5.read_reply5(client).status == s5.OK
        else:
            assert s5.read_reply4(client).status == s5.GRANTED
        client.close()
        socks.lab.accept(listener).close()


def test_drip(socks):
    """A byte now and then does not make the time for the greeting longer."""
    socks.start()
    client = socks.connect()
    with pytest.raises(OSError):
        for byte in b"\5\xff" + bytes(200):
            client.sendall(bytes([byte]))
            if not sock.silent(client, 0.02):
                client.recv(1)
    assert socks.record(client)["limpid"]["why"] == "no-target"


def test_methods(socks):
    """Any number of them, in any order, as long as "none" is among them."""
    socks.start()
    for methods in (bytes(255), bytes(range(254, -1, -1)), b"\2\0", b"\0\2", b"\xff\0"):
        client = socks.connect()
        client.sendall(b"\5" + bytes([len(methods)]) + methods)
        assert sock.read_exactly(client, 2) == b"\5\0"


# --- addresses ----------------------------------------------------------------------------------


def test_address_in_disguise(socks):
    """A rule about an address sees it in whatever form it is sent; what no standard has for an
    address is a name, and such a name does not exist."""
    socks.name_server(ZONE)
    listener = socks.listen()
    socks.start(rules=f"  - {{ name: no, match: {{ destination: {SERVER[4]} }}, action: reject }}"
                      f"\n{s5.ALL}")
    for said in (f"::ffff:{SERVER[4]}", f"::ffff:{SERVER[4]}".encode(), SERVER[4].encode(),
                 b"mapped.test"):
        assert socks.ask5(said, 7000)[1].status == s5.NOT_ALLOWED, said
    for said in (b"0x0a4d0202", b"10.77.514", b"172819970", b"10.77.2.02", b"012.77.2.2",
                 SERVER[4].encode() + b".", f"[::ffff:{SERVER[4]}]".encode()):
        assert socks.ask5(said, 7000)[1].status == s5.HOST, said
    assert sock.silent(listener)


def test_name_in_disguise(socks):
    """A final dot and capitals change nothing for a rule; what can be no name is not asked for."""
    ns = socks.name_server(ZONE)
    socks.start(rules=f"  - {{ name: no, match: {{ domain: db.test }}, action: reject }}\n{s5.ALL}")
    for said in b"db.test.", b"DB.Test", b"db.TEST.":
        assert socks.ask5(said, 7000)[1].status == s5.NOT_ALLOWED, said
    for said in (b"db.test..", b".db.test", b"db..test", b".", b"d\xc3\xa4.test", b"db.test:7000",
                 b"*.test", b"db.test/x", b"a@db.test", b" db.test", b"db.test\n", b"db.test%0"):
        assert socks.ask5(said, 7000)[1].status == s5.HOST, said
    assert not ns.asked


@pytest.mark.parametrize("host, port, status, why", [
    ("255.255.255.255", 9, s5.NETWORK, "server-unreachable"),
    ("10.77.2.255", 9, s5.NETWORK, "server-unreachable"),
    ("224.0.0.1", 9, s5.NETWORK, "server-unreachable"),
    ("240.0.0.1", 9, s5.NETWORK, "server-unreachable"),
    ("0.0.0.1", 9, s5.NETWORK, "server-unreachable"),
    ("::", 9, s5.HOST, "no-target"),
    ("::ffff:0.0.0.0", 9, s5.HOST, "no-target"),
    ("fe80::1", 9, s5.HOST, "server-unreachable"),
    ("127.0.0.1", 9, s5.REFUSED, "server-refused"),
    ("::1", 9, s5.REFUSED, "server-refused"),
    (f"::ffff:{PROXY[4]}", 9, s5.REFUSED, "server-refused"),
    (f"::ffff:{PROXY[4]}", s5.PORT, s5.NOT_ALLOWED, "loop"),
    (PROXY[6], s5.PORT, s5.NOT_ALLOWED, "loop"),
])
def test_odd_addresses(socks, host, port, status, why):
    socks.start()
    client, reply = socks.ask5(host, port)
    assert reply == s5.Reply(5, status, ("0.0.0.0", 0))
    assert socks.ended(client)["limpid"]["why"] == why


@pytest.mark.parametrize("early", [10, 300_000])
def test_refused_while_the_client_talks(socks, family, early):
    """The answer can be read, and an end, whatever the client has sent and goes on sending."""
    socks.start()
    network = s5.NETWORK if family == 6 else s5.HOST  # a Linux router says "no route" by ICMPv6
    for host, status in ((SERVER, s5.REFUSED), (UNREACHABLE, network), (NO_ROUTE, s5.HOST),
                         (BLACKHOLE, s5.TTL)):
        client = socks.greeted(family)
        client.sendall(s5.request5(host[family], 7009))
        sent = sock.Background(client.sendall, sock.pattern(early))
        assert s5.read_reply5(client).status == status
        assert sock.read_to_end(client) == b""
        sent.result()


# --- tunnels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("first", ["client", "server"])
def test_half_close(socks, version, first):
    listener = socks.listen()
    socks.start()
    client, _ = socks.ask(version, SERVER[4], 7000)
    server = socks.lab.accept(listener)
    one, other = (client, server) if first == "client" else (server, client)
    one.sendall(b"last")
    one.shutdown(socket.SHUT_WR)
    assert sock.read_to_end(other) == b"last"
    data = sock.pattern(100_000)
    other.sendall(data)
    other.close()
    assert sock.read_to_end(one) == data


@pytest.mark.parametrize("first", ["client", "server"])
def test_reset_of_a_tunnel(socks, first):
    listener = socks.listen()
    socks.start()
    client, _ = socks.ask5(SERVER[4], 7000)
    server = socks.lab.accept(listener)
    one, other = (client, server) if first == "client" else (server, client)
    one.sendall(b"last")
    sock.eventually(lambda: not sock.silent(other, 0.01), "it has arrived")
    sock.reset(one)
    assert sock.read_to_reset(other) == b"last"
