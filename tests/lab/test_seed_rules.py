# SPDX-License-Identifier: Apache-2.0
"""Rules that are printed in well-known documents, to the letter, and limpid behind them.

Only lines that were too long are folded.
"""
import pathlib
import socket
import struct
import subprocess

import pytest

from lab.bare import CLIENT, FAMILY, PROXY_FAR, SERVER, Bare, talk
from lab.limpid import binary, listening
from lab.printed import OWN, SMITHPROXY, USER, intercepted, left_alone, rules
from lab.sock import eventually, read_exactly

BUILD = pathlib.Path(binary()).resolve().parent


# --- smithproxy: what this host sends, except root's ------------------------------------------
@pytest.mark.parametrize("options", [(), ("--user", "nobody")], ids=["root", "nobody"])
def test_smithproxy(bare, start, family, options):
    """Users' connections are taken, root's and limpid's own are not, whoever limpid is."""
    limpid = start(bare, OWN, options=options)
    bare.shell(rules(SMITHPROXY, family))
    intercepted(bare, limpid, family, 80, "plain")
    intercepted(bare, limpid, family, 443, "tls")
    left_alone(bare, family, 80)
    left_alone(bare, family, 443)
    assert len(limpid.records.poll()) == 2
    assert limpid.stderr().count("Accept") == 2


@pytest.mark.tsan
def test_many_sockets_by_the_maker(bare, start, family):
    """More connections at once than one batch of sockets holds, in two threads."""
    start(bare, OWN + "limits: { threads: 2 }\n", options=("--user", "nobody"))
    bare.shell(rules(SMITHPROXY, family))
    listener = bare.listen(family, 80)
    clients = {}
    for i in range(60):
        clients[i] = bare.connect(bare.proxy, family, 80, USER)
        clients[i].sendall(bytes([i]))
    for _ in clients:
        server = bare.accept(listener)
        i = server.recv(1)[0]
        talk(clients[i], server, 1000)


# --- "Linux transparent proxy support" --------------------------------------------------------
TPROXY_ROUTING = """
ip rule add fwmark 1 lookup 100
ip route add local 0.0.0.0/0 dev lo table 100
"""
TPROXY_SYSCTL = """
sysctl net.ipv4.conf.all.forwarding=1
sysctl net.ipv6.conf.all.forwarding=1
sysctl net.ipv4.conf.eth0.rp_filter=0
"""
TPROXY = TPROXY_ROUTING + """
iptables -t mangle -N DIVERT
iptables -t mangle -A DIVERT -j MARK --set-mark 1
iptables -t mangle -A DIVERT -j ACCEPT
iptables -t mangle -A PREROUTING -p tcp -m socket -j DIVERT
iptables -t mangle -A PREROUTING -p tcp --dport 25 -j TPROXY \\
  --tproxy-mark 0x1/0x1 --on-port 10025 --on-ip 127.0.0.1
iptables -t mangle -A PREROUTING -p tcp --dport 80 -j TPROXY \\
  --tproxy-mark 0x1/0x1 --on-port 10080 --on-ip 127.0.0.1
"""

TPROXY_CONFIG = """
listeners:
  - { name: mail, mode: tproxy, address: ["HOST4:10025", "[HOST6]:10025"] }
  - { name: web, mode: tproxy, address: ["HOST4:10080", "[HOST6]:10080"] }
rules: [ { name: all, action: accept, source: SOURCE } ]
record: { flows: { file: "@FLOWS@" } }
"""


@pytest.fixture
def eth():
    row = Bare("eth0", "eth1")
    yield row
    row.close()


def through(row, family, port, source):
    """A connection from the client: both of its ends, the server's seen from `source`."""
    listener = row.listen(family, port)
    client = row.connect(row.client, family, port)
    server = row.accept(listener)
    seen, name = server.getpeername()[:2], client.getsockname()[:2]
    if source == "keep":
        assert seen == name
    else:
        assert seen[0] == PROXY_FAR[family]
    return client, server


