# SPDX-License-Identifier: Apache-2.0
"""Programs that link the installed library, with real traffic through them."""
import itertools
import re
import signal
import socket

import pytest

from lab import configs
from lab.installed import Installed, Program
from lab.limpid import Records
from lab.names import NS
from lab.nameserver import NameServer
from lab.sock import (Background, eventually, pattern, read_exactly, read_to_end, read_to_reset,
                      reset, receive_sum, send_phases, silent)
from lab.topology import PROXY, UNREACHABLE, Way

TPROXY = {4: "127.0.0.1:50080", 6: "[::1]:50080"}
LISTENS = {4: ("tcp", 50080), 6: ("tcp6", 50080)}
EVERYWHERE = [("tcp", 50080), ("tcp6", 50080), ("tcp", 51080), ("tcp6", 51080)]
LABEL = "<label>"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("installed"))


@pytest.fixture(params=["shared", "static"])
def linkage(request):
    return request.param


@pytest.fixture
def start(installed, lab, keeper, tmp_path):
    """start(program, arguments, ports): it runs beside the proxy's rules until the test ends."""
    keeper.stop()  # its ports are wanted
    numbers = itertools.count()
    running = []

    def run(program, *arguments, ports):
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        running.append(Program(installed, lab.proxy, [program, *arguments], folder, ports))
        return running[-1]

    yield run
    lab.close_sockets()
    for program in running:
        program.kill()


@pytest.fixture
def liproxy(installed, start):
    """liproxy(family, arguments): it listens where tproxy sends that family."""
    def run(family, *arguments, linkage="shared"):
        program = installed.build("examples/liproxy.c", linkage)
        return start(program, "-bindAddr", TPROXY[family], *arguments, ports=[LISTENS[family]])
    return run


def text(name):
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


# --- liproxy ----------------------------------------------------------------------------------
def test_label_after_each_block(liproxy, lab, family, linkage):
    """The text of the original: after each block, both ways; and the server sees the client."""
    liproxy(family, "-insertionLabel", LABEL, linkage=linkage)
    way = Way(lab, "tproxy", family)
    client, server = way.pair()
    assert server.getpeername()[:2] == client.getsockname()[:2]
    for word in (b"one", b"two", b"three"):
        client.sendall(word)
        assert read_exactly(server, len(word) + len(LABEL)) == word + LABEL.encode()
        server.sendall(word[::-1])
        assert read_exactly(client, len(word) + len(LABEL)) == word[::-1] + LABEL.encode()
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b"", "no label after the end"
    server.sendall(b"late")
    server.close()
    assert read_to_end(client) == b"late" + LABEL.encode()


def test_label_before_each_block(liproxy, lab):
    """The code of the original, by a flag; other spellings of the flags."""
    liproxy(4, f"--insertionLabel={LABEL}", "-prepend")
    client, server = Way(lab).pair()
    client.sendall(b"one")
    assert read_exactly(server, 3 + len(LABEL)) == LABEL.encode() + b"one"
    server.sendall(b"two")
    assert read_exactly(client, 3 + len(LABEL)) == LABEL.encode() + b"two"


@pytest.mark.parametrize("argument", [(), ("-prepend",)], ids=["append", "prepend"])
def test_bulk_with_labels(liproxy, lab, argument):
    """Blocks begin and end anywhere: without the labels it is what was sent, both ways at once."""
    liproxy(4, "-insertionLabel", LABEL, *argument)
    client, server = Way(lab).pair()
    up, down = pattern(5_000_000, 1), pattern(3_000_000, 2)
    assert LABEL.encode() not in up + down
    jobs = [Background(client.sendall, up), Background(server.sendall, down)]
    readers = [Background(read_to_end, server), Background(read_to_end, client)]
    for job, end in zip(jobs, (client, server)):
        job.result()
        end.shutdown(socket.SHUT_WR)
    for reader, sent in zip(readers, (up, down)):
        got = reader.result()
        assert got.count(LABEL.encode()) >= 10
        assert got.replace(LABEL.encode(), b"") == sent


