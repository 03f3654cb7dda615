# SPDX-License-Identifier: Apache-2.0
"""What the rules of `limpid firewall up` bring to limpid, and what they leave alone."""
import os
import pathlib
import socket

import pytest

from lab.ground import KEEP, LISTENERS, OWN, REDIRECT, config
from lab.sock import read_exactly, read_to_end, silent
from lab.topology import CLIENT, PROXY, PROXY_FAR, SERVER, SERVER_2, UNREACHABLE

NOBODY = 65534
PORT = 7000


class Road:
    """Connections through the host, or from it, and whether limpid had a hand in them."""

    def __init__(self, host, family, limpid=None):
        self.host, self.lab, self.family, self.limpid = host, host.lab, family, limpid

    def listen(self, address=None, port=PORT):
        return self.lab.listen(self.family, address or SERVER[self.family], port)

    def client(self, namespace=None, source=None, uid=0):
        namespace = namespace or self.lab.client
        s = self.socket_of(uid, namespace, socket.SOCK_STREAM)
        if namespace is self.lab.client:
            s.bind((source or CLIENT["tproxy"][self.family], self.lab.free_port()))
        return s

    def socket_of(self, uid, namespace, kind):
        """A socket that belongs to that user."""
        with namespace.enter():
            os.seteuid(uid)
            try:
                s = socket.socket({4: socket.AF_INET, 6: socket.AF_INET6}[self.family], kind)
            finally:
                os.seteuid(0)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return self.lab.track(s)

    def exchange(self, client, listener):
        """There, back, and both ends in order; returns (source as the server sees it, client)."""
        client.connect(listener.getsockname()[:2])
        server, peer = listener.accept()
        self.lab.track(server)
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(server) == b"question"
        server.sendall(b"an answer")
        server.close()
        assert read_to_end(client) == b"an answer"
        return peer[:2], client.getsockname()[:2]

    def ask(self, client, server):
        """The same with datagrams."""
        client.sendto(b"question", server.getsockname()[:2])
        data, peer = server.recvfrom(100)
        server.sendto(b"an answer", peer)
        answer, origin = client.recvfrom(100)
        assert (data, answer) == (b"question", b"an answer")
        assert origin[:2] == server.getsockname()[:2]
        return peer[:2], client.getsockname()[:2]

    def records(self, proto="TCP"):
        return [r for r in self.limpid.records.poll() if r["proto"] == proto]

    def intercepted(self, make):
        """Does limpid get it?  make() makes one connection and ends it."""
        before = len(self.records())
        seen, name = make()
        # What comes later, and surely is intercepted, has its record later.
        probe = self.client()
        with self.lab.listen(self.family, SERVER_2[self.family], 9) as listener:
            _, probe_name = self.exchange(probe, listener)
        self.limpid.records.wait(lambda r: (r["src_ip"], r["src_port"]) == probe_name)
        mine = [r for r in self.records()[before:] if (r["src_ip"], r["src_port"]) == name]
        assert len(mine) < 2, mine
        return bool(mine)


@pytest.fixture
def road(host, family):
    """road(config): limpid serves it, the rules are up."""
    def make(text):
        limpid = host.serve(text)
        host.firewall("up", text)
        return Road(host, family, limpid)
    return make


# --- routed ---------------------------------------------------------------------------------
def test_routed_tcp_keeps_both_addresses(road):
    way = road(config())
    listener = way.listen()
    seen, name = way.exchange(way.client(), listener)
    assert seen == name
    record = way.limpid.records.of(name)
    assert (record["dest_ip"], record["dest_port"]) == listener.getsockname()[:2]


def test_routed_udp_keeps_both_addresses(road):
    way = road(config())
    server = way.lab.udp(way.lab.server, way.family, SERVER[way.family], PORT)
    client = way.lab.udp(way.lab.client, way.family, CLIENT["tproxy"][way.family])
    seen, name = way.ask(client, server)
    assert seen == name
    record = way.limpid.records.of(name)
    assert (record["dest_ip"], record["dest_port"]) == server.getsockname()[:2]


def test_routed_with_own_source(road):
    way = road(config(rules=OWN))
    seen, name = way.exchange(way.client(), way.listen())
    assert seen[0] == PROXY_FAR[way.family]
    assert way.limpid.records.of(name)["limpid"]["listener"] == "routed"


@pytest.mark.parametrize("listener", ["all", "own"])
def test_routed_redirect(road, family, listener):
    """To a listener on all addresses, by the interface's address; or to one on another address."""
    text = REDIRECT
    if listener == "own":
        text = REDIRECT.replace("0.0.0.0", "10.77.2.1").replace("[::]", "[fd77:2::1]")
    way = road(config("  intercept: [ { listener: local, traffic: routed } ]\n", text, OWN))
    seen, name = way.exchange(way.client(), way.listen())
    assert seen[0] == PROXY_FAR[family]
    record = way.limpid.records.of(name)
    assert (record["dest_ip"], record["dest_port"]) == (SERVER[family], PORT)


