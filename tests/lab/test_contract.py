# SPDX-License-Identifier: Apache-2.0
"""The TCP contract, clause by clause, each way and watched on the wire.

FIN in becomes FIN out in that direction only; RST in becomes RST out; what cannot be reached is
a RST, never a clean close; nothing is lost, nothing is delivered twice.
"""
import errno
import os
import signal
import socket
import zlib

import pytest

from lab import configs, sock
from lab.limpid import sanitized
from lab.sock import Background, eventually, pattern, read_exactly, read_to_end, read_to_reset
from lab.topology import BLACKHOLE, NO_ROUTE, PROHIBITED, SERVER_2, UNREACHABLE

pytestmark = pytest.mark.usefixtures("limpid")


def finished(limpid, client_name, up_bytes, down_bytes):
    r = limpid.records.of(client_name)
    assert r["limpid"]["why"] == "finished"
    assert r["flow"]["bytes_toserver"] == up_bytes
    assert r["flow"]["bytes_toclient"] == down_bytes
    return r


# --- orderly ends -----------------------------------------------------------------------------
@pytest.mark.tsan
def test_half_close_by_client(way, limpid):
    client, server = way.pair()
    name, near, far = client.getsockname(), way.client_wire(client), way.server_wire(server)

    client.sendall(pattern(100_000))
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(server) == pattern(100_000)
    assert near.down("FIN") == 0, "the FIN came back to the client"

    server.sendall(pattern(300_000, 2))
    assert read_exactly(client, 300_000) == pattern(300_000, 2)
    assert far.up("FIN") and near.down("FIN") == 0 and far.down("FIN") == 0

    server.close()
    assert client.recv(1) == b""
    client.close()
    finished(limpid, name, 100_000, 300_000)
    assert near.down("RST") == 0 and far.up("RST") == 0


def test_half_close_by_server(way, limpid):
    client, server = way.pair()
    name, near, far = client.getsockname(), way.client_wire(client), way.server_wire(server)

    server.sendall(pattern(100_000))
    server.shutdown(socket.SHUT_WR)
    assert read_to_end(client) == pattern(100_000)
    assert far.up("FIN") == 0, "the FIN came back to the server"

    client.sendall(pattern(300_000, 2))
    assert read_exactly(server, 300_000) == pattern(300_000, 2)
    assert near.down("FIN") and near.up("FIN") == 0 and far.up("FIN") == 0

    client.close()
    assert server.recv(1) == b""
    server.close()
    finished(limpid, name, 300_000, 100_000)
    assert near.down("RST") == 0 and far.up("RST") == 0


def test_half_close_both_at_once(way, limpid):
    client, server = way.pair()
    name, near, far = client.getsockname(), way.client_wire(client), way.server_wire(server)
    client.sendall(b"up")
    server.sendall(b"down")
    client.shutdown(socket.SHUT_WR)
    server.shutdown(socket.SHUT_WR)
    assert read_to_end(server) == b"up"
    assert read_to_end(client) == b"down"
    finished(limpid, name, 2, 4)
    assert far.up("FIN") and near.down("FIN")
    assert near.down("RST") == 0 and far.up("RST") == 0


def test_immediate_fin(way, limpid):
    """A client that ends at once is a connection like any other, and may be answered."""
    listener = way.listen()
    client = way.connect()
    name = client.getsockname()
    client.shutdown(socket.SHUT_WR)
    server = way.lab.accept(listener)
    assert server.recv(1) == b""
    server.sendall(b"late")
    server.close()
    assert read_to_end(client) == b"late"
    finished(limpid, name, 0, 4)


def test_data_and_fin_at_once(way, limpid):
    listener = way.listen()
    client = way.connect()
    name = client.getsockname()
    client.sendall(pattern(60_000))
    client.close()
    server = way.lab.accept(listener)
    assert read_to_end(server) == pattern(60_000)
    server.close()
    finished(limpid, name, 60_000, 0)


def test_immediate_fin_by_server(way, limpid):
    client, server = way.pair()
    name = client.getsockname()
    server.sendall(pattern(60_000))
    server.close()
    assert read_to_end(client) == pattern(60_000)
    client.close()
    finished(limpid, name, 0, 60_000)


# --- resets -----------------------------------------------------------------------------------
def test_reset_by_client_mid_transfer(way, limpid):
    client, server = way.pair()
    name, far = client.getsockname(), way.server_wire(server)
    up = Background(sock.send_phases, client, [(65536, 4096)], 3)
    got = read_exactly(server, 1 << 20)
    assert got == b"".join(_blocks(1 << 20)), "not what was sent"
    sock.reset(client)
    read_to_reset(server)
    assert far.up("RST") and far.up("FIN") == 0
    with pytest.raises(OSError):
        up.result()
    assert limpid.records.of(name)["limpid"]["why"] == "client-reset"


