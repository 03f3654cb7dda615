# SPDX-License-Identifier: Apache-2.0
"""limpid doctor and tunnels that end on this host: a real one each, whose datagrams are intercepted
until the configuration has what doctor says."""
import os
import re
import subprocess

import pytest

from lab import sock
from lab.ground import OWN
from lab.limpid import Limpid
from lab.topology import PROXY_FAR, SERVER
from test_doctor import Patient, network

pytestmark = pytest.mark.plain
_ = network  # a fixture

INNER = {"here": "198.51.100.1", "there": "198.51.100.2"}
CONFIG = ("listeners:\n  - { name: any, mode: tproxy, address: [\"127.0.0.1:50080\", \"[::1]:50080\"],"
          " network: [tcp, udp] }\n" + OWN + 'record: { flows: { file: "@FLOWS@" } }\n'
          "firewall:\n  intercept: [ { listener: any, traffic: local, network: udp } ]\n")


class Vxlan:
    """The kernel's own."""
    name, port = "vx0", 4789

    def __init__(self, lab, _):
        for ns, inner, far in ((lab.proxy, "here", SERVER[4]),
                               (lab.server, "there", PROXY_FAR[4])):
            ns.ip(f"link add vx0 type vxlan id 7 remote {far} dstport {self.port}\n"
                  f"link set vx0 up\naddr add {INNER[inner]}/24 dev vx0")

    def close(self):
        pass


class Wireguard:
    """By a process, since this kernel may lack it; it gives its datagrams a mark."""
    port = 51820

    def __init__(self, lab, folder):
        self.processes = []
        self.name = f"wl{os.getpid()}"  # of all namespaces, in /run/wireguard
        there = self.name + "t"
        keys = {name: self.make_key(folder / name) for name in (self.name, there)}
        self.start(lab.proxy, self.name, "here")
        self.start(lab.server, there, "there")
        self.set(lab.server, there, folder, "listen-port", self.port, "peer", keys[self.name],
                 "allowed-ips", f"{INNER['here']}/32")
        self.set(lab.proxy, self.name, folder, "fwmark", self.port, "peer", keys[there],
                 "allowed-ips", f"{INNER['there']}/32", "endpoint", f"{SERVER[4]}:{self.port}",
                 "persistent-keepalive", 1)

    @staticmethod
    def make_key(path):
        private = subprocess.run(["wg", "genkey"], check=True, capture_output=True).stdout
        path.write_bytes(private)
        return subprocess.run(["wg", "pubkey"], input=private, check=True,
                              capture_output=True).stdout.decode().strip()

    @staticmethod
    def set(ns, name, folder, *words):
        ns.run("wg", "set", name, "private-key", str(folder / name), *map(str, words))

    def start(self, ns, name, inner):
        with ns.enter():
            self.processes.append(subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", "wireguard-go", "-f", name],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        sock.eventually(lambda: os.path.exists(f"/run/wireguard/{name}.sock"), "wireguard-go")
        ns.ip(f"link set {name} mtu 1280 up\naddr add {INNER[inner]}/24 dev {name}")

    def close(self):
        for process in self.processes:
            process.terminate()
            process.wait()


@pytest.fixture(params=[Vxlan, Wireguard])
def tunnel(request, network, tmp_path):
    if request.param is Wireguard and not os.path.exists("/dev/net/tun"):
        pytest.skip("no /dev/net/tun")
    made = request.param(network, tmp_path)
    yield made
    made.close()


def carries(lab):
    """One connection through the tunnel."""
    listener = lab.listen(4, INNER["there"], 7000)
    client = lab.socket(lab.proxy, 4)
    client.connect((INNER["there"], 7000))
    client.sendall(b"inner")
    assert sock.read_exactly(lab.accept(listener), 5) == b"inner"
    lab.close_sockets()


def outer(limpid, tunnel):
    return [r for r in limpid.records.poll() if r["dest_port"] == tunnel.port]


def test_tunnel_is_exempt_after_the_cure(network, tunnel, tmp_path):
    """At once, though the tunnel is never silent for long."""
    patient = Patient(tmp_path, network.proxy)
    patient.configure(CONFIG)
    limpids = [Limpid(network.proxy, CONFIG, tmp_path / "before")]
    try:
        patient.limpid("firewall", "up")
        carries(network)
        found = patient.finding("tunnels", tunnel.name)
        assert found["status"] == "warn" and f"{SERVER[4]}:{tunnel.port}" in found["text"]
        exempt = re.search(r"^add ({.*}) to firewall.exempt in ", found["cure"])[1]
        cured = f"{CONFIG}  exempt: [ {exempt} ]\n"
        patient.configure(cured)
        patient.limpid("firewall", "up")
        assert patient.finding("tunnels", tunnel.name)["status"] == "ok"
        limpids[0].stop()  # its records are whole
        assert outer(limpids[0], tunnel)
        limpids.append(Limpid(network.proxy, cured, tmp_path / "after"))
        carries(network)
        limpids[1].stop()
        assert not outer(limpids[1], tunnel)
    finally:
        patient.limpid("firewall", "down")
        for limpid in limpids:
            limpid.stop()
