# SPDX-License-Identifier: Apache-2.0
"""Rules, and what the wire shows of their verdicts.

reject: a RST at once.  deny: silence, then a RST.  Unknown satisfies neither a condition nor
its negation.
"""

import pytest

from lab import configs, sock
from lab.sock import Background, read_exactly, read_to_end, read_to_reset
from lab.tls import client_hello
from lab.topology import CLIENT, SERVER, SERVER_2, Way


@pytest.fixture
def way(lab, mode, family):
    return Way(lab, mode, family)


@pytest.fixture
def plain(lab):
    return Way(lab)


def head(host):
    return f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


FIRST_BYTES = {"SNI": client_hello, "Host": head}


@pytest.fixture(params=FIRST_BYTES)
def naming(request):
    """naming(host): first bytes that name it."""
    return FIRST_BYTES[request.param]


def accepted(limpid, way, first=b"x", rule=None, **more):
    listener = way.listen(port=more.get("port"), address=more.get("address"))
    client = way.connect(**more)
    name = client.getsockname()
    client.sendall(first)
    server = way.lab.accept(listener)
    assert read_exactly(server, len(first)) == first
    seen = server.getpeername()[:2]
    client.close()
    assert read_to_end(server) == b""
    server.close()
    listener.close()
    r = limpid.records.of(name)
    assert r["limpid"]["action"] == "accept"
    assert rule is None or r["limpid"]["rule"] == rule
    return seen, r


def refused(limpid, way, first=b"x", rule=None, why=None, **more):
    """A RST to the client, nothing for the server; the record."""
    way.lab.restart()
    listener = way.listen(port=more.get("port"), address=more.get("address"))
    client = way.socket(more.pop("source_port", 0))
    name = client.getsockname()
    try:
        client.connect((more.get("address") or way.server, more.get("port") or way.port))
        name = client.getsockname()
        if first:
            client.sendall(first)
        assert read_to_reset(client) == b""
    except (ConnectionResetError, BrokenPipeError):
        pass
    near = way.client_wire(client)
    near.wait_down("RST")
    assert near.down("FIN") == 0
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.close()
    assert not way.lab.server_tap.syns_to((more.get("address") or way.server,
                                           more.get("port") or way.port))
    r = limpid.records.of(name)
    assert why is None or r["limpid"]["why"] == why
    assert rule is None or r["limpid"]["rule"] == rule
    assert r["flow"]["bytes_toserver"] == 0
    return r


# --- verdicts ---------------------------------------------------------------------------------
def test_implicit_deny(way, serve):
    limpid = serve(configs.rules("  - { name: other, match: { port: 1 }, action: accept }"))
    r = refused(limpid, way, why="denied")
    assert r["limpid"]["action"] == "deny"


def test_deny_is_silent_first(way, serve):
    limpid = serve(configs.rules("  - { name: no, action: deny }", "{ deny: 600ms }"))
    client = way.connect()
    name = client.getsockname()
    client.sendall(b"anybody?")
    near = way.client_wire(client)
    assert sock.silent(client, 0.2) and near.down("RST") == 0
    assert read_to_reset(client) == b""
    assert near.down("FIN") == 0
    r = limpid.records.of(name)
    assert (r["limpid"]["why"], r["limpid"]["rule"]) == ("denied", "no")


def test_reject_is_at_once(way, serve):
    """Well before the deny timer."""
    limpid = serve(configs.rules("  - { name: no, action: reject }", "{ deny: 10m, sniff: 10m }"))
    r = refused(limpid, way, first=b"", why="rejected", rule="no")
    assert r["limpid"]["action"] == "reject"


# --- names ------------------------------------------------------------------------------------
BY_NAME = configs.rules("""
  - { name: good, match: { domain: [good.test, "*.good.test"] }, action: accept }
  - { name: bad, match: { domain: [.bad.test] }, action: reject }
  - { name: ugly, match: { domain: ugly.test }, action: deny }
  - { name: other-tls, match: { protocol: tls }, action: accept }
""")


@pytest.mark.parametrize("host", ["good.test", "www.good.test", "A.B.GOOD.TEST"])
def test_domain_accepts(way, serve, naming, host):
    accepted(serve(BY_NAME), way, naming(host), rule="good")


@pytest.mark.parametrize("host", ["bad.test", "deep.down.bad.test"])
def test_domain_rejects(way, serve, naming, host):
    refused(serve(BY_NAME), way, naming(host), rule="bad", why="rejected")


def test_domain_denies(way, serve, naming):
    refused(serve(BY_NAME), way, naming("ugly.test"), rule="ugly", why="denied")


def test_domain_is_matched_by_label(plain, serve):
    refused(serve(BY_NAME), plain, head("evilgood.test"), why="denied")


