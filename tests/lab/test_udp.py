# SPDX-License-Identifier: Apache-2.0
"""Routed datagrams through a tproxy listener: what arrives, from where, and what is said when
it does not."""
import errno
import select
import socket

import pytest

from lab import configs, sock
from lab.topology import BLACKHOLE, NO_ROUTE, PROXY_FAR, SERVER, SERVER_2, UNREACHABLE

KEEP, ADDRESS, OWN, REJECT, DENY, STRICT = range(9000, 9006)
RECVERR, ERRQUEUE = {4: (socket.IPPROTO_IP, 11), 6: (socket.IPPROTO_IPV6, 25)}, 0x2000


def config(more="timeouts: { udp: 2s, dns: 2s }"):
    return f"""
listeners:
  - {{ name: routed, mode: tproxy, network: [tcp, udp],
      address: ["127.0.0.1:50080", "[::1]:50080"] }}
rules:
  - {{ name: dns, match: {{ network: udp, port: 53 }}, action: accept }}
  - {{ name: keep, match: {{ network: udp, port: {KEEP} }}, action: accept, source: keep }}
  - {{ name: strict, match: {{ network: udp, port: {STRICT} }}, action: accept, source: keep,
      strict: true }}
  - {{ name: ip, match: {{ network: udp, port: {ADDRESS} }}, action: accept, source: keep-address }}
  - {{ name: no, match: {{ network: udp, port: {REJECT} }}, action: reject }}
  - {{ name: silent, match: {{ network: udp, port: {DENY} }}, action: deny }}
  - {{ name: rest, match: {{ network: udp }}, action: accept }}
{more}
{configs.RECORD}
"""


@pytest.fixture
def limpid(serve):
    return serve(config())


@pytest.fixture
def client(lab, family):
    return lab.udp_client(family)


def udp_record(limpid, client, **more):
    name = client.getsockname()[:2]
    return limpid.records.wait(lambda r: r["proto"] == "UDP" and
                               (r["src_ip"], r["src_port"]) == name, **more)


@pytest.mark.parametrize("port, source", [(KEEP, "keep"), (ADDRESS, "keep-address"), (OWN, "own"),
                                          (STRICT, "keep")])
def test_there_and_back(lab, limpid, family, client, port, source):
    """The answer comes from exactly the address that was asked; the record says it all."""
    at = lab.udp_server(family, port)
    client.sendto(b"question", (SERVER[family], port))
    data, seen = sock.hear(at)
    assert data == b"question"
    name = client.getsockname()[:2]
    if source == "keep":
        assert seen == name
    elif source == "keep-address":
        assert seen[0] == name[0]
    else:
        assert seen[0] == PROXY_FAR[family]
    at.sendto(b"an answer", seen)
    assert sock.hear(client) == (b"an answer", (SERVER[family], port))
    record = udp_record(limpid, client)
    assert (record["dest_ip"], record["dest_port"]) == (SERVER[family], port)
    assert record["flow"]["bytes_toserver"] == 8 and record["flow"]["bytes_toclient"] == 9
    assert record["flow"]["pkts_toserver"] == record["flow"]["pkts_toclient"] == 1
    told = record["limpid"]
    assert (told["listener"], told["source"], told["action"], told["why"]) == \
        ("routed", source, "accept", "idle")


@pytest.mark.parametrize("port", [KEEP, OWN])
@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 9000, 65507 - 20])
@pytest.mark.usefixtures("limpid")
def test_every_size_whole(lab, family, client, port, size):
    at = lab.udp_server(family, port)
    sent = sock.pattern(size)
    client.sendto(sent, (SERVER[family], port))
    data, seen = sock.hear(at)
    assert data == sent
    at.sendto(sent[::-1], seen)
    assert sock.hear(client) == (sent[::-1], (SERVER[family], port))


@pytest.mark.usefixtures("limpid")
def test_one_client_has_one_address_for_all(lab, family, client):
    """Endpoint-independent mapping: RFC 4787 REQ-1."""
    places = [(SERVER[family], OWN), (SERVER_2[family], OWN), (SERVER[family], 9100)]
    servers = [lab.udp_server(family, port, ip) for ip, port in places]
    seen = set()
    for at, place in zip(servers, places):
        client.sendto(b"x", place)
        seen.add(sock.hear(at)[1])
    assert len(seen) == 1
    for at, place in zip(servers, places):
        at.sendto(b"y", next(iter(seen)))
        assert sock.hear(client) == (b"y", place)


@pytest.mark.usefixtures("limpid")
def test_an_answer_from_another_port_is_seen_as_such(lab, family, client):
    at, other = lab.udp_server(family, OWN), lab.udp_server(family, 9200)
    client.sendto(b"x", (SERVER[family], OWN))
    _, seen = sock.hear(at)
    other.sendto(b"y", seen)
    assert sock.hear(client) == (b"y", (SERVER[family], 9200))


