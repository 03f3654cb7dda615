# SPDX-License-Identifier: Apache-2.0
"""More than there is room for: connections, flows in turn, readers that do not read.

100,000 flows go through one limpid in turn here; LIMPID_STRESS_FLOWS=1000000 makes it a million,
which takes a few minutes.
"""
import json
import os
import resource
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from lab import configs, fault, sock
from lab.limpid import binary, sanitized
from lab.origin import SMALL, Origin, flow
from lab.sock import Background, eventually, pattern, read_at_most, read_exactly
from lab.topology import OFFLOAD_PORT, SERVER_2, Way

pytestmark = pytest.mark.skipif(fault.library() is None,
                                reason="tests/fault.so is not beside the program")
LOAD = os.path.join(os.path.dirname(os.path.realpath(binary())), "tests", "load")


# --- 20,000 at once ---------------------------------------------------------------------------
CROWD = textwrap.dedent("""
    import resource, socket, sys, time
    source, address, port, first, n = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    resource.setrlimit(resource.RLIMIT_NOFILE, (n + 50, n + 50))
    sockets = []
    for i in range(n):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setblocking(False)
        s.bind((source, first + i))
        s.connect_ex((address, port))
        sockets.append(s)
    print("begun", flush=True)
    sys.stdin.read()
""")


