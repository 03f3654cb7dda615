# SPDX-License-Identifier: Apache-2.0
"""SOCKS 4, 4A, 5: requests in every form, answers for every end, and nothing lost behind them."""
import os
import socket
import subprocess

import pytest

from lab import socks as s5
from lab import sock
from lab.limpid import binary
from lab.socks import Socks
from lab.topology import BLACKHOLE, NO_ROUTE, PROXY, PROXY_FAR, SERVER, UNREACHABLE


@pytest.fixture
def socks(lab, keeper):
    s = Socks(lab, keeper)
    yield s
    s.close()


ZONE = {"db.test": [f"A {SERVER[4]}"], "six.test": [f"AAAA {SERVER[6]}"]}

# --- requests -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 5])
def test_connect_to_an_address(socks, version):
    listener = socks.listen()
    socks.start()
    client, reply = socks.ask(version, SERVER[4], 7000)
    server = socks.lab.accept(listener)
    assert reply.status == (s5.GRANTED if version == 4 else s5.OK)
    assert reply.address == server.getpeername() and reply.address[0] == PROXY_FAR[4]
    socks.talk(client, server)
    record = socks.record(client, server)
    assert (record["dest_ip"], record["dest_port"]) == (SERVER[4], 7000)
    assert record["limpid"]["rule"] == "all"


@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
def test_connect_across_families(socks, outer, inner):
    listener = socks.listen(inner)
    socks.start()
    client, reply = socks.ask5(SERVER[inner], 7000, family=outer)
    server = socks.lab.accept(listener)
    assert reply.status == s5.OK and reply.address == server.getpeername()[:2]
    socks.talk(client, server)


@pytest.mark.parametrize("version", [4, 5])
def test_connect_to_a_name(socks, version):
    socks.name_server(ZONE)
    listener = socks.listen()
    socks.start(rules="  - { name: db, match: { domain: db.test }, action: accept }")
    client, reply = socks.ask(version, "DB.test", 7000)
    server = socks.lab.accept(listener)
    assert reply.status == (s5.GRANTED if version == 4 else s5.OK)
    socks.talk(client, server)
    record = socks.record(client, server)
    assert record["limpid"]["target_name"] == "db.test"
    assert (record["dest_ip"], record["limpid"]["rule"]) == (SERVER[4], "db")


def test_connect_to_a_name_that_has_only_ipv6(socks):
    socks.name_server(ZONE)
    listener = socks.listen(6)
    socks.start()
    client, reply = socks.ask5("six.test", 7000)
    assert reply.status == s5.OK and ":" in reply.address[0]
    socks.talk(client, socks.lab.accept(listener))


def test_address_sent_as_a_name(socks):
    listener = socks.listen()
    socks.start()
    client, reply = socks.ask5(SERVER[4].encode(), 7000)
    assert reply.status == s5.OK
    socks.talk(client, socks.lab.accept(listener))


# --- pieces -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 5])
def test_byte_by_byte(socks, version):
    listener = socks.listen()
    socks.start(timeouts="{ sniff: 10s }")
    client = socks.connect()
    for part in [s5.request4(SERVER[4], 7000)] if version == 4 else [
            b"\5\2\0\2", s5.request5(SERVER[4], 7000)]:
        for byte in part:
            assert sock.silent(client, 0.002)
            client.sendall(bytes([byte]))
        if part[:2] == b"\5\2":
            assert sock.read_exactly(client, 2) == b"\5\0"
    reply = (s5.read_reply4 if version == 4 else s5.read_reply5)(client)
    assert reply.status in (s5.OK, s5.GRANTED)
    socks.talk(client, socks.lab.accept(listener))


@pytest.mark.parametrize("version", [4, 5])
def test_everything_at_once(socks, version):
    """Greeting, request and first data in one segment; the data arrives, once."""
    listener = socks.listen()
    socks.start()
    client = socks.connect()
    request = s5.request4(SERVER[4], 7000) if version == 4 else \
        b"\5\1\0" + s5.request5(SERVER[4], 7000)
    first = sock.pattern(9000)
    client.sendall(request + first)
    if version == 5:
        assert sock.read_exactly(client, 2) == b"\5\0"
    reply = (s5.read_reply4 if version == 4 else s5.read_reply5)(client)
    assert reply.status in (s5.OK, s5.GRANTED)
    server = socks.lab.accept(listener)
    assert sock.read_exactly(server, len(first)) == first
    socks.talk(client, server)


