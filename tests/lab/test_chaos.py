# SPDX-License-Identifier: Apache-2.0
"""The most telling scenarios once more, while the order and the size of what limpid sees are
disturbed as chaos.c says.  CHAOS_SEED=N tries other orders."""
import os
import pathlib
import subprocess
import sys

import pytest

from lab import chaos, configs, sock
from lab.topology import Way

HERE = pathlib.Path(__file__).resolve().parent
PINNED = 7  # every round begins late
SEED = int(os.environ.get("CHAOS_SEED", PINNED))
WAYS = ("tproxy-v4-auto", "redirect-v6-splice")
SCENARIOS = [
    *(f"test_contract.py::test_{name}[{way}]" for way in WAYS for name in (
        "bulk_both_ways_through_every_switch", "one_direction_stalled_the_other_flows",
        "half_close_both_at_once", "data_and_fin_at_once", "server_speaks_first",
        "bytes_before_a_reset_by_server_arrive", "reset_by_client_mid_transfer")),
    "test_http_storm.py",
    "test_http_bulk.py::test_events_of_both_ends_in_one_round",
    "test_http_rare.py::test_server_closes_in_the_same_round",
    "test_http_rare.py::test_trailers_of_both_directions_at_once",
    "test_socks.py::test_many_tunnels",
    "test_socks_bind.py::test_many",
    "test_socks_udp.py::test_there_and_back",
    "test_udp.py::test_every_size_whole",
    "test_udp.py::test_trains_of_datagrams[v4-9000]",
    "test_tls.py::test_bulk_both_ways",
    "test_tls.py::test_one_byte_per_segment",
]

pytestmark = pytest.mark.skipif(chaos.library() is None,
                                reason="tests/chaos.so is not beside the program")


@pytest.mark.parametrize("seed", [SEED])
def test_disturbed(seed):
    """Each as it is where nothing is disturbed, by a pytest of its own."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                           *(HERE / name for name in SCENARIOS)], env=chaos.environment(seed),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=110)
    assert done.returncode == 0, done.stdout


def test_it_does_disturb(lab, keeper, monkeypatch):
    """Or the others would show nothing: what is sent at once comes in pieces now and then."""
    for key, value in chaos.environment(PINNED).items():
        monkeypatch.setenv(key, value)
    keeper.stop()
    keeper.get(configs.EVERY_WAY)
    client, server = Way(lab, "tproxy", 4, "copy").pair()
    n_pieces = 0
    for _ in range(100):
        client.sendall(bytes(500))
        n = len(server.recv(500))
        n_pieces += n < 500
        sock.read_exactly(server, 500 - n)
        server.sendall(b"next")
        sock.read_exactly(client, 4)
    assert n_pieces > 0
    lab.close_sockets()
    keeper.stop()
