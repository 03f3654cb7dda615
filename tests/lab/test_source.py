# SPDX-License-Identifier: Apache-2.0
"""The source that a server sees, where it cannot be had at once or not at all: what is left of
the last connection, no privilege, clients on the proxy's own host."""
import pytest

from lab import configs
from lab.sock import read_exactly, read_to_reset
from lab.topology import CLIENT, PROXY_FAR, SERVER, SERVER_2, Way

RULES = configs.LISTENERS + """
rules:
  - { name: keep, match: { port: 7000 }, action: accept, source: keep }
  - { name: strict, match: { port: 7001 }, action: accept, source: keep, strict: true }
  - { name: address, match: { port: 7002 }, action: accept, source: keep-address }
  - name: address-strict
    match: { port: 7003 }
    action: accept
    source: keep-address
    strict: true
""" + configs.RECORD
WITHOUT_ADMIN = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--")
WITHOUT_ANY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--")


@pytest.fixture
def way(lab, family):
    return Way(lab, "tproxy", family)


def pair(way, listener, **more):
    """A connection that has carried a byte each way."""
    client = way.connect(**more)
    server = way.lab.accept(listener)
    client.sendall(b"u")
    assert read_exactly(server, 1) == b"u"
    server.sendall(b"d")
    assert read_exactly(client, 1) == b"d"
    return client, server


def close_by_client(client, server):
    client.shutdown(1)
    assert server.recv(1) == b""
    server.close()
    assert client.recv(1) == b""
    client.close()


# --- TIME_WAIT --------------------------------------------------------------------------------
@pytest.fixture
def no_timestamps(lab):
    """The kernel lets nobody take a TIME_WAIT over then (net/ipv4/inet_hashtables.c)."""
    lab.server.sysctl(net__ipv4__tcp_timestamps=0)
    yield
    lab.server.sysctl(net__ipv4__tcp_timestamps=1)


def back_at_once(way, listener, limpid, port, dial_port):
    """The second of two connections of one ip:port, of which the client had closed the first."""
    first, server = pair(way, listener, port=dial_port, source_port=port)
    assert server.getpeername()[:2] == (way.client, port)
    close_by_client(first, server)
    limpid.records.of((way.client, port))
    ended = way.lab.proxy.run("ss", "-Htan", "state", "time-wait",
                              "src", f"[{way.client}]" if way.family == 6 else way.client)
    assert f":{port} " in ended, f"no TIME_WAIT to begin with: {ended!r}"
    return way.socket(port)


@pytest.mark.usefixtures("no_timestamps")
@pytest.mark.parametrize("dial_port", [7000, 7001], ids=["lenient", "strict"])
def test_time_wait_without_timestamps(way, serve, dial_port):
    """A client that closed and is back from the same port keeps it."""
    limpid = serve(RULES)
    listener, port = way.listen(dial_port), way.lab.free_port()
    again = back_at_once(way, listener, limpid, port, dial_port)
    again.connect((way.server, dial_port))
    server = way.lab.accept(listener)
    assert server.getpeername()[:2] == (way.client, port)
    again.sendall(b"the second")
    assert read_exactly(server, 10) == b"the second"
    close_by_client(again, server)
    records = limpid.records.of((way.client, port), count=2)
    assert [r["limpid"]["source"] for r in records] == ["keep", "keep"]


@pytest.mark.usefixtures("no_timestamps")
def test_time_wait_ended_is_counted(way, serve, keeper):
    limpid = serve(RULES + f"# counted {way.family}\n")
    listener, port = way.listen(7000), way.lab.free_port()
    again = back_at_once(way, listener, limpid, port, 7000)
    again.connect((way.server, 7000))
    close_by_client(again, way.lab.accept(listener))
    keeper.stop()
    assert "1 flows kept the client's port by ending a TIME_WAIT" in limpid.stderr()
    assert "lost the client's port" not in limpid.stderr()


