# SPDX-License-Identifier: Apache-2.0
"""docs/scenarios.md, command by command, in namespaces with the addresses of its drawings."""
import http.server
import re
import socketserver

import pytest

from lab import sock
from lab.document import Scenario, titles
from lab.netns import Namespace

# Who has which interfaces: (name, address, the host that it leads to); and default routes.
ROUTED = {"client": [("c0", "10.0.1.2", "MIDDLE")],
          "MIDDLE": [("eth0", "10.0.1.1", "client"), ("eth1", "192.0.2.1", "server")],
          "server": [("s0", "192.0.2.80", "MIDDLE")]}
ROUTES = {"client": "10.0.1.1", "server": "192.0.2.1"}


def row(middle):
    """client, one host, server."""
    def named(name):
        return middle if name == "MIDDLE" else name
    return {named(host): [(name, address, named(to)) for name, address, to in links]
            for host, links in ROUTED.items()}, ROUTES


NETWORKS = {
    "Inline: a gateway": row("gateway"),
    "SOCKS and HTTP: clients that know their proxy": row("proxy"),
    "Container": row("host"),
    "On the stick: one interface": ({
        "client": [("c0", "10.0.1.2", "switch")],
        "stick": [("eth0", "10.0.1.1", "switch")],
        "router": [("r0", "10.0.1.254", "switch"), ("r1", "192.0.2.1", "server")],
        "switch": [("p0", None, "client"), ("p1", None, "stick"), ("p2", None, "router")],
        "server": [("s0", "192.0.2.80", "router")],
    }, {"client": "10.0.1.1", "stick": "10.0.1.254", "server": "192.0.2.1"}),
    "Remote forwarder": ({
        "client": [("c0", "10.0.1.2", "branch")],
        "branch": [("eth0", "10.0.1.1", "client"), ("eth1", "198.51.100.7", "hub")],
        "hub": [("eth0", "198.51.100.1", "branch"), ("eth1", "192.0.2.1", "server")],
        "server": [("s0", "192.0.2.80", "hub")],
    }, {"client": "10.0.1.1", "branch": "198.51.100.1", "server": "192.0.2.1"}),
    "One command": ({
        "user": [("eth0", "192.0.2.1", "server")],
        "server": [("s0", "192.0.2.80", "user")],
    }, {"user": "192.0.2.80", "server": "192.0.2.1"}),
}


def link(hosts, network):
    made = set()
    for host, links in network.items():
        for name, _, to in links:
            if (to, host) in made:
                continue
            made.add((host, to))
            peer = next(n for n, _, back in network[to] if back == host)
            hosts[host].ip(f"link add {name} type veth peer name {peer} "
                           f"netns {hosts[to].path}")


def address(ns, links):
    ns.ip("link set lo up")
    if not links[0][1]:
        ns.ip("link add br0 type bridge\nlink set br0 up")
    for name, ip, _ in links:
        ns.ip(f"addr add {ip}/24 dev {name}" if ip else f"link set {name} master br0")
        ns.ip(f"link set {name} up")


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # pylint: disable=invalid-name
        body = f"hello {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):  # pylint: disable=arguments-differ
        pass


@pytest.fixture
def network(request):
    links, routes = NETWORKS[request.param]
    hosts = {name: Namespace() for name in links}
    for ns in hosts.values():
        ns.sysctl(net__ipv4__conf__all__rp_filter=0, net__ipv4__conf__default__rp_filter=0)
    link(hosts, links)
    for name, ns in hosts.items():
        address(ns, links[name])
    for name, gateway in routes.items():
        hosts[name].ip(f"route add default via {gateway}")
    if "router" in hosts:
        hosts["router"].sysctl(net__ipv4__ip_forward=1)
    with hosts["server"].enter():
        server = socketserver.ThreadingTCPServer(("192.0.2.80", 80), Hello)
    serving = sock.Background(server.serve_forever)
    yield request.param, hosts
    server.shutdown()
    serving.result()
    server.server_close()
    for ns in hosts.values():
        ns.close()


@pytest.mark.parametrize("network", NETWORKS, indirect=True)
def test_scenario(network, tmp_path):
    title, hosts = network
    scenario = Scenario(title, tmp_path)
    drawn = set(re.findall(r"\d+\.\d+\.\d+\.\d+", scenario.drawing))
    assert drawn == {ip for links in NETWORKS[title][0].values() for _, ip, _ in links if ip}
    assert len(scenario.commands) > 1
    try:
        scenario.run(hosts)
    finally:
        scenario.end()
    for name, ns in hosts.items():
        assert "limpid" not in ns.run("nft", "list", "tables"), f"rules are left on {name}"


def test_every_scenario_is_run():
    assert set(titles()) == set(NETWORKS)