class Connections:
    """Many connections begun at once, by several processes: none may have so many descriptors."""

    def __init__(self, way, address, first_port, n, processes=4):
        self.parts = []
        for i in range(processes):
            argv = [sys.executable, "-c", CROWD, way.client, address, str(way.port),
                    str(first_port + i * (n // processes)), str(n // processes)]
            with way.lab.client.enter():
                # pylint: disable-next=consider-using-with
                self.parts.append(subprocess.Popen(argv, stdin=subprocess.PIPE,
                                                   stdout=subprocess.PIPE))

    def begun(self):
        for part in self.parts:
            assert part.stdout.readline() == b"begun\n"

    def end(self):
        for part in self.parts:
            part.communicate()


def ping(client, server, text):
    client.sendall(text)
    assert read_exactly(server, len(text)) == text
    server.sendall(text)
    assert read_exactly(client, len(text)) == text


def served(lab, listener, text):
    """Take what is left of the crowd until somebody says @text."""
    while True:
        s = lab.accept(listener)
        try:
            if read_at_most(s, len(text)) == text:
                return s
        except (ConnectionError, TimeoutError):
            pass
        s.close()


@pytest.mark.tsan
@pytest.mark.parametrize("limits, first_port", [
    pytest.param("", 10_000, id="of-flows"),
    pytest.param("limits: { flows: 100000 }\n", 30_000, id="of-descriptors")])
def test_twenty_thousand_against_a_thousand_descriptors(keeper, lab, tmp_path, limits, first_port):
    """With the default limit of flows accepting pauses, and connections wait in the backlog;
    with one that is too high the kernel says EMFILE.  Either way what flows goes on, nothing
    spins while there is nothing to do, and afterwards all is as before."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 5100:
        pytest.skip("5,100 descriptors are needed for each of the client's processes")
    way = Way(lab)
    faults = fault.Fault(tmp_path / "fault")
    limpid = keeper.get(configs.EVERY_WAY + limits,
                        [*faults.prefix(), "prlimit", "--nofile=1000:1000", "--"])
    listener = way.listen(address=SERVER_2[4])  # a server that no other test dials so often
    listener.listen(8192)
    client, server = way.pair(listener, address=SERVER_2[4])
    before = limpid.descriptors()
    crowd = Connections(way, SERVER_2[4], first_port, 20_000)
    try:
        crowd.begun()
        eventually(lambda: limpid.descriptors() > 800, "it takes what it can")
        assert limpid.descriptors() <= 1000
        ping(client, server, pattern(100_000))
        faults.set(["epoll_wait", "accept"])  # counted, none fails
        for i in range(100):
            ping(client, server, pattern(1000, i))
        calls = faults.seen
        if not limits:
            time.sleep(1)
            # a round trip needs two rounds; a pause is over ten times a second in each worker
            assert calls < 100 * 4 + 1000 and faults.seen - calls < 1000, "it spins"
    finally:
        crowd.end()
    found = Background(served, lab, listener, b"recovered")
    again = way.connect(SERVER_2[4])
    again.sendall(b"recovered")
    ping(again, found.result(), b"and back")
    ping(client, server, pattern(100_000))
    for s in (again, client, server):
        s.close()
    lab.close_sockets()
    eventually(lambda: limpid.descriptors() <= before, "descriptors come back")
    keeper.stop()


# --- one after the other ----------------------------------------------------------------------
def load(lab, ports, count):
    """That many short flows from the client to an echo, 16 at a time."""
    argv = [LOAD, "client", "--to", "10.77.2.2", "--port", "7100", "--ports", str(ports),
            "--from", "10.77.1.2", "--conns", "16", "--close", "--count", str(count)]
    with lab.client.enter():
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_flows_in_turn_without_growth(keeper, lab):
    """Memory and descriptors after all of them are what they were after the first tenth."""
    flows = int(os.environ.get("LIMPID_STRESS_FLOWS", 10_000 if sanitized() else 100_000))
    ports = 8 + flows // 20_000  # so that no address comes back while its TIME_WAIT lasts
    for namespace in (lab.client, lab.proxy, lab.server):
        namespace.sysctl(net__ipv4__tcp_tw_reuse=1)
    limpid = keeper.get(configs.LISTENERS + """
rules: [ { name: all, action: accept, source: keep-address } ]
log: { level: warning }
""")
    with lab.server.enter():
        # pylint: disable-next=consider-using-with
        origin = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", LOAD, "server",
                                   f"echo:7100-{7100 + ports - 1}"], stdout=subprocess.PIPE)
    try:
        assert origin.stdout.readline()
        load(lab, ports, flows // 10)
        first_bytes, first = limpid.rss_bytes(), limpid.descriptors()
        done = load(lab, ports, flows - flows // 10)
        assert done["units"] + done["errors"] >= flows - flows // 10
        assert done["errors"] <= flows // 1000, done
        grown = limpid.rss_bytes() - first_bytes
        print(f"{flows} flows: {first_bytes >> 10} KiB, then {grown >> 10} KiB more")
        if not sanitized():
            assert grown <= 512 << 10, f"grew by {grown} bytes"
        eventually(lambda: limpid.descriptors() <= first, "descriptors come back")
    finally:
        origin.kill()
        origin.communicate()
    keeper.stop()


# --- readers that do not read -----------------------------------------------------------------
@pytest.mark.tsan
def test_many_slow_readers(lab, serve):
    """Five in each lane, for each offload: senders wait, others are served as ever, memory is a
    read for each, and all arrives in the end."""
    limpid = serve(configs.EVERY_WAY)
    before = limpid.rss_bytes()
    flows = []
    for offload in OFFLOAD_PORT:
        way = Way(lab, "tproxy", 4, offload)
        listener = way.listen(rcvbuf_bytes=65536)
        for i in range(10):
            client = way.socket()
            if i % 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client.connect((way.server, way.port))
            server = lab.accept(listener)
            flows.append((server, client) if i % 2 else (client, server))
    sent = [Background(sock.fill, sender) for sender, _ in flows]
    sent = [s.result() for s in sent]
    grown = limpid.rss_bytes() - before
    if not sanitized():
        assert grown < len(flows) * (300 << 10), f"limpid grew by {grown} bytes"

    way = Way(lab, "redirect", 6)
    origin = Origin([way])
    for i in range(20):
        outcome = flow(way, SMALL, i)
        assert outcome.whole, outcome
    origin.close()

    readers = [Background(sock.receive_sum, reader) for _, reader in flows]
    for sender, _ in flows:
        sender.shutdown(socket.SHUT_WR)
    assert [r.result() for r in readers] == sent
