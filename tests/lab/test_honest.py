# SPDX-License-Identifier: Apache-2.0
"""Honest connect: the client's SYN waits until the server has answered.

What the client's own connect() says is what it would say without a proxy.
"""
import errno
import select
import socket
import subprocess

import pytest

from lab import configs, sock
from lab.limpid import Limpid, binary
from lab.sock import eventually, read_exactly, read_to_end
from lab.tls import client_hello
from lab.topology import BLACKHOLE, NO_ROUTE, PROHIBITED, PROXY, SERVER_2, UNREACHABLE, Way


def honest(rules, timeouts="{ connect: 10s, sniff: 300ms, deny: 1s }", listener="", more=""):
    return f"""
listeners:
  - name: routed
    mode: tproxy
    address: ["127.0.0.1:50080", "[::1]:50080"]
    connect: honest
    {listener}
rules:
{rules}
timeouts: {timeouts}
{more}
{configs.RECORD}"""


ALL = "  - { name: all, action: accept, source: keep }"
PLAIN = honest(ALL)


@pytest.fixture
def way(lab, family, queue):
    # pylint: disable=unused-argument
    return Way(lab, "tproxy", family)


@pytest.fixture
def plain(lab, queue):
    # pylint: disable=unused-argument
    return Way(lab)


def begin(way, address=None, port=None, source_port=0):
    """A client whose connect() has begun."""
    s = way.socket(source_port)
    s.setblocking(False)
    assert s.connect_ex((address or way.server, port or way.port)) == errno.EINPROGRESS
    return s


def outcome(s, seconds=20):
    """What connect() comes to: 0 or an errno; None: nothing."""
    waiting = select.poll()  # a thousand at once: descriptors that select() does not know
    waiting.register(s, select.POLLOUT)
    if not waiting.poll(1000 * seconds):
        return None
    error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if not error:
        s.settimeout(sock.DEADLINE_S)
    return error


def waits(s):
    return outcome(s, 0.15) is None


class SlowServer:
    """A server that answers no SYN until let: its packets are lost on the way."""

    def __init__(self, lab, way, port):
        self.server, self.port = lab.server, port
        self.listener = way.listen(port)
        self.server.nft(f"table inet slow {{ chain in {{ type filter hook input priority 0; "
                        f"tcp dport {port} drop; }}; }}")
        self.slow = True

    def answer(self):
        if self.slow:
            self.server.nft("delete table inet slow")
            self.slow = False


@pytest.fixture
def slow(lab):
    made = []

    def make(way, port=7020):
        made.append(SlowServer(lab, way, port))
        return made[-1]

    yield make
    for server in made:
        server.answer()


# --- what connect() says ----------------------------------------------------------------------
@pytest.mark.tsan
def test_served(way, serve):
    limpid = serve(PLAIN)
    client, server = way.pair()
    name = client.getsockname()
    assert server.getpeername()[:2] == name[:2], "the source is kept"
    near, far = way.client_wire(client), way.server_wire(server)
    client.sendall(b"up")
    assert read_exactly(server, 2) == b"up"
    server.sendall(b"down")
    server.close()
    assert read_to_end(client) == b"down"
    client.close()
    r = limpid.records.of(name)
    assert r["limpid"]["why"] == "finished" and r["limpid"]["source"] == "keep"
    assert (r["flow"]["bytes_toserver"], r["flow"]["bytes_toclient"]) == (2, 4)
    assert far.up("SYN") == 1 and near.up("SYN") == 1, "no second round trip"


def test_refused(way, serve):
    limpid = serve(PLAIN)
    client = begin(way, port=7999)
    assert outcome(client) == errno.ECONNREFUSED
    near = way.client_wire(client)
    assert near.down("RST") == 1 and near.down("SYN") == 0
    r = limpid.records.of((way.client, client.getsockname()[1]))
    assert r["limpid"]["why"] == "server-refused" and r["flow"]["bytes_toserver"] == 0


def without_proxy(lab, family, address):
    """What connect() says where nobody intercepts."""
    s = begin(Way(lab, "routed", family), address=address)
    return outcome(s)


