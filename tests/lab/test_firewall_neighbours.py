# SPDX-License-Identifier: Apache-2.0
"""The rules of `limpid firewall up` beside those of others, without limpid, and where rules of
this kind are easily wrong."""
import socket

import pytest

from lab.ground import FROM_HERE, KEEP, OWN, WAYS, config
from lab.road import PORT, Road
from lab.sock import read_exactly, read_to_end, silent
from lab.topology import CLIENT, PROXY_FAR, SERVER, UNREACHABLE

pytestmark = pytest.mark.plain


def test_bits_of_others_in_marks_are_kept(road):
    way = road(config(FROM_HERE))
    way.host.ns.nft("""
table inet neighbour {
	counter kept { }
	counter lost { }
	chain before {
		type filter hook prerouting priority -160;
		meta mark set meta mark | 0x50000
	}
	chain from {
		type filter hook output priority -160;
		meta mark set meta mark | 0x50000
	}
	chain in {
		type filter hook input priority 0;
		meta mark & 0xffff0000 == 0x50000 counter name kept
		meta mark & 0xffff0000 != 0x50000 counter name lost
	}
	chain out {
		type filter hook postrouting priority 0;
		meta mark & 0xffff0000 == 0x50000 counter name kept
		meta mark & 0xffff0000 != 0x50000 counter name lost
	}
}""")
    try:
        for namespace in (way.lab.client, way.host.ns):
            with way.listen() as listener:
                _, name = way.exchange(way.client(namespace), listener)
                way.limpid.records.of(name)
        counters = way.host.ns.run("nft", "list", "counters", "table", "inet", "neighbour")
        lost, kept = (int(counters.split(f"counter {name} ")[1].split()[2])
                      for name in ("lost", "kept"))
        assert lost == 0 and kept > 10
    finally:
        way.host.ns.nft("delete table inet neighbour")


# As Docker makes them: a published port, masquerading, a FORWARD chain that drops what it does
# not know.  p0 is where the containers are.
DOCKER = """
table ip nat {
	chain DOCKER { iifname p0 return; tcp dport 8080 dnat to 10.77.1.2:80; }
	chain PREROUTING {
		type nat hook prerouting priority dstnat;
		fib daddr type local jump DOCKER
	}
	chain OUTPUT {
		type nat hook output priority -100;
		ip daddr != 127.0.0.0/8 fib daddr type local jump DOCKER
	}
	chain POSTROUTING {
		type nat hook postrouting priority srcnat;
		ip saddr 10.77.1.0/24 oifname != p0 masquerade
	}
}
table ip filter {
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		oifname p0 ct state related,established accept
		oifname p0 ip daddr 10.77.1.2 tcp dport 80 accept
		iifname p0 oifname != p0 accept
	}
}
"""


def test_docker(host):
    """Containers are intercepted, their published ports answer, and what is exempt is still
    masqueraded."""
    text = config("  exempt: [ { port: 7001 } ]\n", rules=OWN)
    host.ns.nft(DOCKER)
    try:
        limpid = host.serve(text)
        host.firewall("up", text)
        way = Road(host, 4, limpid)
        with way.listen() as listener:
            assert way.intercepted(lambda: way.exchange(way.client(), listener), hit=True)
        with way.listen(port=7001) as listener:
            seen, _ = way.exchange(way.client(), listener)
            assert seen[0] == PROXY_FAR[4]
        published = host.lab.socket(host.lab.client, 4)
        published.bind((CLIENT["tproxy"][4], 80))
        published.listen()
        outside = host.lab.socket(host.lab.server, 4)
        outside.connect((PROXY_FAR[4], 8080))
        inside = host.lab.accept(published)
        inside.sendall(b"hello")
        assert read_exactly(outside, 5) == b"hello"
        text = host.ns.run("nft", "list", "tables")
        assert "table ip nat" in text and "table ip filter" in text
    finally:
        host.ns.nft("delete table ip nat\ndelete table ip filter")