def test_protocol_matches(plain, serve):
    limpid = serve(BY_NAME)
    accepted(limpid, plain, client_hello("else.test"), rule="other-tls")
    refused(limpid, plain, head("else.test"), why="denied")


def test_hello_without_name(plain, serve):
    accepted(serve(BY_NAME), plain, client_hello(None), rule="other-tls")


# --- three values -----------------------------------------------------------------------------
def test_unknown_satisfies_nothing(way, serve):
    """A silent client has no name: neither `domain` nor `not: domain` holds."""
    limpid = serve(configs.rules("""
  - { name: named, match: { domain: good.test }, action: accept }
  - { name: not-bad, not: { domain: bad.test }, action: accept }
"""))
    refused(limpid, way, first=b"", why="denied")


def test_known_name_satisfies_not(way, serve, naming):
    limpid = serve(configs.rules("""
  - { name: not-bad, not: { domain: bad.test }, action: accept }
"""))
    accepted(limpid, way, naming("good.test"), rule="not-bad")
    refused(limpid, way, naming("bad.test"), why="denied")


def test_silent_client_is_decided_by_the_timer(way, serve):
    """Not before: a rule above may still match.  After: what is unknown counts as not so."""
    limpid = serve(configs.rules("""
  - { name: bad, match: { domain: bad.test }, action: reject }
  - { name: named, match: { domain: good.test }, action: accept, source: keep-address }
  - { name: rest, action: accept }
"""))
    client, server = way.pair()
    server.sendall(b"220 late but ready\r\n")
    assert read_exactly(client, 20) == b"220 late but ready\r\n"
    client.sendall(b"EHLO\r\n")
    assert read_exactly(server, 6) == b"EHLO\r\n"
    name = client.getsockname()
    client.close()
    server.close()
    assert limpid.records.of(name)["limpid"]["rule"] == "rest"


EARLY = """
  - { name: good, match: { domain: good.test }, action: accept }
  - { name: tls, match: { protocol: tls }, action: accept }
  - { name: rest, action: accept }
"""


@pytest.mark.tsan
def test_server_first_where_all_rules_dial_alike(way, serve, naming):
    """Whatever the name will be, the plan is one: the server is dialled while the client is
    silent, long before the sniff timer, and what it says is heard at once."""
    limpid = serve(configs.rules(EARLY, "{ sniff: 10m }"))
    client, server = way.pair()
    name = client.getsockname()
    server.sendall(b"220 ready\r\n")
    assert read_exactly(client, 11) == b"220 ready\r\n"
    first = naming("good.test")
    client.sendall(first)
    assert read_exactly(server, len(first)) == first
    client.close()
    server.close()
    assert limpid.records.of(name)["limpid"]["rule"] == "good"


def test_no_early_dial_where_a_name_could_refuse(way, serve):
    limpid = serve(configs.rules("""
  - { name: bad, match: { domain: bad.test }, action: reject }
  - { name: rest, action: accept }
""", "{ sniff: 10m }"))
    listener = way.listen()
    client = way.connect()
    assert sock.silent(listener, 0.2)
    client.sendall(head("fine.test"))
    server = way.lab.accept(listener)
    assert read_exactly(server, 5) == b"GET /"
    assert limpid.alive()


@pytest.mark.tsan
def test_narrowed_by_a_later_hello(way, serve, naming):
    """The timer let it through without a name; the name that then comes is still refused."""
    limpid = serve(configs.rules("""
  - { name: bad, match: { domain: bad.test }, action: reject }
  - { name: rest, action: accept }
""", "{ sniff: 200ms }"))
    client, server = way.pair()
    name = client.getsockname()
    near, far = way.client_wire(client), way.server_wire(server)
    at_server = Background(read_to_reset, server)
    client.sendall(naming("bad.test"))
    assert read_to_reset(client) == b""
    assert at_server.result() == b"", "bytes of a refused flow reached the server"
    assert near.down("FIN") == 0 and far.up("FIN") == 0
    r = limpid.records.of(name)
    assert r["limpid"]["why"] == "narrowed"
    assert r["limpid"]["rule"] == "bad"


# --- conditions -------------------------------------------------------------------------------
CONDITIONS = """
listeners:
  - { name: routed, mode: tproxy, address: ["127.0.0.1:50080", "[::1]:50080"] }
  - { name: local, mode: redirect, address: ["0.0.0.0:51080", "[::]:51080"] }
sets:
  second: [10.77.2.3, "fd77:2::3"]
  lan: [10.77.1.0/24, "fd77:1::/64"]
  clients: [$lan]
  names: [one.test, .two.test]
rules:
  - { name: by-set, match: { source: $clients, destination: $second, port: 7100 }, action: accept }
  - { name: by-range, match: { port: [7200, "7210-7219"] }, action: accept }
  - { name: by-source-port, match: { source-port: 1024-1034, port: 7300 }, action: accept }
  - { name: by-listener, match: { listener: routed, port: 7400 }, action: accept }
  - { name: not-listed, match: { port: 7500 }, not: { destination: $second }, action: accept }
  - { name: none-of-two, match: { port: 7600 },
      not: [ { destination: $second }, { listener: routed } ], action: accept }
  - { name: off, match: { port: 7700 }, action: accept, disabled: true }
  - { name: first, match: { port: 7800 }, action: accept }
  - { name: later, match: { port: 7800, network: tcp }, action: reject }
  - { name: names, match: { port: 7900, domain: $names }, action: accept }
  - { name: udp-only, match: { port: 8000, network: udp }, action: accept }
timeouts: { sniff: 300ms, deny: 100ms }
record: { flows: { file: "@FLOWS@" } }
"""