@pytest.mark.parametrize("where", [UNREACHABLE, PROHIBITED, NO_ROUTE],
                         ids=["unreachable", "prohibited", "no-route"])
def test_unreachable(way, lab, serve, where):
    """The errno is the one that the client would see without limpid (but for IPv6 without a route,
    where the kernel tells those on this host another thing than it tells the network)."""
    limpid = serve(PLAIN)
    client = begin(way, address=where[way.family])
    expected = {without_proxy(lab, way.family, where[way.family])}
    if where is NO_ROUTE and way.family == 6:
        expected.add(errno.EHOSTUNREACH)
    assert outcome(client) in expected
    near = way.client_wire(client)
    assert near.down("RST") == 0 and near.down("SYN") == 0
    r = limpid.records.wait(lambda r: r["dest_ip"] == where[way.family])
    assert r["limpid"]["why"] == "server-unreachable"


def test_blackholed(way, serve):
    """Nothing, as without a proxy; the client sends its SYN again and is dialled for again."""
    limpid = serve(honest(ALL, "{ connect: 300ms }"))
    client = begin(way, address=BLACKHOLE[way.family])
    records = limpid.records.wait(lambda r: r["dest_ip"] == BLACKHOLE[way.family], count=2)
    assert [r["limpid"]["why"] for r in records] == ["connect-timeout"] * 2
    assert waits(client)
    near = way.client_wire(client)
    assert near.up("SYN") >= 2 and near.down("RST") == 0 and near.down("SYN") == 0


def test_slow_server(way, serve, slow, queue):
    """The client waits as long as its server takes."""
    limpid = serve(PLAIN)
    server = slow(way)
    client = begin(way, port=server.port)
    assert waits(client)
    eventually(lambda: queue.state()[0] == 1, "its SYN is held")
    server.answer()
    assert outcome(client) == 0
    peer = way.lab.accept(server.listener)
    client.sendall(b"late")
    assert read_exactly(peer, 4) == b"late"
    eventually(lambda: queue.state()[0] == 0, "none is held")
    name = client.getsockname()
    client.close()
    peer.close()
    assert limpid.records.of(name)["limpid"]["why"] == "finished"


def test_server_speaks_first(way, serve):
    serve(PLAIN)
    listener = way.listen()
    client = begin(way)
    server = way.lab.accept(listener)
    server.sendall(b"220 ready\r\n")
    assert outcome(client) == 0
    assert read_exactly(client, 11) == b"220 ready\r\n"
    server.close()
    assert read_to_end(client) == b""


def test_server_that_resets_at_once(way, serve):
    """What it had said arrives, and then the RST."""
    limpid = serve(PLAIN)
    listener = way.listen()
    client = begin(way)
    server = way.lab.accept(listener)
    server.sendall(b"no")
    sock.reset(server)
    assert outcome(client) in (0, errno.ECONNRESET)   # connected, and perhaps reset since
    assert read_exactly(client, 2) == b"no"
    near = way.client_wire(client)
    near.wait_down("RST")
    assert near.down("SYN") == 1 and near.down("FIN") == 0
    r = limpid.records.of((way.client, client.getsockname()[1]))
    assert r["limpid"]["why"] == "server-reset"


# --- policy -----------------------------------------------------------------------------------
POLICY = honest("""
  - { name: no, match: { port: 7030 }, action: reject }
  - { name: never, match: { port: 7031 }, action: deny }
  - { name: named, match: { port: 7032, domain: good.test }, action: accept, source: keep }
  - { name: early, match: { port: 7033, domain: good.test }, action: accept, source: keep }
  - { name: late, match: { port: 7033 }, action: accept, source: keep }
""")


def test_reject(way, serve):
    limpid = serve(POLICY)
    listener = way.listen(7030)
    client = begin(way, port=7030)
    assert outcome(client) == errno.ECONNREFUSED
    r = limpid.records.of((way.client, client.getsockname()[1]))
    assert (r["limpid"]["rule"], r["limpid"]["why"]) == ("no", "rejected")
    assert not way.lab.server_tap.syns_to((way.server, 7030))
    listener.close()