@pytest.mark.usefixtures("limpid")
def test_a_stranger_is_not_passed(lab, family, client):
    at, stranger = lab.udp_server(family, OWN), lab.udp_server(family, OWN, SERVER_2[family])
    client.sendto(b"x", (SERVER[family], OWN))
    _, seen = sock.hear(at)
    stranger.sendto(b"stranger", seen)
    at.sendto(b"y", seen)
    assert sock.hear(client) == (b"y", (SERVER[family], OWN))
    assert not select.select([client], [], [], 0.1)[0]


def test_sessions_do_not_mix(lab, limpid, family):
    """Replies of one session never reach another client."""
    at = lab.udp_server(family, KEEP)
    clients = [lab.udp_client(family)
               for _ in range(50)]
    for i, c in enumerate(clients):
        c.sendto(b"%d" % i, (SERVER[family], KEEP))
    for _ in clients:
        data, seen = sock.hear(at)
        at.sendto(data * 2, seen)
    for i, c in enumerate(clients):
        assert sock.hear(c) == (b"%d" % i * 2, (SERVER[family], KEEP))
    assert limpid.alive()


def refused(s):
    s.settimeout(sock.DEADLINE_S)
    try:
        s.recv(1)
    except OSError as e:
        return errno.errorcode[e.errno]
    return "data"


def test_reject_is_port_unreachable(lab, limpid, keeper, family, client):
    at = lab.udp_server(family, REJECT)
    client.connect((SERVER[family], REJECT))
    client.send(b"x")
    assert refused(client) == "ECONNREFUSED"
    assert not select.select([at], [], [], 0.05)[0]
    keeper.stop()
    told = udp_record(limpid, client)["limpid"]
    assert (told["rule"], told["action"], told["why"]) == ("no", "reject", "rejected")


def test_deny_says_nothing(lab, limpid, keeper, family, client):
    at = lab.udp_server(family, DENY)
    client.connect((SERVER[family], DENY))
    client.send(b"x")
    assert not select.select([at, client], [], [], 0.2)[0]
    keeper.stop()
    told = udp_record(limpid, client)["limpid"]
    assert (told["rule"], told["action"], told["why"]) == ("silent", "deny", "denied")


@pytest.mark.parametrize("port", [KEEP, OWN])
@pytest.mark.parametrize("where, name", [
    (SERVER, "ECONNREFUSED"), (UNREACHABLE, "EHOSTUNREACH"), (NO_ROUTE, "ENETUNREACH")])
@pytest.mark.usefixtures("limpid", "lab")
def test_what_the_network_says_reaches_the_client(family, client, port, where, name):
    client.setsockopt(*RECVERR[family], 1)
    client.connect((where[family], port))
    # the kernel's routes of type unreachable speak once a second
    for _ in range(5):
        client.send(b"x")
        if select.select([client], [], [], 1)[0]:
            break
    got = refused(client)
    expected = {name} | ({"EHOSTUNREACH", "ENETUNREACH"} if name != "ECONNREFUSED" else set())
    assert got in expected


@pytest.fixture
def too_far(lab):
    """Networks that are farther away than a datagram of the proxy's gets."""
    lab.proxy.sysctl(net__ipv4__ip_default_ttl=1, net__ipv6__conf__p1__hop_limit=1)
    lab.proxy.ip("route add 10.77.7.0/24 via 10.77.2.2\n-6 route add fd77:7::/64 via fd77:2::2")
    lab.server.ip("route add 10.77.7.0/24 via 10.77.2.1\n-6 route add fd77:7::/64 via fd77:2::1")
    yield {4: "10.77.7.2", 6: "fd77:7::2"}
    lab.proxy.sysctl(net__ipv4__ip_default_ttl=64, net__ipv6__conf__p1__hop_limit=64)
    for ns in lab.proxy, lab.server:
        ns.ip("route del 10.77.7.0/24\n-6 route del fd77:7::/64")


@pytest.mark.usefixtures("limpid", "lab")
def test_a_datagram_that_never_arrives(family, client, too_far):
    """"Time exceeded" goes on as such (RFC 5508)."""
    client.setsockopt(*RECVERR[family], 1)
    client.connect((too_far[family], OWN))
    client.send(b"x")
    assert select.select([client], [], [], sock.DEADLINE_S)[0]
    _, control, _, _ = client.recvmsg(100, 500, ERRQUEUE)
    said = [data[4:7] for level, kind, data in control if (level, kind) == RECVERR[family]]
    assert said == [{4: b"\2\x0b\0", 6: b"\3\3\0"}[family]]  # origin, type, code


@pytest.mark.usefixtures("limpid")
def test_silence_stays_silence(family, client):
    client.connect((BLACKHOLE[family], OWN))
    client.send(b"x")
    assert not select.select([client], [], [], 0.2)[0]


