# SPDX-License-Identifier: Apache-2.0
"""What the rules of `limpid firewall up` bring to limpid, and what they leave alone."""
import os
import pathlib
import socket

import pytest

from lab.ground import FROM_HERE, KEEP, LISTENERS, OWN, REDIRECT, WAYS, config
from lab.road import PORT, Road
from lab.sock import read_exactly, read_to_reset
from lab.topology import CLIENT, PROXY, PROXY_FAR, SERVER, SERVER_2

pytestmark = pytest.mark.plain

NOBODY = 65534


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


def test_exempt_datagrams_of_a_session_that_goes_on(road):
    """...as those of a tunnel do: it is not waited until connection tracking has forgotten it."""
    way = road(WAYS["tproxy"])
    server = way.lab.udp(way.lab.server, way.family, SERVER[way.family], PORT)
    client = way.lab.udp(way.host.ns, way.family, PROXY_FAR[way.family])
    seen, name = way.ask(client, server)
    assert seen != name
    way.host.firewall("up", config(FROM_HERE + "  exempt: [ { traffic: local, network: udp, "
                                   f"port: {PORT} }} ]\n"))
    seen, name = way.ask(client, server)
    assert seen == name


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


@pytest.mark.parametrize("strict", [False, True], ids=["lenient", "strict"])
@pytest.mark.parametrize("mode", ["tproxy", "redirect"])
def test_inbound_does_not_keep_the_source(road, family, mode, strict):
    """A server on this host would answer the client's address, and not limpid."""
    listeners, name = {"tproxy": (LISTENERS, "routed"), "redirect": (REDIRECT, "local")}[mode]
    way = road(config(f"  intercept: [ {{ listener: {name}, traffic: inbound, port: 80 }} ]\n",
                      listeners=listeners,
                      rules=KEEP.replace("keep", "keep, strict: true") if strict else KEEP))
    listener = way.lab.socket(way.host.ns, family)
    listener.bind((PROXY[family], 80))
    listener.listen()
    client = way.client()
    if strict:
        try:
            client.connect(listener.getsockname()[:2])
            assert read_to_reset(client) == b""
        except ConnectionResetError:
            pass
        record = way.limpid.records.of(client.getsockname()[:2])
        assert record["limpid"]["why"] == "source"
        return
    seen, name = way.exchange(client, listener)
    assert seen[0] == PROXY[family]
    assert way.limpid.records.of(name)["limpid"]["source"] == "own"


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
            expected = hit if part == "intercept" else not hit
            got = way.intercepted(lambda: way.exchange(client, listener), expected)
        assert got is expected, text


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
