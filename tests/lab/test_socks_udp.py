# SPDX-License-Identifier: Apache-2.0
"""SOCKS UDP ASSOCIATE: who may send, where to, what comes back, and when it ends."""
import struct

import pytest

from lab import socks as s5
from lab import sock
from lab.limpid import sanitized
from lab.socks import Association, Socks
from lab.topology import CLIENT, NO_ROUTE, PROXY, PROXY_FAR, SERVER, SERVER_2

ZONE = {"db.test": [f"A {SERVER[4]}"], "six.test": [f"AAAA {SERVER[6]}"],
        "two.test": [f"A {SERVER_2[4]}", f"AAAA {SERVER[6]}"]}


@pytest.fixture
def socks(lab, keeper):
    s = Socks(lab, keeper)
    yield s
    s.close()


def server_of(socks, family=4, port=7000, host=None):
    return socks.lab.udp(socks.lab.server, family, host or SERVER[family], port)


def udp_record(socks, **wanted):
    return socks.limpid.records.wait(
        lambda r: r.get("proto") == "UDP" and all(r.get(k) == v for k, v in wanted.items()))


@pytest.mark.parametrize("family", [4, 6])
def test_there_and_back(socks, family):
    socks.start()
    server = server_of(socks, family)
    a = Association(socks, family)
    assert a.reply.status == s5.OK
    assert a.relay[0] == PROXY[family] and a.relay[1] not in (0, s5.PORT)
    seen = {a.asks(server, bytes([i]) * i) for i in range(1, 50)}
    assert len(seen) == 1 and seen.pop()[0] == PROXY_FAR[family]
    a.tcp.close()
    record = udp_record(socks, dest_ip=SERVER[family])
    assert (record["src_ip"], record["src_port"]) == a.udp.getsockname()[:2]
    assert record["limpid"]["rule"] == "all" and record["limpid"]["why"] == "finished"
    assert record["flow"]["pkts_toserver"] == record["flow"]["pkts_toclient"] == 49


@pytest.mark.parametrize("inner", [4, 6])
def test_servers_of_both_families(socks, inner):
    """One association, one address outside for each family."""
    socks.start()
    a = Association(socks, 10 - inner)
    assert a.asks(server_of(socks, inner))[0] == PROXY_FAR[inner]
    assert a.asks(server_of(socks, 10 - inner))[0] == PROXY_FAR[10 - inner]
    assert a.asks(server_of(socks, inner, 7001))[0] == PROXY_FAR[inner]


def test_same_address_for_all_servers(socks):
    socks.start()
    a = Association(socks)
    assert len({a.asks(server_of(socks, port=p)) for p in range(7000, 7005)}) == 1


@pytest.mark.parametrize("size", [0, 1, 1400, 9000, 60000])
def test_sizes(socks, size):
    socks.start()
    a = Association(socks)
    a.asks(server_of(socks), sock.pattern(size))


def test_batch(socks):
    """Many at once, in order, with many replies at once."""
    socks.start()
    server, a = server_of(socks), Association(socks)
    for i in range(100):
        a.send(struct.pack("!I", i), SERVER[4], 7000)
    for i in range(100):
        data, seen = server.recvfrom(100)
        assert data == struct.pack("!I", i)
    for i in range(100):
        server.sendto(struct.pack("!I", i), seen)
    for i in range(100):
        assert a.receive() == (struct.pack("!I", i), (SERVER[4], 7000))


# --- names --------------------------------------------------------------------------------------


def test_names(socks):
    socks.name_server(ZONE)
    socks.start()
    server, a = server_of(socks), Association(socks)
    for i in range(3):
        a.send(b"question %d" % i, "DB.test", 7000)
        a.answered(server, b"question %d" % i)
    a.tcp.close()
    record = udp_record(socks, dest_ip=SERVER[4])
    assert record["flow"]["pkts_toserver"] == 3 and record["limpid"]["target_name"] == "db.test"


def test_names_keep_what_comes_meanwhile(socks):
    ns = socks.name_server(ZONE, {"any": "hold"})
    socks.start()
    server, a = server_of(socks), Association(socks)
    other = server_of(socks, port=7001)
    for i in range(5):
        a.send(b"%d" % i, "db.test", 7000)
    a.send(b"5", "db.test", 7001)
    sock.eventually(lambda: ns.count("db.test") == 2, "both are asked for")
    assert sock.silent(server)
    ns.release()
    for i in range(5):
        a.answered(server, b"%d" % i)
    a.answered(other, b"5")


def test_names_of_servers_with_ipv6(socks):
    socks.name_server(ZONE)
    socks.start()
    a = Association(socks)
    server = server_of(socks, 6)
    a.send(b"question", "six.test", 7000)
    a.answered(server)