@pytest.fixture
def conditions(serve):
    return serve(CONDITIONS)


def test_sets(way, conditions):
    accepted(conditions, way, rule="by-set", port=7100, address=SERVER_2[way.family])
    refused(conditions, way, port=7100)


def test_ports(way, conditions):
    for port in (7200, 7210, 7219):
        accepted(conditions, way, rule="by-range", port=port)
    for port in (7201, 7209, 7220):
        refused(conditions, way, port=port)


def test_source_ports(plain, conditions):
    accepted(conditions, plain, rule="by-source-port", port=7300, source_port=1030)
    refused(conditions, plain, port=7300, source_port=1040)


def test_listener(lab, conditions, family):
    accepted(conditions, Way(lab, "tproxy", family), rule="by-listener", port=7400)
    refused(conditions, Way(lab, "redirect", family), port=7400)


def test_not(way, conditions):
    accepted(conditions, way, rule="not-listed", port=7500)
    refused(conditions, way, port=7500, address=SERVER_2[way.family])


def test_not_with_a_list(lab, conditions):
    accepted(conditions, Way(lab, "redirect"), rule="none-of-two", port=7600)
    refused(conditions, Way(lab, "tproxy"), port=7600)
    refused(conditions, Way(lab, "redirect"), port=7600, address=SERVER_2[4])


def test_disabled(plain, conditions):
    refused(conditions, plain, port=7700)


def test_first_match_wins(plain, conditions):
    accepted(conditions, plain, rule="first", port=7800)


def test_set_of_names(plain, conditions, naming):
    accepted(conditions, plain, naming("a.two.test"), rule="names", port=7900)
    refused(conditions, plain, naming("a.one.test"), port=7900)


def test_network(plain, conditions):
    refused(conditions, plain, port=8000)


# --- sniffing switched off --------------------------------------------------------------------
def test_sniff_off_leaves_names_unknown(plain, serve):
    """Then nothing will come, and nothing is waited for."""
    limpid = serve("""
listeners:
  - { name: routed, mode: tproxy, address: ["127.0.0.1:50080", "[::1]:50080"], sniff: false }
  - { name: local, mode: redirect, address: ["0.0.0.0:51080", "[::]:51080"] }
rules:
  - { name: bad, match: { domain: bad.test }, action: reject }
  - { name: rest, action: accept }
timeouts: { sniff: 10m }
record: { flows: { file: "@FLOWS@" } }
""")
    r = accepted(limpid, plain, client_hello("bad.test"), rule="rest")[1]
    assert "tls" not in r


# --- source -----------------------------------------------------------------------------------
SOURCES = configs.LISTENERS + """
rules:
  - { name: own, match: { port: 7000 }, action: accept, source: own }
  - { name: address, match: { port: 7001 }, action: accept, source: keep-address }
  - { name: both, match: { port: 7002 }, action: accept, source: keep }
  - { name: strict, match: { port: 7003 }, action: accept, source: keep, strict: true }
""" + configs.RECORD


def test_source_own(way, serve):
    seen, r = accepted(serve(SOURCES), way, port=7000)
    assert seen[0] == {4: "10.77.2.1", 6: "fd77:2::1"}[way.family]
    assert r["limpid"]["source"] == "own"


def test_source_keep_address(way, serve):
    port = way.lab.free_port()
    seen, r = accepted(serve(SOURCES), way, port=7001, source_port=port)
    assert seen[0] == CLIENT[way.mode][way.family]
    assert r["limpid"]["source"] == "keep-address"


def test_source_keep(lab, serve, family):
    """Not behind redirect: there the client's own ip:port is conntrack's."""
    way, port = Way(lab, "tproxy", family), lab.free_port()
    seen, r = accepted(serve(SOURCES), way, port=7002, source_port=port)
    assert seen == (CLIENT[way.mode][way.family], port)
    assert r["limpid"]["source"] == "keep"


