# SPDX-License-Identifier: Apache-2.0
"""Datagrams through a tproxy listener, where proxies of other kinds fail on the wire."""
import select
import socket

import pytest

from lab import configs, sock
from lab.netns import Namespace
from lab.topology import CLIENT, PROXY, PROXY_FAR, SERVER, SERVER_2

KEEP, ADDRESS, OWN, KEEP_2 = range(9000, 9004)
TOS, RECVTOS = {4: (socket.IPPROTO_IP, 1), 6: (socket.IPPROTO_IPV6, 67)}, {4: 13, 6: 66}
NO_CHECK = 11
CONFIG = f"""
listeners:
  - {{ name: routed, mode: tproxy, network: [tcp, udp],
      address: ["127.0.0.1:50080", "[::1]:50080"] }}
  - {{ name: second, mode: tproxy, network: [tcp, udp],
      address: ["127.0.0.1:50081", "[::1]:50081"] }}
rules:
  - {{ name: keep, match: {{ port: [{KEEP}, {KEEP_2}] }}, action: accept, source: keep }}
  - {{ name: ip, match: {{ port: {ADDRESS} }}, action: accept, source: keep-address }}
  - {{ name: rest, action: accept }}
timeouts: {{ udp: 1s }}
{configs.RECORD}"""


@pytest.fixture(autouse=True)
def limpid(serve):
    return serve(CONFIG)


@pytest.fixture
def client(lab, family):
    return lab.udp_client(family)


def talk(client, at, data=b"question"):
    """There and back; who the server saw."""
    name = at.getsockname()[:2]
    client.sendto(data, name)
    got, seen = sock.hear(at)
    assert got == data
    at.sendto(data[::-1], seen)
    assert sock.hear(client) == (data[::-1], name)
    return seen


@pytest.mark.parametrize("port", [KEEP, OWN])
def test_largest(lab, family, client, port):
    """As much as a datagram can carry, in both directions."""
    talk(client, lab.udp_server(family, port), sock.pattern(65507 if family == 4 else 65527))


@pytest.mark.parametrize("port", [KEEP, OWN])
def test_refused_ends_nothing_else(lab, family, client, port):
    """ICMP about one server is about that server."""
    at = lab.udp_server(family, port)
    seen = set()
    for _ in range(5):
        client.sendto(b"x", (SERVER[family], 9999))
        client.sendto(b"x", (SERVER_2[family], port))
        seen.add(talk(client, at))
    assert len(seen) == 1


@pytest.mark.parametrize("port", [KEEP, ADDRESS, OWN])
@pytest.mark.parametrize("source_port", [50080, 1])
def test_source_port_like_a_listeners(lab, family, port, source_port):
    client = lab.udp(lab.client, family, CLIENT["tproxy"][family], source_port)
    seen = talk(client, lab.udp_server(family, port))
    if port == KEEP:
        assert seen == client.getsockname()[:2]


def test_server_port_like_the_listeners(lab, family, client):
    talk(client, lab.udp_server(family, 50080))


def test_port_53_taken_on_the_host(lab, family, client):
    """Somebody has the wildcard address for itself: answers come from the server's all the same."""
    held = lab.udp(lab.proxy, family, {4: "0.0.0.0", 6: "::"}[family], 53)
    at = lab.udp_server(family, 53)
    for _ in range(5):
        talk(client, at)
    assert sock.silent(held, 0)


def test_limpids_own_ports_are_refused(lab, limpid, family, client):
    """What is sent to limpid itself comes to no loop, and the sender hears that."""
    before = limpid.descriptors()
    client.setsockopt(*{4: (socket.IPPROTO_IP, 11), 6: (socket.IPPROTO_IPV6, 25)}[family], 1)
    for host in PROXY[family], PROXY_FAR[family]:
        client.sendto(b"x", (host, 50080))
        assert select.select([client], [], [], sock.DEADLINE_S)[0]
        with pytest.raises(ConnectionRefusedError):
            client.recv(1)
    assert limpid.descriptors() <= before + 2
    talk(client, lab.udp_server(family, OWN))


@pytest.mark.parametrize("port", [KEEP, OWN])
def test_traffic_class(lab, family, client, port):
    """DSCP and ECN are part of what is said (RFC 8085 section 3.1.7)."""
    at = lab.udp_server(family, port)
    seen = talk(client, at)
    for s, to, other in ((client, at.getsockname(), at), (at, seen, client)):
        other.setsockopt(TOS[family][0], RECVTOS[family], 1)
        for value in 0xb9, 0x02, 0:
            s.setsockopt(*TOS[family], value)
            s.sendto(b"x", to)
            _, extra, _, _ = other.recvmsg(10, 100)
            assert [data[0] for level, _, data in extra if level == TOS[family][0]] == [value]