def _blocks(n_bytes):
    """What send_phases(…, [(65536, …)], 3) sends first."""
    block, at, left = pattern(8 << 20, 3), 0, n_bytes
    while left:
        at = 0 if at + 65536 > len(block) else at
        yield block[at:at + 65536][:left]
        left -= min(left, 65536)
        at += 65536 + 7


@pytest.mark.tsan
def test_reset_by_server_mid_transfer(way, limpid):
    client, server = way.pair()
    name, near = client.getsockname(), way.client_wire(client)
    down = Background(sock.send_phases, server, [(65536, 4096)], 3)
    assert read_exactly(client, 1 << 20) == b"".join(_blocks(1 << 20))
    sock.reset(server)
    read_to_reset(client)
    assert near.down("RST") and near.down("FIN") == 0
    with pytest.raises(OSError):
        down.result()
    assert limpid.records.of(name)["limpid"]["why"] == "server-reset"


@pytest.mark.tsan
def test_bytes_before_a_reset_by_client_arrive(way, limpid):
    client, server = way.pair()
    name, far = client.getsockname(), way.server_wire(server)
    client.sendall(b"first")
    assert read_exactly(server, 5) == b"first"
    client.sendall(pattern(20_000))
    sock.reset(client)
    assert read_to_reset(server) == pattern(20_000)
    assert far.up("RST") and far.up("FIN") == 0
    assert limpid.records.of(name)["limpid"]["why"] == "client-reset"


def test_bytes_before_a_reset_by_server_arrive(way, limpid):
    client, server = way.pair()
    name, near = client.getsockname(), way.client_wire(client)
    client.sendall(b"first")
    assert read_exactly(server, 5) == b"first"
    server.sendall(pattern(20_000))
    sock.reset(server)
    assert read_to_reset(client) == pattern(20_000)
    assert near.down("RST") and near.down("FIN") == 0
    assert limpid.records.of(name)["limpid"]["why"] == "server-reset"


def test_server_that_speaks_and_resets_at_once(way, limpid):
    """Perhaps before limpid knows that it is connected: the bytes arrive all the same."""
    listener = way.listen()
    for _ in range(10):
        client, server = way.pair(listener)
        name, near = client.getsockname(), way.client_wire(client)
        server.sendall(b"go away\n")
        sock.reset(server)
        assert read_to_reset(client) == b"go away\n"
        assert near.down("RST") and near.down("FIN") == 0
        assert limpid.records.of(name)["limpid"]["why"] == "server-reset"


def test_client_closes_with_unread_data(way, limpid):
    """close() with bytes unread is a RST on the wire, and stays one."""
    client, server = way.pair()
    name, far = client.getsockname(), way.server_wire(server)
    server.sendall(b"never read")
    eventually(lambda: client.recv(1, socket.MSG_PEEK), "the client has unread data")
    client.sendall(b"bye")
    client.close()
    assert read_to_reset(server) == b"bye"
    assert far.up("RST") and far.up("FIN") == 0
    assert limpid.records.of(name)["limpid"]["why"] == "client-reset"


def test_server_closes_with_unread_data(way, limpid):
    client, server = way.pair()
    name, near = client.getsockname(), way.client_wire(client)
    client.sendall(b"never read")
    eventually(lambda: server.recv(1, socket.MSG_PEEK), "the server has unread data")
    server.sendall(b"bye")
    server.close()
    assert read_to_reset(client) == b"bye"
    assert near.down("RST") and near.down("FIN") == 0
    assert limpid.records.of(name)["limpid"]["why"] == "server-reset"


def test_reset_after_half_close_by_client(way, limpid):
    client, server = way.pair()
    name, far = client.getsockname(), way.server_wire(server)
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    server.sendall(b"x")
    assert client.recv(1) == b"x"
    sock.reset(client)
    far.wait_up("RST")
    assert limpid.records.of(name)["limpid"]["why"] == "client-reset"


def test_reset_by_server_after_its_half_close(way, limpid):
    client, server = way.pair()
    name, near = client.getsockname(), way.client_wire(client)
    server.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    sock.reset(server)
    near.wait_down("RST")
    assert limpid.records.of(name)["limpid"]["why"] == "server-reset"


def test_immediate_reset_by_client(way, limpid):
    """Whether the server was reached or not, it never sees an orderly end."""
    way.listen()
    client = way.connect()
    name = client.getsockname()
    sock.reset(client)
    r = limpid.records.of(name)
    assert r["limpid"]["why"] in ("client-reset", "client-gone")
    seen = [p for p in way.lab.server_tap.packets() if p.destination == (way.server, way.port)]
    assert not [p for p in seen if p.flags & 1], "a FIN went to the server"