def test_masquerading(host, family):
    """With the client's address, but a port of its own, a connection is translated as any other;
    with its port, too, connection tracking would take it for the client's."""
    text = config(rules=KEEP.replace("keep", "keep-address"))
    host.ns.nft("table inet neighbour { chain post { type nat hook postrouting priority srcnat; "
                "oifname p1 masquerade; }\n}")
    try:
        limpid = host.serve(text)
        host.firewall("up", text)
        way = Road(host, family, limpid)
        with way.listen() as listener:
            seen, name = way.exchange(way.client(), listener)
        assert seen[0] == PROXY_FAR[family]
        limpid.records.of(name)
        server = way.lab.udp(way.lab.server, family, SERVER[family], PORT)
        client = way.lab.udp(way.lab.client, family, CLIENT["tproxy"][family])
        assert way.ask(client, server)[0][0] == PROXY_FAR[family]
    finally:
        host.ns.nft("delete table inet neighbour")


# As firewalld makes them: the zone of the clients lets in the port that is intercepted.
FIREWALLD = """
table inet firewalld {
	chain mangle_PREROUTING { type filter hook prerouting priority mangle + 10; }
	chain filter_PREROUTING {
		type filter hook prerouting priority filter + 10;
		icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
		meta nfproto ipv6 fib saddr . mark . iif oif missing drop
	}
	chain filter_INPUT {
		type filter hook input priority filter + 10;
		ct state established,related accept
		ct status dnat accept
		iifname lo accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
		iifname p0 tcp dport 7000 accept
		ct state invalid drop
		reject with icmpx admin-prohibited
	}
	chain filter_FORWARD {
		type filter hook forward priority filter + 10;
		ct state established,related accept
		ct status dnat accept
		iifname lo accept
		iifname p0 tcp dport 7001 accept
		ct state invalid drop
		reject with icmpx admin-prohibited
	}
	chain filter_OUTPUT {
		type filter hook output priority filter + 10;
		ct state established,related accept
		oifname lo accept
	}
}
"""


@pytest.mark.parametrize("rules", [OWN, KEEP], ids=["own", "keep"])
def test_firewalld(host, family, rules):
    """With the reverse path filter that looks at marks, and invalid packets dropped."""
    text = config(FROM_HERE + "  exempt: [ { port: 7001 } ]\n", rules=rules)
    host.ns.nft(FIREWALLD)
    try:
        limpid = host.serve(text)
        host.firewall("up", text)
        way = Road(host, family, limpid)
        with way.listen() as listener:
            for namespace in (host.lab.client, host.ns):
                _, name = way.exchange(way.client(namespace), listener)
                limpid.records.of(name)
        with way.listen(port=7001) as listener:
            way.exchange(way.client(), listener)
    finally:
        host.ns.nft("delete table inet firewalld")


def test_reverse_path_filter_that_looks_at_marks(host):
    """rp_filter on every interface, and src_valid_mark as VPNs set it."""
    text = config(FROM_HERE)
    names = ("all", "default", "p0", "p1", "lo")
    values = {f"net__ipv4__conf__{n}__{key}": 1 for n in names
              for key in ("rp_filter", "src_valid_mark")}
    host.ns.sysctl(**values)
    try:
        limpid = host.serve(text)
        host.firewall("up", text)
        way = Road(host, 4, limpid)
        with way.listen() as listener:
            for namespace in (host.lab.client, host.ns):
                _, name = way.exchange(way.client(namespace), listener)
                limpid.records.of(name)
    finally:
        host.ns.sysctl(**dict.fromkeys(values, 0))