def test_everything_at_once_then_fin(socks):
    listener = socks.listen()
    socks.start()
    client = socks.connect()
    client.sendall(b"\5\1\0" + s5.request5(SERVER[4], 7000) + b"last words")
    client.shutdown(socket.SHUT_WR)
    server = socks.lab.accept(listener)
    assert sock.read_to_end(server) == b"last words"
    server.sendall(b"answer")
    server.close()
    assert sock.read_to_end(client).endswith(b"answer")


def test_server_speaks_first_after_the_reply(socks):
    listener = socks.listen()
    socks.start()
    client = socks.greeted()
    client.sendall(s5.request5(SERVER[4], 7000))
    socks.lab.accept(listener).sendall(b"220 hello")
    assert s5.read_reply5(client).status == s5.OK
    assert sock.read_exactly(client, 9) == b"220 hello"


def test_bulk_through_a_tunnel(socks):
    listener = socks.listen()
    socks.start()
    client, _ = socks.ask5(SERVER[4], 7000)
    server = socks.lab.accept(listener)
    up = sock.Background(sock.send_phases, client, [(1 << 20, 40)], 3)
    down = sock.Background(sock.send_phases, server, [(1 << 20, 40)], 4)
    got_up = sock.Background(lambda: sock.read_exactly(server, 40 << 20))
    assert len(sock.read_exactly(client, 40 << 20)) == len(got_up.result()) == 40 << 20
    assert up.result()[0] == down.result()[0] == 40 << 20


# --- greetings that lead nowhere ----------------------------------------------------------------


@pytest.mark.parametrize("said, answer, why", [
    (b"GET / HTTP/1.1\r\n\r\n", b"", "greeting"),
    (b"\6\1\0", b"", "greeting"),
    (b"\5\0", b"\5\xff", "greeting"),
    (b"\5\1\1", b"\5\xff", "greeting"),
    (b"\5\2\2\x80", b"\5\xff", "greeting"),
    (b"\4\1\0P\x0a\0\0\1" + b"u" * 256, b"\0\x5b" + bytes(6), "greeting"),
    (b"\4\x09\0P\x0a\0\0\1\0", b"\0\x5b" + bytes(6), "greeting"),
    (b"\4\1\0P\0\0\0\1\0\0", b"\0\x5b" + bytes(6), "greeting"),
    (b"\5\1\0" + b"\4\1\0", b"\5\0\5\1\0\1" + bytes(6), "greeting"),
    (b"\5\1\0" + b"\5\1\7\1", b"\5\0\5\1\0\1" + bytes(6), "greeting"),
    (b"\5\1\0" + b"\5\x09\0\1\x0a\0\0\1\0P", b"\5\0\5\7\0\1" + bytes(6), "greeting"),
    (b"\5\1\0" + b"\5\1\0\2\x0a\0\0\1\0P", b"\5\0\5\x08\0\1" + bytes(6), "greeting"),
    (b"\5\1\0" + b"\5\1\0\3\0\0P", b"\5\0\5\4\0\1" + bytes(6), "greeting"),
    (b"\5\1\0" + b"\5\1\0\1\0\0\0\0\0P", b"\5\0\5\4\0\1" + bytes(6), "no-target"),
    (b"\5\1\0" + b"\5\1\0\1\x0a\0\0\1\0\0", b"\5\0\5\4\0\1" + bytes(6), "no-target"),
], ids=["http", "version-6", "no-methods", "gssapi", "password-only", "long-user", "socks4-command",
        "empty-name-4a", "request-version", "reserved", "command", "address-type", "empty-name",
        "unspecified", "port-0"])
def test_bad_greeting(socks, said, answer, why):
    socks.start()
    client = socks.connect()
    client.sendall(said)
    assert sock.read_exactly(client, len(answer)) == answer if answer else True
    assert socks.ended(client)["limpid"]["why"] == why


@pytest.mark.parametrize("name", [b"a\0b.test", b"db.test\0", b"\0", b"a b", b"a" * 64 + b".test"])
def test_name_that_can_be_none(socks, name):
    """Among them one with a NUL: it is not cut there."""
    ns = socks.name_server(ZONE)
    socks.start()
    client, reply = socks.ask5(name, 7000)
    assert reply.status == s5.HOST
    assert socks.ended(client)["limpid"]["why"] == "greeting"
    assert not ns.count("db.test")