def test_deny(way, serve):
    """No answer at all; SYNs that are sent again belong to the same flow."""
    limpid = serve(POLICY)
    client = begin(way, port=7031)
    near = way.client_wire(client)
    r = limpid.records.wait(lambda r: r["dest_port"] == 7031)
    assert (r["limpid"]["rule"], r["limpid"]["why"]) == ("never", "denied")
    assert waits(client)
    assert near.down("RST") == 0 and near.down("SYN") == 0
    assert not way.lab.server_tap.syns_to((way.server, 7031))


@pytest.mark.parametrize("host, accepted", [("good.test", True), ("bad.test", False)])
def test_a_rule_that_needs_a_name(way, serve, host, accepted):
    """Only the client can say it, so its SYN does not wait."""
    limpid = serve(POLICY)
    listener = way.listen(7032)
    client = begin(way, port=7032)
    assert outcome(client) == 0
    assert not way.lab.server_tap.syns_to((way.server, 7032))
    name = client.getsockname()
    client.sendall(client_hello(host))
    if accepted:
        server = way.lab.accept(listener)
        assert server.recv(5)[:2] == b"\x16\x03"
        sock.reset(client)
    else:
        assert sock.read_to_reset(client) == b""
    r = limpid.records.of(name)
    assert r["tls"]["sni"] == host
    assert r["limpid"]["action"] == ("accept" if accepted else "deny")


def test_rules_that_need_a_name_and_dial_alike(way, serve):
    """Whatever the client will say, it is connected to the same server: that one is asked."""
    limpid = serve(POLICY)
    refused = begin(way, port=7033)
    assert outcome(refused) == errno.ECONNREFUSED
    listener = way.listen(7033)
    client = begin(way, port=7033)
    assert outcome(client) == 0
    server = way.lab.accept(listener)
    client.sendall(client_hello("good.test"))
    assert server.recv(5)[:2] == b"\x16\x03"
    client.close()
    server.close()
    r = limpid.records.wait(lambda r: r["limpid"].get("rule") == "early")
    assert r["tls"]["sni"] == "good.test"


def test_loop_is_refused(way, serve):
    limpid = serve(PLAIN.replace("rules:", "  - { name: local, mode: redirect, "
                                 'address: ["0.0.0.0:51080", "[::]:51080"] }\nrules:'))
    client = begin(way, address=PROXY[way.family], port=51080)
    assert outcome(client) == errno.ECONNREFUSED
    assert limpid.records.of((way.client, client.getsockname()[1]))["limpid"]["why"] == "loop"


# --- SYNs that come again ---------------------------------------------------------------------
@pytest.mark.tsan
def test_syn_sent_again_while_held(way, serve, slow, queue):
    """One client, one dial, one packet held: the newest."""
    limpid = serve(PLAIN)
    server = slow(way)
    client = begin(way, port=server.port)
    near = way.client_wire(client)
    eventually(lambda: near.up("SYN") >= 2, "the client sends its SYN again")
    assert waits(client)
    assert queue.state()[0] == 1
    server.answer()
    assert outcome(client) == 0
    way.lab.accept(server.listener)
    server.listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.listener.accept()
    sock.reset(client)
    limpid.records.wait(lambda r: r["dest_port"] == server.port)
    assert len([r for r in limpid.records.poll() if r["dest_port"] == server.port]) == 1


def test_client_gives_up_and_comes_back(way, serve, slow):
    """From the same port, while its first SYN is held: the new one is the one that counts."""
    limpid = serve(PLAIN)
    server = slow(way)
    first = begin(way, port=server.port)
    port = first.getsockname()[1]
    assert waits(first)
    first.close()
    second = begin(way, port=server.port, source_port=port)
    assert waits(second)
    server.answer()
    assert outcome(second) == 0
    peer = way.lab.accept(server.listener)
    second.sendall(b"again")
    assert read_exactly(peer, 5) == b"again"
    second.close()
    peer.close()
    assert limpid.records.of((way.client, port))["limpid"]["why"] == "finished"


def test_client_gives_up(way, serve, slow):
    """Nothing tells limpid; the flow ends by its timer, and the server is told."""
    limpid = serve(honest(ALL, "{ connect: 3s }"))
    server = slow(way)
    client = begin(way, port=server.port)
    port = client.getsockname()[1]
    assert waits(client)
    client.close()
    server.answer()
    peer = way.lab.accept(server.listener)
    assert sock.read_to_reset(peer) == b""
    assert limpid.records.of((way.client, port))["limpid"]["why"] == "client-gone"


