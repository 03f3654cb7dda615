# SPDX-License-Identifier: Apache-2.0
"""limpid firewall --for container: limpid in a network namespace of its own, as a container is."""
import pytest

from lab.bare import talk
from lab.ground import config
from lab.limpid import Limpid, check_stderr
from lab.netns import Namespace
from lab.topology import CLIENT, SERVER

pytestmark = pytest.mark.plain

BOX = {4: "10.79.1.2", 6: "fd79:1::2"}
HOST = {4: "10.79.1.1", 6: "fd79:1::1"}
HUB = f"""
listeners:
  - {{ name: box, mode: proxy-protocol, address: ["{BOX[4]}:4129", "[{BOX[6]}]:4129"],
      trusted: [{HOST[4]}, "{HOST[6]}"] }}
rules: [ {{ name: all, action: accept }} ]
record: {{ flows: {{ file: "@FLOWS@" }} }}
"""
FORWARDER = """
listeners:
  - { name: routed, mode: tproxy, address: ["127.0.0.1:50080", "[::1]:50080"] }
rules: [ { name: on, action: accept, proxy-protocol: v2 } ]
record: { flows: { file: "@FLOWS@" } }
firewall: { intercept: [ { listener: routed, traffic: [routed, local], port: [80, 443] } ] }
"""


def where(family):
    return f"container:{BOX[4]}:4129" if family == 4 else f"container:[{BOX[6]}]:4129"


@pytest.fixture
def box(host, tmp_path):
    """A container, and limpid in it; servers know the way back to it."""
    ns = Namespace()
    ns.ip(f"link set lo up\nlink add b0 type veth peer name b1 netns {host.ns.path}\n"
          f"link set b0 up\naddr add {BOX[4]}/24 dev b0\naddr add {BOX[6]}/64 dev b0 nodad\n"
          f"route add default via {HOST[4]}\n-6 route add default via {HOST[6]}")
    host.ns.ip(f"link set b1 up\naddr add {HOST[4]}/24 dev b1\naddr add {HOST[6]}/64 dev b1 nodad")
    host.lab.server.ip("route add 10.79.1.0/24 via 10.77.2.1\n"
                       "-6 route add fd79:1::/64 via fd77:2::1")
    limpid = Limpid(ns, HUB, tmp_path / "box")
    yield limpid
    limpid.stop()
    check_stderr(limpid.stderr())
    host.lab.server.ip("route del 10.79.1.0/24\n-6 route del fd79:1::/64")
    host.ns.ip("link del b1")
    ns.close()


@pytest.mark.parametrize("traffic", ["routed", "local"])
def test_traffic_of_the_host_passes_the_container(host, box, family, traffic):
    """Who dialled whom is known there; the server sees the container."""
    host.serve(FORWARDER)
    host.firewall("up", FORWARDER, options=("--for", where(family)))
    listener = host.lab.listen(family, SERVER[family], 80)
    client = host.lab.socket(host.lab.client if traffic == "routed" else host.ns, family)
    if traffic == "routed":
        client.bind((CLIENT["tproxy"][family], host.lab.free_port()))
    client.connect(listener.getsockname()[:2])
    name = client.getsockname()[:2]
    client.sendall(b"x")
    server = host.lab.accept(listener)
    assert server.recv(1) == b"x" and server.getpeername()[0] == BOX[family]
    talk(client, server)
    record = box.records.of(name)
    assert (record["dest_ip"], record["dest_port"]) == (SERVER[family], 80)
    host.lab.close_sockets()


def test_host_network_needs_the_same_rules(host):
    plan = host.firewall("plan", config())
    for words in (("--for", "container"), ("--for=container",), ("--for", "host")):
        assert host.firewall("plan", config(), options=words) == plan


@pytest.mark.parametrize("words", ["jail", "container:", "container:10.0.0.1", "container:*:80",
                                   "container:0.0.0.0:80"])
def test_bad_places(host, words):
    assert "--for wants host, container" in host.firewall("plan", config(), status=2,
                                                          options=("--for", words))


def test_rules_without_header_are_refused(host):
    said = host.firewall("plan", config(), status=1, options=("--for", where(4)))
    assert "rule 'all' sends no PROXY header" in said