@pytest.mark.usefixtures("no_timestamps")
def test_time_wait_without_the_privilege_falls(way, serve, keeper):
    limpid = serve(RULES, WITHOUT_ADMIN)
    listener, port = way.listen(7000), way.lab.free_port()
    again = back_at_once(way, listener, limpid, port, 7000)
    again.connect((way.server, 7000))
    server = way.lab.accept(listener)
    seen = server.getpeername()[:2]
    assert seen[0] == way.client and seen[1] != port
    close_by_client(again, server)
    records = limpid.records.of((way.client, port), count=2)
    assert [r["limpid"]["source"] for r in records] == ["keep", "keep-address"]
    keeper.stop()
    assert "1 flows lost the client's port, 0 its address" in limpid.stderr()


@pytest.mark.usefixtures("no_timestamps")
def test_time_wait_without_the_privilege_is_refused_under_strict(way, serve):
    limpid = serve(RULES, WITHOUT_ADMIN)
    listener, port = way.listen(7001), way.lab.free_port()
    again = back_at_once(way, listener, limpid, port, 7001)
    try:
        again.connect((way.server, 7001))
        assert read_to_reset(again) == b""
    except ConnectionResetError:
        pass
    records = limpid.records.of((way.client, port), count=2)
    assert records[1]["limpid"]["why"] == "source"


def test_a_live_connection_of_the_same_addresses_is_left_alone(lab, serve, way):
    """Somebody else's on the proxy's host: it is no TIME_WAIT, so the new flow falls."""
    limpid = serve(RULES)
    listener, port = way.listen(7000), lab.free_port()
    other = lab.socket(lab.proxy, way.family)
    other.setsockopt(*{4: (0, 19), 6: (41, 75)}[way.family], 1)
    other.bind((way.client, port))
    other.connect((way.server, 7000))
    others_server = lab.accept(listener)
    client = way.connect(port=7000, source_port=port)
    server = lab.accept(listener)
    assert server.getpeername()[0] == way.client and server.getpeername()[1] != port
    other.sendall(b"alive")
    assert read_exactly(others_server, 5) == b"alive"
    close_by_client(client, server)
    assert limpid.records.of((way.client, port))["limpid"]["source"] == "keep-address"


# --- no privilege at all ----------------------------------------------------------------------
UNPRIVILEGED = """
listeners:
  - { name: local, mode: redirect, address: ["0.0.0.0:51080", "[::]:51080"] }
""" + RULES[RULES.index("rules:"):] + "firewall: { mark: 0 }\n"


@pytest.mark.parametrize("dial_port", [7000, 7002])
def test_without_privileges_falls_to_the_own_address(lab, serve, keeper, family, dial_port):
    limpid = serve(UNPRIVILEGED, WITHOUT_ANY)
    way = Way(lab, "redirect", family)
    client, server = pair(way, way.listen(dial_port), port=dial_port)
    name = client.getsockname()
    assert server.getpeername()[0] == PROXY_FAR[family]
    close_by_client(client, server)
    assert limpid.records.of(name)["limpid"]["source"] == "own"
    keeper.stop()
    port = int(dial_port == 7000)
    assert f"source: {port} flows lost the client's port, 1 its address" in limpid.stderr()


@pytest.mark.parametrize("dial_port", [7001, 7003])
def test_without_privileges_strict_refuses(lab, serve, family, dial_port):
    limpid = serve(UNPRIVILEGED, WITHOUT_ANY)
    way = Way(lab, "redirect", family)
    client, got = way.connect_to_reset(port=dial_port)
    assert got == b""
    assert limpid.records.of(client.getsockname())["limpid"]["why"] == "source"
    assert not lab.server_tap.syns_to((way.server, dial_port))


