# SPDX-License-Identifier: Apache-2.0
"""smithproxy's rules for datagrams, to the letter, and limpid with the configuration it is
installed with.  Only lines that were too long are folded, and variables put in."""
import pytest

from lab.bare import CLIENT, PROXY, PROXY_FAR, SERVER, Bare
from lab.limpid import REPO
from lab.names import Unbound
from lab.printed import USER, rules

pytestmark = pytest.mark.plain

FIRST = (REPO / "packaging/limpid.yaml").read_text().replace("/var/log/limpid/flows.json",
                                                              "@FLOWS@")
ASKED = ("8.8.8.8", "8.8.4.4")
ANSWER = "192.0.2.7"
RESOLV_CONF = "".join(f"nameserver {ip}\n" for ip in ASKED)

LOCAL_DNS = """
iptables -t nat -A OUTPUT -p udp -d 8.8.4.4 --dport 53 -j REDIRECT --to-port 51053 \\
  -m owner ! --uid-owner root
iptables -t nat -A OUTPUT -p udp -d 8.8.8.8 --dport 53 -j REDIRECT --to-port 51053 \\
  -m owner ! --uid-owner root
"""

ROUTED_UDP = """
iptables -t mangle -N SX.0
iptables -t mangle -A SX.0 -d NEAR -j ACCEPT
iptables -t mangle -A SX.0 -d FAR -j ACCEPT
iptables -t mangle -A SX.0 -p udp -i eth1 --dport 53 -j TPROXY \\
  --tproxy-mark 0x1/0x1 --on-port 50080
iptables -t mangle -A SX.0 -p udp -i eth1 --dport 443 -j DROP
iptables -t mangle -A SX.0 -j RETURN
iptables -t mangle -N DX.0
iptables -t mangle -A DX.0 -j MARK --set-mark 1
iptables -t mangle -A DX.0 -j ACCEPT
iptables -t mangle -A PREROUTING -p udp -m socket -j DX.0
iptables -t mangle -A PREROUTING -j SX.0
ip rule add fwmark 1 lookup 100
ip route add local 0.0.0.0/0 dev lo table 100
"""


@pytest.fixture
def eth():
    row = Bare("eth1", "eth0")
    yield row
    row.close()


@pytest.fixture
def unbound(eth, tmp_path):
    """Answers at the addresses that everybody knows."""
    for ip in ASKED:
        eth.server.ip(f"addr add {ip}/32 dev s0")
    daemons = [Unbound(eth.server, ip, {"db.test": [f"A {ANSWER}"]}, tmp_path / ip)
               for ip in ASKED]
    yield daemons
    for daemon in daemons:
        daemon.stop()


@pytest.fixture
def resolv_conf(tmp_path):
    """A prefix for limpid's command: the host's name servers are these."""
    path = tmp_path / "resolv.conf"
    path.write_text(RESOLV_CONF, encoding="ascii")
    return ["unshare", "--mount", "sh", "-c", f'mount --bind {path} /etc/resolv.conf && exec "$@"',
            "sh"]


def dig(namespace, server, *options, uid=0):
    return namespace.run("setpriv", f"--reuid={uid}", "--clear-groups", "--", "dig", "+short",
                         "+tries=1", "+time=10", f"@{server}", "db.test", *options).strip()


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_questions_of_this_host(eth, unbound, start, resolv_conf, user):
    """A user's are turned round to 51053, root's are not; limpid's own, to the same servers, never,
    whoever limpid is."""
    limpid = start(eth, FIRST + "limits: { threads: 2 }\n", prefix=resolv_conf,
                   options=() if user == "root" else ("--user", "nobody"))
    eth.shell(LOCAL_DNS)
    for server in ASKED:
        for _ in range(4):
            assert dig(eth.proxy, server, uid=USER) == ANSWER
        assert dig(eth.proxy, server) == ANSWER
    records = limpid.records.wait(lambda r: True, count=8)
    assert {r["limpid"]["listener"] for r in records} == {"dns"}
    assert {r["limpid"]["why"] for r in records} == {"finished"}
    assert len(limpid.records.poll()) == 8


@pytest.mark.parametrize("source", ["own", "keep"])
def test_routed_questions(eth, start, family, source):
    """TPROXY to port 50080, without --on-ip, and -m socket in front of it."""
    text = FIRST.replace("all, action: accept", f"all, action: accept, source: {source}")
    limpid = start(eth, text + "timeouts: { udp: 1s, dns: 1s }\n")
    eth.shell(rules(ROUTED_UDP.replace("NEAR", PROXY[family]).replace("FAR", PROXY_FAR[family]),
                    family))
    server, client = eth.udp(eth.server, family), eth.udp(eth.client, family)
    server.bind((SERVER[family], 53))
    for i in range(3):
        client.sendto(b"question %d" % i, server.getsockname())
        data, seen = server.recvfrom(100)
        server.sendto(b"answer %d" % i, seen)
        assert (data, client.recvfrom(100)[0]) == (b"question %d" % i, b"answer %d" % i)
    name = client.getsockname()[1]
    assert seen[:2] == ((CLIENT[family], name) if source == "keep" else
                        (PROXY_FAR[family], seen[1]))
    record = limpid.records.wait(lambda r: r["src_port"] == name)
    assert record["limpid"]["listener"] == "routed" and record["limpid"]["source"] == source
    assert (record["dest_ip"], record["dest_port"]) == (SERVER[family], 53)
    assert record["flow"]["pkts_toserver"] == record["flow"]["pkts_toclient"] == 3
