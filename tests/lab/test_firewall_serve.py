# SPDX-License-Identifier: Apache-2.0
"""limpid serve --firewall: the rules live as long as limpid, whatever ends it."""
import os
import random
import signal
import socket
import subprocess

import pytest

from lab.ground import OWN, config, snapshot
from lab.limpid import binary
from lab.sock import eventually, read_exactly
from lab.topology import CLIENT, SERVER

LOCAL = config("  intercept: [ { listener: routed, traffic: [routed, local] } ]\n")


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def pair(host, listener):
    client = host.lab.socket(host.lab.client, 4)
    client.bind((CLIENT["tproxy"][4], host.lab.free_port()))
    client.connect(listener.getsockname())
    return client, host.lab.accept(listener)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_rules_come_and_go_with_it(host, number):
    limpid = host.serve_with_rules(config())
    listener = host.lab.listen(4, SERVER[4], 80)
    client, server = pair(host, listener)
    assert server.getpeername() == client.getsockname()
    client.close()
    server.close()
    limpid.records.wait(lambda r: r["limpid"]["source"] == "keep")
    guard = host.guard_of(limpid)
    limpid.process.send_signal(number)
    assert limpid.wait_exit() == 0
    assert host.clean() and gone(guard)


def test_open_flows_end_before_the_rules(host):
    """While limpid drains, what its flows send still reaches it."""
    limpid = host.serve_with_rules(config())
    listener = host.lab.listen(4, SERVER[4], 80)
    client, server = pair(host, listener)
    limpid.terminate()
    for sender, receiver in ((client, server), (server, client)):
        sender.sendall(b"x" * 100_000)
        assert read_exactly(receiver, 100_000) == b"x" * 100_000
    client.shutdown(socket.SHUT_WR)
    server.close()
    assert limpid.wait_exit() == 0
    assert host.clean()


def test_killed(host):
    """The guard takes the rules back, and then clients reach servers without limpid."""
    limpid = host.serve_with_rules(LOCAL)
    guard = host.guard_of(limpid)
    limpid.kill()
    host.becomes_clean()
    eventually(lambda: gone(guard), "the guard has ended")
    listener = host.lab.listen(4, SERVER[4], 80)
    client, server = pair(host, listener)
    assert server.getpeername() == client.getsockname()


def test_killed_at_random_moments(host):
    """Starting, serving, ending: whenever it is, the host is clean afterwards."""
    dice = random.Random()
    for _ in range(12):
        limpid = host.serve(LOCAL, "--firewall", ready=False)
        eventually(lambda: dice.random() < 0.05 or not limpid.alive(), "a moment")
        if dice.random() < 0.3:
            limpid.terminate()
            eventually(lambda: dice.random() < 0.1, "a moment")
        limpid.kill()
        host.becomes_clean()


@pytest.mark.parametrize("then", ["serve", "up", "down"])
def test_killed_with_its_guard(host, then):
    """Then the next one cleans up: also what the next configuration does not mention."""
    limpid = host.serve_with_rules(config("  table: first\n  route-table: 77\n"))
    guard = host.guard_of(limpid)
    os.kill(guard, signal.SIGKILL)
    limpid.kill()
    assert "table inet first" in snapshot(host.ns)["nft"]
    if then == "serve":
        limpid = host.serve_with_rules(config("  table: second\n"))
        eventually(lambda: "table inet second" in snapshot(host.ns)["nft"], "rules of the second")
        assert "table inet first" not in snapshot(host.ns)["nft"]
        limpid.stop()
    elif then == "up":
        host.firewall("up", config())
        assert "table inet first" not in snapshot(host.ns)["nft"]
        host.firewall("down", config())
    else:
        host.firewall("down", config())
    assert host.clean()