def test_name_whose_first_address_is_refused(socks):
    socks.name_server(ZONE)
    socks.start(rules=f"  - {{ name: no, match: {{ destination: {SERVER_2[4]} }}, action: reject }}"
                      f"\n{s5.ALL}")
    a = Association(socks)
    server = server_of(socks, 6)
    a.send(b"question", "two.test", 7000)
    a.answered(server)


def test_rule_about_names(socks):
    socks.name_server(ZONE)
    socks.start(rules="  - { name: db, match: { domain: db.test, network: udp }, action: accept }")
    server, a = server_of(socks), Association(socks)
    a.send(b"question", "db.test", 7000)
    a.answered(server)
    other = server_of(socks, host=SERVER_2[4])
    a.send(b"question", SERVER_2[4], 7000)
    a.send(b"another", "db.test", 7000)
    a.answered(server, b"another")  # so the one before has been looked at
    a.tcp.close()
    assert udp_record(socks, dest_ip=SERVER_2[4])["limpid"]["why"] == "denied"
    assert sock.silent(other)


def test_name_that_does_not_exist(socks):
    socks.name_server(ZONE)
    socks.start()
    server, a = server_of(socks), Association(socks)
    for _ in range(3):
        a.send(b"question", "none.test", 7000)
    record = udp_record(socks, dest_port=7000)
    assert record["limpid"]["why"] == "name-unknown"
    a.asks(server)


@pytest.mark.parametrize("action, why", [("reject", "rejected"), ("deny", "denied")])
def test_no_question_where_the_name_is_refused(socks, action, why):
    """It is said once for each port, and another port may be allowed."""
    ns = socks.name_server(ZONE)
    socks.start(rules=f"  - {{ name: no, match: {{ domain: db.test, port: [7000, 7001] }}, "
                      f"action: {action} }}\n{s5.ALL}")
    a = Association(socks)
    server = server_of(socks, port=7002)
    for _ in range(3):
        a.send(b"question", "db.test", 7000)
    record = udp_record(socks, dest_port=7000)
    assert (record["limpid"]["rule"], record["limpid"]["why"]) == ("no", why)
    assert record["limpid"]["target_name"] == "db.test"
    a.send(b"question", "db.test", 7001)
    assert udp_record(socks, dest_port=7001)["limpid"]["why"] == why
    assert not ns.asked
    a.send(b"question", "db.test", 7002)
    a.answered(server)
    a.tcp.close()
    udp_record(socks, dest_port=7002)
    assert sum(r.get("dest_port") == 7000 for r in socks.limpid.records.poll()) == 1


def test_datagrams_that_wait_for_a_name_are_bounded(socks):
    """Those without any content, too."""
    ns = socks.name_server(ZONE, {"any": "hold"})
    socks.start()
    a = Association(socks)
    a.send(b"", "db.test", 7000)
    sock.eventually(lambda: ns.count("db.test") == 2, "both are asked for")
    before = socks.limpid.rss_bytes()
    for _ in range(40):
        for _ in range(1000):
            a.send(b"", "db.test", 7000)
        a.asks(server_of(socks, port=socks.lab.free_port()))  # it has kept up
    if not sanitized():
        assert socks.limpid.rss_bytes() < before + (2 << 20)


# --- who may send -------------------------------------------------------------------------------


def test_stranger_with_another_address(socks):
    """Nothing was announced; the client's ip is known all the same."""
    socks.start()
    server, a = server_of(socks), Association(socks)
    stranger = socks.lab.udp(socks.lab.server, 4, SERVER_2[4])
    a.send(b"stranger", SERVER[4], 7000, udp=stranger)
    a.asks(server)
    assert sock.silent(server) and sock.silent(stranger)


def test_stranger_with_another_port(socks):
    """The first that sends is the client; who comes later is not, and is not even refused: that
    would have a record, and take the place of a client that was silent for a while."""
    socks.start()
    server, a = server_of(socks), Association(socks)
    a.asks(server)
    other = socks.lab.udp(socks.lab.client, 4, CLIENT["routed"][4])
    assert other.getsockname()[0] == a.udp.getsockname()[0] != other.getsockname()[1]
    a.send(b"stranger", SERVER[4], 7000, udp=other)
    a.asks(server)
    assert sock.silent(server) and sock.silent(other)
    a.tcp.close()
    udp_record(socks, src_port=a.udp.getsockname()[1])
    seen = {r["src_port"] for r in socks.limpid.records.poll() if r.get("proto") == "UDP"}
    assert a.udp.getsockname()[1] in seen and other.getsockname()[1] not in seen


def test_announced_port(socks):
    """Who comes first does not matter, if the client has said where it will send from."""
    socks.start()
    server, a = server_of(socks), Association(socks, announce="own")
    other = socks.lab.udp(socks.lab.client, 4, CLIENT["routed"][4])
    a.send(b"stranger", SERVER[4], 7000, udp=other)
    a.asks(server)
    assert sock.silent(server) and sock.silent(other)


