# SPDX-License-Identifier: Apache-2.0
"""How names are asked for: which server, how often, and what becomes of odd answers."""
import signal

import pytest

from lab import sock
from lab.names import NS, NS_2, PORT, Unbound
from lab.topology import SERVER, SERVER_2

V4 = [f"A {SERVER[4]}"]
ZONE = {"db.test": V4}


def servers(*addresses, more="timeout: 20s"):
    return f"resolver: {{ servers: [{', '.join(addresses)}], {more} }}"


def start_for(forward, n, **more):
    """limpid with a listener for each of n names, and a zone with them."""
    names = [f"n{i}.test" for i in range(n)]
    forward.start(to=[f"{name}:{PORT}" for name in names], **more)
    return {name: V4 for name in names}


# --- several servers ----------------------------------------------------------------------------

@pytest.mark.parametrize("mood", ["silent", "servfail", "wrong-id"])
def test_next_server(forward, mood):
    """The first does not help, the second does.  (An answer to another question is none, and the
    true one that follows is taken.)"""
    first = forward.name_server(ZONE, {"any": mood})
    second = forward.name_server(ZONE, address=NS_2)
    listener, = forward.listen(SERVER[4])
    timeout = "1s" if mood == "silent" else "20s"
    forward.start(resolver=servers(NS, NS_2, more=f"timeout: {timeout}"))
    forward.reaches(listener)
    assert first.count("db.test", "A") == 1
    assert second.count("db.test", "A") == (mood != "wrong-id")


def test_next_server_where_none_listens(forward):
    second = forward.name_server(ZONE, address=NS_2)
    listener, = forward.listen(SERVER[4])
    forward.start(resolver=servers(NS, NS_2, more="timeout: 60s"))
    forward.reaches(listener)
    assert second.count("db.test", "A") == 1


def test_server_over_ipv6_on_another_port(forward):
    ns = forward.name_server(ZONE, address=SERVER[6], port=5353)
    listener, = forward.listen(SERVER[4])
    forward.start(resolver=servers(f'"[{SERVER[6]}]:5353"'))
    forward.reaches(listener)
    assert ns.count("db.test") == 2


@pytest.mark.parametrize("attempts", [1, 3])
def test_attempts(forward, attempts):
    both = [forward.name_server(ZONE, {"any": "silent"}, address=a) for a in (NS, NS_2)]
    forward.start(resolver=servers(NS, NS_2, more=f"timeout: 50ms, attempts: {attempts}"))
    assert forward.why() == "name-failed"
    sock.eventually(lambda: [ns.count("db.test", "A") for ns in both] == [attempts, attempts],
                    "all attempts", lambda: [ns.asked for ns in both])


@pytest.mark.parametrize("rotate", ["true", "false"])
def test_rotate(forward, rotate):
    names = {f"n{i}.test": V4 for i in range(4)}
    both = [forward.name_server(names, address=a) for a in (NS, NS_2)]
    listener, = forward.listen(SERVER[4])
    start_for(forward, 4, resolver=servers(NS, NS_2, more=f"rotate: {rotate}"),
              more="limits: { threads: 1 }")
    for number in range(4):
        forward.reaches(listener, forward.connect(number=number))
    asked = [len(ns.asked) for ns in both]
    assert asked == ([4, 4] if rotate == "true" else [8, 0])


def test_silence_is_bounded_by_the_connect_timeout(forward):
    forward.name_server(ZONE, {"any": "silent"})
    forward.start(resolver=servers(NS, more="timeout: 60s"), more="timeouts: { connect: 300ms }")
    assert forward.why() == "name-failed"


# --- answers ------------------------------------------------------------------------------------

def test_truncated_is_asked_again_by_tcp(forward):
    ns = forward.name_server(ZONE, {"any": "truncated"})
    listener, = forward.listen(SERVER[4])
    forward.start()
    forward.reaches(listener)
    assert ns.count("db.test", "A", "udp") == ns.count("db.test", "A", "tcp") == 1


def test_many_addresses(forward):
    """More than fit a datagram, and more than are looked at."""
    many = [f"A 10.77.2.{i}" for i in range(2, 200)]
    ns = forward.name_server({"db.test": many})
    listener, = forward.listen("10.77.2.2")
    forward.start()
    forward.reaches(listener)
    assert ns.count("db.test", "A", "tcp") == 1


