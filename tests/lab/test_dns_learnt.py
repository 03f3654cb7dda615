# SPDX-License-Identifier: Apache-2.0
"""Names of flows that name nobody, learnt from answers that pass, however they do."""
import socket
import struct

import pytest

from lab import configs, http, sock
from lab.nameserver import NameServer
from lab.names import NS
from lab.socks import Association, Socks
from lab.topology import CLIENT, PROXY, SERVER, SERVER_2
from test_dns import A, ASKED, Dns, query, tell
from test_dns import hear as hear_stream

LEARNT = """
  - { name: bad, match: { network: tcp, domain: bad.test }, action: reject }
  - { name: udp-bad, match: { network: udp, port: 9, domain: bad.test }, action: reject }
  - { name: rest, action: accept }
"""
TRANSPARENT = """  - { name: routed, mode: tproxy, network: [tcp, udp], sniff: false,
      address: ["127.0.0.1:50080", "[::1]:50080"] }
  - { name: turned, mode: redirect, sniff: false, address: ["0.0.0.0:51080"] }"""


@pytest.fixture
def dns(lab, keeper):
    d = Dns(lab, keeper)
    yield d
    d.close()


@pytest.fixture
def learning(dns):
    """Clients of .2 and .3 go through other listeners, too, and nobody says a name."""
    dns.name_server({"bad.test": [f"A {SERVER[4]}"], "good.test": [f"A {SERVER[4]}"]})

    def start(names=1000):
        dns.limpid = dns.keeper.get(
            f"# {next(dns.numbers)}\nlisteners:\n  - {{ name: dns, mode: dns, "
            f'address: ["0.0.0.0:51053"] }}\n{TRANSPARENT}\nrules:\n{LEARNT}\n'
            f"resolver: {{ servers: [{NS}] }}\nlimits: {{ learnt-names: {names} }}\n"
            f"{configs.RECORD}")
        return dns
    return start


def visit(dns, way="tproxy", port=7000):
    """Connect to a server without saying a name: the record."""
    s = dns.lab.socket(dns.lab.client, 4)
    s.bind((CLIENT[way][4], dns.lab.free_port()))
    name = s.getsockname()
    try:
        s.connect((SERVER[4], port))
        sock.read_to_reset(s)
    except (ConnectionResetError, ConnectionRefusedError):
        pass
    s.close()
    return dns.limpid.records.wait(lambda r: r["event_type"] == "flow" and r["proto"] == "TCP" and
                                   (r["src_ip"], r["src_port"]) == name)["limpid"]


def of_client(dns, to, way="tproxy"):
    s = dns.lab.udp(dns.lab.client, 4, CLIENT[way][4], dns.lab.free_port())
    s.connect(to)
    return s


def test_name_of_a_flow_that_names_none(learning):
    """The name asked for last counts, for its client only."""
    dns = learning()
    assert "learnt_name" not in visit(dns, "redirect")
    dns.ask("bad.test")  # another client
    assert "learnt_name" not in visit(dns, "redirect")
    for name, rule in (("bad.test", "bad"), ("good.test", "rest")):
        dns.ask(name, s=of_client(dns, (ASKED, 53), "redirect"))
        told = visit(dns, "redirect")
        assert (told["learnt_name"], told["rule"]) == (name, rule)


def test_names_from_servers_of_the_client(learning):
    """What passes transparently is heard, too; and datagrams have names as well."""
    dns = learning()
    dns.ask("bad.test", s=of_client(dns, (NS, 53)))
    told = visit(dns)
    assert (told["learnt_name"], told["rule"]) == ("bad.test", "bad")
    s = of_client(dns, (SERVER[4], 9))
    s.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        s.recv(1)