def test_announced_address_of_another(socks):
    """Behind a translation a client does not know what we see."""
    socks.start()
    a = Association(socks, announce=("192.168.77.77", 4711))
    a.asks(server_of(socks))


def test_garbage_does_not_take_the_place(socks):
    socks.start()
    server, a = server_of(socks), Association(socks)
    other = socks.lab.udp(socks.lab.client, 4, CLIENT["routed"][4])
    for data in (b"", b"\0", b"\0\0\0\1", b"\1\0\0\1\x0a\0\0\1\0Px", b"\0\0\0\2\x0a\0\0\1\0Px",
                 b"\0\0\0\3\xffshort", b"\0\0\0\3\3a\0b\0Px", b"\0\0\0\1\0\0\0\0\0Px",
                 b"\0\0\0\1\x0a\0\0\1\0\0x"):
        other.sendto(data, a.relay)
    a.asks(server)


def test_fragments_are_dropped(socks):
    socks.start()
    server, a = server_of(socks), Association(socks)
    for fragment in (1, 2, 0x80, 0x83, 0xff):
        a.send(b"fragment", SERVER[4], 7000, fragment=fragment)
    a.asks(server)
    assert sock.silent(server)


def test_server_that_was_not_asked(socks):
    socks.start()
    server, a = server_of(socks), Association(socks)
    seen = a.asks(server)
    server_of(socks, host=SERVER_2[4]).sendto(b"stray", seen)
    a.asks(server)
    assert sock.silent(a.udp)


# --- policy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["reject", "deny"])
def test_policy_is_asked_about_every_destination(socks, action):
    socks.start(rules=f"  - {{ name: no, match: {{ port: 7001 }}, action: {action} }}\n{s5.ALL}")
    server, no, a = server_of(socks), server_of(socks, port=7001), Association(socks)
    a.asks(server)
    a.send(b"refused", SERVER[4], 7001)
    a.asks(server)
    assert sock.silent(no) and sock.silent(a.udp)
    a.tcp.close()
    record = udp_record(socks, dest_port=7001)
    assert record["limpid"]["rule"] == "no" and record["flow"]["pkts_toserver"] == 1


def test_server_that_refuses(socks):
    """The ICMP is not for the client, who knows no such address; the record has it."""
    socks.start()
    server, a = server_of(socks), Association(socks)
    a.send(b"refused", SERVER[4], 7009)
    a.send(b"no route", NO_ROUTE[4], 7009)
    a.asks(server)
    assert sock.silent(a.udp)
    a.tcp.close()
    assert udp_record(socks, dest_ip=SERVER[4], dest_port=7009)["limpid"]["why"] == "server-refused"
    assert udp_record(socks, dest_ip=NO_ROUTE[4])["limpid"]["why"] == "server-unreachable"


# --- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["fin", "rst"])
def test_end_of_the_connection_ends_the_association(socks, end):
    socks.start()
    before = socks.limpid.descriptors()
    server, a = server_of(socks), Association(socks)
    a.asks(server)
    name = a.tcp.getsockname()
    if end == "rst":
        sock.reset(a.tcp)
    else:
        a.tcp.close()
    record = socks.limpid.records.of(name)
    assert record["limpid"]["why"] == ("finished" if end == "fin" else "client-reset")
    sock.eventually(lambda: socks.limpid.descriptors() <= before, "its sockets are closed")
    assert str(a.relay[1]) not in socks.lab.proxy.run("ss", "-lunH")


def test_idle(socks):
    socks.start(timeouts="{ idle: 1200ms }")
    a = Association(socks)
    server = server_of(socks)
    for _ in range(8):
        a.asks(server)
        assert sock.silent(a.tcp, 0.2)
    assert sock.read_to_reset(a.tcp) == b""
    assert socks.record(a.tcp)["limpid"]["why"] == "idle"


def test_what_is_said_on_the_connection_is_for_nobody(socks):
    socks.start()
    server, a = server_of(socks), Association(socks)
    a.tcp.sendall(b"x" * 100000)
    a.asks(server)
    assert sock.silent(a.tcp)


def test_shutdown(socks):
    socks.start(timeouts="{ drain: 100ms }")
    a = Association(socks)
    a.asks(server_of(socks))
    socks.keeper.stop()
    assert sock.read_to_reset(a.tcp) == b""


def test_not_for_version_4(socks):
    socks.start()
    client, reply = socks.ask4(SERVER[4], 7000, s5.ASSOCIATE)
    assert reply.status == s5.REJECTED
    assert socks.ended(client)["limpid"]["why"] == "greeting"


@pytest.mark.tsan
def test_many_associations(socks):
    socks.start()
    server = server_of(socks)
    before = socks.limpid.descriptors()
    many = [Association(socks) for _ in range(100)]
    assert len({a.relay for a in many}) == len({a.asks(server) for a in many}) == 100
    for a in many:
        a.tcp.close()
    sock.eventually(lambda: socks.limpid.descriptors() <= before + 2, "descriptors are given back")
