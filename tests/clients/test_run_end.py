# SPDX-License-Identifier: Apache-2.0
"""What a command leaves behind when it ends."""
import socket
import subprocess
import time

import pytest

from test_run import python

UPLOAD = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
s.sendall(bytes(4_000_000))
"""


# Slowly: for seconds the kernel has no room for more, though it sends all the time.
@pytest.mark.parametrize("slow_reads", [0, 20], ids=["steadily", "slowly"])
def test_upload_of_a_command_that_has_ended(host, user, slow_reads):
    """The kernel would go on delivering what a program wrote before it exited; so does limpid,
    however slowly the server reads, and even when limpid itself has ended."""
    with host.ns.enter():
        listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    listener.settimeout(20)
    child = host.popen(user, *python(UPLOAD, *listener.getsockname()), stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE)
    conn, _ = listener.accept()
    conn.settimeout(20)
    got = reads = 0
    while chunk := conn.recv(20000):
        got, reads = got + len(chunk), reads + 1
        time.sleep(0.2 if reads < slow_reads else 0.005)
    assert got == 4_000_000
    assert child.wait(20) == 0
    child.stderr.close()
    conn.close()
    listener.close()
