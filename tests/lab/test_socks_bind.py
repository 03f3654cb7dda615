# SPDX-License-Identifier: Apache-2.0
"""SOCKS BIND: where the server can connect to, who may, what the client is told, and when it
ends."""
import contextlib
import re
import subprocess

import pytest

from lab import socks as s5
from lab import sock
from lab.limpid import binary
from lab.socks import Socks
from lab.topology import NO_ROUTE, PROXY, PROXY_FAR, SERVER, SERVER_2

BIND = "  - { name: all, action: accept, bind: true }"
ZONE = {"two.test": [f"A {SERVER_2[4]}", f"A {SERVER[4]}"], "six.test": [f"AAAA {SERVER[6]}"],
        "both.test": [f"A {SERVER[4]}", f"AAAA {SERVER[6]}"]}


class Waiting:
    """A client that waits to be connected to."""

    def __init__(self, socks, peer, port=21, version=5, outer=4):
        self.socks, self.version = socks, version
        if version == 4:
            self.client, self.first = socks.ask4(peer, port, s5.BIND)
        else:
            self.client, self.first = socks.ask5(peer, port, s5.BIND, outer)

    def came(self):
        """The second reply."""
        return (s5.read_reply4 if self.version == 4 else s5.read_reply5)(self.client)

    def call(self, source=None):
        """Connect to where the first reply says."""
        family = 6 if ":" in self.first.address[0] else 4
        server = self.socks.lab.socket(self.socks.lab.server, family)
        server.bind((source or SERVER[family], 0))
        server.connect(self.first.address)
        return server

    def resets(self, source=SERVER_2[4]):
        """Does it reset who connects from there?  The RST may be as fast as connect()."""
        with contextlib.suppress(ConnectionResetError):
            assert sock.read_to_reset(self.call(source)) == b""
        return True

    def refuses(self):
        with contextlib.suppress(ConnectionRefusedError):
            self.call()
            return False
        return True


@pytest.fixture
def socks(lab, keeper):
    s = Socks(lab, keeper)
    yield s
    s.close()


def start(socks, rules=BIND, **more):
    return socks.start(rules=rules, **more)


def status(version, five):
    return five if version == 5 else s5.GRANTED if five == s5.OK else s5.REJECTED


# --- who is announced comes ---------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 5])
def test_there_and_back(socks, version):
    """The address is the one at which the server can reach us; its own port is not compared."""
    start(socks)
    w = Waiting(socks, SERVER[4], 21, version)
    assert w.first.status == status(version, s5.OK)
    assert w.first.address[0] == PROXY_FAR[4] and w.first.address[1] not in (0, s5.PORT)
    assert sock.silent(w.client)
    server = w.call()
    second = w.came()
    assert second.status == status(version, s5.OK)
    assert second.address == server.getsockname()
    socks.talk(w.client, server)
    record = socks.record(w.client, server)
    assert (record["dest_ip"], record["dest_port"]) == second.address
    assert record["limpid"]["bind"] is True and record["limpid"]["rule"] == "all"
    assert record["limpid"]["why"] == "finished"
    assert " | Accept | bind" in socks.limpid.stderr()


@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
def test_across_families(socks, outer, inner):
    start(socks)
    w = Waiting(socks, SERVER[inner], outer=outer)
    assert w.first.status == s5.OK and w.first.address[0] == PROXY_FAR[inner]
    server = w.call()
    assert w.came().address == server.getsockname()[:2]
    socks.talk(w.client, server)


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("version", [4, 5])
def test_nobody_announced(socks, version, outer):
    """Anybody may come; where the client has reached us."""
    if version == 4 and outer == 6:
        outer = 4  # it has no addresses of IPv6
    start(socks)
    w = Waiting(socks, {4: "0.0.0.0", 6: "::"}[outer], 0, version, outer)
    assert w.first.address[0] == PROXY[outer]
    server = w.call(SERVER_2[outer])
    assert w.came().address == server.getsockname()[:2]
    socks.talk(w.client, server)


def test_server_speaks_first(socks):
    """What it says stands behind the second reply."""
    start(socks)
    w = Waiting(socks, SERVER[4])
    server = w.call()
    server.sendall(b"220 hello")
    assert w.came().status == s5.OK
    assert sock.read_exactly(w.client, 9) == b"220 hello"


def test_client_speaks_before_it_is_connected(socks):
    start(socks)
    w = Waiting(socks, SERVER[4])
    first = sock.pattern(100000)
    sending = sock.Background(w.client.sendall, first)
    server = w.call()
    assert sock.read_exactly(server, len(first)) == first
    sending.result()
    assert w.came().status == s5.OK


def test_request_and_data_at_once(socks):
    start(socks)
    client = socks.connect()
    client.sendall(b"\5\1\0" + s5.request5(SERVER[4], 21, s5.BIND) + b"early")
    assert sock.read_exactly(client, 2) == b"\5\0"
    address = s5.read_reply5(client).address
    server = socks.lab.socket(socks.lab.server, 4)
    server.connect(address)
    assert sock.read_exactly(server, 5) == b"early"
    assert s5.read_reply5(client).address == server.getsockname()


