# SPDX-License-Identifier: Apache-2.0
"""SOCKS UDP ASSOCIATE to the byte (RFC 1928 sections 4, 6 and 7): the address that is told, the
one that is announced, every cut of a header, and destinations that are none."""
import socket

import pytest

from lab import configs, sock
from lab import socks as s5
from lab.socks import Association, Socks
from lab.topology import CLIENT, NO_ROUTE, PROXY, PROXY_FAR, SERVER, UNREACHABLE

WILDCARD = f"""
listeners:
  - {{ name: socks, mode: socks, address: ["0.0.0.0:{s5.PORT}", "[::]:{s5.PORT}"] }}
rules:
  - {{ name: all, action: accept }}
{configs.RECORD}"""


@pytest.fixture
def socks(lab, keeper):
    s = Socks(lab, keeper)
    yield s
    s.close()


def server_of(socks, family=4, port=7000):
    return socks.lab.udp(socks.lab.server, family, SERVER[family], port)


def udp_record(limpid, address):
    return limpid.records.wait(lambda r: r["proto"] == "UDP" and r["dest_ip"] == address)


@pytest.mark.parametrize("where", [PROXY, PROXY_FAR], ids=["near", "far"])
def test_told_address_is_the_one_that_was_reached(lab, serve, family, where):
    """Behind a wildcard listener, too: it is what this client can send to."""
    serve(WILDCARD)
    client = lab.socket(lab.client, family)
    client.bind((CLIENT["routed"][family], lab.free_port()))
    client.connect((where[family], s5.PORT))
    client.sendall(b"\5\1\0" + s5.request5("0.0.0.0", 0, s5.ASSOCIATE))
    assert sock.read_exactly(client, 2) == b"\5\0"
    reply = s5.read_reply5(client)
    assert reply.status == s5.OK and reply.address[0] == where[family]
    udp = lab.udp(lab.client, family, CLIENT["routed"][family])
    server = lab.udp(lab.server, family, SERVER[family], 7000)
    header = b"\0\0\0" + s5.address(SERVER[family], 7000)
    udp.sendto(header + b"question", reply.address)
    data, seen = server.recvfrom(100)
    assert data == b"question"
    server.sendto(b"answer", seen)
    assert udp.recvfrom(100)[0] == header + b"answer"


@pytest.mark.parametrize("announced", [
    b"\1" + bytes(6), b"\4" + bytes(18), b"\4" + bytes(10) + b"\xff\xff" + bytes(6),
    b"\1\x7f\0\0\1\0\0", b"\3\x070.0.0.0\0\0", b"\3\x09localhost\0\0", b"\3\1a\x12\x34"],
    ids=["any", "any-v6", "any-mapped", "loopback", "any-as-name", "name", "name-and-port"])
def test_what_a_client_announces(socks, announced):
    """It may not know, or not what we see of it, and is served all the same."""
    socks.start()
    a = Association(socks)
    a.tcp = socks.greeted()
    a.tcp.sendall(b"\5\3\0" + announced)
    reply = s5.read_reply5(a.tcp)
    assert reply.status == s5.OK and reply.address[0] == PROXY[4]
    a.relay = reply.address
    a.asks(server_of(socks))


def test_another_port_than_announced(socks):
    socks.start()
    server, a = server_of(socks), Association(socks, announce=("0.0.0.0", 9))
    a.send(b"x", SERVER[4], 7000)
    assert sock.silent(server)


def test_talk_behind_the_request(socks):
    """Nobody is there to read it, and it does no harm."""
    socks.start()
    a = Association(socks)
    a.tcp = socks.connect()
    a.tcp.sendall(b"\5\1\0" + s5.request5("0.0.0.0", 0, s5.ASSOCIATE) + b"x" * 10_000)
    assert sock.read_exactly(a.tcp, 2) == b"\5\0"
    a.relay = s5.read_reply5(a.tcp).address
    a.asks(server_of(socks))
    assert sock.silent(a.tcp)


def test_half_closed_is_ended(socks):
    socks.start()
    server, a = server_of(socks), Association(socks)
    a.asks(server)
    a.tcp.shutdown(socket.SHUT_WR)
    assert sock.read_to_end(a.tcp) == b""
    a.send(b"late", SERVER[4], 7000)
    assert sock.silent(server)


# --- headers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [SERVER[4], SERVER[6], "db.test"], ids=["v4", "v6", "name"])
def test_cut_header(socks, host):
    """Nothing is sent for a part of it, and the association goes on."""
    socks.start()
    server, a = server_of(socks), Association(socks)
    whole = b"\0\0\0" + s5.address(host, 7000)
    for cut in range(len(whole)):
        a.udp.sendto(whole[:cut], a.relay)
    assert sock.silent(server, 0.05)
    a.asks(server)


def test_address_in_disguise(socks):
    rules = f"  - {{ name: no, match: {{ destination: {SERVER[4]} }}, action: reject }}\n{s5.ALL}"
    said = f"::ffff:{SERVER[4]}", f"::ffff:{SERVER[4]}".encode(), SERVER[4].encode()
    socks.start()
    server, a = server_of(socks), Association(socks)
    for host in said:
        a.send(host if isinstance(host, bytes) else host.encode(), host, 7000)
        a.answered(server, host if isinstance(host, bytes) else host.encode())
    a.tcp.close()
    socks.start(rules=rules)
    a = Association(socks)
    for host in said:
        a.send(b"refused", host, 7000)
    assert sock.silent(server)


def test_largest(socks):
    """What fits with its header comes back; what does not is lost, as in a network, alone."""
    socks.start()
    server, a = server_of(socks), Association(socks)
    data = sock.pattern(65507 - 10)
    a.send(data, SERVER[4], 7000)
    got, seen = server.recvfrom(1 << 16)
    assert got == data
    for size in 65507, 65507 - 9:
        server.sendto(bytes(size), seen)
        a.asks(server)
    server.sendto(data, seen)
    assert a.receive() == (data, (SERVER[4], 7000))


# --- destinations -------------------------------------------------------------------------------


@pytest.mark.parametrize("host, why", [
    ("255.255.255.255", "server-unreachable"), ("10.77.2.255", "server-unreachable"),
    ("224.0.0.1", "server-unreachable"), ("127.0.0.1", "server-refused"),
    (PROXY[4], "server-refused"), (NO_ROUTE[4], "server-unreachable"),
    (NO_ROUTE[6], "server-unreachable"), (UNREACHABLE[4], "server-unreachable")])
def test_odd_destinations(socks, host, why):
    """They end with their reason, and the others go on."""
    socks.start()
    server, a = server_of(socks), Association(socks)
    for _ in range(3):
        a.send(b"x", host, 9)
        a.asks(server)
    a.tcp.close()
    assert udp_record(socks.limpid, host)["limpid"]["why"] == why


def test_relays_as_destinations(socks):
    """A datagram for a relay of ours, its own or another's, goes round no loop."""
    socks.start()
    server, a, b = server_of(socks), Association(socks), Association(socks)
    a.asks(server)
    inner = b"\0\0\0" + s5.address(SERVER[4], 7000) + b"inner"
    for relay in a.relay, b.relay:
        a.send(b"\0\0\0" + s5.address(*relay) + inner, *relay)
        a.send(inner, *relay)
    a.asks(server)
    assert sock.silent(server)
    assert udp_record(socks.limpid, PROXY[4])["limpid"]["why"] == "loop"
