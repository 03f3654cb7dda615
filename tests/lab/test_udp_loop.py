# SPDX-License-Identifier: Apache-2.0
"""limpid as the client of itself, by datagrams: rules that turn round what this host sends, and do
not except limpid.  It is found out at once, said once, and the client hears of it."""
import re

import pytest

from lab.bare import CLIENT, PROXY_FAR, SERVER
from lab.names import Unbound
from lab.sock import eventually, silent

PORT = 7000
CONFIG = """
listeners:
  - { name: all, mode: tproxy, address: ["127.0.0.1:50080", "[::1]:50080"], network: [tcp, udp] }
rules: [ { name: all, action: accept, source: SOURCE } ]
timeouts: { udp: 30s }
record: { flows: { file: "@FLOWS@" } }
"""
RULES = """
table inet turned {
	chain prerouting {
		type filter hook prerouting priority mangle;
		udp sport 7000 socket transparent 1 meta mark set 1 accept
		meta nfproto ipv4 udp dport 7000 tproxy ip to 127.0.0.1:50080 meta mark set 1 accept
		meta nfproto ipv6 udp dport 7000 tproxy ip6 to [::1]:50080 meta mark set 1 accept
	}
	chain output {
		type route hook output priority mangle;
		meta mark 0x6c70 counter name own
		udp dport 7000 meta mark set 1
	}
	counter own { }
}
"""
EXCEPT = "insert rule inet turned output meta mark 0x6c70 accept"
LOOP = "loop: limpid's own datagram"


@pytest.fixture
def turned(bare):
    bare.proxy.nft(RULES)
    bare.proxy.ip("""
rule add fwmark 1 lookup 100
route add local default dev lo table 100
-6 rule add fwmark 1 lookup 100
-6 route add local default dev lo table 100
""")
    return bare


def own_packets(bare):
    """Datagrams with limpid's mark that have left it."""
    out = bare.proxy.run("nft", "list", "counter", "inet", "turned", "own")
    return int(re.search(r"packets (\d+)", out)[1])


def refused(client):
    """By the first datagram or by the next; what comes of one is known a moment later."""
    client.settimeout(0.5)
    for _ in range(20):
        try:
            client.send(b"question")
            client.recv(100)
        except TimeoutError:
            continue
        except ConnectionRefusedError:
            return True
    return False


def served(client, server):
    """The same, for an answer: what was sent before the rule was there may have a say yet."""
    server.settimeout(0.5)
    for _ in range(20):
        try:
            client.send(b"question")
            data, seen = server.recvfrom(100)
            server.sendto(b"answer", seen)
            return (data, client.recv(100)) == (b"question", b"answer")
        except (TimeoutError, ConnectionRefusedError):
            continue
    return False


@pytest.mark.tsan
@pytest.mark.parametrize("source", ["own", "keep-address", "keep"])
@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_datagram_that_comes_back(turned, start, family, where, source):
    """The client is refused at once; with the rule that was missing it is served."""
    limpid = start(turned, CONFIG.replace("SOURCE", source))
    server = turned.udp(turned.server, family)
    server.bind((SERVER[family], PORT))
    client = turned.udp(turned.proxy if where == "here" else turned.client, family)
    client.bind((PROXY_FAR[family] if where == "here" else CLIENT[family], 0))
    client.connect((SERVER[family], PORT))
    for _ in range(3):
        assert refused(client)
    eventually(lambda: limpid.stderr().count(LOOP) == 1, "a person is told")
    assert silent(server) and limpid.stderr().count(LOOP) == 1
    sent = own_packets(turned)
    assert sent < 20 and silent(client) and own_packets(turned) == sent
    turned.proxy.nft(EXCEPT)
    assert served(client, server)


@pytest.mark.parametrize("source", ["own", "keep-address", "keep"])
def test_it_is_recorded(turned, start, source):
    """As the end of the client's conversation."""
    limpid = start(turned, CONFIG.replace("SOURCE", source))
    client = turned.udp(turned.client, 4)
    client.connect((SERVER[4], PORT))
    assert refused(client)
    limpid.stop()
    ends = [r["limpid"]["why"] for r in limpid.records.poll()
            if (r["src_ip"], r["src_port"]) == client.getsockname()]
    assert ends == ["loop"]


DNS = f"""
listeners: [ {{ name: dns, mode: dns, address: "127.0.0.1:51053" }} ]
rules: [ {{ name: all, action: accept }} ]
resolver: {{ servers: [{SERVER[4]}], timeout: 5s, attempts: 3 }}
record: {{ flows: {{ file: "@FLOWS@" }} }}
"""


def test_questions_that_come_back(bare, start, tmp_path):
    """A REDIRECT of all that this host asks: SERVFAIL at once, not a flood and then silence."""
    unbound = Unbound(bare.server, SERVER[4], {"db.test": ["A 192.0.2.7"]}, tmp_path / "unbound")
    limpid = start(bare, DNS)
    bare.shell("iptables -t nat -A OUTPUT -p udp --dport 53 -j REDIRECT --to-port 51053\n")
    ask = ("dig", "+tries=1", "+time=4", f"@{SERVER[4]}", "db.test")
    assert "status: SERVFAIL" in bare.proxy.run(*ask)
    assert limpid.stderr().count(LOOP) == 1
    whys = [r["limpid"]["why"] for r in limpid.records.wait(lambda r: True, count=4)]
    assert sorted(whys) == ["loop"] * 3 + ["name-failed"]
    bare.shell("iptables -t nat -I OUTPUT -m mark --mark 0x6c70 -j ACCEPT\n")
    assert "192.0.2.7" in bare.proxy.run(*ask)
    unbound.stop()