def test_rule_that_would_hear_the_client(socks):
    """It has nothing to say before: what rules do not know by then they do not learn."""
    start(socks, "  - { name: named, match: { domain: good.test }, action: accept }\n"
                 "  - { name: rest, action: accept, bind: true }", timeouts="{ sniff: 20s }")
    w = Waiting(socks, SERVER[4])
    server = w.call()
    assert w.came().status == s5.OK
    assert socks.record(w.client, server)["limpid"]["rule"] == "rest"


@pytest.mark.parametrize("outer", [4, 6])
def test_client_of_limpid_is_the_peer(socks, outer):
    """It comes through limpid itself, and that is no loop."""
    start(socks)
    w = Waiting(socks, PROXY_FAR[outer], outer=outer)
    other, reply = socks.ask5(*w.first.address, family=outer)
    assert reply.status == s5.OK and w.came().address == reply.address
    socks.talk(w.client, other)


# --- names --------------------------------------------------------------------------------------


def test_name(socks):
    """Any of its addresses may come."""
    socks.name_server(ZONE)
    start(socks)
    for source in (SERVER[4], SERVER_2[4]):
        w = Waiting(socks, "two.test")
        assert w.first.address[0] == PROXY_FAR[4]
        server = w.call(source)
        assert w.came().address == server.getsockname()
        record = socks.record(w.client, server)
        assert record["limpid"]["target_name"] == "two.test" and record["dest_ip"] == source


@pytest.mark.parametrize("outer, name, inner", [(4, "six.test", 6), (6, "both.test", 6),
                                                (4, "both.test", 4), (6, "two.test", 4)])
def test_name_and_families(socks, outer, name, inner):
    """Where there is a choice, it is that of the client."""
    socks.name_server(ZONE)
    start(socks)
    w = Waiting(socks, name, outer=outer)
    assert w.first.address[0] == PROXY_FAR[inner]
    server = w.call()
    assert w.came().address == server.getsockname()[:2]


def test_name_of_version_4a(socks):
    socks.name_server(ZONE)
    start(socks)
    w = Waiting(socks, "two.test", version=4)
    server = w.call()
    assert w.came().address == server.getsockname()


@pytest.mark.parametrize("name, moods, code, why", [
    ("none.test", None, s5.HOST, "name-unknown"),
    ("two.test", {"any": "servfail"}, s5.FAILED, "name-failed")])
def test_name_that_cannot_be_had(socks, name, moods, code, why):
    socks.name_server(ZONE, moods)
    start(socks)
    w = Waiting(socks, name)
    assert w.first.status == code
    assert socks.ended(w.client)["limpid"]["why"] == why


def test_rule_about_addresses_of_a_name(socks):
    """One may come, the other not."""
    socks.name_server(ZONE)
    start(socks, f"  - {{ name: no, match: {{ destination: {SERVER_2[4]} }}, action: reject }}"
                 f"\n{BIND}")
    w = Waiting(socks, "two.test")
    assert w.resets()
    server = w.call(SERVER[4])
    assert w.came().address == server.getsockname()


@pytest.mark.parametrize("action, why", [("reject", "rejected"), ("deny", "denied")])
def test_rule_about_all_addresses_of_a_name(socks, action, why):
    socks.name_server(ZONE)
    start(socks, f"  - {{ name: no, match: {{ destination: 10.77.2.0/24 }}, action: {action} }}"
                 f"\n{BIND}")
    w = Waiting(socks, "two.test")
    assert w.first.status == s5.NOT_ALLOWED
    assert socks.ended(w.client)["limpid"]["why"] == why


# --- others come --------------------------------------------------------------------------------


def test_stranger(socks):
    """Reset; the socket goes on listening for who was announced."""
    start(socks)
    w = Waiting(socks, SERVER[4])
    for _ in range(20):
        assert w.resets()
    assert sock.silent(w.client)
    server = w.call()
    assert w.came().address == server.getsockname()
    socks.talk(w.client, server)
    socks.record(w.client, server)
    socks.keeper.stop()
    assert "bind: 20 connections of others" in socks.limpid.stderr()


def test_only_one(socks):
    start(socks)
    w = Waiting(socks, SERVER[4])
    server = w.call()
    w.came()
    assert w.refuses()
    socks.talk(w.client, server)


# --- policy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 5])
def test_not_without_the_key(socks, version):
    """A rule that accepts connections does not accept this."""
    start(socks, s5.ALL)
    w = Waiting(socks, SERVER[4], version=version)
    assert w.first.status == status(version, s5.NOT_ALLOWED)
    assert socks.ended(w.client)["limpid"]["why"] == "bind-refused"


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("action, why", [("reject", "rejected"), ("deny", "denied")])
@pytest.mark.parametrize("match", [f"destination: {SERVER[4]}", "port: 21"])
def test_policy(socks, version, match, action, why):
    """What was announced is the destination, and its port the port."""
    start(socks, f"  - {{ name: no, match: {{ {match} }}, action: {action} }}\n{BIND}")
    w = Waiting(socks, SERVER[4], version=version)
    assert w.first.status == status(version, s5.NOT_ALLOWED)
    assert socks.ended(w.client)["limpid"]["why"] == why


