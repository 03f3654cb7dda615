# SPDX-License-Identifier: Apache-2.0
"""limpid firewall and a listener of mode dns: who asks whom, with dig and unbound."""
import json
import subprocess

import pytest

from lab.ground import config
from lab.limpid import binary
from lab.names import NS, Unbound
from lab.sock import read_to_end
from lab.topology import CLIENT, PROXY_FAR, SERVER, SERVER_2

pytestmark = pytest.mark.plain

ANSWER = "192.0.2.7"
ZONE = {"db.test": [f"A {ANSWER}"]}
DNS = """
listeners:
  - { name: dns, mode: dns, address: ["0.0.0.0:51053", "[::]:51053"] }
  - { name: routed, mode: tproxy, address: ["127.0.0.1:50080", "[::1]:50080"], network: [tcp, udp] }
"""
RULES = f"rules: [ {{ name: all, action: accept }} ]\n" \
    f"resolver: {{ servers: [{NS}], timeout: 2s }}\n"
NETWORKS = {"udp": (), "tcp": ("+tcp",)}


def intercept(*entries):
    return config("  intercept:\n" + "".join(f"    - {{ {e} }}\n" for e in entries), DNS, RULES)


@pytest.fixture
def unbound(host, tmp_path):
    daemon = Unbound(host.lab.server, NS, ZONE, tmp_path / "unbound")
    yield daemon
    daemon.stop()


def dig(namespace, server, *options):
    return namespace.run("dig", *options, "+short", "+tries=1", "+time=10", f"@{server}",
                         "db.test").strip()


def served(host, text):
    limpid = host.serve(text)
    host.firewall("up", text)
    return limpid


def listeners_seen(limpid, n):
    """Names of the listeners of the first n records."""
    return [r["limpid"]["listener"] for r in limpid.records.wait(lambda r: True, count=n)]


@pytest.mark.parametrize("network", NETWORKS)
def test_questions_of_this_host(host, unbound, family, network):
    """Where nobody answers, limpid does; its own questions are not turned round again."""
    limpid = served(host, intercept("listener: dns"))
    for _ in range(3):
        assert dig(host.ns, SERVER_2[family], *NETWORKS[network]) == ANSWER
    assert set(listeners_seen(limpid, 3)) == {"dns"}


@pytest.mark.parametrize("network", NETWORKS)
def test_questions_of_others(host, unbound, family, network):
    limpid = served(host, intercept("listener: dns, traffic: routed"))
    assert dig(host.lab.client, SERVER_2[family], "-b", CLIENT["tproxy"][family],
               *NETWORKS[network]) == ANSWER
    record = limpid.records.wait(lambda r: True)
    assert record["limpid"]["listener"] == "dns"
    assert record["src_ip"] == CLIENT["tproxy"][family]


def test_other_ports_are_left_alone(host, family):
    """Without `port` it is 53; and only those that are named are intercepted at all."""
    limpid = served(host, intercept("listener: dns"))
    server = host.lab.udp(host.lab.server, family, SERVER[family], 5353)
    client = host.lab.udp(host.ns, family, PROXY_FAR[family])
    client.sendto(b"no question", server.getsockname()[:2])
    assert server.recvfrom(100)[0] == b"no question"
    assert not limpid.records.poll()


@pytest.mark.parametrize("traffic", ["local", "routed"])
@pytest.mark.parametrize("first", ["dns", "routed"])
def test_first_entry_decides(host, unbound, first, traffic):
    """Whichever of NAT and TPROXY it means; what no question is goes to the other one."""
    entries = [f"listener: dns, traffic: {traffic}", f"listener: routed, traffic: {traffic}"]
    limpid = served(host, intercept(*(entries if first == "dns" else entries[::-1])))
    asker, source = (host.ns, "0.0.0.0") if traffic == "local" else (host.lab.client,
                                                                    CLIENT["tproxy"][4])
    assert dig(asker, NS, "-b", source) == ANSWER
    assert dig(asker, NS, "-b", source, "+tcp") == ANSWER
    listener = host.lab.listen(4, SERVER[4], 7000)
    client = host.lab.socket(asker, 4)
    client.bind((source, 0))
    client.connect(listener.getsockname())
    client.close()
    server = host.lab.accept(listener)
    assert read_to_end(server) == b""
    server.close()
    other = limpid.records.wait(lambda r: r["dest_port"] == 7000)
    assert other["limpid"]["listener"] == "routed"
    for proto in ("TCP", "UDP"):
        question = limpid.records.wait(lambda r, proto=proto: r["proto"] == proto and
                                       r["dest_port"] != 7000)
        assert question["limpid"]["listener"] == first


def test_when_down_it_is_blocked(host, unbound):
    """Questions do not pass unseen: nobody is where they are turned round to."""
    text = intercept("listener: dns")
    limpid = served(host, text)
    assert dig(host.ns, NS) == ANSWER
    limpid.stop()
    with host.ns.enter():
        done = subprocess.run(["dig", "+short", "+tries=1", "+time=2", f"@{NS}", "db.test"],
                              capture_output=True, text=True, check=False)
    assert done.returncode == 9 and ANSWER not in done.stdout


def findings(host, text, check):
    with host.ns.enter():
        done = subprocess.run([binary(), "doctor", "--json", "--all", "--config",
                               host.write(text)], capture_output=True, text=True, check=False)
    return {(f["subject"], f["status"]) for f in json.loads(done.stdout) if f["check"] == check}


EVERY = ("dns 0.0.0.0:51053", "dns udp 0.0.0.0:51053", "dns [::]:51053", "dns udp [::]:51053")


def test_doctor_knows_it(host):
    """It misses rules for a listener that is named, and finds them once they are there."""
    text = intercept("listener: dns")
    assert {(e, "warn") for e in EVERY} <= findings(host, text, "rules")
    host.firewall("up", text)
    assert {(e, "ok") for e in EVERY} <= findings(host, text, "rules")
    assert ("inet limpid nat-output", "ok") in findings(host, text, "loop")


def test_doctor_does_not_miss_rules_for_one_that_is_addressed(host):
    found = findings(host, intercept("listener: routed"), "rules")
    assert not [subject for subject, _ in found if subject.startswith("dns")]


def test_loopback_address_is_refused_for_routed(host):
    text = intercept("listener: dns, traffic: routed").replace("0.0.0.0:51053", "127.0.0.1:51053")
    said = host.firewall("plan", text, status=1)
    assert "listener 'dns' is on a loopback address" in said and "mode tproxy" not in said