def test_no_checksum(lab):
    """IPv4 allows it."""
    client = lab.udp(lab.client, 4, CLIENT["tproxy"][4], lab.free_port())
    client.setsockopt(socket.SOL_SOCKET, NO_CHECK, 1)
    talk(client, lab.udp_server(4, OWN))


def test_either_side_keeps_a_session(lab, limpid, client, family):
    """RFC 4787 REQ-6: a client's datagrams do; and so does a server that goes on speaking."""
    at = lab.udp_server(family, OWN)
    seen = talk(client, at)
    for i in range(8):
        select.select([], [], [], 0.25)
        if i < 4:
            client.sendto(b"x", at.getsockname())
            assert sock.hear(at) == (b"x", seen)
        else:
            at.sendto(b"y", seen)
            assert sock.hear(client)[0] == b"y"
    assert not [r for r in limpid.records.poll() if r["src_port"] == client.getsockname()[1]]


def test_order(lab, family, client):
    """Of many at once, of many sizes, none overtakes another and none is lost."""
    at = lab.udp_server(family, KEEP)
    at.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE
    sent = [bytes([i]) * (i * 37 % 1400) for i in range(200)]
    for data in sent:
        client.sendto(data, (SERVER[family], KEEP))
    got = [sock.hear(at) for _ in sent]
    assert [data for data, _ in got] == sent
    client.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)
    for data in sent:
        at.sendto(data, got[0][1])
    assert [sock.hear(client)[0] for _ in sent] == sent


@pytest.fixture
def two_listeners(lab):
    """Datagrams to one port go to another listener than the rest."""
    lab.proxy.nft(f"""
table inet second {{
	chain prerouting {{
		type filter hook prerouting priority mangle + 5;
		iifname p0 meta nfproto ipv4 udp dport {KEEP_2} tproxy ip to 127.0.0.1:50081
		iifname p0 meta nfproto ipv6 udp dport {KEEP_2} tproxy ip6 to [::1]:50081
	}}
}}
""")
    yield
    lab.proxy.run("nft", "delete", "table", "inet", "second")


@pytest.mark.usefixtures("two_listeners")
def test_one_client_at_two_listeners(lab, limpid, client, family):
    """Its address can be kept by one of them; each gets its own replies."""
    first = lab.udp_server(family, KEEP)
    second = lab.udp_server(family, KEEP_2, SERVER_2[family])
    for _ in range(3):
        assert talk(client, first) == client.getsockname()[:2]
        assert talk(client, second)[0] == client.getsockname()[0]
    name = client.getsockname()[1]
    limpid.records.wait(lambda r: r["src_port"] == name and r["limpid"]["listener"] == "second" and
                        r["limpid"]["source"] == "keep-address")


@pytest.fixture
def far(lab):
    """A client behind a router, on a link that is narrow."""
    ns = Namespace()
    ns.ip(f"link add h0 type veth peer name h1 netns {lab.client.path}")
    ns.ip("link set h0 up mtu 1000\naddr add 10.88.0.2/24 dev h0\n"
          "route add default via 10.88.0.1")
    lab.client.ip("link set h1 up mtu 1000\naddr add 10.88.0.1/24 dev h1")
    lab.client.sysctl(net__ipv4__ip_forward=1)
    lab.proxy.ip("route add 10.88.0.0/24 via 10.77.1.2")
    lab.server.ip("route replace 10.88.0.0/24 via 10.77.2.1")
    lab.proxy.nft("""
table inet far {
	chain prerouting {
		type filter hook prerouting priority mangle;
		iifname p0 ip saddr 10.88.0.2 udp dport 9000-9999 \
			tproxy ip to 127.0.0.1:50080 meta mark set 1
	}
}
""")
    yield ns
    lab.proxy.run("nft", "delete", "table", "inet", "far")
    lab.proxy.ip("route del 10.88.0.0/24")
    lab.server.ip("route del 10.88.0.0/24")
    lab.client.sysctl(net__ipv4__ip_forward=0)
    lab.client.ip("link del h1")
    ns.close()


@pytest.mark.parametrize("train", [False, True], ids=["single", "train"])
@pytest.mark.parametrize("port", [KEEP, OWN])
def test_narrow_way_to_the_client(lab, far, port, train):
    """A router on the client's side writes to the server, not to limpid, that a reply is too large
    for its next link; so it must be allowed to fragment."""
    at = lab.udp_server(4, port)
    client = lab.udp(far, 4, "10.88.0.2", lab.free_port())
    client.sendto(b"question", at.getsockname())
    _, seen = sock.hear(at)
    for _ in range(3):
        sent = sock.pattern(1400 * 3)
        if train:
            at.sendmsg([sent], [(17, 103, (1400).to_bytes(2, "little"))], 0, seen)  # UDP_SEGMENT
        else:
            for i in range(3):
                at.sendto(sent[1400 * i:1400 * (i + 1)], seen)
        assert b"".join(sock.hear(client)[0] for _ in range(3)) == sent