def test_port_used_again(way, serve):
    limpid = serve(PLAIN)
    listener, port = way.listen(), way.lab.free_port()
    for n in range(5):
        client = begin(way, source_port=port)
        assert outcome(client) == 0
        server = way.lab.accept(listener)
        assert server.getpeername()[:2] == (way.client, port)
        client.sendall(b"%d" % n)
        assert read_exactly(server, 1) == b"%d" % n
        for end in (client, server) if n % 2 else (server, client):
            end.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b"" and read_to_end(server) == b""
        client.close()
        server.close()
        limpid.records.of((way.client, port), count=n + 1)


def test_one_port_to_two_servers(way, serve, lab):
    serve(PLAIN)
    port = lab.free_port()
    way.listen(7040)
    way.listen(7040, address=SERVER_2[way.family])
    a = begin(way, port=7040, source_port=port)
    b = begin(way, port=7040, address=SERVER_2[way.family], source_port=port)
    assert (outcome(a), outcome(b)) == (0, 0)


# --- many -------------------------------------------------------------------------------------
@pytest.mark.tsan
def test_a_thousand_wait_at_once(plain, serve, slow, queue):
    limpid = serve(PLAIN)
    server = slow(plain)
    server.listener.listen(2000)
    clients = [begin(plain, port=server.port) for _ in range(1000)]
    eventually(lambda: queue.state()[0] == 1000, "a thousand SYNs are held")
    server.answer()
    assert [outcome(c) for c in clients] == [0] * 1000
    eventually(lambda: queue.state() == (0, 0, 0), "SYNs sent twice are gone, too")
    peers = [plain.lab.accept(server.listener) for _ in clients]
    assert {p.getpeername()[:2] for p in peers} == {c.getsockname()[:2] for c in clients}
    for s in clients + peers:
        s.close()

    def is_ours(r): # flows of the test before may end only now
        return r["dest_port"] == server.port

    limpid.records.wait(lambda r: is_ours(r) and r["limpid"]["why"] == "finished", count=1000)
    assert len(list(filter(is_ours, limpid.records.poll()))) == 1000, "duplicates were dialled for"


def test_queue_full_drops(plain, serve, slow, queue):
    """Who finds no room is not told anything, and gets in later."""
    serve(honest(ALL, more="limits: { held-syns: 10 }"))
    server = slow(plain)
    clients = [begin(plain, port=server.port) for _ in range(20)]
    eventually(lambda: queue.state()[1] >= 10, "ten SYNs find no room")
    assert queue.state()[0] == 10
    assert all(waits(c) for c in clients[:3])
    server.answer()
    assert [outcome(c) for c in clients] == [0] * 20


@pytest.mark.tsan
def test_queue_full_connects_early(plain, serve, slow, queue):
    """A client gets one connection to its server, also if another of its SYNs is held."""
    limpid = serve(honest(ALL, listener="when-full: early", more="limits: { held-syns: 10 }"))
    server = slow(plain)
    clients = [begin(plain, port=server.port) for _ in range(20)]
    eventually(lambda: queue.state()[0] == 10, "ten SYNs are held")
    eventually(lambda: sum(outcome(c, 0) == 0 for c in clients) >= 10, "ten are connected")
    server.answer()
    assert [outcome(c) for c in clients] == [0] * 20
    peers = [plain.lab.accept(server.listener) for _ in clients]
    assert {p.getpeername()[:2] for p in peers} == {c.getsockname()[:2] for c in clients}
    for s in clients + peers:
        s.close()
    limpid.records.wait(lambda r: r["dest_port"] == server.port, count=20)