def test_both_directions_of_a_passing_connection_pass(road):
    """Its replies are no new connections: neither of TCP nor of UDP, not even after a while."""
    way = road(config(f"  exempt: [ {{ source: {CLIENT['routed'][4]} }}, "
                      f"{{ source: \"{CLIENT['routed'][6]}\" }} ]\n"))
    source = CLIENT["routed"][way.family]
    assert not way.intercepted(lambda: way.exchange(way.client(source=source), way.listen()))
    server = way.lab.udp(way.lab.server, way.family, SERVER[way.family], PORT)
    way.ask(way.lab.udp(way.lab.client, way.family, source), server)
    assert not way.records("UDP")


def test_own_address_and_multicast_are_left_alone(road):
    way = road(config())
    listener = way.lab.socket(way.host.ns, way.family)
    listener.bind((PROXY[way.family], 22))
    listener.listen()
    assert not way.intercepted(lambda: way.exchange(way.client(), listener))


# --- from this host -------------------------------------------------------------------------
FROM_HERE = "  intercept: [ { listener: routed, traffic: [routed, local] } ]\n"
WAYS = {"tproxy": config(FROM_HERE), "redirect": config(listeners=REDIRECT, rules=OWN)}


@pytest.mark.parametrize("uid", [0, NOBODY], ids=["root", "nobody"])
@pytest.mark.parametrize("mode", WAYS)
def test_local_tcp(road, mode, uid):
    way = road(WAYS[mode])
    listener = way.listen()
    seen, name = way.exchange(way.client(way.host.ns, uid=uid), listener)
    record = way.limpid.records.of(name)
    assert (record["dest_ip"], record["dest_port"]) == listener.getsockname()[:2]
    assert name[0] == seen[0] == PROXY_FAR[way.family] and name != seen


@pytest.mark.parametrize("uid", [0, NOBODY], ids=["root", "nobody"])
def test_local_udp(road, uid):
    way = road(WAYS["tproxy"])
    server = way.lab.udp(way.lab.server, way.family, SERVER[way.family], PORT)
    client = way.socket_of(uid, way.host.ns, socket.SOCK_DGRAM)
    client.bind((PROXY_FAR[way.family], 0))
    seen, name = way.ask(client, server)
    assert seen != name
    record = way.limpid.records.of(name)
    assert (record["dest_ip"], record["dest_port"]) == server.getsockname()[:2]


def test_session_that_was_there_goes_on(host, family):
    """The administrator's own: to this host, and from it.  Nothing of it is looked at."""
    lab = host.lab
    ssh = lab.socket(host.ns, family)
    ssh.bind((PROXY[family], 22))
    ssh.listen()
    far = lab.listen(family, SERVER[family], PORT)
    inbound = lab.socket(lab.client, family)
    inbound.connect(ssh.getsockname()[:2])
    outbound = lab.socket(host.ns, family)
    outbound.connect(far.getsockname()[:2])
    pairs = [(inbound, lab.accept(ssh)), (outbound, lab.accept(far))]
    host.serve(WAYS["tproxy"])
    host.firewall("up", WAYS["tproxy"])
    for a, b in pairs:
        for sender, receiver in ((a, b), (b, a)):
            sender.sendall(b"x" * 100_000)
            assert read_exactly(receiver, 100_000) == b"x" * 100_000


def test_connection_to_this_host_is_answered(road):
    """Its replies are sent from here, and are not what begins here."""
    way = road(WAYS["tproxy"])
    listener = way.lab.socket(way.host.ns, way.family)
    listener.bind((PROXY[way.family], 22))
    listener.listen()
    assert not way.intercepted(lambda: way.exchange(way.client(), listener))
    server = way.lab.udp(way.host.ns, way.family, PROXY[way.family], 53)
    way.ask(way.lab.udp(way.lab.client, way.family, CLIENT["tproxy"][way.family]), server)
    assert not way.records("UDP")


@pytest.mark.parametrize("mode", WAYS)
def test_two_listeners_for_this_host(host, family, mode):
    """Who gets it is decided where it is known who sends it."""
    listeners = f"""
listeners:
  - {{ name: a, mode: {mode}, address: ["127.0.0.1:50080", "[::1]:50080"] }}
  - {{ name: b, mode: {mode}, address: ["127.0.0.1:50081", "[::1]:50081"] }}
"""
    text = config("  intercept:\n    - { listener: b, traffic: local, user: nobody }\n"
                  "    - { listener: a, traffic: local }\n", listeners, OWN)
    limpid = host.serve(text)
    host.firewall("up", text)
    way = Road(host, family, limpid)
    listener = way.listen()
    for uid, name in ((0, "a"), (NOBODY, "b")):
        _, client = way.exchange(way.client(host.ns, uid=uid), listener)
        assert limpid.records.of(client)["limpid"]["listener"] == name