def test_events_are_printed(liproxy, lab, family):
    program = liproxy(family)
    way = Way(lab, "tproxy", family)
    client, server = way.pair()
    flow = f"{text(client.getsockname())} => {text(server.getsockname())}"
    client.sendall(b"hello")
    assert read_exactly(server, 5) == b"hello", "without a label nothing is inserted"
    client.close()
    assert server.recv(1) == b""
    program.line("clientClosedFlow " + re.escape(flow))
    server.close()
    program.line("serverClosedFlow " + re.escape(flow))
    assert [line for line in program.lines() if flow in line] == [
        f"receivedIncomingClientsideFlow {flow}", f"initiatingOutgoingServersideFlow {flow}",
        f"clientClosedFlow {flow}", f"serverClosedFlow {flow}"]


def test_events_of_failures(liproxy, lab):
    program = liproxy(4)
    way = Way(lab)
    way.connect_to_reset(UNREACHABLE[4])
    program.line(r"proxyError 10\.77\.1\.2:\d+ => 10\.77\.3\.2:7000: .*")
    client, server = way.pair()
    reset(server)
    read_to_reset(client)
    program.line(r"serverClosedFlow 10\.77\.1\.2:\d+ => 10\.77\.2\.2:7000: reset")


def test_listen_error(liproxy):
    liproxy(4)
    second = liproxy(4)
    assert second.wait() == 1
    second.line(r"listenError 127\.0\.0\.1:50080: Address already in use")


def test_default_address(installed, start):
    start(installed.build("examples/liproxy.c", "shared"), ports=[("tcp", 9091)])


@pytest.mark.parametrize("arguments", [("-nonsense",), ("word",), ("-bindAddr",)], ids=str)
def test_wrong_usage(installed, start, arguments):
    program = start(installed.build("examples/liproxy.c", "shared"), *arguments, ports=[("x", 0)])
    assert program.wait() == 2
    assert "usage: liproxy" in program.err.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ends_on_signals(liproxy, lab, number):
    """Also with a flow open, which is reset."""
    program = liproxy(4, "-insertionLabel", LABEL)
    client, _ = Way(lab).pair()
    program.process.send_signal(number)
    assert program.wait() == 0
    read_to_reset(client)


# --- count ------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [(), ("-copy",)], ids=["pass", "copy"])
def test_count(installed, start, lab, tmp_path, linkage, options):
    """Nothing of what passes it is changed, and it sees each byte."""
    config = tmp_path / "limpid.yaml"
    config.write_text(configs.EVERY_WAY.replace("@FLOWS@", str(tmp_path / "flows")))
    program = start(installed.build("examples/count.c", linkage), *options, config,
                    ports=EVERYWHERE)
    client, server = Way(lab, "tproxy", 6, "splice").pair()
    flow = f"{text(client.getsockname())} => {text(server.getsockname())}"
    sent = Background(send_phases, client, [(1, 500), (70_000, 200), (3000, 500)], 3)
    received = Background(receive_sum, server)
    total = sent.result()
    server.sendall(b"x" * 1000)
    client.shutdown(socket.SHUT_WR)
    assert received.result() == total
    server.close()
    assert read_to_end(client) == b"x" * 1000
    client.close()
    program.line(re.escape(f"{flow}: {total[0]} up, 1000 down, finished"))
    record = Records(tmp_path / "flows").wait(lambda r: True)
    assert record["limpid"]["offload"] == "copy", "somebody was looking"
    program.process.send_signal(signal.SIGTERM)
    assert program.wait() == 0


