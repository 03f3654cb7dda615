# SPDX-License-Identifier: Apache-2.0
"""Timers end a flow with RST to both sides and a why of their own; activity holds them off."""
import socket
import time

import pytest

from lab import configs, sock
from lab.sock import Background, read_exactly, read_to_end, read_to_reset


@pytest.fixture
def limpid(any_way, serve):
    # pylint: disable=unused-argument
    return serve(configs.SHORT_TIMERS)


def both_reset(way, client, server):
    near, far = way.client_wire(client), way.server_wire(server)
    at_server = Background(read_to_reset, server)
    read_to_reset(client)
    at_server.result()
    assert near.down("RST") and near.down("FIN") == 0
    assert far.up("RST") and far.up("FIN") == 0


def test_idle(way, limpid):
    client, server = way.pair()
    name = client.getsockname()
    client.sendall(b"hello")
    assert read_exactly(server, 5) == b"hello"
    both_reset(way, client, server)
    r = limpid.records.of(name)
    assert r["limpid"]["why"] == "idle"
    assert r["flow"]["bytes_toserver"] == 5


def test_bytes_either_way_hold_idle_off(way, limpid):
    client, server = way.pair()
    name = client.getsockname()
    for i in range(11):
        sender, receiver = (client, server) if i % 2 else (server, client)
        sender.sendall(b"x")
        assert receiver.recv(1) == b"x"
        time.sleep(0.1)
    client.close()
    assert server.recv(1) == b""
    server.close()
    assert limpid.records.of(name)["limpid"]["why"] == "finished"


@pytest.mark.parametrize("first", ["client", "server"])
def test_half_closed(way, limpid, first):
    client, server = way.pair()
    name = client.getsockname()
    near, far = way.client_wire(client), way.server_wire(server)
    ended, other = (client, server) if first == "client" else (server, client)
    ended.shutdown(socket.SHUT_WR)
    assert other.recv(1) == b""
    assert read_to_reset(ended) == b""
    near.wait_down("RST")
    far.wait_up("RST")
    r = limpid.records.of(name)
    assert r["limpid"]["why"] == "half-closed"


def test_bytes_hold_half_closed_off(any_way, serve):
    way, limpid = any_way, serve(configs.SHORT_TIMERS.replace("closed: 300ms", "closed: 900ms"))
    client, server = way.pair()
    name = client.getsockname()
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    for _ in range(10):
        server.sendall(b"x")
        time.sleep(0.1)
    server.close()
    assert read_to_end(client) == b"x" * 10
    assert limpid.records.of(name)["limpid"]["why"] == "finished"


@pytest.mark.parametrize("any_way", [("tproxy", 4, "copy"), ("redirect", 6, "splice")],
                         ids=["copy", "splice"], indirect=True)
def test_slow_reader_holds_half_closed_off(any_way, serve):
    """What the kernel goes on bringing to a slow reader moves, too."""
    way, limpid = any_way, serve(configs.SHORT_TIMERS.replace("closed: 300ms", "closed: 1s"))
    listener, data = way.listen(rcvbuf_bytes=65536), sock.pattern(1 << 20)
    client, server = way.pair(listener)
    name = client.getsockname()
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    got = b""
    for _ in range(60):
        got += server.recv(8192)
        time.sleep(0.05)
    assert got + read_to_end(server) == data
    server.close()
    assert limpid.records.of(name)["limpid"]["why"] == "finished"


def test_short_stall_loses_nothing(any_way, serve):
    """A reader that pauses for less than the timers finds every byte."""
    way = any_way
    limpid = serve(configs.SHORT_TIMERS.replace("idle: 700ms, half-closed: 300ms",
                                                "idle: 3s, half-closed: 3s"))
    listener = way.listen(rcvbuf_bytes=65536)
    client, server = way.pair(listener)
    name = client.getsockname()
    total, crc = sock.fill(client, 0.1)
    client.shutdown(socket.SHUT_WR)
    assert sock.receive_sum(server) == (total, crc)
    server.close()
    assert limpid.records.of(name)["limpid"]["why"] == "finished"