# --- clients on the proxy's own host ----------------------------------------------------------
LOCAL_ORIGIN = r"""
table inet local_origin {
	chain output {
		type route hook output priority mangle;
		meta mark 0x6c70 accept
		oifname p1 tcp dport 7000-7003 meta mark set 1
	}
	chain prerouting {
		type filter hook prerouting priority mangle;
		iifname lo meta mark 1 meta nfproto ipv4 meta l4proto tcp \
			tproxy ip to 127.0.0.1:50080 accept
		iifname lo meta mark 1 meta nfproto ipv6 meta l4proto tcp \
			tproxy ip6 to [::1]:50080 accept
	}
}
"""


@pytest.fixture
def local(lab, family):
    """local(port, ...): a client socket on the proxy's own host, whose connections to the
    server are intercepted, too."""
    lab.proxy.nft(LOCAL_ORIGIN)

    def client(port, address=None, reuse=True, source_port=0):
        s = lab.socket(lab.proxy, family)
        s.setsockopt(1, 2, reuse)
        s.bind((PROXY_FAR[family], source_port or lab.free_port()))
        s.connect((address or SERVER[family], port))
        return s

    yield client
    lab.proxy.nft("delete table inet local_origin")


@pytest.mark.parametrize("reuse", [True, False], ids=["port-shared", "port-own"])
def test_local_client_keeps_its_address_only(lab, serve, local, family, reuse):
    """Its own socket has the port: nobody else can speak from there to the same server."""
    limpid = serve(RULES)
    listener = lab.listen(family, SERVER[family], 7000)
    client = local(7000, reuse=reuse)
    server = lab.accept(listener)
    name = client.getsockname()[:2]
    assert server.getpeername()[0] == name[0] and server.getpeername()[1] != name[1]
    client.sendall(b"local")
    assert read_exactly(server, 5) == b"local"
    close_by_client(client, server)
    r = limpid.records.of(name)
    assert r["limpid"]["source"] == "keep-address" and r["limpid"]["why"] == "finished"


@pytest.mark.parametrize("reuse", [True, False], ids=["port-shared", "port-own"])
def test_local_client_under_strict_is_refused(lab, serve, local, family, reuse):
    limpid = serve(RULES)
    lab.listen(family, SERVER[family], 7001)
    try:
        client = local(7001, reuse=reuse)
        assert read_to_reset(client) == b""
    except ConnectionResetError:
        pass
    r = limpid.records.wait(lambda r: r["dest_port"] == 7001)
    assert r["src_ip"] == PROXY_FAR[family] and r["limpid"]["why"] == "source"
    assert not lab.server_tap.syns_to((SERVER[family], 7001))


def test_local_client_from_one_port_to_two_servers(lab, serve, local, family):
    serve(RULES)
    port = lab.free_port()
    listeners = [lab.listen(family, a[family], 7000) for a in (SERVER, SERVER_2)]
    clients = [local(7000, a[family], source_port=port) for a in (SERVER, SERVER_2)]
    for n, (client, listener) in enumerate(zip(clients, listeners)):
        server = lab.accept(listener)
        client.sendall(b"to %d" % n)
        assert read_exactly(server, 4) == b"to %d" % n


def test_forwarded_client_keeps_its_port_beside_a_local_one(lab, serve, local, way):
    """The same port number here and there is no conflict."""
    serve(RULES)
    listener, port = way.listen(7000), lab.free_port()
    local(7000, source_port=port)
    lab.accept(listener)
    _, server = pair(way, listener, port=7000, source_port=port)
    assert server.getpeername()[:2] == (CLIENT["tproxy"][way.family], port)


def test_falls_are_counted(lab, serve, keeper, local, family):
    limpid = serve(RULES + f"# counted locally {family}\n")
    listener = lab.listen(family, SERVER[family], 7000)
    clients = [local(7000) for _ in range(3)]
    servers = [lab.accept(listener) for _ in clients]
    for client, server in zip(clients, servers):
        client.close()
        server.close()
    keeper.stop()
    assert "source: 3 flows lost the client's port, 0 its address" in limpid.stderr()
