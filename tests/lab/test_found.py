# SPDX-License-Identifier: Apache-2.0
"""Defects that a review found, each by the way in which it was seen."""
import os
import signal
import socket

import pytest

from lab import configs
from lab.sock import eventually, pattern, read_exactly, read_to_end, reset
from lab.topology import Way


@pytest.fixture
def plain(lab):
    return Way(lab, "tproxy", 4)


def test_urgent_data_stalls_nothing(way, limpid):
    """A read stops at the urgent mark; what is behind it must not wait for the next edge."""
    client, server = way.pair()
    client.sendall(b"hello")
    assert read_exactly(server, 5) == b"hello"
    os.kill(limpid.pid, signal.SIGSTOP)  # all of it in one wake-up
    client.sendall(b"abc")
    client.send(b"!", socket.MSG_OOB)
    client.sendall(b"defg")
    os.kill(limpid.pid, signal.SIGCONT)
    assert read_exactly(server, 8) == b"abc!defg"
    client.sendall(pattern(300_000))
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(server) == pattern(300_000)


def test_head_in_two_bursts_towards_a_slow_server(way, limpid):
    """The first does not fit into the server's buffers, the second comes meanwhile: the sniffer
    goes on when the lane has room again."""
    head = b"GET / HTTP/1.1\r\nHost: a.test\r\nX: " + b"a" * 56000
    rest = b"a" * 9000 + b"\r\n\r\n"
    listener = way.listen(rcvbuf_bytes=4096)
    client, server = way.pair(listener)
    client.sendall(head)
    eventually(lambda: len(server.recv(1, socket.MSG_PEEK)) == 1, "the first bytes are there")
    client.sendall(rest)
    assert read_exactly(server, len(head + rest)) == head + rest


def test_closed_by_one_event_of_a_round_and_met_by_the_next(plain, serve):
    """Bulk flows whose two ends have events in the same round, one of which closes the flow."""
    limpid = serve(configs.EVERY_WAY)
    listener = plain.listen()
    for _ in range(15):
        pairs = [plain.pair(listener) for _ in range(6)]
        os.kill(limpid.pid, signal.SIGSTOP)
        for client, server in pairs:
            client.setblocking(False)
            try:
                client.send(pattern(2_000_000))
            except BlockingIOError:
                pass
            server.shutdown(socket.SHUT_WR)
            reset(server)
        os.kill(limpid.pid, signal.SIGCONT)
        for client, _ in pairs:
            name = client.getsockname()
            client.settimeout(10)
            limpid.records.of(name)
            client.close()
    assert limpid.alive()


@pytest.mark.parametrize("byte", [b'"', b"\x80", b"a"], ids=["quote", "no ASCII", "plain"])
def test_record_of_the_longest_names(plain, serve, byte):
    limpid = serve(configs.EVERY_WAY)
    client, server = plain.pair()
    client.sendall(b"GET /" + byte * 1022 + b" HTTP/1.1\r\nHost: x\r\nUser-Agent: " + b'"' * 1024
                   + b"\r\n\r\n")
    assert server.recv(3) == b"GET"
    name = client.getsockname()
    client.close()
    server.close()
    assert limpid.records.of(name)["http"]["http_user_agent"] == '"' * 1024


def test_reader_of_lines_that_stands_still(keeper, plain, tmp_path):
    """It costs lines for people; neither records for machines nor the end wait for it."""
    fifo = tmp_path / "lines"
    os.mkfifo(fifo)
    nobody_reads = ["sh", "-c", f'exec "$@" 2<>{fifo}', "sh"]
    limpid = keeper.get(configs.EVERY_WAY, nobody_reads)
    listener = plain.listen()
    for _ in range(1200):
        client, server = plain.pair(listener)
        server.close()
        client.close()
    limpid.records.wait(lambda r: True, count=1200)
    keeper.stop()
