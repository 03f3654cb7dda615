# SPDX-License-Identifier: Apache-2.0
"""Targets that are names: who is dialled, in which order, and what policy says to it."""
import re
import signal

import pytest

from lab import sock
from lab.names import GLOBAL, GLOBAL_HOLE, GLOBAL_HOLE_2, HOLE, PORT, ALL
from lab.topology import PROXY, SERVER, SERVER_2, UNREACHABLE


def answered_at_once(forward, ns):
    """A client for whom both questions are asked before either is answered: none of the answers
    comes later than a Resolution Delay."""
    client = forward.connect()
    sock.eventually(lambda: ns.count("db.test") == 2, "both are asked for")
    ns.release()
    return client


# --- who is dialled -----------------------------------------------------------------------------

def test_both_families(forward):
    forward.name_server({"db.test": [f"A {SERVER[4]}", f"AAAA {GLOBAL}"]})
    _, v6 = forward.listen(SERVER[4], GLOBAL)
    forward.start()
    record = forward.reaches(v6)
    assert (record["dest_ip"], record["dest_port"]) == (GLOBAL, PORT)
    assert record["limpid"]["target_name"] == "db.test"
    assert forward.dialled() == [GLOBAL]


def test_ipv4_before_unique_local(forward):
    """RFC 6724: the precedence of fc00::/7 is below that of IPv4; so AAAA is no reason to begin."""
    ns = forward.name_server({"db.test": [f"A {SERVER[4]}", f"AAAA {SERVER[6]}"]}, {"any": "hold"})
    v4, _ = forward.listen(SERVER[4], SERVER[6])
    forward.start()
    forward.reaches(v4, answered_at_once(forward, ns))
    assert forward.dialled() == [SERVER[4]]


@pytest.mark.parametrize("zone, server", [([f"AAAA {GLOBAL}"], GLOBAL),
                                          ([f"A {SERVER[4]}"], SERVER[4])], ids=["v6", "v4"])
@pytest.mark.parametrize("client", [4, 6])
def test_only_one_family(forward, zone, server, client):
    forward.name_server({"db.test": zone})
    listener, = forward.listen(server)
    forward.start()
    assert forward.reaches(listener, family=client)["dest_ip"] == server


def test_ipv6_into_a_black_hole(forward):
    forward.name_server({"db.test": [f"A {SERVER[4]}", f"AAAA {GLOBAL_HOLE}"]})
    listener, = forward.listen(SERVER[4])
    forward.start()
    assert forward.reaches(listener)["dest_ip"] == SERVER[4]
    assert forward.dialled() == [GLOBAL_HOLE, SERVER[4]]
    assert "SYN-SENT" not in forward.lab.proxy.run("ss", "-tanH")


def test_ipv6_refused(forward):
    forward.name_server({"db.test": [f"A {SERVER[4]}", f"AAAA {GLOBAL}"]})
    listener, = forward.listen(SERVER[4])
    forward.start()
    assert forward.reaches(listener)["dest_ip"] == SERVER[4]
    assert forward.dialled() == [GLOBAL, SERVER[4]]


def test_families_take_turns(forward):
    order = [GLOBAL_HOLE, HOLE, GLOBAL_HOLE_2, SERVER[4]]
    forward.name_server({"db.test": [f"{'AAAA' if ':' in a else 'A'} {a}" for a in order]})
    listener, = forward.listen(SERVER[4])
    forward.start()
    assert forward.reaches(listener)["dest_ip"] == SERVER[4]
    assert forward.dialled() == order


def test_nobody_answers(forward):
    forward.name_server({"db.test": [f"A {HOLE}", f"AAAA {GLOBAL_HOLE}"]})
    forward.start(more="timeouts: { connect: 700ms }")
    assert forward.why() == "connect-timeout"
    assert forward.dialled() == [GLOBAL_HOLE, HOLE]


def test_unreachable_then_served(forward):
    forward.name_server({"db.test": [f"A {UNREACHABLE[4]}", f"A {SERVER[4]}"]})
    listener, = forward.listen(SERVER[4])
    forward.start()
    assert forward.reaches(listener)["dest_ip"] == SERVER[4]


@pytest.mark.parametrize("slow, server", [("A", GLOBAL), ("AAAA", SERVER[4])])
def test_one_answer_is_enough(forward, slow, server):
    """The other family's answer never comes: AAAA is waited for, for a Resolution Delay."""
    ns = forward.name_server({"db.test": [f"A {SERVER[4]}", f"AAAA {GLOBAL}"]}, {slow: "hold"})
    listener = forward.listen(SERVER[4], GLOBAL)[server == GLOBAL]
    forward.start()
    assert forward.reaches(listener)["dest_ip"] == server
    assert forward.dialled() == [server]
    assert ns.count("db.test", slow) == 1