@pytest.mark.parametrize("source", ["own", "keep"])
@pytest.mark.parametrize("on_ip", [True, False], ids=["on-ip", "no-on-ip"])
def test_transparent_proxy_document(eth, start, family, source, on_ip):
    """Mail and web, with the refinement -m socket; --on-ip is left out in older copies."""
    text, host4, host6 = TPROXY, "127.0.0.1", "::1"
    if not on_ip:
        text, host4, host6 = text.replace(" --on-ip 127.0.0.1", ""), "0.0.0.0", "::"
    limpid = start(eth, TPROXY_CONFIG.replace("HOST4", host4).replace("HOST6", host6)
                   .replace("SOURCE", source))
    eth.shell(TPROXY_SYSCTL)
    eth.shell(rules(text, family))

    client, server = through(eth, family, 25, source)
    server.sendall(b"220 mail.test ESMTP\r\n")
    assert read_exactly(client, 21) == b"220 mail.test ESMTP\r\n"
    client.sendall(b"EHLO client.test\r\n")
    assert read_exactly(server, 18) == b"EHLO client.test\r\n"
    name = client.getsockname()
    talk(client, server)
    r = limpid.records.of(name)
    assert (r["limpid"]["listener"], r["limpid"]["why"]) == ("mail", "finished")

    client, server = through(eth, family, 80, source)
    client.sendall(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n")
    assert read_exactly(server, 34) == b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"
    name = client.getsockname()
    talk(client, server)
    r = limpid.records.of(name)
    assert (r["limpid"]["listener"], r["limpid"]["why"]) == ("web", "finished")

    listener = eth.listen(family, 8080)     # what no rule names is forwarded as ever
    talk(eth.connect(eth.client, family, 8080), eth.accept(listener), 1000)
    assert len(limpid.records.poll()) == 2


def udp_packets(data, family):
    """(source, destination, text) of a packet from the network layer up, if it is UDP."""
    head, proto = ((data[0] & 15) * 4, data[9]) if family == 4 else (40, data[6])
    if proto != socket.IPPROTO_UDP:
        return None
    where = (data[12:16], data[16:20]) if family == 4 else (data[8:24], data[24:40])
    ports = struct.unpack_from(">HH", data, head)
    ends = [(socket.inet_ntop(FAMILY[family], ip), port) for ip, port in zip(where, ports)]
    return *ends, data[head + 8:]


@pytest.mark.parametrize("family, source, target", [
    (4, ("1.2.3.4", 5300), ("198.41.0.4", 53)),
    (6, ("2001:db8::1234", 5300), ("2001:503:ba3e::2:30", 53))], ids=["v4", "v6"])
def test_document_spoofs_an_address(eth, family, source, target):
    """Its UDP example, examples/spoof.c: the packet really leaves, with what is not ours."""
    spoof = BUILD / "examples" / "spoof"
    with eth.server.enter():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        tap.bind(("s0", 0x0800 if family == 4 else 0x86DD))
    tap.settimeout(20)
    eth.sockets.append(tap)
    words = [f"{ip}:{port}" if family == 4 else f"[{ip}]:{port}" for ip, port in (source, target)]
    eth.proxy.run(str(spoof), *words, "hi!")
    found = None
    while not found or found[1] != target:
        found = udp_packets(tap.recv(2000), family)
    assert found == (source, target, b"hi!")


def test_spoof_needs_the_privilege(eth):
    """And says so."""
    with eth.proxy.enter():
        done = subprocess.run(["setpriv", "--bounding-set=-net_raw,-net_admin", "--inh-caps",
                               "-net_raw,-net_admin", "--", BUILD / "examples" / "spoof",
                               "1.2.3.4:5300", "198.41.0.4:53"],
                              capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "IP_TRANSPARENT" in done.stderr


# --- uproxy -----------------------------------------------------------------------------------
UPROXY = """
# 1
sudo iptables -t mangle -N DIVERT
sudo iptables -t mangle -A PREROUTING -i ens6 -p tcp -m socket --dport 9090 -j DIVERT
sudo iptables -t mangle -A PREROUTING -i ens7 -p tcp -m socket --sport 9090 -j DIVERT
sudo iptables -t mangle -A DIVERT -j MARK --set-mark 1
sudo iptables -t mangle -A DIVERT -j ACCEPT
# 2
sudo iptables -t mangle -A PREROUTING -i ens6 -p tcp --dport 9090 \\
  -j TPROXY --tproxy-mark 1 --on-port 9091 --on-ip 127.0.0.1
sudo iptables -t mangle -A PREROUTING -i ens7 -p tcp --sport 9090 \\
  -j TPROXY --tproxy-mark 1 --on-port 9091 --on-ip 127.0.0.1
# 3
sudo ip rule add fwmark 1 lookup 100
sudo ip route add local 0.0.0.0/0 dev lo table 100
"""

UPROXY_CONFIG = """
listeners: [ { name: liproxy, mode: tproxy, address: ["127.0.0.1:9091"] } ]
rules: [ { name: all, action: accept, source: keep } ]
record: { flows: { file: "@FLOWS@" } }
"""
LIPROXY = BUILD / "examples" / "liproxy"


@pytest.fixture
def ens():
    row = Bare("ens6", "ens7")
    yield row
    row.close()


def through_uproxy(ens):
    """Several at once, and one after another from the same port."""
    for _ in range(2):
        listener = ens.listen(4, 9090)
        pairs = []
        for port in (41001, 41002, 41003):
            client = ens.socket(ens.client, 4)
            client.bind((CLIENT[4], port))
            client.connect((SERVER[4], 9090))
            server = ens.accept(listener)
            assert server.getpeername() == (CLIENT[4], port)
            pairs.append((client, server))
        for client, server in pairs:
            talk(client, server)
        listener.close()


def test_uproxy(ens, start):
    """The rules of its README; limpid where its sample listens."""
    limpid = start(ens, UPROXY_CONFIG)
    ens.shell(UPROXY)
    through_uproxy(ens)
    records = limpid.records.wait(lambda r: True, count=6)
    assert {r["limpid"]["source"] for r in records} == {"keep"}


def test_uproxy_with_liproxy(ens):
    """The same, and the sample of the same name."""
    ens.shell(UPROXY)
    with ens.proxy.enter():
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", LIPROXY],
                                   stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: ("tcp", 9091) in listening(process.pid), "it listens")
        through_uproxy(ens)
    finally:
        process.terminate()
        process.wait(20)
