# SPDX-License-Identifier: Apache-2.0
"""limpid doctor beside policy rules of others, as VPNs and hosts with several uplinks have them."""
import pytest

from lab.limpid import Limpid
from lab.topology import SERVER
from test_doctor import Patient, cure_all, listeners, network, patient, relays

pytestmark = pytest.mark.plain
_ = network, patient  # fixtures

VPN = "route add default dev e0 table 51820\n"


@pytest.mark.parametrize("others, status", [
    (VPN + "rule add not fwmark 51820 table 51820", "fail"),  # as wg-quick has it
    (VPN + "rule add not fwmark 51820 table 51820\nrule add table main suppress_prefixlength 0",
     "fail"),
    (VPN + "rule add from 198.51.100.0/24 table 51820", "warn"),
    (VPN + "rule add pref 9 iif e0 table 51820", "warn"),
    (VPN + "rule add pref 9 fwmark 0x70/0xfe table 51820", "fail"),
], ids=["vpn", "wg-quick", "source", "interface", "mark"])
def test_policy_rules_of_others_come_first(patient, others, status):
    patient.ns.ip(others)
    if "0x70" in others:  # limpid's own mark has these bits, too
        found = [f for f in patient.findings() if "0x6c71/" in f["subject"]]
        assert [f["status"] for f in found] == [status]
        patient.cure(found[0])
        assert all("0x6c71/" not in f["subject"] for f in patient.findings())
        return
    patient.is_cured("policy-routing", "IPv4 fwmark 0x6c71/0xffff", status)


@pytest.mark.parametrize("others", [
    "rule add from 198.51.100.0/24 table 51820",  # an empty table
    VPN + "rule add fwmark 51820 table 51820",
    VPN + "rule add oif e0 table 51820",
    VPN + "rule add pref 32000 not fwmark 51820 table 51820",
    VPN + "rule add iif lo table 51820",  # only routed traffic is intercepted
], ids=["empty", "other-mark", "oif", "behind", "from-here"])
def test_policy_rules_of_others_that_do_no_harm(patient, others):
    patient.ns.ip(others)
    assert patient.findings() == []


def test_src_valid_mark(patient):
    """As wg-quick sets it: limpid's own rules live with it, thanks to the first of them."""
    patient.ns.sysctl(net__ipv4__conf__all__src_valid_mark=1)
    assert patient.findings() == []
    patient.ns.ip("rule del pref 100")
    patient.is_cured("src_valid_mark", "all", "fail")


def test_vpn_that_comes_later(network, tmp_path):
    """What it adds is asked first, so nothing is delivered here; after the cure it is again."""
    config = listeners('  - { name: any, mode: tproxy, address: ["127.0.0.1:50080"] }') + \
        'record: { flows: { file: "@FLOWS@" } }\n'
    patient = Patient(tmp_path, network.proxy)
    patient.configure(config)
    limpid = Limpid(network.proxy, config, tmp_path / "limpid")
    try:
        patient.limpid("firewall", "up")
        network.proxy.sysctl(net__ipv4__conf__all__src_valid_mark=1)
        network.proxy.ip(f"route add default via {SERVER[4]} table 51820\n"
                         "rule add not fwmark 51820 table 51820\n"
                         "rule add table main suppress_prefixlength 0")
        assert not relays(network)
        assert ("policy-routing", "IPv4 fwmark 0x6c71/0xffff") in cure_all(patient, 12)
        assert relays(network)
        assert limpid.records.poll() or limpid.records.wait(lambda r: True)
    finally:
        patient.limpid("firewall", "down")
        limpid.stop()