def test_answer_that_comes_while_another_address_is_tried(forward):
    ns = forward.name_server({"db.test": [f"A {SERVER[4]}", f"AAAA {GLOBAL_HOLE}"]}, {"A": "hold"})
    listener, = forward.listen(SERVER[4])
    forward.start()
    client = forward.connect()
    sock.eventually(lambda: forward.dialled() == [GLOBAL_HOLE], "the first address is tried")
    ns.release()
    assert forward.reaches(listener, client)["dest_ip"] == SERVER[4]


def test_server_speaks_first(forward):
    forward.name_server({"db.test": [f"A {SERVER[4]}"]})
    listener, = forward.listen(SERVER[4])
    forward.start(sniff="[tls, http]")
    client = forward.connect()
    forward.lab.accept(listener).sendall(b"220 hello")
    assert sock.read_exactly(client, 9) == b"220 hello"


def test_what_the_client_says_meanwhile_is_kept(forward):
    ns = forward.name_server({"db.test": [f"A {SERVER[4]}"]}, {"any": "hold"})
    listener, = forward.listen(SERVER[4])
    forward.start(sniff="[tls, http]")
    client = forward.connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: said.test\r\n\r\n")
    sock.eventually(lambda: ns.count("db.test") == 2, "both are asked for")
    ns.release()
    assert sock.read_exactly(forward.lab.accept(listener), 3) == b"GET"


def test_loop(forward):
    forward.name_server({"db.test": [f"A {PROXY[4]}"]})
    forward.start(to="db.test:52080")
    assert forward.why() == "loop"


def test_loop_is_skipped(forward):
    forward.name_server({"db.test": [f"A {PROXY[4]}", f"AAAA {GLOBAL}"]})
    listener = forward.lab.listen(6, GLOBAL, 52080)
    forward.start(to="db.test:52080", rules=ALL)
    assert forward.reaches(listener)["dest_ip"] == GLOBAL


# --- policy -------------------------------------------------------------------------------------

def test_refused_address_is_skipped(forward):
    forward.name_server({"db.test": [f"A {SERVER[4]}", f"A {SERVER_2[4]}"]})
    first, second = forward.listen(SERVER[4], SERVER_2[4])
    forward.start(rules=f"  - {{ name: no, match: {{ destination: {SERVER[4]} }}, "
                        f"action: reject }}\n{ALL}")
    record = forward.reaches(second)
    assert (record["dest_ip"], record["limpid"]["rule"]) == (SERVER_2[4], "all")
    assert forward.dialled() == [SERVER_2[4]] and sock.silent(first)


@pytest.mark.parametrize("action", ["reject", "deny"])
@pytest.mark.parametrize("sniff", ["false", "[tls, http]"])
def test_all_addresses_refused(forward, action, sniff):
    """An IPv4 address in an AAAA answer is one, for rules, too."""
    forward.name_server({"db.test": [f"A {SERVER[4]}", f"AAAA ::ffff:{SERVER_2[4]}"]})
    forward.start(rules=f"  - {{ name: inside, match: {{ destination: 10.0.0.0/8 }}, "
                        f"action: {action} }}\n{ALL}", sniff=sniff,
                  more="timeouts: { deny: 200ms, sniff: 300ms }")
    record = forward.fails()
    assert record["limpid"]["why"] == {"reject": "rejected", "deny": "denied"}[action]
    assert record["limpid"]["rule"] == "inside"
    assert not forward.dialled()
    assert "2 addresses of names refused" in forward.stop()


@pytest.mark.parametrize("match", ["port: 7000", "domain: .test", "listener: forward0"])
def test_no_question_where_the_name_is_refused(forward, match):
    ns = forward.name_server({"db.test": [f"A {SERVER[4]}"]})
    forward.start(rules=f"  - {{ name: no, match: {{ {match} }}, action: reject }}\n"
                        f"  - {{ name: hole, match: {{ destination: {HOLE} }}, action: reject }}\n"
                        f"{ALL}")
    assert forward.why() == "rejected"
    assert not ns.asked


def test_no_question_before_the_client_has_said_what_is_refused(forward):
    """The first rule waits for the client: only when it does not match is the address needed."""
    ns = forward.name_server({"db.test": [f"A {SERVER[4]}"]})
    listener, = forward.listen(SERVER[4])
    forward.start(rules=f"  - {{ name: bad, match: {{ domain: bad.test }}, action: reject }}\n"
                        f"  - {{ name: hole, match: {{ destination: {HOLE} }}, action: reject }}\n"
                        f"{ALL}", sniff="http")
    client = forward.connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: bad.test\r\n\r\n")
    name = client.getsockname()
    assert sock.read_to_reset(client) == b""
    assert forward.limpid.records.of(name)["limpid"]["rule"] == "bad"
    assert not ns.asked
    client = forward.connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: good.test\r\n\r\n")
    assert sock.read_exactly(forward.lab.accept(listener), 3) == b"GET"


