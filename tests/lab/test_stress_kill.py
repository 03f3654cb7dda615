# SPDX-License-Identifier: Apache-2.0
"""KILL at any moment: who loses bytes sees a RST, and nothing stays behind on the host."""
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid

import pytest

from lab import configs
from lab.limpid import Limpid, binary
from lab.netns import Namespace
from lab.origin import BULK, MIDDLE, SMALL, Origin, flow
from lab.sock import Background, eventually, pattern
from lab.topology import Way

MOMENTS = 8


def ports_taken(namespace):
    """Local ports of TCP sockets in a namespace that belong to somebody."""
    out = namespace.run("ss", "-Htanp", "state", "all")
    return [line for line in out.splitlines() if "users:" in line]


def test_serve_is_killed_with_traffic(keeper, lab, tmp_path):
    """At random moments, with flows of all sizes under way: no end looks orderly in mid-data, no
    socket stays, and the next start takes the same ports at once."""
    keeper.stop()
    ways = [Way(lab, "tproxy", 4, "auto"), Way(lab, "tproxy", 6, "splice"),
            Way(lab, "redirect", 4, "copy"), Way(lab, "redirect", 6, "auto")]
    origin = Origin(ways)
    pick = random.Random(20)
    broken = 0
    for moment in range(MOMENTS):
        limpid = Limpid(lab.proxy, configs.EVERY_WAY, tmp_path / str(moment))
        flows = [Background(flow, ways[i % 4], (SMALL, BULK, MIDDLE, BULK)[i // 4], i)
                 for i in range(16)]
        deadline = time.monotonic() + pick.uniform(0, 0.06)
        while time.monotonic() < deadline and any(f.is_alive() for f in flows):
            pass
        limpid.kill()
        outcomes = [f.result() for f in flows]
        assert not [o for o in outcomes if o.error]
        assert ports_taken(lab.proxy) == []
        broken += sum(not o.whole for o in outcomes)
    assert broken, "always too late: the test tests nothing"
    origin.close()
    assert not origin.cut, origin.cut[:5]


# --- run --------------------------------------------------------------------------------------
COMMAND = textwrap.dedent("""
    import socket, sys
    while True:
        s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        while s.recv(1 << 20):
            pass
""")


def processes_with(word):
    """Pids of those that have @word in their environment."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit():
                with open(f"/proc/{name}/environ", "rb") as f:
                    if word in f.read():
                        found.append(int(name))
        except OSError:
            pass
    return found


def processes_of(program):
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.path.samefile(f"/proc/{name}/exe", program):
                found.append(int(name))
        except OSError:
            pass
    return found


def network_namespaces(pids):
    found = set()
    for pid in pids:
        try:
            found.add(os.readlink(f"/proc/{pid}/ns/net"))
        except OSError:
            pass
    return found


class Host:
    """A loopback with a server that sends 3 MB to whoever comes."""

    SIZE = 3_000_000

    def __init__(self):
        self.namespace = Namespace()
        self.namespace.ip("link set lo up\naddr add 10.99.0.1/32 dev lo")
        with self.namespace.enter():
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.link = os.readlink("/proc/thread-self/ns/net")
        self.begun = 0
        self._thread = Background(self._serve)

    @property
    def port(self):
        return self.listener.getsockname()[1]

    def _serve(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.begun += 1
            try:
                with s:
                    s.sendall(pattern(self.SIZE))
                    s.shutdown(socket.SHUT_WR)
                    s.recv(1)
            except OSError:
                pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self._thread.result()
        self.listener.close()
        self.namespace.close()


@pytest.fixture
def open_folder():
    """The build may be where nobody cannot read."""
    with tempfile.TemporaryDirectory(prefix="limpid-kill-") as folder:
        os.chmod(folder, 0o755)
        yield folder


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_run_is_killed_with_traffic(user, open_folder):
    """At random moments, also of its start: the command dies with limpid, and the namespace and
    all sockets with the command."""
    host = Host()
    program = shutil.copy(binary(), open_folder)
    prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
    pick = random.Random(21)
    made = set()
    try:
        for moment in range(MOMENTS):
            mark = uuid.uuid4().hex
            begun = host.begun
            with host.namespace.enter():
                # pylint: disable-next=consider-using-with
                limpid = subprocess.Popen(
                    [*(prefix if user == "nobody" else []), program, "run", "-q", "--",
                     sys.executable, "-c", COMMAND, str(host.port)],
                    env={**os.environ, "LIMPID_TEST_MARK": mark}, stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            # half of them during the start, which takes some tens of milliseconds
            if moment % 2 == 0:
                eventually(lambda begun=begun: host.begun > begun, "the command has begun")
            time.sleep(pick.uniform(0, 0.05 if moment % 2 else 0.2))
            made |= network_namespaces(processes_with(mark.encode()))
            limpid.send_signal(signal.SIGKILL)
            limpid.wait()
            eventually(lambda mark=mark: not processes_with(mark.encode()), "processes are gone")
            eventually(lambda: ports_taken(host.namespace) == [] or all(
                str(os.getpid()) in line for line in ports_taken(host.namespace)),
                "sockets are gone")
        made.discard(host.link)
        assert made, "no namespace was seen: the test tests nothing"
        # Not by number: those come round again, for namespaces of others.
        assert not processes_of(program)
    finally:
        host.close()