@pytest.mark.parametrize("peer", [SERVER[4], "0.0.0.0"])
def test_port_is_the_announced_one(socks, peer):
    """FTP announces 21 and comes from 20."""
    start(socks, "  - { name: ftp, match: { port: 21 }, action: accept, bind: true }")
    w = Waiting(socks, peer)
    server = w.call()
    assert w.came().address == server.getsockname()


def test_policy_about_who_comes(socks):
    """Nobody was announced: each that comes is put to policy."""
    start(socks, f"  - {{ name: no, match: {{ destination: {SERVER[4]} }}, action: deny }}\n"
                 f"  - {{ name: also, match: {{ destination: 10.77.1.0/24 }}, action: accept }}\n"
                 f"{BIND}")
    w = Waiting(socks, "0.0.0.0", 0)
    assert w.resets(SERVER[4])
    server = w.call(SERVER_2[4])
    assert w.came().address == server.getsockname()
    assert socks.record(w.client, server)["limpid"]["rule"] == "all"


def test_nobody_announced_where_rules_want_to_know(socks):
    start(socks, f"  - {{ name: one, match: {{ destination: {SERVER[4]} }}, action: accept,"
                 " bind: true }")
    w = Waiting(socks, "0.0.0.0", 0)
    assert w.first.status == s5.NOT_ALLOWED
    assert socks.ended(w.client)["limpid"]["why"] == "denied"


def test_not_past_a_proxy(socks):
    """The rule says via: nothing may come or go another way."""
    start(socks, "  - { name: ftp, match: { port: 2 }, action: accept, bind: true }\n"
                 "  - { name: up, action: accept, via: up }",
          more=f'dialers: {{ up: {{ type: socks5, address: "{SERVER_2[4]}:1081" }} }}')
    w = Waiting(socks, SERVER[4])
    assert w.first.status == s5.NOT_ALLOWED
    assert socks.ended(w.client)["limpid"]["why"] == "proxy-refused"


def test_no_way_to_the_server(socks):
    start(socks)
    w = Waiting(socks, NO_ROUTE[4])
    assert w.first.status == s5.HOST
    assert socks.ended(w.client)["limpid"]["why"] == "server-unreachable"


# --- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 5])
def test_nobody_comes(socks, version):
    start(socks, timeouts="{ bind: 1500ms, connect: 100ms }")
    w = Waiting(socks, SERVER[4], version=version)
    assert w.resets()
    assert w.came().status == status(version, s5.TTL)
    assert w.refuses()
    assert socks.ended(w.client)["limpid"]["why"] == "bind-timeout"


@pytest.mark.parametrize("end", ["fin", "rst"])
@pytest.mark.parametrize("unread", [b"", b"x" * 5000])
def test_client_leaves(socks, end, unread):
    start(socks)
    w = Waiting(socks, SERVER[4])
    w.client.sendall(unread)
    name = w.client.getsockname()
    if end == "rst":
        sock.reset(w.client)
    else:
        w.client.close()
    assert socks.limpid.records.of(name)["limpid"]["why"] == "client-gone"
    assert w.refuses()


def test_shutdown(socks):
    start(socks, timeouts="{ drain: 100ms }")
    w = Waiting(socks, SERVER[4])
    socks.keeper.stop()
    assert sock.read_to_reset(w.client) == b""


@pytest.mark.tsan
def test_many(socks):
    start(socks)
    before = socks.limpid.descriptors()
    many = [Waiting(socks, SERVER[4]) for _ in range(50)]
    assert len({w.first.address for w in many}) == 50
    assert socks.limpid.descriptors() <= before + 100
    for w in many[:25]:
        server = w.call()
        assert w.came().address == server.getsockname()
        socks.talk(w.client, server)
        server.close()
    for w in many:
        w.client.close()
    ports = "|".join(str(w.first.address[1]) for w in many)
    sock.eventually(lambda: not re.search(rf"{PROXY_FAR[4]}:({ports})\b",
                                          socks.lab.proxy.run("ss", "-ltnH")), "nobody listens")
    sock.eventually(lambda: socks.limpid.descriptors() <= before + 2, "descriptors are given back")


def test_rule_about_users(socks, tmp_path):
    subprocess.run([binary(), "users", "add", "--file", tmp_path / "users", "ann"],
                   input="secret\n", text=True, check=True)
    socks.start(rules="  - { name: a, match: { user: ann }, action: accept, bind: true }",
                socks="users: office,",
                more=f'users: {{ office: {{ file: "{tmp_path}/users" }} }}')
    client, code = socks.login(b"ann", b"secret")
    assert code == 0
    client.sendall(s5.request5(SERVER[4], 21, s5.BIND))
    address = s5.read_reply5(client).address
    server = socks.lab.socket(socks.lab.server, 4)
    server.connect(address)
    assert s5.read_reply5(client).address == server.getsockname()
    assert socks.record(client, server)["limpid"]["user"] == "ann"
