# SPDX-License-Identifier: Apache-2.0
"""Honest connect with the rules that `limpid firewall` makes."""
import errno
import subprocess

import pytest

from lab import configs
from lab.limpid import binary
from lab.sock import read_exactly, read_to_end
from lab.topology import PROXY_FAR, SERVER, UNREACHABLE, Way
from test_honest import begin, outcome

pytestmark = pytest.mark.plain

CONFIG = """
listeners:
  - { name: held, mode: tproxy, address: ["127.0.0.1:50480", "[::1]:50480"], connect: honest }
  - { name: plain, mode: tproxy, address: ["127.0.0.1:50481", "[::1]:50481"] }
rules: [ { name: all, action: accept, source: keep } ]
timeouts: { connect: 2s }
firewall:
  intercept:
    - { listener: plain, source: [10.77.1.4, "fd77:1::4"], port: 7061 }
    - { listener: held, source: [10.77.1.4, "fd77:1::4"], port: 7000-7999 }
    - { listener: held, traffic: local, port: 7000-7999 }
""" + configs.RECORD


class Firewall:
    def __init__(self, lab, path):
        self.lab, self.path = lab, path

    def __call__(self, verb):
        with self.lab.proxy.enter():
            done = subprocess.run([binary(), "firewall", verb, "--config", str(self.path)],
                                  capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def firewall(lab, serve):
    limpid = serve(CONFIG)
    run = Firewall(lab, limpid.path)
    run("up")
    run.limpid = limpid
    yield run
    run("down")


@pytest.fixture
def way(lab, family):
    """Not one of the lab's own ways: only the rules of `limpid firewall` intercept it."""
    return Way(lab, "routed", family)


def test_routed_is_held(way, firewall):
    listener = way.listen(7060)
    client = begin(way, port=7060)
    assert outcome(client) == 0
    server = way.lab.accept(listener)
    name = client.getsockname()
    assert server.getpeername()[:2] == name[:2]
    client.sendall(b"through")
    assert read_exactly(server, 7) == b"through"
    server.close()
    assert read_to_end(client) == b""
    client.close()
    assert firewall.limpid.records.of(name)["limpid"]["listener"] == "held"


def test_routed_and_refused(way, firewall):
    client = begin(way, port=7999)
    assert outcome(client) == errno.ECONNREFUSED
    assert way.client_wire(client).down("SYN") == 0
    r = firewall.limpid.records.wait(lambda r: r["dest_port"] == 7999)
    assert (r["limpid"]["listener"], r["limpid"]["why"]) == ("held", "server-refused")


@pytest.mark.usefixtures("firewall")
def test_routed_and_unreachable(way):
    client = begin(way, address=UNREACHABLE[way.family], port=7998)
    assert outcome(client) == {4: errno.EHOSTUNREACH, 6: errno.ENETUNREACH}[way.family]


def test_what_another_listener_gets_is_not_held(way, firewall):
    client = begin(way, port=7061)
    assert outcome(client) in (0, errno.ECONNRESET)
    near = way.client_wire(client)
    near.wait_down("RST")
    assert near.down("SYN") == 1, "it was connected, and then reset"
    r = firewall.limpid.records.wait(lambda r: r["dest_port"] == 7061)
    assert r["limpid"]["listener"] == "plain"


def local_client(lab, family, port):
    s = lab.socket(lab.proxy, family)
    s.bind((PROXY_FAR[family], lab.free_port()))
    s.setblocking(False)
    assert s.connect_ex((SERVER[family], port)) == errno.EINPROGRESS
    return s


def test_local_is_held(lab, firewall, family):
    listener = lab.listen(family, SERVER[family], 7062)
    client = local_client(lab, family, 7062)
    assert outcome(client) == 0
    server = lab.accept(listener)
    client.sendall(b"local")
    assert read_exactly(server, 5) == b"local"
    name = client.getsockname()
    client.close()
    server.close()
    assert firewall.limpid.records.of(name)["limpid"]["listener"] == "held"


def test_local_and_refused(lab, firewall, family):
    assert outcome(local_client(lab, family, 7997)) == errno.ECONNREFUSED
    assert firewall.limpid.records.wait(lambda r: r["dest_port"] == 7997)["limpid"]["why"] == \
        "server-refused"


def rules(lab):
    return [lab.proxy.run(program, "-t", "raw", "-S") for program in ("iptables", "ip6tables")]


def test_up_twice_is_up_once_and_down_leaves_nothing(lab, firewall):
    once = rules(lab)
    firewall("up")
    assert rules(lab) == once
    firewall("down")
    assert not any("limpid" in text or "NFQUEUE" in text for text in rules(lab))
    assert "limpid" not in lab.proxy.run("nft", "list", "tables")
    firewall("down")


def test_the_plan_is_what_is_run(lab, firewall):
    plan = firewall("plan")
    assert "chain hold-held" in plan and "chain hold-plain" not in plan
    for rule in once_rules(plan):
        assert any(rule in text for text in rules(lab))


def once_rules(plan):
    """The queue rules of a plan, as iptables prints them; none where nft itself can queue."""
    return ["-A" + line.split(" -A")[1] for line in plan.splitlines() if "NFQUEUE" in line]