@pytest.mark.parametrize("traffic", ["inbound", "loopback"])
def test_traffic_to_this_host_when_asked_for(road, family, traffic):
    way = road(config(f"  intercept: [ {{ listener: routed, traffic: {traffic}, port: 80 }} ]\n",
                      rules=OWN))
    listener = way.lab.socket(way.host.ns, family)
    listener.bind((PROXY[family], 80))
    listener.listen()
    client = way.client(way.host.ns if traffic == "loopback" else None)
    _, name = way.exchange(client, listener)
    record = way.limpid.records.of(name)
    assert (record["dest_ip"], record["dest_port"]) == (PROXY[family], 80)


# --- what to intercept, what to exempt ------------------------------------------------------
SECOND = CLIENT["redirect"]  # a second client's address, no more


def quoted(addresses):
    return "[" + ", ".join(f'"{a}"' for a in addresses.values()) + "]"


KEYS = {
    "interface": ("interface: p0", "interface: p1", {}),
    "wildcard": ('interface: "p*"', 'interface: "c*"', {}),
    "source": (f"source: {quoted(CLIENT['tproxy'])}", f"source: {quoted(SECOND)}", {}),
    "set": ("source: $lan", "source: $other", {}),
    "destination": ("destination: [10.77.2.2, \"fd77:2::2\"]",
                    "destination: [10.77.9.0/24, \"fd77:9::/64\"]", {}),
    "port": (f"port: [1, {PORT}-{PORT + 9}]", f"port: [{PORT + 1}-65535]", {}),
    "network": ("network: tcp", "network: udp", {}),
    "user": ("user: nobody", "user: root", {"local": True}),
    "number": (f"user: {NOBODY}", "user: [0, 1]", {"local": True}),
    "out": ("traffic: local, interface: p1", "traffic: local, interface: p0",
            {"local": True}),
}
SETS = ('sets: { lan: [10.77.1.0/30, "fd77:1::2"], other: [10.77.1.4/30, "fd77:1::8/125"], '
        'both: [$lan, $other] }\n')


# Where addresses are named, both families; else one will do.
CASES = [(key, family) for key in KEYS for family in (4, 6)
         if family == 4 or key in ("source", "set", "destination")]


@pytest.mark.parametrize("key, family", CASES)
@pytest.mark.parametrize("part", ["intercept", "exempt"])
def test_conditions(host, family, part, key):
    """What holds takes it, what does not leaves it: of intercept and, the other way round, of
    exempt."""
    holds, does_not, how = KEYS[key]
    for condition, hit in ((holds, True), (does_not, False)):
        probe = f'{{ listener: routed, destination: {quoted(SERVER_2)} }}'
        if part == "intercept":
            text = f"  intercept: [ {probe}, {{ listener: routed, {condition} }} ]\n"
        else:
            condition += f", destination: {quoted(SERVER)}" * ("destination" not in condition)
            text = (f"  intercept: [ {probe}, {{ listener: routed, traffic: [routed, local] }} ]\n"
                    f"  exempt: [ {{ {condition} }} ]\n")
        text = config(text, rules=SETS + 'rules: [ { name: all, match: { not: { source: $both } }, '
                      'action: accept }, { name: rest, action: accept } ]\n')
        limpid = host.serve(text) if not host.limpids else host.limpids[0]
        host.firewall("up", text)
        way = Road(host, family, limpid)
        with way.listen() as listener:
            client = way.client(host.ns, uid=NOBODY) if how.get("local") else way.client()
            got = way.intercepted(lambda: way.exchange(client, listener))
        assert got is (hit if part == "intercept" else not hit), text


def cgroup_root():
    root = pathlib.Path("/sys/fs/cgroup")
    return root / "unified" if (root / "unified").exists() else root


@pytest.fixture
def cgroup():
    """A cgroup of our own, and how to be born in it."""
    folder = cgroup_root() / f"limpid-lab-{os.getpid()}"
    try:
        (folder / "inner").mkdir(parents=True)
    except OSError as e:
        pytest.skip(f"no cgroup v2 can be made here: {e}")
    here = [line.split("::")[1] for line in
            pathlib.Path("/proc/self/cgroup").read_text(encoding="ascii").split("\n")
            if line.startswith("0::")][0]
    yield folder
    (cgroup_root() / here.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))
    (folder / "inner").rmdir()
    folder.rmdir()


@pytest.mark.parametrize("mode", WAYS)
def test_cgroup(host, family, cgroup, mode):
    listeners, name = (LISTENERS, "routed") if mode == "tproxy" else (REDIRECT, "local")
    text = config(f"  intercept: [ {{ listener: {name}, cgroup: /{cgroup.name}/inner }} ]\n",
                  listeners, OWN)
    limpid = host.serve(text)
    host.firewall("up", text)
    way = Road(host, family, limpid)
    with way.listen() as listener:
        way.exchange(way.client(host.ns), listener)
        (cgroup / "inner" / "cgroup.procs").write_text(str(os.getpid()))
        _, client = way.exchange(way.client(host.ns), listener)
        limpid.records.of(client)
    assert len(limpid.records.poll()) == 1


# --- neighbours -----------------------------------------------------------------------------
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
            assert way.intercepted(lambda: way.exchange(way.client(), listener))
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