BOTH = f"""
  - {{ name: hole, match: {{ destination: {HOLE} }}, action: reject }}
  - {{ name: named, match: {{ destination: 10.0.0.0/8, domain: good.test }}, action: accept }}
  - {{ name: six, match: {{ destination: "2000::/3", domain: six.test }}, action: accept }}
"""


@pytest.mark.parametrize("host, why", [("good", None), ("six", None), ("bad", "rejected"),
                                       (None, "rejected")])
def test_rules_that_need_address_and_client(forward, host, why):
    """The addresses first, then for each of them what the client says.  Two are denied in the
    end and one is rejected: that is what the client sees."""
    forward.name_server({"db.test": [f"A {SERVER[4]}", f"AAAA {GLOBAL}", f"A {HOLE}"]})
    v4, v6 = forward.listen(SERVER[4], GLOBAL)
    forward.start(rules=BOTH, sniff="http", more="timeouts: { sniff: 300ms }")
    client = forward.connect()
    name = client.getsockname()
    if host:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {host}.test\r\n\r\n".encode())
    if why:
        assert sock.read_to_reset(client) == b""
        assert forward.limpid.records.of(name)["limpid"]["why"] == why
        assert not forward.dialled()
    else:
        server = forward.lab.accept(v6 if host == "six" else v4)
        assert sock.read_exactly(server, 3) == b"GET"
        assert len(forward.dialled()) == 1


# --- the source ---------------------------------------------------------------------------------

KEEP = "  - {{ name: keep, action: accept, source: {}, strict: {} }}"


@pytest.mark.parametrize("source", ["keep", "keep-address"])
def test_source_is_kept_in_the_client_s_family(forward, source):
    ns = forward.name_server({"db.test": [f"A {SERVER[4]}", f"AAAA {GLOBAL}"]}, {"any": "hold"})
    v4, _ = forward.listen(SERVER[4], GLOBAL)
    forward.start(rules=KEEP.format(source, "false"))
    client = answered_at_once(forward, ns)
    server = forward.lab.accept(v4)
    assert server.getpeername()[0] == client.getsockname()[0]
    if source == "keep":
        assert server.getpeername() == client.getsockname()
    assert forward.dialled() == [SERVER[4]]


def test_source_falls_where_there_is_another_family_only(forward):
    forward.name_server({"db.test": [f"AAAA {GLOBAL}"]})
    listener, = forward.listen(GLOBAL)
    forward.start(rules=KEEP.format("keep", "false"))
    assert forward.reaches(listener)["limpid"]["source"] == "own"


def test_strict_skips_the_other_family(forward):
    forward.name_server({"db.test": [f"A {SERVER[4]}", f"AAAA {GLOBAL}"]})
    listener, = forward.listen(GLOBAL)
    forward.start(rules=KEEP.format("keep", "true"))
    assert forward.why() == "server-refused"
    assert sock.silent(listener)


def test_strict_with_another_family_only(forward):
    forward.name_server({"db.test": [f"AAAA {GLOBAL}"]})
    forward.listen(GLOBAL)
    forward.start(rules=KEEP.format("keep", "true"))
    assert forward.why() == "source"
    assert not forward.dialled()


# --- ends while it resolves ---------------------------------------------------------------------

def test_client_leaves_meanwhile(forward):
    ns = forward.name_server({"db.test": [f"A {SERVER[4]}"]}, {"any": "hold"})
    listener, = forward.listen(SERVER[4])
    forward.start()
    client = forward.connect()
    name = client.getsockname()
    sock.eventually(lambda: ns.count("db.test") == 2, "both are asked for")
    sock.reset(client)
    assert forward.limpid.records.of(name)["limpid"]["why"] == "client-gone"
    ns.release()
    forward.reaches(listener)
    assert len(forward.lab.server_tap.syns_to((SERVER[4], PORT))) == 1


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_stop_meanwhile(forward, sig):
    ns = forward.name_server({"db.test": [f"A {SERVER[4]}"]}, {"any": "hold"})
    limpid = forward.start(more="timeouts: { drain: 100ms }")
    client = forward.connect()
    sock.eventually(lambda: ns.count("db.test") == 2, "both are asked for")
    limpid.process.send_signal(sig)
    assert sock.read_to_reset(client) == b""
    forward.stop()


def test_stop_while_addresses_are_tried(forward):
    forward.name_server({"db.test": [f"A {HOLE}", f"AAAA {GLOBAL_HOLE}"]})
    limpid = forward.start(more="timeouts: { drain: 100ms }")
    client = forward.connect()
    sock.eventually(lambda: len(forward.dialled()) == 2, "both are tried")
    limpid.terminate()
    assert sock.read_to_reset(client) == b""
    forward.stop()


def test_line_shows_the_name(forward):
    forward.name_server({})
    forward.start()
    forward.fails()
    assert re.search(rf"10\.77\.1\.4 => db\.test:{PORT} \| Close name-unknown",
                     forward.limpid.stderr())