@pytest.mark.parametrize("length", [1, 63, 64, 127, 252, 253, 254, 255])
def test_names_of_every_length(socks, length):
    name = (b"a" * 63 + b".") * 4
    name = name[:length - 1] + b"b"
    socks.name_server({name.decode(): [f"A {SERVER[4]}"]} if length != 64 and length < 254 else {})
    listener = socks.listen()
    socks.start()
    client, reply = socks.ask5(name, 7000)
    if length == 64 or length > 253:  # a label of 64, or more than a name may have
        assert reply.status == s5.HOST
        return
    assert reply.status == s5.OK
    socks.talk(client, socks.lab.accept(listener))


@pytest.mark.parametrize("said", [b"", b"\5", b"\5\1\0", b"\5\1\0\5\1\0\1\x0a", b"\4\1\0P"])
def test_client_that_falls_silent(socks, said):
    socks.start()
    client = socks.connect()
    client.sendall(said)
    assert sock.read_to_reset(client) == (b"\5\0" if said[:3] == b"\5\1\0" else b"")
    assert socks.record(client)["limpid"]["why"] == "no-target"


@pytest.mark.parametrize("said", [b"", b"\5", b"\5\1\0", b"\5\1\0\5\1\0\1\x0a", b"\4\1\0P"])
def test_client_that_closes_in_the_middle(socks, said):
    socks.start()
    client = socks.connect()
    client.sendall(said)
    client.shutdown(socket.SHUT_WR)
    assert sock.read_to_end(client) == (b"\5\0" if said[:3] == b"\5\1\0" else b"")
    assert socks.record(client)["limpid"]["why"] == "no-target"


@pytest.mark.parametrize("said", [b"\5", b"\5\1\0", b"\5\1\0\5\1\0", b"\4\1\0P"])
def test_client_that_resets_in_the_middle(socks, said):
    socks.start(timeouts="{ sniff: 20s }")
    client = socks.connect()
    client.sendall(said)
    if said[:3] == b"\5\1\0":
        assert sock.read_exactly(client, 2) == b"\5\0"
    name = client.getsockname()
    sock.reset(client)
    assert socks.limpid.records.of(name)["limpid"]["why"] == "client-reset"


def test_client_that_resets_while_its_server_is_dialled(socks):
    socks.start(timeouts="{ connect: 20s }")
    client = socks.greeted()
    client.sendall(s5.request5(BLACKHOLE[4], 7000))
    sock.eventually(lambda: "SYN-SENT" in socks.lab.proxy.run("ss", "-tanH"), "a SYN is sent")
    name = client.getsockname()
    sock.reset(client)
    assert socks.limpid.records.of(name)["limpid"]["why"] == "client-gone"


# --- errors have their own answers --------------------------------------------------------------


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("host, status, why", [
    (SERVER[4], s5.REFUSED, "server-refused"),
    (UNREACHABLE[4], s5.HOST, "server-unreachable"),
    (NO_ROUTE[4], s5.HOST, "server-unreachable"),
    (BLACKHOLE[4], s5.TTL, "connect-timeout"),
    (PROXY[4], s5.NOT_ALLOWED, "loop"),
    ("none.test", s5.HOST, "name-unknown"),
    ("lost.test", s5.FAILED, "name-failed"),
], ids=["refused", "unreachable", "no-route", "silent", "loop", "no-name", "no-resolver"])
def test_server_that_cannot_be_had(socks, version, host, status, why):
    if host.endswith(".test"):
        socks.name_server(ZONE, {"any": "servfail"} if host == "lost.test" else None)
    socks.start(timeouts="{ connect: 2500ms }")
    client, reply = socks.ask(version, host, s5.PORT)
    assert reply.status == (s5.REJECTED if version == 4 else status)
    assert set(reply.address) <= {"0.0.0.0", 0}
    assert socks.ended(client)["limpid"]["why"] == why


def test_network_unreachable(socks):
    socks.lab.proxy.ip("route add throw 198.51.100.0/24")
    try:
        socks.start()
        client, reply = socks.ask5("198.51.100.1", 7000)
    finally:
        socks.lab.proxy.ip("route del throw 198.51.100.0/24")
    assert reply.status == s5.NETWORK
    assert socks.ended(client)["limpid"]["why"] == "server-unreachable"


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("action, why", [("reject", "rejected"), ("deny", "denied")])
def test_policy(socks, version, action, why):
    listener = socks.listen()
    socks.start(rules=f"  - {{ name: no, match: {{ destination: {SERVER[4]} }}, action: {action} }}"
                      f"\n{s5.ALL}")
    client, reply = socks.ask(version, SERVER[4], 7000)
    assert reply.status == (s5.REJECTED if version == 4 else s5.NOT_ALLOWED)
    assert socks.ended(client)["limpid"]["why"] == why
    assert sock.silent(listener)