@pytest.mark.parametrize("zone, why", [
    ({}, "name-unknown"),
    ({"db.test": []}, "name-unknown"),
    ({"db.test": ["A 0.0.0.0", "AAAA ::"]}, "name-unknown"),
    ({"db.test": ["CNAME gone.test"]}, "name-unknown"),
], ids=["no-name", "no-address", "unspecified", "alias-to-nothing"])
def test_no_address(forward, zone, why):
    forward.name_server(zone)
    forward.start()
    assert forward.why() == why
    assert not forward.dialled()


def test_server_failure(forward):
    forward.name_server(ZONE, {"any": "servfail"})
    forward.start()
    assert forward.why() == "name-failed"


def test_failure_of_one_family(forward):
    forward.name_server(ZONE, {"AAAA": "servfail"})
    listener, = forward.listen(SERVER[4])
    forward.start()
    forward.reaches(listener)


@pytest.mark.parametrize("failed", ["A", "AAAA"])
def test_failure_of_one_family_and_nothing_in_the_other(forward, failed):
    forward.name_server({"db.test": []}, {failed: "servfail"})
    forward.start()
    assert forward.why() == "name-failed"


def test_alias_chain(forward):
    zone = {f"a{i}.test": [f"CNAME a{i + 1}.test"] for i in range(8)}
    forward.name_server(zone | {"db.test": ["CNAME a0.test"], "a8.test": V4})
    listener, = forward.listen(SERVER[4])
    forward.start()
    assert forward.reaches(listener)["limpid"]["target_name"] == "db.test"


# --- sharing and keeping ------------------------------------------------------------------------

def test_same_question_is_asked_once(forward):
    ns = forward.name_server(ZONE, {"any": "hold"})
    listener, = forward.listen(SERVER[4])
    forward.start(more="limits: { threads: 1 }")
    clients = [forward.connect() for _ in range(20)]
    sock.eventually(lambda: ns.count("db.test") == 2, "both are asked for")
    ns.release()
    for client in clients:
        forward.lab.accept(listener).sendall(b"!")
    for client in clients:
        assert sock.read_exactly(client, 1) == b"!"
    assert ns.count("db.test") == 2


@pytest.mark.parametrize("ttl_s, names, asked", [(60, 1000, 1), (0, 1000, 3), (60, 0, 3)])
def test_answer_is_kept(forward, ttl_s, names, asked):
    """For as long as it says, and limits.names allows."""
    ns = forward.name_server(ZONE, ttl_s=ttl_s)
    listener, = forward.listen(SERVER[4])
    forward.start(more=f"limits: {{ threads: 1, names: {names} }}")
    for _ in range(3):
        forward.reaches(listener)
    assert ns.count("db.test", "A") == asked


def test_the_one_unused_for_longest_makes_room(forward):
    ns = forward.name_server({f"n{i}.test": V4 for i in range(3)})
    listener, = forward.listen(SERVER[4])
    start_for(forward, 3, more="limits: { threads: 1, names: 4 }")
    for number in (0, 1, 0, 2, 0, 1):
        forward.reaches(listener, forward.connect(number=number))
    assert [ns.count(f"n{i}.test", "A") for i in range(3)] == [1, 2, 1]


def test_that_there_is_no_such_name_is_kept(forward):
    ns = forward.name_server({})
    forward.start(more="limits: { threads: 1 }")
    assert forward.why() == forward.why() == "name-unknown"
    assert ns.count("db.test") == 2


def test_questions_are_bounded(forward):
    ns = forward.name_server({f"n{i}.test": V4 for i in range(3)}, {"any": "hold"})
    listener, = forward.listen(SERVER[4])
    start_for(forward, 3, more="limits: { threads: 1, lookups: 4 }")
    waiting = [forward.connect(number=i) for i in range(2)]
    sock.eventually(lambda: len(ns.asked) == 4, "four questions are open")
    assert forward.why(number=2) == "limit"
    again = forward.connect(number=0)  # asks nothing that is not asked already
    ns.release()
    for _ in range(3):
        forward.lab.accept(listener).sendall(b"!")
    assert [sock.read_exactly(client, 1) for client in (*waiting, again)] == [b"!"] * 3
    forward.reaches(listener, forward.connect(number=2))