def test_more_clients_than_flows(plain, serve, slow, queue):
    """SYNs wait in the queue for a flow, and clients that have one are accepted."""
    limpid = serve(honest(ALL, more="limits: { flows: 8 }"))
    server = slow(plain)
    clients = [begin(plain, port=server.port) for _ in range(12)]
    eventually(lambda: queue.state()[0] == 12, "all are held")
    server.answer()
    done = 0
    while done < len(clients):
        ready = select.select([], clients[done:], [], 20)[1]
        assert ready, f"{done} clients got through"
        for c in ready:
            assert outcome(c) == 0
            sock.reset(c)
            clients.remove(c)
            clients.insert(done, c)
            done += 1
    limpid.records.wait(lambda r: r["dest_port"] == server.port, count=12)


# --- when limpid is gone ----------------------------------------------------------------------
def test_killed_while_syns_are_held(way, serve, keeper, slow, queue):
    """Without bypass nothing gets past; the next limpid serves the same clients."""
    limpid = serve(PLAIN + "# killed\n")
    server = slow(way)
    clients = [begin(way, port=server.port) for _ in range(3)]
    eventually(lambda: queue.state()[0] == 3, "all are held")
    limpid.kill()
    keeper.limpid = None
    server.answer()
    assert all(waits(c) for c in clients)
    serve(PLAIN)
    assert [outcome(c) for c in clients] == [0] * 3


def test_killed_with_bypass(way, serve, keeper, slow, queue):
    """The rule lets SYNs pass where nobody reads: here TPROXY finds nobody, and they are
    routed past."""
    queue.remove()
    queue.add(bypass=True)
    limpid = serve(PLAIN + "# killed\n")
    server = slow(way)
    clients = [begin(way, port=server.port) for _ in range(3)]
    eventually(lambda: queue.state()[0] == 3, "all are held")
    limpid.kill()
    keeper.limpid = None
    server.answer()
    assert [outcome(c) for c in clients] == [0] * 3


def test_stopped_while_syns_are_held(way, serve, keeper, slow, queue):
    """They are dropped, and the client's next SYN finds the next limpid."""
    limpid = serve(PLAIN + "# stopped\n")
    server = slow(way)
    client = begin(way, port=server.port)
    eventually(lambda: way.lab.proxy.run("ss", "-Htn", "state", "syn-sent", "dport", "=",
                                         f":{server.port}"), "its flow has begun")
    keeper.stop()
    r = limpid.records.wait(lambda r: r["dest_port"] == server.port)
    assert r["limpid"]["why"] == "shutdown"
    assert waits(client)
    server.answer()
    serve(PLAIN)
    assert outcome(client) == 0


# --- what cannot be had -----------------------------------------------------------------------
def start_fails(lab, tmp_path, config, prefix=()):
    with pytest.raises(AssertionError) as e:
        Limpid(lab.proxy, config, tmp_path / "limpid", prefix)
    return str(e.value)


def test_queue_taken(lab, serve, tmp_path):
    serve(PLAIN)
    said = start_fails(lab, tmp_path, PLAIN.replace("50080", "50180").replace(
        "connect: honest", "connect: honest\n    queue: 50080"))
    assert "exited with 1" in said
    assert "listener 'routed': connect: honest: cannot read queue 50080" in said
    assert "nobody else reads" in said


def test_without_the_privilege(lab, tmp_path):
    said = start_fails(lab, tmp_path, PLAIN.replace("50080", "50180"),
                       ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"))
    assert "cannot read queue 50180" in said and "CAP_NET_ADMIN" in said


@pytest.mark.parametrize("text, said", [
    ("mode: redirect, address: '127.0.0.1:1', connect: honest", "mode redirect cannot hold"),
    ("mode: tproxy, address: '127.0.0.1:1', queue: 5", "without effect for connect: early"),
    ("mode: tproxy, address: '127.0.0.1:1', when-full: early", "without effect"),
    ("mode: tproxy, address: '127.0.0.1:1', connect: honest, queue: 70000", "70000"),
    ("mode: tproxy, address: '127.0.0.1:1', connect: honest }\n  - { mode: tproxy, "
     "address: '[::1]:1', connect: honest", "has queue 1 already"),
])
def test_configurations_that_cannot_be(text, said):
    config = f"listeners:\n  - {{ {text} }}\nrules: [ {{ name: all, action: accept }} ]\n"
    done = subprocess.run([binary(), "check", "--config", "-"], input=config, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 1 and said in done.stderr, done.stderr
