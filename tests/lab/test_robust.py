# SPDX-License-Identifier: Apache-2.0
"""Loops, marks, descriptors, shutdown: limpid as a guest on a real machine."""
import socket
import time

import pytest

from lab import configs, sock
from lab.sock import (Background, eventually, pattern, read_at_most, read_exactly, read_to_end,
                      read_to_reset)
from lab.topology import PROXY, PROXY_FAR, Way


@pytest.fixture
def way(lab, mode, family):
    return Way(lab, mode, family)


@pytest.fixture
def plain(lab):
    return Way(lab)


# --- loops ------------------------------------------------------------------------------------
LOOPS = """
listeners:
  - { name: routed, mode: tproxy, address: ["127.0.0.1:50080", "[::1]:50080"] }
  - { name: local, mode: redirect, address: ["0.0.0.0:51080", "[::]:51080"] }
  - { name: self, mode: fixed, address: ["0.0.0.0:52080"], to: "10.77.1.1:52080" }
  - { name: circle, mode: fixed, address: ["0.0.0.0:52081"], to: "10.77.1.1:52082" }
  - { name: circle-2, mode: fixed, address: ["0.0.0.0:52082"], to: "10.77.1.1:52081" }
rules: [ { name: all, action: accept } ]
record: { flows: { file: "@FLOWS@" } }
"""


def loop_refused(lab, limpid, way, address, port):
    client, got = way.connect_to_reset(address, port)
    assert got == b""
    near = way.client_wire(client)
    near.wait_down("RST")
    assert near.down("FIN") == 0
    r = limpid.records.wait(lambda r: r["limpid"]["why"] == "loop")
    assert r["flow"]["bytes_toserver"] == 0
    # A connection that comes later has its record: what goes round would have come before.
    other = Way(lab, "tproxy", way.family)
    passed, server = other.pair()
    name = passed.getsockname()
    passed.close()
    server.close()
    limpid.records.of(name)
    assert len(limpid.records.poll()) <= 4, "it went round"


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
def test_connection_to_a_listener_is_a_loop(lab, serve, way, far):
    """Intercepted on the way to one of our own ports, by either of our addresses."""
    address = (PROXY_FAR if far else PROXY)[way.family]
    loop_refused(lab, serve(LOOPS), way, address, 51080)


def test_direct_connection_to_a_redirect_listener_is_a_loop(lab, serve, family):
    loop_refused(lab, serve(LOOPS), Way(lab, "routed", family), PROXY[family], 51080)


def test_fixed_to_itself_is_a_loop(lab, serve):
    loop_refused(lab, serve(LOOPS), Way(lab, "routed"), PROXY[4], 52080)


def test_fixed_in_a_circle_is_a_loop(lab, serve):
    loop_refused(lab, serve(LOOPS), Way(lab, "routed"), PROXY[4], 52081)


def test_clients_port_that_is_ours_elsewhere_is_no_loop(lab, serve):
    """The kernel may give a client of `fixed` and our connection to its server the same port."""
    limpid = serve(LOOPS.replace("rules:", """  - { name: near, mode: fixed, address: "127.0.0.1:7183",
      to: "127.0.0.1:7184" }
rules:"""))
    ports = lab.proxy.run("sysctl", "-n", "net.ipv4.ip_local_port_range").split()
    with lab.proxy.enter():
        listener = lab.track(socket.create_server(("127.0.0.1", 7184)))
    listener.settimeout(20)
    lab.proxy.sysctl(net__ipv4__ip_local_port_range="40000 40000")
    try:
        with lab.proxy.enter():
            client = lab.track(socket.create_connection(("127.0.0.1", 7183), 20))
        name = client.getsockname()
        server, peer = listener.accept()
    finally:
        lab.proxy.sysctl(net__ipv4__ip_local_port_range=" ".join(ports))
    assert name == peer == ("127.0.0.1", 40000)
    server.sendall(b"hello")
    server.close()
    assert read_to_end(client) == b"hello"
    client.close()
    assert limpid.records.of(name)["limpid"]["why"] == "finished"


# --- marks ------------------------------------------------------------------------------------
def test_own_sockets_are_marked(lab, serve, way):
    """Each packet to a server carries firewall.mark, so that rules can let it pass."""
    serve(configs.EVERY_WAY)
    unmarked, dialled = lab.counter("unmarked"), lab.counter("dialled")
    client, server = way.pair()
    client.sendall(pattern(100_000))
    assert read_exactly(server, 100_000) == pattern(100_000)
    server.close()
    assert client.recv(1) == b""
    client.close()
    assert lab.counter("dialled") > dialled
    assert lab.counter("unmarked") == unmarked


