# SPDX-License-Identifier: Apache-2.0
"""What is written down about a flow: the line for people, the JSON for machines."""
import base64
import hashlib
import ipaddress
import json
import os
import re
import socket
import struct
from datetime import datetime

import pytest

from lab import configs, sock
from lab.sock import eventually, pattern, read_exactly, read_to_end
from lab.topology import Way


@pytest.fixture
def way(lab, mode, family):
    return Way(lab, mode, family)


def community_id(a, b, protocol=6, seed=0):
    """Community ID version 1: the same for both directions of a flow."""
    def key(end):
        return ipaddress.ip_address(end[0]).packed, end[1]
    first, second = sorted((key(a), key(b)))
    data = struct.pack(">H", seed) + first[0] + second[0] + bytes([protocol, 0])
    data += struct.pack(">HH", first[1], second[1])
    return "1:" + base64.b64encode(hashlib.sha1(data).digest()).decode()


def test_community_id_itself():
    """Published vectors."""
    assert community_id(("128.232.110.120", 34855), ("66.35.250.204", 80)) == \
        "1:LQU9qZlK+B5F3KDmev6m5PMibrg="
    assert community_id(("66.35.250.204", 80), ("128.232.110.120", 34855)) == \
        "1:LQU9qZlK+B5F3KDmev6m5PMibrg="


def test_record(way, serve):
    limpid = serve(configs.EVERY_WAY)
    client, server = way.pair()
    name = client.getsockname()[:2]
    client.sendall(pattern(12_345))
    assert read_exactly(server, 12_345)
    server.sendall(pattern(54_321))
    server.close()
    assert len(read_to_end(client)) == 54_321
    client.close()
    r = limpid.records.of(name)
    assert r["event_type"] == "flow" and r["proto"] == "TCP"
    assert (r["src_ip"], r["src_port"]) == name
    assert (r["dest_ip"], r["dest_port"]) == (way.server, way.port)
    assert r["flow"]["bytes_toserver"] == 12_345
    assert r["flow"]["bytes_toclient"] == 54_321
    assert r["community_id"] == community_id(name, (way.server, way.port))
    assert isinstance(r["flow_id"], int)
    start, end, written = (datetime.fromisoformat(re.sub(r"\+0000$", "+00:00", t))
                           for t in (r["flow"]["start"], r["flow"]["end"], r["timestamp"]))
    assert start <= end <= written
    listener = {"tproxy": "routed", "redirect": "local"}[way.mode]
    ours = r["limpid"]
    assert ours["listener"] == listener
    assert ours["rule"] == f"{listener}-auto"
    assert ours["action"] == "accept"
    assert ours["source"] == ("keep" if way.keeps_source else "own")
    assert ours["why"] == "finished"
    assert ours["offload"] in ("none", "auto", "copy", "splice", "mixed")


def test_flow_ids_differ(lab, serve):
    limpid = serve(configs.EVERY_WAY)
    way = Way(lab)
    listener = way.listen()
    for _ in range(30):
        client, server = way.pair(listener)
        client.close()
        server.close()
    records = limpid.records.wait(lambda r: True, count=30)
    assert len({r["flow_id"] for r in records}) == 30


def test_bytes_of_a_reset_flow(lab, serve):
    limpid = serve(configs.EVERY_WAY)
    client, server = Way(lab).pair()
    name = client.getsockname()
    client.sendall(pattern(7000))
    assert read_exactly(server, 7000)
    sock.reset(server)
    r = limpid.records.of(name)
    assert (r["flow"]["bytes_toserver"], r["flow"]["bytes_toclient"]) == (7000, 0)


def test_strings_of_strangers_are_escaped(lab, serve):
    """One record stays one line, and valid JSON, whatever a client puts into its head."""
    limpid = serve(configs.EVERY_WAY)
    client, server = Way(lab).pair()
    name = client.getsockname()
    client.sendall(b'GET /"\\%0a\xff\xfe HTTP/1.1\r\nHost: a.test\r\n'
                   b'User-Agent: "}\\\xc3\x28\xf0\x9f\x92\xa7\t\r\n\r\n')
    client.shutdown(socket.SHUT_WR)
    read_to_end(server)
    server.close()
    limpid.records.of(name)
    for line in limpid.records.path.read_bytes().splitlines():
        json.loads(line.decode("utf-8"))