@pytest.mark.parametrize("action, why", [("reject", "rejected"), ("deny", "denied")])
@pytest.mark.parametrize("match", ["domain: db.test", f"destination: {SERVER[4]}"])
def test_policy_about_names_and_their_addresses(socks, match, action, why):
    socks.name_server(ZONE)
    listener = socks.listen()
    socks.start(rules=f"  - {{ name: no, match: {{ {match} }}, action: {action} }}\n{s5.ALL}")
    client, reply = socks.ask5("db.test", 7000)
    assert reply.status == s5.NOT_ALLOWED
    assert socks.ended(client)["limpid"]["why"] == why
    assert sock.silent(listener)


HEARD = """  - { name: named, match: { domain: good.test }, action: accept }
  - { name: rest, action: reject }"""


def head(name):
    return f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()


def test_rule_that_must_hear_the_client(socks):
    """It waits for an answer, policy for its words: it is told to speak, and then decided upon."""
    listener = socks.listen()
    socks.start(rules=HEARD, timeouts="{ sniff: 20s }")
    client, reply = socks.ask5(SERVER[4], 7000)
    assert reply.status == s5.OK and reply.address == ("0.0.0.0", 0)
    assert sock.silent(listener)
    client.sendall(head("good.test"))
    server = socks.lab.accept(listener)
    assert sock.read_exactly(server, 5) == b"GET /"
    server.sendall(b"answer")
    assert sock.read_exactly(client, 6) == b"answer"


def test_rule_that_must_hear_the_client_and_refuses(socks):
    listener = socks.listen()
    socks.start(rules=HEARD, timeouts="{ sniff: 20s }")
    client, reply = socks.ask5(SERVER[4], 7000)
    assert reply.status == s5.OK
    client.sendall(head("bad.test"))
    assert sock.read_to_reset(client) == b""
    assert socks.record(client)["limpid"]["why"] == "rejected"
    assert sock.silent(listener)


def test_rule_that_must_hear_the_client_has_heard_it(socks):
    """All in one segment: nothing is answered before the server is there."""
    listener = socks.listen()
    socks.start(rules=HEARD)
    client = socks.greeted()
    client.sendall(s5.request5(SERVER[4], 7000) + head("good.test"))
    server = socks.lab.accept(listener)
    assert s5.read_reply5(client).address == server.getpeername()


def test_name_asked_for_is_the_name_of_rules(socks):
    """Whatever the client says to its server."""
    socks.name_server(ZONE)
    listener = socks.listen()
    socks.start(rules="  - { name: db, match: { domain: db.test }, action: accept }")
    client, _ = socks.ask5("db.test", 7000)
    client.sendall(head("other.test"))
    server = socks.lab.accept(listener)
    assert sock.read_exactly(server, 5) == b"GET /"
    assert socks.record(client, server)["limpid"]["rule"] == "db"


# --- users --------------------------------------------------------------------------------------


@pytest.fixture(name="office", scope="module")
def office_file(tmp_path_factory):
    """A file with one user, ann; her password is "secret"."""
    path = tmp_path_factory.mktemp("users") / "users"
    for user, password in (("ann", "secret"), ("x" * 255, "y" * 255)):
        subprocess.run([binary(), "users", "add", "--file", path, user], input=password + "\n",
                       text=True, check=True)
    return path


def test_users_keeps_who_may_read(tmp_path):
    """Who could read the file before, limpid as another user for one, can read it afterwards."""
    real, link = tmp_path / "users", tmp_path / "link"
    real.touch()
    os.chmod(real, 0o640)
    os.chown(real, 65534, 65534)
    link.symlink_to(real)
    for verb, text in (("add", "secret\n"), ("remove", "")):
        subprocess.run([binary(), "users", verb, "--file", link, "ann"], input=text, text=True,
                       check=True)
        found = real.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (65534, 65534, 0o640)
        assert link.is_symlink() and (real.read_text() != "") == (verb == "add")


def with_users(socks, path, **more):
    return socks.start(socks="users: office,", more=f"users: {{ office: {{ file: {path} }} }}",
                       **more)


@pytest.mark.parametrize("user, password", [(b"ann", b"secret"), (b"x" * 255, b"y" * 255)],
                         ids=["short", "long"])
def test_login(socks, office, user, password):
    listener = socks.listen()
    with_users(socks, office)
    for _ in range(2):  # the second time it is remembered
        client, status = socks.login(user, password)
        assert status == 0
        client.sendall(s5.request5(SERVER[4], 7000))
        assert s5.read_reply5(client).status == s5.OK
        server = socks.lab.accept(listener)
        socks.talk(client, server)
        assert socks.record(client, server)["limpid"]["user"] == user.decode()