# --- descriptors ------------------------------------------------------------------------------
@pytest.mark.tsan
def test_out_of_descriptors(plain, serve):
    """Accepting pauses; nothing spins; what flows goes on; and then it recovers."""
    limpid = serve(configs.EVERY_WAY, ["prlimit", "--nofile=64:64", "--"])
    listener = plain.listen()
    listener.settimeout(0.5)
    client, server = plain.pair(listener)
    waiting, served = [], []
    for _ in range(80):
        s = plain.socket()
        s.setblocking(False)
        s.connect_ex((plain.server, plain.port))
        waiting.append(s)
    try:
        while True:
            served.append(plain.lab.accept(listener))
    except TimeoutError:
        pass
    assert 5 < len(served) < 64
    assert limpid.descriptors() <= 64

    client.sendall(b"still here")
    assert read_exactly(server, 10) == b"still here"
    before = limpid.cpu_s()
    time.sleep(1)
    assert limpid.cpu_s() - before < 0.3, "it spins"
    assert limpid.alive()

    for s in waiting + served:
        s.close()
    listener.settimeout(sock.DEADLINE_S)
    again = plain.connect()
    again.sendall(b"recovered")
    at_server = eventually(lambda: _accept_one(plain, listener, b"recovered"), "it recovers")
    at_server.close()
    client.sendall(b"and here")
    assert read_exactly(server, 8) == b"and here"


def _accept_one(way, listener, text):
    """Connections of the crowd that still come through end at once; ours says its word."""
    s = way.lab.accept(listener)
    try:
        if read_at_most(s, len(text)) == text:
            return s
    except ConnectionError:
        pass
    s.close()
    return None


def test_limit_of_flows(plain, serve):
    """limits.flows: the one too many is refused or waits; those within are served."""
    limpid = serve(configs.EVERY_WAY + "limits: { flows: 10 }\n")
    listener = plain.listen()
    pairs = [plain.pair(listener) for _ in range(10)]
    extra = plain.connect()
    extra.sendall(b"?")
    listener.settimeout(0.3)
    with pytest.raises(TimeoutError):
        listener.accept()
    for client, server in pairs:
        client.sendall(b"ok")
        assert read_exactly(server, 2) == b"ok"
    assert limpid.alive()


def test_nothing_left_behind(plain, serve):
    """Descriptors come back, whatever way flows end."""
    limpid = serve(configs.EVERY_WAY)
    listener = plain.listen()
    client, server = plain.pair(listener)
    client.close()
    server.close()
    limpid.records.wait(lambda r: True)
    before = limpid.descriptors()
    for i in range(60):
        client, server = plain.pair(listener)
        client.sendall(pattern(300_000) if i % 10 == 0 else b"x")
        if i % 3 == 0:
            sock.reset(client)
        elif i % 3 == 1:
            sock.reset(server)
        client.close()
        server.close()
    for _ in range(20):
        plain.connect_to_reset(port=7001)
    limpid.records.wait(lambda r: True, count=81)
    # Pipes of the pool may stay.
    eventually(lambda: limpid.descriptors() <= before + 32, "descriptors come back")


# --- clients that say nothing -----------------------------------------------------------------
def test_crowd_of_silent_clients(plain, serve):
    """They hold no buffers and do not keep others waiting."""
    limpid = serve(configs.rules("""
  - { name: named, match: { domain: good.test }, action: accept }
""", "{ sniff: 10m, deny: 10m }"))
    crowd = [plain.connect() for _ in range(300)]
    listener = plain.listen()
    client = plain.connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: good.test\r\n\r\n")
    server = plain.lab.accept(listener)
    assert server.recv(3) == b"GET"
    before = limpid.cpu_s()
    time.sleep(0.5)
    assert limpid.cpu_s() - before < 0.2, "idle flows cost time"
    for s in crowd:
        sock.reset(s)