def test_queries_are_recorded(installed, start, lab, tmp_path):
    """What a listener of mode dns answers stands in the records, as with `limpid serve`."""
    config = tmp_path / "limpid.yaml"
    config.write_text(f"""
listeners: [{{ name: names, mode: dns, address: ["{PROXY[4]}:5353"] }}]
rules: [{{ name: all, action: accept }}]
resolver: {{ servers: ["{NS}"] }}
record: {{ flows: {{ file: {tmp_path}/flows }} }}
""")
    server = NameServer(lab.server, NS, {"db.test": ["A 192.0.2.7"]})
    try:
        program = start(installed.build("examples/count.c", "shared"), config,
                        ports=[("tcp", 5353)])
        eventually(lambda: ":5353 " in lab.proxy.run("ss", "-lnuH"), "it listens by UDP, too")
        assert lab.client.run("dig", "+short", "+tries=1", "+time=10", f"@{PROXY[4]}", "-p", "5353",
                              "db.test", "A") == "192.0.2.7\n"
        record = Records(tmp_path / "flows").wait(lambda r: r["event_type"] == "dns")
        assert record["dns"]["rrname"] == "db.test"
        program.process.send_signal(signal.SIGTERM)
        assert program.wait() == 0
    finally:
        server.close()


# --- several engines --------------------------------------------------------------------------
FIRST = """
listeners: [{ name: a, mode: tproxy, address: ["127.0.0.1:50080", "[::1]:50080"] }]
rules: [{ name: yes, action: accept, source: keep }]
record: { flows: { file: "@FLOWS@-first" } }
"""
SECOND = """
listeners: [{ name: b, mode: redirect, address: ["0.0.0.0:51080", "[::]:51080"] }]
rules:
  - { name: none, match: { port: 7001 }, action: reject }
  - { name: own, action: accept }
record: { flows: { file: "@FLOWS@-second" } }
"""


@pytest.fixture
def embed(installed, start, tmp_path):
    for name, config in (("first", FIRST), ("second", SECOND)):
        (tmp_path / name).write_text(config.replace("@FLOWS@", str(tmp_path / "flows")))
    program = start(installed.build("tests/lab/programs/embed.c", "shared"), tmp_path / "first",
                    tmp_path / "second", ports=EVERYWHERE)
    program.line("both")
    return program


@pytest.mark.tsan
def test_two_engines_and_a_third(embed, lab):
    """At once with other policies, and one after the other; none says a word unasked."""
    first, second = Way(lab, "tproxy", 4), Way(lab, "redirect", 4)
    client, server = first.pair()
    client.sendall(b"small")
    assert read_exactly(server, 5) == b"SMALL"
    other, other_server = second.pair(second.listen(7002), port=7002)
    other.sendall(b"small")
    assert read_exactly(other_server, 5) == b"small"
    second.connect_to_reset(port=7001)
    embed.line("second none rejected")

    embed.process.send_signal(signal.SIGTERM)
    embed.line("second own shutdown")
    read_to_reset(other)
    embed.line("draining")
    client.sendall(b"still here")
    assert read_exactly(server, 10) == b"STILL HERE"
    assert silent(client)
    client.close()
    server.close()
    embed.line("first yes finished")

    embed.line("third")
    client, server = first.pair(first.listen(7003), port=7003)
    client.sendall(b"small")
    assert read_exactly(server, 5) == b"small"
    embed.process.send_signal(signal.SIGTERM)
    assert embed.wait() == 0
    embed.line("third yes shutdown")
    assert not embed.err.read_text()


def test_leaving_in_mid_flow_makes_it_fast(embed, lab, tmp_path):
    """What comes behind the dot is neither shown nor copied."""
    client, server = Way(lab).pair()
    client.sendall(b"small")
    assert read_exactly(server, 5) == b"SMALL"
    server.sendall(b"down")
    assert read_exactly(client, 4) == b"DOWN"
    client.sendall(b"dot.")
    assert read_exactly(server, 4) == b"DOT."
    sent = Background(send_phases, client, [(100_000, 400)], 3)
    received = Background(receive_sum, server)
    total = sent.result()
    client.shutdown(socket.SHUT_WR)
    assert received.result() == total
    server.sendall(b"down")
    server.close()
    assert read_to_end(client) == b"down"
    name = client.getsockname()
    record = Records(tmp_path / "flows-first").of(name)
    assert record["limpid"]["offload"] == "splice"
    assert record["flow"]["bytes_toserver"] == total[0] + 9