def test_login_in_one_segment(socks, office):
    listener = socks.listen()
    with_users(socks, office)
    client = socks.connect()
    client.sendall(b"\5\1\2" + s5.login(b"ann", b"secret") + s5.request5(SERVER[4], 7000) +
                   b"hello")
    assert sock.read_exactly(client, 4) == b"\5\2\1\0"
    assert s5.read_reply5(client).status == s5.OK
    assert sock.read_exactly(socks.lab.accept(listener), 5) == b"hello"


def test_login_byte_by_byte(socks, office):
    with_users(socks, office, timeouts="{ sniff: 20s }")
    client = socks.connect()
    for byte in b"\5\1\2" + s5.login(b"ann", b"secret"):
        client.sendall(bytes([byte]))
        sock.silent(client, 0.001)
    assert sock.read_exactly(client, 4) == b"\5\2\1\0"


@pytest.mark.parametrize("user, password", [
    (b"ann", b"wrong"), (b"bob", b"secret"), (b"ann", b"secret\0x"), (b"ann\0x", b"secret"),
    (b"", b"secret"), (b"ann", b""), (b"ann", b"s" * 255)])
def test_login_that_fails(socks, office, user, password):
    """A NUL does not end a password."""
    with_users(socks, office)
    client, status = socks.login(user, password)
    assert status == 1
    assert socks.ended(client)["limpid"]["why"] == "login"


def test_logins_that_wait_for_each_other(socks, office):
    """One password is checked after the other, which takes longer than timeouts.sniff: that is the
    client's time, and none of them is late."""
    with_users(socks, office)
    crowd = []
    for i in range(30):
        crowd.append(socks.connect())
        crowd[-1].sendall(b"\5\1\2" + s5.login(b"ann", b"%d" % i))
    for client in crowd:
        assert sock.read_exactly(client, 4) == b"\5\2\1\1"


@pytest.mark.parametrize("said, answer", [(b"\5\1\0", b"\5\xff"),
                                          (s5.request4(SERVER[4], 7000), b"\0\x5b" + bytes(6))])
def test_login_that_is_not_offered(socks, office, said, answer):
    listener = socks.listen()
    with_users(socks, office)
    client = socks.connect()
    client.sendall(said)
    assert sock.read_exactly(client, len(answer)) == answer
    assert socks.ended(client)["limpid"]["why"] == "login"
    assert sock.silent(listener)


def test_login_wrong_version(socks, office):
    with_users(socks, office)
    client = socks.connect()
    client.sendall(b"\5\1\2" + s5.request5(SERVER[4], 7000))
    assert sock.read_exactly(client, 4) == b"\5\2\1\1"
    assert socks.ended(client)["limpid"]["why"] == "login"


def test_rule_about_users(socks, office):
    listener = socks.listen()
    with_users(socks, office, rules="  - { name: ann, match: { user: ann }, action: accept }")
    client, _ = socks.login(b"ann", b"secret")
    client.sendall(s5.request5(SERVER[4], 7000))
    assert s5.read_reply5(client).status == s5.OK
    socks.talk(client, socks.lab.accept(listener))
    client, _ = socks.login(b"x" * 255, b"y" * 255)
    client.sendall(s5.request5(SERVER[4], 7000))
    assert s5.read_reply5(client).status == s5.NOT_ALLOWED


# --- many ---------------------------------------------------------------------------------------


@pytest.mark.tsan
def test_many_tunnels(socks):
    listener = socks.listen()
    socks.start()
    before = socks.limpid.descriptors()
    for _ in range(200):
        client, reply = socks.ask5(SERVER[4], 7000)
        server, _ = listener.accept()
        assert reply.status == s5.OK
        client.sendall(b"x")
        assert server.recv(1) == b"x"
        client.close()
        server.close()
        socks.lab.sockets.remove(client)
    sock.eventually(lambda: socks.limpid.descriptors() <= before + 2, "descriptors are given back")


def test_silent_crowd(socks):
    """Half a greeting each: they hold nothing but their connection, and end by the timer."""
    socks.start()
    crowd = []
    for _ in range(100):
        crowd.append(socks.connect())
        crowd[-1].sendall(b"\5\7\0")
    for client in crowd:
        assert sock.read_to_reset(client) == b""
    socks.limpid.records.wait(lambda r: r["limpid"]["why"] == "no-target", count=100)