def text(ip, port):
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def line_for(limpid, way, name, word):
    pattern_ = (r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| INFO \| "
                rf"(?:{re.escape(name[0])}|{re.escape(text(*name[:2]))}) => "
                rf"{re.escape(text(way.server, way.port))} \| {word}")
    return eventually(lambda: re.search(pattern_, limpid.stderr(), re.M),
                      f"a line that matches {pattern_} in:\n{limpid.stderr()[-800:]}")


def test_line_for_accept(way, serve):
    limpid = serve(configs.EVERY_WAY + "# lines\n")
    client, server = way.pair()
    client.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    assert server.recv(1) == b"G"
    line_for(limpid, way, client.getsockname(), "Accept")


@pytest.mark.parametrize("said", [b"", b"G"], ids=["silent", "one byte"])
def test_line_for_accept_without_a_hello(way, serve, said):
    """A flow that runs has its line by timeouts.sniff, whatever the client says or does not."""
    limpid = serve(configs.EVERY_WAY.replace("timeouts: {", "timeouts: { sniff: 300ms,"))
    client, server = way.pair()
    client.sendall(said)
    server.sendall(b"220 ready\r\n")
    assert read_exactly(client, 11)
    line_for(limpid, way, client.getsockname(), "Accept")


def test_lines_for_deny_and_reject(way, serve):
    limpid = serve(configs.rules("""
  - { name: no, match: { port: 7000 }, action: reject }
  - { name: hush, match: { port: 7001 }, action: deny }
"""))
    client = way.socket()
    client.connect_ex((way.server, way.port))
    line_for(limpid, way, client.getsockname(), "Reject")
    quiet = Way(way.lab, way.mode, way.family, "copy")
    client = quiet.connect()
    line_for(limpid, quiet, client.getsockname(), "Deny")


def test_line_says_why_it_was_closed(way, serve):
    limpid = serve(configs.EVERY_WAY + "# lines\n")
    client, server = way.pair()
    name = client.getsockname()
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    sock.reset(server)
    line_for(limpid, way, name, "Close .*server-reset")
    client.close()


def test_quiet_log_level(lab, serve):
    limpid = serve(configs.EVERY_WAY + "log: { level: warning }\n")
    client, server = Way(lab).pair()
    client.close()
    server.close()
    limpid.records.wait(lambda r: True)
    assert "Accept" not in limpid.stderr()


@pytest.mark.tsan
def test_queue_overflow_is_counted_and_said(lab, keeper, tmp_path):
    """A sink that does not take records stalls no flow; what was dropped is told."""
    fifo = tmp_path / "flows.fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        limpid = keeper.get(configs.EVERY_WAY.replace("@FLOWS@", str(fifo)) +
                            "limits: { record-queue: 4KiB }\n")
        way = Way(lab)
        listener = way.listen()
        for i in range(400):
            client, server = way.pair(listener)
            client.sendall(bytes([i & 255]))
            assert server.recv(1) == bytes([i & 255])
            client.close()
            server.close()
        eventually(lambda: re.search(r"(?i)record.*(drop|lost)|(drop|lost).*record",
                                     limpid.stderr()), "the loss is said")
        limpid.terminate()

        def drained():
            try:
                os.read(reader, 1 << 16)
            except BlockingIOError:
                pass
            return not limpid.alive()
        eventually(drained, "limpid ends")
        assert limpid.wait_exit() == 0
        assert re.search(r"(?i)\b\d+\b.*record|record.*\b\d+\b", limpid.stderr())
    finally:
        os.close(reader)


def test_records_that_may_not_grow(lab, keeper):
    """At the limit of a file's size (LimitFSIZE=, ulimit -f) lines are lost, and nothing else."""
    limpid = keeper.get(configs.EVERY_WAY + "log: { level: warning }\n",
                        ("prlimit", "--fsize=4096:4096", "--"))
    way = Way(lab)
    listener = way.listen()
    for _ in range(12):
        client, server = way.pair(listener)
        client.sendall(b"x")
        assert read_exactly(server, 1) == b"x"
        client.close()
        server.close()
    eventually(lambda: "lost" in limpid.stderr(), "the loss is said")
    keeper.stop()
