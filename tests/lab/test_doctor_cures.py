# SPDX-License-Identifier: Apache-2.0
"""What limpid doctor says, run as a script: all of its cures, one after the other."""
import json
import subprocess

import pytest

from test_doctor import Patient, prepared

pytestmark = pytest.mark.plain

CONFIG = """
listeners:
  - { name: web, mode: tproxy, address: "127.0.0.1:50080" }
rules: [ { name: all, action: accept, source: keep } ]
"""

# As "Linux transparent proxy support" has them, without --on-ip.
RULES = """
iptables -t mangle -N DIVERT
iptables -t mangle -A DIVERT -j MARK --set-mark 1
iptables -t mangle -A DIVERT -j ACCEPT
iptables -t mangle -A PREROUTING -p tcp -m socket -j DIVERT
iptables -t mangle -A PREROUTING -p tcp --dport 80 -j TPROXY --tproxy-mark 0x1/0x1 --on-port 50080
"""


@pytest.fixture
def patient(tmp_path):
    p = Patient(tmp_path)
    try:
        prepared(p.ns)
        p.configure(CONFIG)
        yield p
    finally:
        p.ns.close()


def test_all_cures_in_a_row(patient):
    """Some replace a rule by its number, some put one before it."""
    patient.ns.run("sh", "-e", stdin=RULES)
    seen = set()
    for _ in range(3):
        found = patient.findings()
        seen |= {f["check"] for f in found}
        with patient.ns.enter():
            subprocess.run(["sh", "-e"], input="".join(f["cure"] + "\n" for f in found),
                           text=True, check=True, capture_output=True)
    assert patient.findings() == [], json.dumps(patient.findings(), indent=1)
    assert seen >= {"rules", "loop", "return-path", "socket-match", "policy-routing"}
    rules = patient.ns.run("iptables-save", "-t", "mangle")
    assert rules.count("-A PREROUTING") == 4, rules  # our mark, ICMP, DIVERT, TPROXY


def test_each_port_and_protocol_is_let_in(patient):
    """REDIRECT changes the port, so one rule does not stand for all."""
    patient.configure("""
listeners:
  - { name: dns, mode: dns, address: "0.0.0.0:21053" }
  - { name: web, mode: redirect, address: "0.0.0.0:21080" }
rules: [ { name: all, action: accept } ]
firewall: { intercept: [ { listener: dns, traffic: routed },
                         { listener: web, traffic: routed, port: 80 } ] }
""")
    patient.ns.nft("table ip other { chain in { type filter hook input priority 0; policy drop;"
                   " iif lo accept; ct state established accept; }; }")
    try:
        patient.limpid("firewall", "up")
        found = patient.findings()
        assert {(f["check"], f["subject"]) for f in found} == {("input", "ip other in")}
        for finding in found:
            patient.cure(finding)
        assert patient.findings() == []
        chain = patient.ns.run("nft", "list", "chain", "ip", "other", "in")
        for rule in ("tcp dport 21053", "udp dport 21053", "tcp dport 21080"):
            assert f"{rule} accept" in chain
    finally:
        patient.limpid("firewall", "down")