def test_names_from_answers_that_come_together(learning):
    """What a resolver asks from one port may be answered in one train (GSO, GRO)."""
    dns = learning()
    at = dns.lab.udp_server(4, 53, SERVER_2[4])
    s = of_client(dns, (SERVER_2[4], 53))
    answers = b""
    for name, ip in (("one.test", "192.0.2.1"), ("bad.test", SERVER[4])):
        s.send(query(name))
        asked, seen = sock.hear(at)
        answers += asked[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + asked[12:] + \
            b"\xc0\x0c" + struct.pack(">HHIH", A, 1, 60, 4) + socket.inet_aton(ip)
    size = len(answers) // 2
    at.sendmsg([answers], [(17, 103, size.to_bytes(2, "little"))], 0, seen)  # UDP_SEGMENT
    assert s.recv(1000) + s.recv(1000) == answers
    told = visit(dns)
    assert (told["learnt_name"], told["rule"]) == ("bad.test", "bad")


def test_no_names_are_learnt_where_none_may_be(learning):
    dns = learning(names=0)
    dns.ask("bad.test", s=of_client(dns, (NS, 53)))
    assert "learnt_name" not in visit(dns)


class Dripping(NameServer):
    """By TCP, byte by byte."""

    def _serve_stream(self, s):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with s, s.makefile("rb") as f:
            while len(head := f.read(2)) == 2:
                _, _, _, answer = self._answer(f.read(struct.unpack(">H", head)[0]), 0)
                for byte in struct.pack(">H", len(answer)) + answer:
                    s.sendall(bytes([byte]))


@pytest.mark.parametrize("way", ["tproxy", "redirect"])
@pytest.mark.parametrize("server", [NameServer, Dripping])
def test_names_from_servers_asked_by_tcp(learning, way, server):
    """Each of several answers on one connection."""
    dns = learning()
    dns.servers.append(server(dns.lab.server, SERVER_2[4],
                              {"good.test": ["A 192.0.2.1"], "bad.test": [f"A {SERVER[4]}"]}))
    s = dns.lab.socket(dns.lab.client, 4)
    s.bind((CLIENT[way][4], dns.lab.free_port()))
    s.connect((SERVER_2[4], 53))
    tell(s, query("good.test"), query("bad.test"))
    assert [hear_stream(s).answers for _ in range(2)] == [1, 1]
    told = visit(dns, way)
    assert (told["learnt_name"], told["rule"]) == ("bad.test", "bad")


@pytest.mark.parametrize("said", [b"\0", b"\0\0", b"\0\x0bshort answer", b"SSH-2.0-server\r\n",
                                  struct.pack(">H", 27) + query() + b"!",
                                  struct.pack(">H", 65535) + bytes(65535) + b"\xff\xff"],
                         ids=["byte", "empty", "short", "ssh", "query", "zeros"])
def test_no_name_server_at_port_53(learning, said):
    """What it says goes on to the byte."""
    dns = learning()
    listener = dns.lab.listen(4, SERVER_2[4], 53)
    s = dns.lab.socket(dns.lab.client, 4)
    s.bind((CLIENT["tproxy"][4], dns.lab.free_port()))
    s.connect((SERVER_2[4], 53))
    server = dns.lab.accept(listener)
    for _ in range(2):
        server.sendall(said)
        assert sock.read_exactly(s, len(said)) == said
    server.close()
    assert sock.read_to_end(s) == b""


def test_http_request_for_an_address(dns):
    """In absolute form, each for itself: what is known of one target is not said of the next."""
    dns.name_server({"bad.test": [f"A {SERVER[4]}"]})
    dns.limpid = dns.keeper.get(
        f'listeners:\n  - {{ name: dns, mode: dns, address: "0.0.0.0:51053" }}\n  - {{ name: proxy, '
        f'mode: http, address: "{PROXY[4]}:{http.PORT}" }}\nrules:\n{LEARNT}\n'
        f"resolver: {{ servers: [{NS}] }}\n{configs.RECORD}")
    resolver = of_client(dns, (PROXY[4], 51053), "routed")
    resolver.send(query("bad.test"))
    resolver.recv(512)
    client, seen = http.Client(dns.lab), []
    for server, status in ((SERVER[4], 403), (SERVER_2[4], 502), (SERVER[4], 403)):
        host = f"{server}:7000"
        assert client.ask(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n").status == status
        seen.append("bad.test" if status == 403 else None)
    told = dns.limpid.records.wait(lambda r: r["event_type"] == "http", count=3)
    assert [r["limpid"].get("learnt_name") for r in told] == seen


@pytest.fixture
def socks(lab, keeper):
    s = Socks(lab, keeper)
    yield s
    s.close()


@pytest.mark.parametrize("by", ["udp", "tcp"])
def test_names_from_servers_asked_by_socks(socks, by):
    socks.name_server({"bad.test": [f"A {SERVER[4]}"]})
    socks.start(sniff="false")
    if by == "udp":
        a = Association(socks)
        a.send(query("bad.test"), NS, 53)
        a.receive()
    else:
        s, _ = socks.ask5(NS, 53)
        tell(s, query("bad.test"))
        assert hear_stream(s).answers == 1
    s, _ = socks.ask5(SERVER[4], 7000)
    assert socks.record(s)["limpid"]["learnt_name"] == "bad.test"
