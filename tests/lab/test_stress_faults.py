# SPDX-License-Identifier: Apache-2.0
"""Allocations and system calls that fail under traffic: flows that are hit end with RST, the
others are whole, and once nothing fails any more all is as before."""
import itertools
import os
import time

import pytest

from lab import configs, fault
from lab.http import LISTENERS, Client
from lab.limpid import sanitized
from lab.origin import BULK, MIDDLE, SMALL, Origin, flow
from lab.sock import Background, eventually
from lab.topology import SERVER, Way

pytestmark = pytest.mark.skipif(fault.library() is None,
                                reason="tests/fault.so is not beside the program")

# A rule about a name, so that nothing is decided before the client's first bytes are seen.
CONFIG = configs.LISTENERS + """
rules:
  - { name: no, match: { domain: deny.test }, action: deny }
""" + configs.EVERY_WAY_RULES.replace("rules:\n", "") + """
timeouts: { connect: 2s, sniff: 2s, deny: 100ms, half-closed: 500ms, idle: 10s }
""" + configs.RECORD

# What a worker calls while it carries flows.
TRAFFIC = ["alloc", "mmap", "accept", "socket", "connect", "bind", "setsockopt", "getsockopt",
           "getsockname", "epoll_ctl", "epoll_wait", "splice", "pipe", "fcntl", "recv", "send",
           "shutdown", "ioctl", "write"]
FLOWS = 20


def without_pipes(limpid):
    """Descriptors of the process; pipes stay in their pool."""
    folder = f"/proc/{limpid.pid}/fd"
    names = []
    for fd in os.listdir(folder):
        try:
            names.append(os.readlink(f"{folder}/{fd}"))
        except FileNotFoundError:
            pass
    return sum(not name.startswith("pipe:") for name in names)


class Crowd:
    """Flows of all sizes in several ways at once; of each ten, one is denied by policy and one
    reset by its server."""

    HOSTS = {8: "deny.test", 9: "gone.test"}

    def __init__(self, lab):
        self.ways = [Way(lab, "tproxy", 4, "auto"), Way(lab, "tproxy", 4, "splice"),
                     Way(lab, "redirect", 4, "copy"), Way(lab, "tproxy", 6, "auto")]
        self.origin = Origin(self.ways)
        self.seed = itertools.count(1)

    def start(self, n):
        return [Background(flow, self.ways[i % 4], (SMALL, MIDDLE, SMALL, BULK, SMALL)[i % 5],
                           next(self.seed), self.HOSTS.get(i % 10, "good.test"), i % 3 == 0)
                for i in range(n)]

    def close(self):
        self.origin.close()

    @staticmethod
    def outcomes(flows):
        done = [f.result() for f in flows]
        assert not [o for o in done if o.error]
        return done


@pytest.fixture
def crowd(lab):
    c = Crowd(lab)
    yield c
    c.close()


def records_of(limpid, outcomes):
    """Each flow of @outcomes has its record."""
    names = {o.name[:2] for o in outcomes}
    return limpid.records.wait(
        lambda r: (r["src_ip"], r["src_port"]) in names, count=max(len(names), 2))


@pytest.mark.parametrize("kinds", [
    *(pytest.param([k], id=k) for k in TRAFFIC),
    pytest.param(["accept", "epoll_ctl"], id="accept-and-epoll_ctl"),
    pytest.param(TRAFFIC, id="all", marks=pytest.mark.tsan)])
def test_calls_fail_under_traffic(keeper, crowd, tmp_path, kinds):
    """Every n-th call of a kind fails, for several n, while flows come and go."""
    if kinds == ["mmap"] and sanitized():
        pytest.skip("only the pool of flows calls mmap(), and not under a sanitizer")
    faults = fault.Fault(tmp_path / "fault")
    limpid = keeper.get(CONFIG + f"# {kinds}\n", faults.prefix())
    hit = 0
    before = without_pipes(limpid)
    for every in (1, 3, 11):
        with faults.failing(kinds, every):
            flows = crowd.start(FLOWS)
            deadline = time.monotonic() + 1
            while any(f.is_alive() for f in flows) and time.monotonic() < deadline:
                time.sleep(0.01)
        hit += faults.failed
        done = crowd.outcomes(flows)
        if not {"alloc", "mmap", "write"} & set(kinds):
            for r in records_of(limpid, done):
                assert r["limpid"]["why"] != "open"
    assert hit, "nothing failed: the test tests nothing"
    peace = crowd.outcomes(crowd.start(FLOWS))
    assert sum(o.whole for o in peace) == FLOWS * 8 // 10, "it has not recovered"
    assert not crowd.origin.cut, crowd.origin.cut[:5]
    assert crowd.origin.hosts == {"good.test", "gone.test"}, "what is denied went through"
    eventually(lambda: without_pipes(limpid) <= before, "descriptors come back")
    keeper.stop()


def answer_all(listener):
    """One request for each connection; some are reset before they say anything."""
    while True:
        try:
            s, _ = listener.accept()
        except OSError:
            return
        with s:
            try:
                if s.recv(1 << 16):
                    s.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n"
                              b"\r\nok")
            except OSError:
                pass


def status(client, request):
    """0: no answer, the connection has ended."""
    try:
        return client.ask(request).status
    except (ConnectionError, AssertionError):
        return 0


def test_memory_lacks_for_an_exchange(keeper, lab, tmp_path):
    """A client of an HTTP proxy asks again, whatever allocation its last request has lacked:
    nothing of that one is left (a sanitizer would say so)."""
    faults = fault.Fault(tmp_path / "fault")
    keeper.get(LISTENERS + configs.LISTENERS.replace("listeners:\n", "") +
               "rules: [ { name: all, action: accept } ]" + configs.RECORD, faults.prefix())
    Background(answer_all, lab.listen(4, SERVER[4], 7000))
    request = f"GET http://{SERVER[4]}:7000/ HTTP/1.1\r\nHost: {SERVER[4]}:7000\r\n\r\n"
    answers, client = set(), Client(lab)
    for n in range(1, 20):
        faults.set(["alloc"], n)
        answers.add(status(client, request))
        faults.off()
        if status(client, request) != 200:  # it was reset, or told that this was the last
            client = Client(lab)
            assert status(client, request) == 200
    assert 200 in answers and max(answers) >= 500
    lab.close_sockets()
    keeper.stop()