def test_source_keep_behind_redirect_falls_to_another_port(lab, serve, family):
    """A packet from the client's own ip:port would meet the client's conntrack entry, and be
    redirected: the address can be kept, the port cannot."""
    way, port = Way(lab, "redirect", family), lab.free_port()
    seen, r = accepted(serve(SOURCES), way, port=7002, source_port=port)
    assert seen[0] == way.client and seen[1] != port
    assert r["limpid"]["source"] == "keep-address"


def test_source_strict_behind_redirect_refuses(lab, serve, family):
    refused(serve(SOURCES), Way(lab, "redirect", family), port=7003, why="source")


def test_source_strict(lab, serve, family):
    way, port = Way(lab, "tproxy", family), lab.free_port()
    seen, _ = accepted(serve(SOURCES), way, port=7003, source_port=port)
    assert seen == (CLIENT[way.mode][way.family], port)


@pytest.fixture
def port_taken(lab, family):
    """A source port that some other socket of the proxy's host already uses towards the server:
    the client's ip:port cannot be kept."""
    listener = lab.listen(family, SERVER[family], 7010)
    address, port = CLIENT["tproxy"][family], lab.free_port()
    taken = []
    for server_port in (7002, 7003):
        listener = lab.listen(family, SERVER[family], server_port)
        s = lab.socket(lab.proxy, family)
        s.setsockopt(*TRANSPARENT[family], 1)
        s.bind((address, port))
        s.connect((SERVER[family], server_port))
        taken.append(lab.accept(listener))
        listener.close()
    lab.restart()
    return port


TRANSPARENT = {4: (0, 19), 6: (41, 75)}


def test_source_falls_to_another_port(lab, serve, family, port_taken):
    """The fall is in the record."""
    limpid = serve(SOURCES)
    seen, r = accepted(limpid, Way(lab, "tproxy", family), port=7002, source_port=port_taken)
    assert seen[0] == CLIENT["tproxy"][family] and seen[1] != port_taken
    assert r["limpid"]["source"] == "keep-address"


def test_source_strict_refuses_to_fall(lab, serve, family, port_taken):
    limpid = serve(SOURCES)
    refused(limpid, Way(lab, "tproxy", family), port=7003, source_port=port_taken, why="source")


# --- mode fixed -------------------------------------------------------------------------------
@pytest.mark.parametrize("offload", ["auto", "copy", "splice"])
def test_fixed(lab, serve, family, offload):
    to = {4: "10.77.2.2:7000", 6: "[fd77:2::2]:7000"}[family]
    limpid = serve(f"""
listeners:
  - {{ name: forward, mode: fixed, address: ["0.0.0.0:52080", "[::]:52080"], to: "{to}" }}
rules:
  - {{ name: all, match: {{ listener: forward }}, action: accept, offload: {offload} }}
record: {{ flows: {{ file: "@FLOWS@" }} }}
""")
    routed = Way(lab, "routed", family)
    listener = routed.listen(port=7000)
    client = routed.connect({4: "10.77.1.1", 6: "fd77:1::1"}[family], 52080)
    name = client.getsockname()
    server = lab.accept(listener)
    up = Background(sock.send_phases, client, [(100, 10), (1 << 20, 8)], 2)
    assert sock.Background(read_exactly, server, 1000 + (8 << 20)).result()
    up.result()
    server.sendall(b"done")
    server.close()
    assert read_to_end(client) == b"done"
    client.close()
    r = limpid.records.of(name)
    assert (r["dest_ip"], r["dest_port"]) == (SERVER[family], 7000)
    assert (r["limpid"]["listener"], r["limpid"]["why"]) == ("forward", "finished")


def test_fixed_to_a_server_that_is_not_there(lab, serve):
    limpid = serve("""
listeners:
  - { name: forward, mode: fixed, address: "10.77.1.1:52080", to: "10.77.2.2:7999" }
rules: [ { name: all, action: accept } ]
record: { flows: { file: "@FLOWS@" } }
""".replace('"10.77.1.1:52080"', '["10.77.1.1:52080"]'))
    routed = Way(lab, "routed")
    client, got = routed.connect_to_reset("10.77.1.1", 52080)
    assert got == b"" and routed.client_wire(client).down("FIN") == 0
    assert limpid.records.wait(lambda r: r["dest_port"] == 7999)["limpid"]["why"] == \
        "server-refused"


# --- time does not decide twice ---------------------------------------------------------------
@pytest.mark.tsan
def test_many_silent_clients_each_get_their_timer(plain, serve):
    limpid = serve(configs.rules("""
  - { name: named, match: { domain: good.test }, action: accept }
""", "{ sniff: 300ms, deny: 200ms }"))
    clients = [plain.connect() for _ in range(100)]
    names = {c.getsockname() for c in clients}
    for c in clients:
        assert read_to_reset(c) == b""
    found = limpid.records.wait(lambda r: (r["src_ip"], r["src_port"]) in names, count=100)
    assert {r["limpid"]["why"] for r in found} == {"denied"}
