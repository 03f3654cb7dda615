# SPDX-License-Identifier: Apache-2.0
"""A rule with `via` is never gone round: not by datagrams, and not by honest connect."""
import contextlib
import errno
import subprocess

import pytest

from lab import configs, sock
from lab.socks import Association, Socks
from lab.topology import CLIENT, PROXY_FAR, SERVER, SERVER_2, Way
from test_honest import begin, honest, outcome, waits

UP = 3128
VIA = "  - { name: all, action: accept, via: up }"
MORE = f'dialers: {{ up: {{ type: socks5, address: "{SERVER_2[4]}:{UP}" }} }}'


def config():
    return f"""
listeners:
  - {{ name: routed, mode: tproxy, network: [tcp, udp],
      address: ["127.0.0.1:50080", "[::1]:50080"] }}
rules:
{VIA}
{MORE}
{configs.RECORD}
"""


def of_datagrams(limpid, client):
    name = client.getsockname()[:2]
    return lambda r: r["proto"] == "UDP" and (r["src_ip"], r["src_port"]) == name


# --- datagrams ----------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [7000, 53, 443])
def test_intercepted_datagrams(lab, serve, keeper, family, port):
    """Each is refused, and said so; all of them are one record."""
    limpid = serve(config())
    server = lab.udp(lab.server, family, SERVER[family], port)
    client = lab.udp(lab.client, family, CLIENT["tproxy"][family])
    client.connect((SERVER[family], port))
    for _ in range(20):
        with contextlib.suppress(ConnectionRefusedError):
            client.send(b"past it")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)
    assert sock.silent(server)
    keeper.stop()
    of_client = of_datagrams(limpid, client)
    record, = (r for r in limpid.records.poll() if of_client(r))
    assert record["limpid"]["why"] == "proxy-refused" and record["limpid"]["rule"] == "all"
    assert record["flow"]["pkts_toserver"] == 20 and record["flow"]["pkts_toclient"] == 0


@pytest.fixture
def socks(lab, keeper):
    s = Socks(lab, keeper)
    yield s
    s.close()


@pytest.mark.parametrize("host", [SERVER[4], "db.test"])
def test_association(socks, host):
    """Of datagrams to it nothing is passed on; to others it is."""
    ns = socks.name_server({"db.test": [f"A {SERVER[4]}"]})
    rules = f"  - {{ name: other, match: {{ port: 7001 }}, action: accept }}\n{VIA}"
    socks.start(rules=rules, more=MORE)
    server = socks.lab.udp(socks.lab.server, 4, SERVER[4], 7000)
    other = socks.lab.udp(socks.lab.server, 4, SERVER[4], 7001)
    a = Association(socks)
    for _ in range(20):
        a.send(b"past it", host, 7000)
    a.asks(other)
    assert sock.silent(server) and sock.silent(a.udp)
    name = a.tcp.getsockname()
    a.tcp.close()
    socks.limpid.records.of(name)
    records = [r for r in socks.limpid.records.poll() if of_datagrams(socks.limpid, a.udp)(r)]
    assert {r["dest_port"]: r["limpid"]["why"] for r in records} == \
        {7000: "proxy-refused", 7001: "finished"}
    assert len(records) == 2
    assert not ns.asked, "who is asked is told of it, too"


# --- honest connect -----------------------------------------------------------------------------


@pytest.fixture
def way(lab, queue):
    # pylint: disable=unused-argument
    return Way(lab, "tproxy", 4)


@contextlib.contextmanager
def proxy(lab):
    with lab.server.enter():
        # pylint: disable-next=consider-using-with
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", "microsocks", "-i",
                                    SERVER_2[4], "-p", str(UP)], stderr=subprocess.DEVNULL)
    try:
        sock.eventually(lambda: f":{UP} " in lab.server.run("ss", "-ltnH"), "microsocks listens")
        yield
    finally:
        process.terminate()
        process.wait()


def test_honest_waits_for_the_server_behind_the_proxy(way, lab, serve):
    limpid = serve(honest(VIA, more=MORE))
    listener = way.listen()
    with proxy(lab):
        client, server = way.pair(listener)
        assert server.getpeername()[0] != PROXY_FAR[4], "it comes from the proxy"
        client.sendall(b"question")
        assert sock.read_exactly(server, 8) == b"question"
        listener.close()
        refused = begin(way)
        assert outcome(refused) == errno.ECONNREFUSED
    records = limpid.records
    assert records.of(refused.getsockname())["limpid"]["why"] == "server-refused"
    name = client.getsockname()
    client.close()
    assert records.of(name)["limpid"]["via"] == "up"


def test_honest_with_a_proxy_that_is_not_there(way, lab, serve):
    """The server would answer: it is not asked."""
    limpid = serve(honest(VIA, more=MORE))
    listener = way.listen()
    client = begin(way)
    assert outcome(client) == errno.ECONNREFUSED
    assert limpid.records.of(client.getsockname())["limpid"]["why"] == "proxy-failed"
    assert sock.silent(listener)


def test_honest_with_a_proxy_that_is_silent(way, lab, serve):
    """The SYN waits for as long as it takes, and no other way is tried."""
    limpid = serve(honest(VIA, timeouts="{ connect: 1s }", more=MORE))
    listener = way.listen()
    mute = lab.listen(4, SERVER_2[4], UP)
    client = begin(way)
    lab.accept(mute)
    assert waits(client)
    r = limpid.records.wait(lambda r: r["dest_port"] == way.port)
    assert r["limpid"]["why"] == "connect-timeout"
    assert sock.silent(listener)
