# SPDX-License-Identifier: Apache-2.0
"""Many sessions of datagrams, one after the other: what they leave behind."""
import json
import os
import subprocess

import pytest

from lab.limpid import binary, sanitized
from lab.sock import eventually
from lab.topology import CLIENT, SERVER

LOAD = os.path.join(os.path.dirname(os.path.realpath(binary())), "tests", "load")
SESSIONS = 10_000 if sanitized() else 100_000
PORTS = 8

pytestmark = pytest.mark.skipif(not os.path.exists(LOAD),
                                reason="tests/load is not beside the program")


@pytest.fixture
def origin(lab):
    with lab.server.enter():
        # pylint: disable-next=consider-using-with
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", LOAD, "server",
                                    f"udp:7100-{7100 + PORTS - 1}"], stdout=subprocess.PIPE)
    assert process.stdout.readline()
    yield
    process.kill()
    process.communicate()


def sessions(lab, count):
    """One datagram and its answer on each of that many sockets, 32 at a time."""
    argv = [LOAD, "client", "--app", "udp", "--to", SERVER[4], "--port", "7100", "--ports",
            str(PORTS), "--from", CLIENT["tproxy"][4], "--conns", "32", "--close", "--count",
            str(count)]
    with lab.client.enter():
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def listens(limpid, port):
    with open(f"/proc/{limpid.pid}/net/udp", encoding="ascii") as f:
        return f":{port:04X} " in f.read()


def test_sessions_in_turn_leave_nothing(serve, lab, origin):
    """More than there may be at once, from one client: who has got its answer makes room, so
    none is refused; afterwards there is no descriptor and no memory that was not there after
    the first tenth."""
    limpid = serve("""
listeners:
  - { name: routed, mode: tproxy, network: udp, address: "127.0.0.1:50080" }
rules: [ { name: all, action: accept } ]
timeouts: { udp: 1s }
log: { level: warning }
""")
    eventually(lambda: listens(limpid, 50080), "it listens")
    before = limpid.descriptors()
    assert sessions(lab, SESSIONS // 10)["units"] >= SESSIONS // 10 * 0.99
    assert limpid.descriptors() > before  # they last for a second
    eventually(lambda: limpid.descriptors() <= before, "descriptors come back")
    first_bytes = limpid.rss_bytes()
    done = sessions(lab, SESSIONS - SESSIONS // 10)
    assert done["errors"] <= SESSIONS // 1000, done
    eventually(lambda: limpid.descriptors() <= before, "descriptors come back")
    grown = limpid.rss_bytes() - first_bytes
    print(f"{SESSIONS} sessions: {first_bytes >> 10} KiB, then {grown >> 10} KiB more")
    if not sanitized():
        assert grown <= 512 << 10, f"grew by {grown} bytes"