@pytest.mark.tsan
def test_look_ahead_total_holds(plain, serve):
    """Many clients with half a head each: limits.look-ahead-total ends some, not limpid."""
    limpid = serve(configs.rules("""
  - { name: named, match: { domain: good.test }, action: accept }
""", "{ sniff: 10m, deny: 100ms }", "limits: { look-ahead: 64KiB, look-ahead-total: 1MiB }"))
    crowd = [plain.connect() for _ in range(40)]
    for s in crowd:
        s.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 60_000)
    names = {s.getsockname() for s in crowd}
    r = limpid.records.wait(lambda r: (r["src_ip"], r["src_port"]) in names, count=20)
    assert {x["limpid"]["why"] for x in r} <= {"look-ahead", "limit", "denied"}
    listener = plain.listen()
    for s in crowd:
        s.close()
    limpid.records.wait(lambda r: (r["src_ip"], r["src_port"]) in names, count=40)
    client = plain.connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: good.test\r\n\r\n")
    assert plain.lab.accept(listener).recv(3) == b"GET"


# --- shutdown ---------------------------------------------------------------------------------
@pytest.mark.tsan
def test_term_drains(keeper, plain):
    """What flows may end in order; nothing new is taken."""
    limpid = keeper.get(configs.EVERY_WAY + "# drains\n")
    listener = plain.listen()
    client, server = plain.pair(listener)
    name = client.getsockname()
    limpid.terminate()
    listener.settimeout(0.2)
    eventually(lambda: not served(plain, listener), "nothing new is taken")
    client.sendall(pattern(500_000))
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(server) == pattern(500_000)
    server.sendall(b"bye")
    server.close()
    assert read_to_end(client) == b"bye"
    client.close()
    assert limpid.wait_exit() == 0
    assert limpid.records.of(name)["limpid"]["why"] == "finished"


def served(way, listener):
    s = way.socket()
    s.setblocking(False)
    s.connect_ex((way.server, way.port))
    try:
        way.lab.accept(listener).close()
        return True
    except TimeoutError:
        return False
    finally:
        s.close()


@pytest.mark.tsan
def test_term_ends_within_the_bound(keeper, plain):
    """timeouts.drain: then what is left is reset, and recorded as such."""
    limpid = keeper.get(configs.EVERY_WAY.replace("timeouts: {", "timeouts: { drain: 300ms,"))
    client, server = plain.pair()
    name = client.getsockname()
    near, far = plain.client_wire(client), plain.server_wire(server)
    limpid.terminate()
    assert read_to_reset(client) == b""
    assert read_to_reset(server) == b""
    assert limpid.wait_exit() == 0
    assert near.down("FIN") == 0 and far.up("FIN") == 0
    assert limpid.records.of(name)["limpid"]["why"] == "shutdown"


def test_term_without_flows_is_immediate(keeper):
    limpid = keeper.get(configs.EVERY_WAY.replace("timeouts: {", "timeouts: { drain: 10m,"))
    limpid.terminate()
    assert limpid.wait_exit() == 0


def test_restart_at_once_on_the_same_ports(keeper, plain):
    """Connections that limpid closed first leave TIME_WAITs that must not stop the next start."""
    listener = plain.listen()
    for i in range(3):
        keeper.get(configs.EVERY_WAY + f"# start {i}\n")
        client, server = plain.pair(listener)
        server.close()
        assert client.recv(1) == b""
        client.close()


def test_killed_limpid_does_not_end_a_download_in_order(keeper, plain):
    """Bytes are missing: the client must see a RST, never what looks like the end of the file."""
    limpid = keeper.get(configs.EVERY_WAY + "# killed\n")
    client, server = plain.pair()
    near = plain.client_wire(client)
    down = Background(sock.send_phases, server, [(65536, 1 << 14)], 3)
    read_exactly(client, 1 << 20)
    limpid.kill()
    keeper.limpid = None
    read_to_reset(client)
    assert near.down("FIN") == 0
    with pytest.raises(OSError):
        down.result()


# --- many at once -----------------------------------------------------------------------------
@pytest.mark.tsan
def test_many_connections(way, serve):
    """200 at once, each with its own bytes."""
    serve(configs.EVERY_WAY)
    listener = way.listen()
    clients = {}
    for i in range(200):
        c = way.connect()
        c.sendall(i.to_bytes(4, "big") + pattern(2000, i))
        clients[i] = c
    for _ in range(200):
        s = way.lab.accept(listener)
        i = int.from_bytes(read_exactly(s, 4), "big")
        assert read_exactly(s, 2000) == pattern(2000, i)
        s.sendall(pattern(3000, i + 1))
        s.close()
    for i, c in clients.items():
        assert read_to_end(c) == pattern(3000, i + 1)
