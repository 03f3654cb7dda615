# SPDX-License-Identifier: Apache-2.0
"""Keys of `limits` that no scenario of another file shows the effect of."""
import os

import pytest

from lab import configs
from lab.sock import read_to_reset
from lab.topology import Way

NAMED = """
  - { name: named, match: { domain: good.test }, action: accept }
"""
HEAD = b"GET / HTTP/1.1\r\nX: " + b"x" * 3000 + b"\r\nHost: good.test\r\n\r\n"


@pytest.fixture
def plain(lab):
    return Way(lab, "tproxy", 4)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads(serve, threads):
    """One for each worker, and two more: the first, and the one that writes records."""
    limpid = serve(configs.EVERY_WAY + f"limits: {{ threads: {threads} }}\n")
    assert len(os.listdir(f"/proc/{limpid.process.pid}/task")) == threads + 2


def test_look_ahead_enough(plain, serve):
    serve(configs.rules(NAMED, more="limits: { look-ahead: 4KiB }"))
    listener = plain.listen()
    client = plain.connect()
    client.sendall(HEAD)
    assert plain.lab.accept(listener).recv(3) == b"GET"


def test_look_ahead_too_short(plain, serve):
    """A name that policy needs and that stands behind limits.look-ahead is never seen."""
    limpid = serve(configs.rules(NAMED, more="limits: { look-ahead: 2KiB }"))
    client = plain.connect()
    client.sendall(HEAD)
    assert read_to_reset(client) == b""
    assert limpid.records.of(client.getsockname())["limpid"]["why"] == "look-ahead"
