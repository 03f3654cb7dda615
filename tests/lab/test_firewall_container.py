# SPDX-License-Identifier: Apache-2.0
"""limpid firewall --for container: limpid in a network namespace of its own, as a container is."""
import pytest

from lab.bare import talk
from lab.ground import config
from lab.limpid import Limpid, check_stderr
from lab.nameserver import NameServer
from lab.netns import Namespace
from lab.road import Road
from lab.topology import CLIENT, PROXY, PROXY_FAR, SERVER, SERVER_2

pytestmark = pytest.mark.plain

BOX = {4: "10.79.1.2", 6: "fd79:1::2"}
HOST = {4: "10.79.1.1", 6: "fd79:1::1"}
HUB = f"""
listeners:
  - {{ name: box, mode: proxy-protocol, address: ["{BOX[4]}:4129", "[{BOX[6]}]:4129"],
      trusted: [{HOST[4]}, "{HOST[6]}"], network: [tcp, udp] }}
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


DATAGRAMS = FORWARDER.replace("] }\nrules", "], network: [tcp, udp] }\nrules").replace(
    ", port: [80, 443]", "")
BY_DIALER = DATAGRAMS.replace("proxy-protocol: v2", "via: box").replace(
    "] } ] }", f'] }} ], exempt: [ {{ source: "{BOX[6]}" }} ] }}') + f"""
dialers: {{ box: {{ type: proxy-v2, address: "{BOX[4]}:4129" }} }}
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


@pytest.mark.parametrize("traffic", ["routed", "local"])
@pytest.mark.parametrize("way", ["address", "dialer"])
def test_datagrams_pass_the_container(host, box, family, way, traffic):
    """One client, two servers: each reply comes from the server that was asked."""
    text, told = (DATAGRAMS, family) if way == "address" else (BY_DIALER, 4)
    host.serve(text)
    host.firewall("up", text, options=("--for", where(told)))
    servers = [host.lab.udp(host.lab.server, family, address[family], 9000)
               for address in (SERVER, SERVER_2)]
    client = host.lab.udp(host.lab.client if traffic == "routed" else host.ns, family,
                          CLIENT["tproxy"][family] if traffic == "routed" else PROXY_FAR[family])
    for server in servers:
        client.sendto(b"question", server.getsockname()[:2])
    for server in reversed(servers):
        data, peer = server.recvfrom(100)
        assert data == b"question" and peer[0] == BOX[family]
        server.sendto(b"an answer", peer)
        data, origin = client.recvfrom(100)
        assert data == b"an answer" and origin[:2] == server.getsockname()[:2]
    name = client.getsockname()[:2]
    host.limpids[0].stop()  # and what it has told the container comes to its end
    box.stop()
    seen = [r for r in box.records.poll() if (r["src_ip"], r["src_port"]) == name]
    assert {r["dest_ip"] for r in seen} == {SERVER[family], SERVER_2[family]}
    assert {r["limpid"]["proxy_header"]["sender_ip"] for r in seen} == {HOST[told]}


@pytest.mark.parametrize("way", ["address", "dialer"])
@pytest.mark.parametrize("network", ["tcp", "udp"])
def test_port_53(host, box, family, way, network):
    """By the address it is left alone, since what limpid itself asks looks the same; by a dialer it
    is forwarded as all else.  No server sees a header."""
    text, told = (DATAGRAMS, family) if way == "address" else (BY_DIALER, 4)
    host.serve(text)
    host.firewall("up", text, options=("--for", where(told)))
    road = Road(host, family, host.limpids[0])
    if network == "tcp":
        seen, name = road.exchange(road.client(), road.listen(port=53))
    else:
        seen, name = road.ask(
            host.lab.udp(host.lab.client, family, CLIENT["tproxy"][family]),
            host.lab.udp(host.lab.server, family, SERVER[family], 53))
    assert seen == name if way == "address" else seen[0] == BOX[family]


@pytest.mark.parametrize("port", [53, 9053])
def test_names_for_limpid_itself(host, box, port):
    """The host's limpid resolves the name of a listener's target; its questions reach the server."""
    names = NameServer(host.lab.server, SERVER[4], {"a.test": [f"A {SERVER[4]}"]}, port=port)
    text = DATAGRAMS.replace("listeners:", f"""listeners:
  - {{ name: fixed, mode: fixed, address: "{PROXY[4]}:4001", to: "a.test:9001" }}""")
    text += f"resolver: {{ servers: '{SERVER[4]}:{port}' }}\n"
    host.serve(text)
    host.firewall("up", text, options=("--for", where(4)))
    listener = host.lab.listen(4, SERVER[4], 9001)
    client = host.lab.socket(host.lab.client, 4)
    client.connect((PROXY[4], 4001))
    server = host.lab.accept(listener)
    assert server.getpeername()[0] == BOX[4]
    talk(client, server)
    names.close()


def test_host_network_needs_the_same_rules(host):
    plan = host.firewall("plan", config())
    for words in (("--for", "container"), ("--for=container",), ("--for", "host")):
        assert host.firewall("plan", config(), options=words) == plan


@pytest.mark.parametrize("words", ["jail", "container:", "container:10.0.0.1", "container:*:80",
                                   "container:0.0.0.0:80"])
def test_bad_places(host, words):
    assert "--for wants host, container" in host.firewall("plan", config(), status=2,
                                                          options=("--for", words))


@pytest.mark.parametrize("text, why", [
    (config(), "sends no PROXY header"),
    (BY_DIALER.replace("4129", "4130"), "sends no PROXY header"),
    (BY_DIALER.replace("via: box", "via: box, proxy-protocol: v2").replace("4129", "4130"),
     "sends no PROXY header"),
    (FORWARDER.replace("v2", "v2, source: keep"), "says source: keep"),
], ids=["none", "elsewhere", "both", "keep"])
def test_rules_that_send_nothing_there_are_refused(host, text, why):
    assert why in host.firewall("plan", text, status=1, options=("--for", where(4)))