def test_too_big_for_the_way(lab, limpid, family, client):
    """Path-MTU discovery goes through: "fragmentation needed" with the MTU; and nothing is lost."""
    level, discover = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}[family]
    mtu_option = {4: 14, 6: 24}[family]
    at = lab.udp_server(family, KEEP)
    lab.proxy.run("ip", "link", "set", "p1", "mtu", "1300")
    try:
        client.setsockopt(level, discover, 2)
        client.connect((SERVER[family], KEEP))
        client.send(b"x" * 1400)
        assert sock.hear(at)[0] == b"x" * 1400
        with pytest.raises(OSError) as told:
            for _ in range(50):
                client.send(b"x" * 1400)
                select.select([client], [], [], 0.1)
        assert told.value.errno == errno.EMSGSIZE
        assert client.getsockopt(level, mtu_option) == 1300
    finally:
        lab.proxy.run("ip", "link", "set", "p1", "mtu", "1500")
    assert limpid.alive()


def test_dns_is_named(lab, limpid, family, client):
    at = lab.udp_server(family, 53)
    query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x06origin\x04test\0\0\x01\0\x01"
    client.sendto(query, (SERVER[family], 53))
    _, seen = sock.hear(at)
    at.sendto(query, seen)
    assert sock.hear(client)[0] == query
    record = udp_record(limpid, client)
    assert record["app_proto"] == "dns" and record["dns"]["rrname"] == "origin.test"
    assert record["limpid"]["why"] == "finished"


@pytest.mark.tsan
def test_a_crowd_leaves_nothing_behind(lab, serve, family):
    """More sessions in turn than may be at once: the unused make room, and all end."""
    limpid = serve(config("timeouts: { udp: 1s }\nlimits: { sessions: 300 }"))
    at = lab.udp_server(family, OWN)
    before = limpid.descriptors()
    for i in range(600):
        c = lab.udp_client(family)
        c.sendto(b"%d" % i, (SERVER[family], OWN))
        data, seen = sock.hear(at)
        at.sendto(data, seen)
        if i == 299:  # those may now make room
            sock.hear(c)
            select.select([], [], [], 1.2)
        c.close()
    limpid.records.wait(lambda r: r["proto"] == "UDP", count=600)
    assert limpid.descriptors() == before


SEGMENT = (17, 103)   # SOL_UDP, UDP_SEGMENT


def send_train(s, data, segment, to):
    s.sendmsg([data], [(*SEGMENT, segment.to_bytes(2, "little"))], 0, to)


def hear_train(s, size, segment):
    got = []
    while sum(map(len, got)) < size:
        got.append(sock.hear(s)[0])
    assert [len(x) for x in got] == [min(segment, size - at) for at in range(0, size, segment)]
    return b"".join(got)


@pytest.mark.parametrize("port", [KEEP, OWN])
def test_trains_of_datagrams(lab, limpid, family, client, port):
    """GSO in, GRO, GSO out: each datagram keeps its size, its order and its addresses, in both
    directions, among single ones, and beside another client of the same server."""
    at = lab.udp_server(family, port)
    other = lab.udp_client(family)
    size, segment = 20_123, 1200
    names = {}
    for c in (client, other):
        c.sendto(b"first", (SERVER[family], port))
        names[c] = sock.hear(at)[1]
    for i in range(3):
        data = sock.pattern(size, i)
        send_train(client, data, segment, (SERVER[family], port))
        assert hear_train(at, size, segment) == data
        send_train(at, data[::-1], segment, names[client])
        assert hear_train(client, size, segment) == data[::-1]
        for c in (client, other):
            c.sendto(b"single", (SERVER[family], port))
            assert sock.hear(at) == (b"single", names[c])
            at.sendto(b"answer", names[c])
            assert sock.hear(c) == (b"answer", (SERVER[family], port))
    record = udp_record(limpid, client)
    trains = 3 * (size // segment + 1)
    assert record["flow"]["pkts_toserver"] == trains + 4
    assert record["flow"]["pkts_toclient"] == trains + 3
    assert record["flow"]["bytes_toclient"] == 3 * size + 3 * len("answer")


def test_a_train_too_wide_for_the_way(lab, limpid, family, client):
    """What the server's side cannot take as one train is taken apart, and fragmented."""
    at = lab.udp_server(family, KEEP)
    data = sock.pattern(14_000)
    for namespace in (lab.client, lab.proxy):   # other tests have told them of narrow ways
        namespace.run("ip", f"-{family}", "route", "flush", "cache")
    lab.proxy.run("ip", "link", "set", "p1", "mtu", "1300")
    try:
        send_train(client, data, 1400, (SERVER[family], KEEP))
        assert hear_train(at, len(data), 1400) == data
    finally:
        lab.proxy.run("ip", "link", "set", "p1", "mtu", "1500")
    assert limpid.alive()