def test_guard_of_the_killed_leaves_the_next_alone(host):
    """A guard that comes late finds the rules of another limpid, and lets them be."""
    first = host.serve_with_rules(config())
    guard = host.guard_of(first)
    os.kill(guard, signal.SIGSTOP)
    first.kill()
    second = host.serve_with_rules(config())
    listener = host.lab.listen(4, SERVER[4], 80)
    pair(host, listener)
    os.kill(guard, signal.SIGCONT)
    eventually(lambda: gone(guard), "the first guard has ended")
    assert "table inet limpid" in snapshot(host.ns)["nft"]
    pair(host, listener)
    host.lab.close_sockets()
    second.stop()
    assert host.clean()


@pytest.mark.parametrize("table", ["limpid", "other"])
def test_rules_of_another_that_runs_stay(host, table):
    """Neither a second limpid nor `up` takes the rules of the first away; once it has ended, or
    was killed, they may."""
    first = host.serve_with_rules(config())
    second = config(f"  table: {table}\n").replace("50080", "50090")
    before = snapshot(host.ns)
    for said in (said_before_it_failed(host, second), host.firewall("up", second, status=1)):
        assert "another limpid that runs has its rules here (table inet limpid)" in said
        assert snapshot(host.ns) == before
    listener = host.lab.listen(4, SERVER[4], 80)
    pair(host, listener)
    host.lab.close_sockets()
    guard = host.guard_of(first)
    os.kill(guard, signal.SIGKILL)
    first.kill()
    again = host.serve_with_rules(second)
    eventually(lambda: f"table inet {table}" in snapshot(host.ns)["nft"], "rules of the second")
    assert snapshot(host.ns)["nft"].count("table inet") == 1
    again.stop()
    host.firewall("up", config())
    host.firewall("down", config())
    assert host.clean()


def test_down_takes_back_what_is_in_use(host):
    """For people who must have their host back; then others may come, and the first leaves them
    alone."""
    first = host.serve_with_rules(config())
    host.firewall("down", config())
    assert host.clean()
    second = config("  table: other\n").replace("50080", "50090")
    host.firewall("up", second)
    first.stop()
    assert "table inet other" in snapshot(host.ns)["nft"]
    host.firewall("down", second)
    assert host.clean()


def test_signals_for_everybody_do_not_end_the_guard(host):
    limpid = host.serve_with_rules(config())
    guard = host.guard_of(limpid)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guard, number)
    assert os.getsid(guard) != os.getsid(limpid.pid)
    limpid.kill()
    host.becomes_clean()


def said_before_it_failed(host, text):
    """serve --firewall without waiting for what will not be there."""
    with host.ns.enter():
        done = subprocess.run([binary(), "serve", "--firewall", "--config", host.write(text)],
                              text=True, capture_output=True, check=False, timeout=20)
    assert done.returncode == 1
    return done.stderr


def test_start_that_fails_leaves_nothing(host):
    taken = host.lab.socket(host.ns, 4)
    taken.bind(("127.0.0.1", 50080))
    taken.listen()
    assert "cannot listen on 127.0.0.1:50080" in said_before_it_failed(host, config())
    assert host.clean()
    taken.close()
    said = said_before_it_failed(
        host, config("  intercept: [ { listener: routed, cgroup: no/such } ]\n"))
    assert "firewall: 'nft -f -' failed:" in said and "cgroup" in said
    assert host.clean()


def test_rules_by_hand_stay(host):
    """firewall up, then serve: when that is killed the rules stay, and block."""
    host.firewall("up", config(rules=OWN))
    limpid = host.serve(config(rules=OWN))
    listener = host.lab.listen(4, SERVER[4], 80)
    pair(host, listener)
    limpid.kill()
    assert "table inet limpid" in snapshot(host.ns)["nft"]
    blocked = host.lab.socket(host.lab.client, 4)
    blocked.bind((CLIENT["tproxy"][4], host.lab.free_port()))
    blocked.settimeout(1.5)
    with pytest.raises(TimeoutError):
        blocked.connect(listener.getsockname())
    again = host.serve(config(rules=OWN))
    pair(host, listener)
    host.lab.close_sockets()
    again.stop()
    assert "table inet limpid" in snapshot(host.ns)["nft"]