# --- the host's own files -----------------------------------------------------------------------

@pytest.fixture
def own_files(tmp_path):
    """hosts and resolv.conf of one's own: the files, and a prefix for limpid's command."""
    files = {name: tmp_path / name for name in ("hosts", "resolv.conf")}
    for file in files.values():
        file.write_text("# empty\n", encoding="ascii")
    script = "".join(f"mount --bind {file} /etc/{name} && " for name, file in files.items())
    return files, ["unshare", "--mount", "sh", "-c", script + 'exec "$@"', "sh"]


@pytest.mark.parametrize("to", ["here.test", "HERE.test.", "alias"])
def test_hosts_file(forward, own_files, to):
    files, prefix = own_files
    files["hosts"].write_text(f"127.0.0.1 localhost\n# 10.0.0.1 here.test\n{SERVER[4]}\there.test "
                              f"alias # {SERVER_2[4]} here.test\n", encoding="ascii")
    ns = forward.name_server({})
    listener, = forward.listen(SERVER[4])
    forward.start(to=f"{to}:{PORT}", prefix=prefix)
    forward.reaches(listener)
    assert not ns.asked


def test_names_blocked_by_the_hosts_file(forward, own_files):
    """Lists of such names say 0.0.0.0, which would be this host."""
    files, prefix = own_files
    files["hosts"].write_text("0.0.0.0 ads.test\n:: ads.test\n", encoding="ascii")
    ns = forward.name_server({})
    listener = forward.lab.socket(forward.lab.proxy, 4)
    listener.bind(("127.0.0.1", PORT))
    listener.listen()
    forward.start(to=f"ads.test:{PORT}", prefix=prefix)
    assert forward.why() == "name-unknown"
    assert not ns.asked


def test_localhost_is_not_asked_for(forward, own_files):
    ns = forward.name_server({})
    forward.start(to="db.localhost:9", prefix=own_files[1])
    assert forward.why() == "server-refused"
    assert not ns.asked


def test_host_s_servers(forward, own_files):
    """From resolv.conf, read again when it changes; also while a question is open."""
    files, prefix = own_files
    files["resolv.conf"].write_text(f"nameserver {NS}\n", encoding="ascii")
    first = forward.name_server(ZONE, {"AAAA": "hold"}, ttl_s=0)
    second = forward.name_server(ZONE, address=NS_2)
    listener, = forward.listen(SERVER[4])
    forward.start(resolver="", prefix=prefix, more="limits: { threads: 1 }")
    forward.reaches(listener)
    files["resolv.conf"].write_text(f"nameserver {NS_2}\n", encoding="ascii")

    def second_is_asked():
        forward.reaches(listener)
        return second.count("db.test", "A")
    sock.eventually(second_is_asked, "resolv.conf is read again")
    assert not second.count("db.test", "AAAA")  # the first is still being asked
    first.release()
    forward.reaches(listener)


def test_search_domain_for_names_without_a_dot(forward, own_files):
    files, prefix = own_files
    files["resolv.conf"].write_text(f"nameserver {NS}\nsearch one.test two.test\n",
                                    encoding="ascii")
    ns = forward.name_server({"db.two.test": V4})
    listener, = forward.listen(SERVER[4])
    forward.start(to=[f"db:{PORT}", f"gone.example:{PORT}"], resolver="", prefix=prefix)
    forward.reaches(listener)
    assert forward.why(number=1) == "name-unknown"
    assert not [name for name, _, _ in ns.asked if name.startswith("gone.example.")]


# --- a real server ------------------------------------------------------------------------------

def test_unbound_and_its_end(forward, tmp_path):
    """Two of them; the first dies, and the second is asked."""
    names = {f"n{i}.test": V4 for i in range(2)}
    both = [Unbound(forward.lab.server, address, names, tmp_path / address)
            for address in (NS, NS_2)]
    try:
        listener, = forward.listen(SERVER[4])
        start_for(forward, 2, resolver=servers(NS, NS_2))
        forward.reaches(listener, forward.connect(number=0))
        both[0].stop(signal.SIGKILL)
        forward.reaches(listener, forward.connect(number=1))
    finally:
        for server in both:
            server.stop()