def test_server_killed_mid_upload(way, limpid):
    """The kernel resets for a killed program that left bytes unread."""
    listener = way.listen()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            conn, _ = listener.accept()
            conn.recv(1000)
            os.write(tell, b"1")
            signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    try:
        client = way.connect()
        listener.close()
        near = way.client_wire(client)
        up = Background(sock.send_phases, client, [(65536, 1 << 14)], 3)
        assert os.read(told, 1) == b"1"
    finally:
        os.close(told)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with pytest.raises(OSError):
        up.result()
    near.wait_down("RST")
    assert near.down("FIN") == 0
    assert limpid.records.of(client.getsockname())["limpid"]["why"] == "server-reset"


# --- servers that are not there ---------------------------------------------------------------
def refused_by_network(way, limpid, address, why):
    client, got = way.connect_to_reset(address=address)
    assert got == b""
    near = way.client_wire(client)
    near.wait_down("RST")
    assert near.down("FIN") == 0, f"a clean close where nobody answered:\n{near}"
    r = limpid.records.of(client.getsockname())
    assert (r["dest_ip"], r["limpid"]["why"]) == (address or way.server, why)


@pytest.mark.tsan
def test_refused(way, limpid):
    refused_by_network(way, limpid, None, "server-refused")


@pytest.fixture
def patient(any_way, serve):
    return any_way, serve(configs.PATIENT)


def test_unreachable_by_icmp(patient):
    """At once.  On a wire as short as this one the ICMPv6 arrives while connect() still holds
    the socket, and the kernel drops it (LockDroppedIcmps) unless IPV6_RECVERR is set."""
    way, limpid = patient
    refused_by_network(way, limpid, UNREACHABLE[way.family], "server-unreachable")


def test_prohibited_by_icmp(patient):
    way, limpid = patient
    refused_by_network(way, limpid, PROHIBITED[way.family], "server-unreachable")


def test_unreachable_without_route(way, limpid):
    refused_by_network(way, limpid, NO_ROUTE[way.family], "server-unreachable")


@pytest.mark.tsan
def test_blackholed(way, limpid):
    refused_by_network(way, limpid, BLACKHOLE[way.family], "connect-timeout")


def test_blackholed_after_client_spoke(way, limpid):
    """Bytes that can never be delivered end in a RST too."""
    client = way.connect(address=BLACKHOLE[way.family])
    client.sendall(b"anybody there?")
    assert read_to_reset(client) == b""
    near = way.client_wire(client)
    assert near.down("RST") and near.down("FIN") == 0
    assert limpid.records.of(client.getsockname())["limpid"]["why"] == "connect-timeout"


def test_client_leaves_while_dialling(way, limpid):
    client = way.connect(address=BLACKHOLE[way.family])
    name = client.getsockname()
    sock.reset(client)
    r = limpid.records.of(name)
    assert r["limpid"]["why"] in ("client-gone", "client-reset")


# --- who speaks first -------------------------------------------------------------------------
@pytest.mark.tsan
def test_server_speaks_first(way):
    client, server = way.pair()
    server.sendall(b"220 ready\r\n")
    assert read_exactly(client, 11) == b"220 ready\r\n"
    client.sendall(b"HELO\r\n")
    assert read_exactly(server, 6) == b"HELO\r\n"


def test_both_silent_then_client(way):
    client, server = way.pair()
    assert sock.silent(client, 0.05) and sock.silent(server, 0.05)
    client.sendall(b"\0\1\2")
    assert read_exactly(server, 3) == b"\0\1\2"


def test_one_byte_writes(way):
    client, server = way.pair()
    text = pattern(1500)
    echo = Background(_echo, server, len(text))
    for i in range(len(text)):
        client.send(text[i:i + 1])
    assert read_exactly(client, len(text)) == text
    echo.result()


def _echo(server, n_bytes):
    while n_bytes:
        data = server.recv(64)
        server.sendall(data)
        n_bytes -= len(data)


@pytest.mark.tsan
def test_one_byte_ping_pong(way):
    client, server = way.pair()
    for i in range(200):
        client.send(bytes([i]))
        assert server.recv(2) == bytes([i])
        server.send(bytes([255 - i]))
        assert client.recv(2) == bytes([255 - i])