# --- limpid is not there --------------------------------------------------------------------
@pytest.mark.parametrize("when_down", ["block", "pass"])
def test_when_down(road, when_down):
    """TPROXY by itself lets pass what it finds no listener for."""
    way = road(config(f"  when-down: {when_down}\n"))
    listener = way.listen()
    way.exchange(way.client(), listener)
    way.limpid.kill()
    server = way.lab.udp(way.lab.server, way.family, SERVER[way.family], PORT)
    client = way.lab.udp(way.lab.client, way.family, CLIENT["tproxy"][way.family])
    if when_down == "pass":
        way.exchange(way.client(), listener)
        way.ask(client, server)
        return
    blocked = way.client()
    blocked.settimeout(1.5)
    with pytest.raises(TimeoutError):
        blocked.connect(listener.getsockname()[:2])
    client.sendto(b"x", server.getsockname()[:2])
    assert silent(server)


@pytest.mark.parametrize("mode", WAYS)
def test_what_this_host_sends_is_blocked_when_down(road, mode):
    way = road(WAYS[mode])
    way.limpid.kill()
    listener = way.listen()
    client = way.client(way.host.ns)
    client.settimeout(1.5)
    with pytest.raises((TimeoutError, ConnectionRefusedError)):
        client.connect(listener.getsockname()[:2])
    listener.settimeout(0.2)
    with pytest.raises(TimeoutError):
        listener.accept()


# --- what is easily broken on the way ---------------------------------------------------------
def time_wait_then_bypass(way, exempt):
    """A connection through limpid that leaves TIME_WAITs here, then the same four numbers past
    limpid.  Returns the client's socket of the second."""
    listener = way.listen()
    client = way.client()
    port = client.getsockname()[1]
    client.connect(listener.getsockname()[:2])
    server = way.lab.accept(listener)
    client.shutdown(socket.SHUT_WR)  # limpid ends first towards the server
    assert read_to_end(server) == b""
    server.close()
    assert read_to_end(client) == b""
    way.limpid.records.of(client.getsockname())
    client.close()
    waiting = way.host.ns.run("ss", "-Htan", "state", "time-wait", "sport", "=", str(port))
    assert waiting, "no TIME_WAIT here"
    way.host.firewall("up", exempt)
    again = way.lab.socket(way.lab.client, way.family)
    again.bind((CLIENT["tproxy"][way.family], port))
    again.settimeout(2)
    return again, listener


def test_time_wait_does_not_swallow_what_bypasses(road, family):
    text = config(f"  exempt: [ {{ source: \"{CLIENT['tproxy'][family]}\" }} ]\n")
    way = road(config())
    way.lab.client.sysctl(net__ipv4__tcp_tw_reuse=1)
    client, listener = time_wait_then_bypass(way, text)
    way.lab.client_tap.restart()
    client.connect(listener.getsockname()[:2])
    server = way.lab.accept(listener)
    # Its SYN-ACK went the right way at once; a TIME_WAIT would have had to be shot first.
    assert way.lab.client_tap.wire(client.getsockname()).up("SYN") == 1
    for sender, receiver in ((client, server), (server, client)):
        sender.sendall(b"x" * 100_000)
        assert read_exactly(receiver, 100_000) == b"x" * 100_000


def test_path_mtu_behind_the_host(road, family):
    """A link of 1280 bytes behind us: what ICMP says of it is for the client's address, and has
    to reach the socket here that has it."""
    way = road(config())
    listener = way.lab.listen_far(family, PORT)
    client = way.client()
    client.connect(listener.getsockname()[:2])
    server = way.lab.accept(listener)
    client.sendall(b"x" * 1_000_000)
    assert read_exactly(server, 1_000_000) == b"x" * 1_000_000
    assert server.getpeername()[:2] == client.getsockname()[:2]


def test_unreachable_is_told_in_time(road, family):
    """ICMP about a connection whose source is kept ends it, long before its time-out."""
    way = road(config().replace("connect: 2s", "connect: 1h"))
    client = way.client()
    with pytest.raises(ConnectionResetError):
        client.connect((UNREACHABLE[family], PORT))
        client.recv(1)