# --- the same port again ----------------------------------------------------------------------
def reconnect(way, listener, port):
    """The client's own kernel may need a moment to forget the last one."""
    def attempt():
        s = way.socket(port)
        try:
            s.connect((way.server, way.port))
            return s
        except OSError as e:
            s.close()
            if e.errno != errno.EADDRNOTAVAIL:
                raise
            return None
    client = eventually(attempt, "the client may use its port again")
    server = way.lab.accept(listener)
    client.sendall(b"ping")
    assert read_exactly(server, 4) == b"ping"
    server.sendall(b"pong")
    assert read_exactly(client, 4) == b"pong"
    return client, server


def client_first(client, server):
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    server.close()
    assert client.recv(1) == b""
    client.close()


def server_first(client, server):
    server.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    client.close()
    assert server.recv(1) == b""
    server.close()


def client_reset(client, server):
    sock.reset(client)
    read_to_reset(server)
    server.close()


def server_reset(client, server):
    sock.reset(server)
    read_to_reset(client)
    client.close()


@pytest.mark.parametrize("ending", [client_first, server_first, client_reset, server_reset])
def test_reconnect_from_same_port_at_once(way, limpid, ending):
    listener = way.listen()
    port = way.lab.free_port()
    for _ in range(4):
        client, server = reconnect(way, listener, port)
        if way.keeps_source:
            assert server.getpeername()[:2] == (way.client, port)
        ending(client, server)
    records = limpid.records.of((way.client, port), count=4)
    kept = "keep" if way.keeps_source else "own"
    assert [r["limpid"]["source"] for r in records] == [kept] * 4


def test_same_source_port_to_two_servers(way):
    port = way.lab.free_port()
    first, second = way.listen(), way.listen(address=SERVER_2[way.family])
    a, at_a = way.pair(first, source_port=port)
    b, at_b = way.pair(second, source_port=port, address=SERVER_2[way.family])
    for client, server, text in ((a, at_a, b"to the first"), (b, at_b, b"to the second")):
        client.sendall(text)
        assert read_exactly(server, len(text)) == text
        if way.keeps_source:
            assert server.getpeername()[:2] == (way.client, port)


# --- bulk -------------------------------------------------------------------------------------
# Small, bulk, small, bulk: a lane that chooses is made to change its mind both ways, twice.
PHASES = [(700, 300), (1 << 20, 31), (64, 400), (3000, 200), (262144, 128)]


@pytest.mark.tsan
def test_bulk_both_ways_through_every_switch(way, limpid):
    """64 MB up and 64 MB down at once."""
    client, server = way.pair()
    name = client.getsockname()
    senders = [Background(_send_and_end, client, 11), Background(_send_and_end, server, 12)]
    receivers = [Background(sock.receive_sum, server), Background(sock.receive_sum, client)]
    sent = [s.result(120) for s in senders]
    assert [r.result(120) for r in receivers] == sent
    assert sent[0][0] > 64_000_000
    finished(limpid, name, sent[0][0], sent[1][0])


def _send_and_end(s, seed):
    result = sock.send_phases(s, PHASES, seed)
    s.shutdown(socket.SHUT_WR)
    return result


def test_turns_of_small_and_bulk(way):
    """Each side waits for the other: a stall in a switch is a stall for good."""
    client, server = way.pair()
    big = pattern(3 << 20, 6)
    for i in range(6):
        for _ in range(20):
            client.sendall(b"q" * 90)
            assert read_exactly(server, 90) == b"q" * 90
            server.sendall(b"a" * 90)
            assert read_exactly(client, 90) == b"a" * 90
        sender, receiver = (client, server) if i % 2 else (server, client)
        job = Background(sender.sendall, big)
        assert read_exactly(receiver, len(big)) == big
        job.result()


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_slow_reader(way, limpid, up):
    """The sender is made to wait, nothing piles up in between, and all arrives."""
    listener = way.listen(rcvbuf_bytes=65536 if up else 0)
    client = way.socket()
    if not up:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.connect((way.server, way.port))
    server = way.lab.accept(listener)
    sender, reader = (client, server) if up else (server, client)
    before = limpid.rss_bytes()
    total, crc = sock.fill(sender)
    grown = limpid.rss_bytes() - before
    assert total < 48 << 20, f"{total} bytes were taken for a reader that does not read"
    assert grown < (64 if sanitized() else 4) << 20, f"limpid grew by {grown} bytes"

    got = Background(sock.receive_sum, reader)
    more = pattern(1 << 20, 8)
    sender.sendall(more)
    sender.shutdown(socket.SHUT_WR)
    assert got.result() == (total + len(more), zlib.crc32(more, crc))


def test_one_direction_stalled_the_other_flows(way):
    listener = way.listen(rcvbuf_bytes=65536)
    client, server = way.pair(listener)
    sock.fill(client, 0.3)
    for i in range(50):
        server.sendall(pattern(20_000, i))
        assert read_exactly(client, 20_000) == pattern(20_000, i)
