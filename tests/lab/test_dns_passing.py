# SPDX-License-Identifier: Apache-2.0
"""DNS that passes, to name servers that clients have chosen: which names flows have afterwards that
name no host themselves."""
import itertools
import shutil
import socket
import struct
import subprocess

import pytest

from lab import configs, sock
from lab.ground import WAYS
from lab.names import NS, Unbound
from lab.nameserver import NameServer
from lab.socks import Association, read_reply5, request5
from lab.topology import CLIENT, PROXY, SERVER, SERVER_2

A, AAAA = 1, 28
ZONE = {"bad.test": [f"A {SERVER[4]}", f"AAAA {SERVER[6]}"],
        "alias.test": ["CNAME bad.test"], "good.test": [f"A {SERVER[4]}", f"AAAA {SERVER[6]}"],
        "big.test": [f"A 192.0.2.{i}" for i in range(1, 60)] + [f"A {SERVER[4]}"]}
SOCKS, HTTP, FIXED = 52080, 52081, 52082
CONFIG = f"""
listeners:
  - {{ name: routed, mode: tproxy, network: [tcp, udp], sniff: false,
      address: ["127.0.0.1:50080", "[::1]:50080"] }}
  - {{ name: turned, mode: redirect, sniff: false, address: ["0.0.0.0:51080", "[::]:51080"] }}
  - {{ name: socks, mode: socks, sniff: false, address: "{PROXY[4]}:{SOCKS}" }}
  - {{ name: http, mode: http, sniff: false, address: "{PROXY[4]}:{HTTP}" }}
  - {{ name: fixed, mode: fixed, to: "{NS}:53", sniff: false, address: "{PROXY[4]}:{FIXED}" }}
rules:
  - {{ name: bad, match: {{ domain: [bad.test, alias.test, big.test] }}, action: reject }}
  - {{ name: rest, action: accept }}
resolver: {{ servers: [{NS}] }}
{configs.RECORD}"""


def query(name="bad.test", kind=A, number=0x1234):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + labels + b"\0" + \
        struct.pack(">HH", kind, 1)


def answer(to, ip=SERVER[4], ttl_s=60):
    return to[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + to[12:] + b"\xc0\x0c" + \
        struct.pack(">HHIH", A, 1, ttl_s, 4) + socket.inet_aton(ip)


def framed(*messages):
    return b"".join(struct.pack(">H", len(m)) + m for m in messages)


def hear(s):
    return sock.read_exactly(s, struct.unpack(">H", sock.read_exactly(s, 2))[0])


class Passing:
    """limpid without a listener for DNS, and clients of which each has its own address."""

    numbers = itertools.count()

    def __init__(self, lab, keeper):
        self.lab, self.keeper, self.servers = lab, keeper, []
        # what was learnt for one test is nothing to another
        self.limpid = keeper.get(f"# {next(self.numbers)}\n{CONFIG}")

    def close(self):
        for s in self.servers:
            s.close()
        self.lab.close_sockets()

    def name_server(self, address=NS):
        self.servers.append(NameServer(self.lab.server, address, ZONE))

    def connect(self, way="tproxy", family=4, to=None):
        """To a name server, by any way there is."""
        source = CLIENT[way][family] if way in CLIENT else CLIENT["routed"][family]
        s = self.lab.socket(self.lab.client, family)
        s.bind((source, self.lab.free_port()))
        port = {"socks": SOCKS, "http": HTTP, "fixed": FIXED}.get(way)
        server = to or (NS if family == 4 else SERVER[6], 53)
        s.connect((PROXY[4], port) if port else server)
        if way == "socks":
            s.sendall(b"\5\1\0" + request5(*server))
            assert sock.read_exactly(s, 12)[:4] == b"\5\0\5\0"
        if way == "http":
            s.sendall(f"CONNECT {server[0]}:{server[1]} HTTP/1.1\r\nHost: ns\r\n\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.read_exactly(s, 1)
            assert head.startswith(b"HTTP/1.1 200 ")
        return s

    def name_of(self, way="tproxy", family=4, to=None):
        """Name and rule of a flow of the same client that says no name."""
        s = self.lab.socket(self.lab.client, family)
        s.bind((CLIENT[way][family] if way in CLIENT else CLIENT["routed"][family],
                self.lab.free_port()))
        name, to = s.getsockname()[:2], to or SERVER[family]
        try:
            if way in CLIENT:
                s.connect((to, 7000))
            else:
                s.connect((PROXY[4], SOCKS))
                s.sendall(b"\5\1\0" + request5(to, 7000))
                sock.read_exactly(s, 12)
            s.recv(1)
        except (ConnectionResetError, ConnectionRefusedError):
            pass
        s.close()
        record = self.limpid.records.wait(
            lambda r: r["event_type"] == "flow" and r["proto"] == "TCP" and
            (r["src_ip"], r["src_port"]) == name and r.get("dest_port") == 7000)["limpid"]
        return record.get("learnt_name"), record.get("rule")

    def run(self, *argv):
        with self.lab.client.enter():
            return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=60, check=True).stdout


@pytest.fixture
def passing(lab, keeper):
    p = Passing(lab, keeper)
    yield p
    p.close()


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


# --- TCP ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("way, family", [("tproxy", 4), ("tproxy", 6), ("redirect", 4),
                                         ("redirect", 6), ("socks", 4), ("http", 4), ("fixed", 4)])
def test_every_way(passing, way, family):
    """Through whatever listener, and with a rule about it."""
    passing.name_server(NS if family == 4 else SERVER[6])
    assert passing.name_of(way, family) == (None, "rest")
    s = passing.connect(way, family)
    for name, rule in (("bad.test", "bad"), ("good.test", "rest")):
        s.sendall(framed(query(name, A if family == 4 else AAAA)))
        hear(s)
        assert passing.name_of(way, family) == (name, rule)


@pytest.mark.plain
@pytest.mark.parametrize("way", WAYS)
def test_from_this_host(road, family, way):
    """What the host itself asks, and where it goes then; the rules need no name."""
    host = road(WAYS[way])
    ns = NameServer(host.lab.server, SERVER_2[family], ZONE)
    s = host.client(host.host.ns)
    s.connect((SERVER_2[family], 53))
    s.sendall(framed(query("good.test", A if family == 4 else AAAA)))
    hear(s)
    _, name = host.exchange(host.client(host.host.ns), host.listen())
    assert host.limpid.records.of(name)["limpid"]["learnt_name"] == "good.test"
    ns.close()


@pytest.fixture
def unbound(passing, tmp_path):
    server = Unbound(passing.lab.server, NS, ZONE, tmp_path / "unbound")
    yield passing
    server.stop()


@pytest.mark.parametrize("program", [["dig", "+tcp"], ["kdig", "+tcp"], ["dig", "+bufsize=512"]],
                         ids=["dig", "kdig", "dig-udp"])
@pytest.mark.parametrize("name", ["BAD.test", "big.test"])
def test_programs(unbound, program, name):
    """Odd case, and an answer of one KiB; who asks by UDP is sent to TCP for that."""
    passing = unbound
    out = passing.run(*program, "-b", CLIENT["tproxy"][4], f"@{NS}", name, "A")
    assert "NOERROR" in out
    assert passing.name_of() == (name.lower(), "bad")


@needs("dnsperf")
def test_dnsperf(unbound, tmp_path):
    """Connections that are used for long, with many queries at once."""
    (tmp_path / "queries").write_text("bad.test A\nbad.test AAAA\nbig.test A\n" * 500,
                                      encoding="ascii")
    out = unbound.run("dnsperf", "-m", "tcp", "-a", CLIENT["tproxy"][4], "-s", NS, "-n", "2",
                      "-d", str(tmp_path / "queries"), "-q", "100", "-c", "3")
    assert "Queries lost:         0 (0.00%)" in out, out
    assert unbound.name_of(to="192.0.2.7")[0] == "big.test"


def test_alias(passing):
    """The name that was asked for counts."""
    passing.name_server()
    s = passing.connect()
    s.sendall(framed(query("alias.test")))
    hear(s)
    assert passing.name_of() == ("alias.test", "bad")


@pytest.fixture
def pair(passing):
    """A client's connection to a name server that says what the test wants."""
    listener = passing.lab.listen(4, SERVER_2[4], 53)
    client = passing.connect(to=(SERVER_2[4], 53))
    return client, passing.lab.accept(listener)


def test_pipelined_and_out_of_order(passing, pair):
    """Many queries in one segment; the answers in two, cut in a message, the last first."""
    client, server = pair
    asked = [query(f"n{i}.test", number=i) for i in range(100)]
    client.sendall(framed(*asked))
    assert sock.read_exactly(server, len(framed(*asked))) == framed(*asked)
    answers = framed(*(answer(q, f"192.0.2.{i + 1}") for i, q in reversed(list(enumerate(asked)))))
    server.sendall(answers[:1001])
    assert sock.read_exactly(client, 1001) == answers[:1001]
    server.sendall(answers[1001:])
    assert sock.read_exactly(client, len(answers) - 1001) == answers[1001:]
    for i in (0, 1, 50, 99):
        assert passing.name_of(to=f"192.0.2.{i + 1}")[0] == f"n{i}.test"


def test_byte_by_byte(passing, pair):
    """Each byte goes on at once: nothing waits for the rest."""
    client, server = pair
    for source, other, message in ((client, server, query()), (server, client, answer(query()))):
        for b in framed(message):
            source.sendall(bytes([b]))
            assert sock.read_exactly(other, 1) == bytes([b])
    assert passing.name_of() == ("bad.test", "bad")


def test_answers_without_a_question_by_tcp(passing, pair):
    """Another id, another name, none asked, and asked on another connection."""
    client, server = pair
    other = passing.connect(to=(SERVER_2[4], 53))
    other.sendall(framed(query()))
    lies = framed(answer(query()), answer(query(number=9)), answer(query("evil.test")))
    server.sendall(lies[:len(lies) // 3])
    assert sock.read_exactly(client, len(lies) // 3)
    client.sendall(framed(query("asked.test")))
    hear(server)
    server.sendall(lies)
    assert sock.read_exactly(client, len(lies)) == lies
    assert passing.name_of() == (None, "rest")
    server.sendall(framed(answer(query("Asked.test"))))
    hear(client)
    assert passing.name_of() == ("asked.test", "rest")


@pytest.mark.parametrize("first", [b"SSH-2.0-x\r\n", b"\0\0\0", b"\xff", framed(query()) + b"\0\1x"])
def test_what_is_no_dns_goes_on(passing, pair, first):
    """To the byte, and in bulk by splice if it is seen to be something else."""
    client, server = pair
    text = sock.pattern(8 << 20)
    for source, other in ((client, server), (server, client)):
        source.sendall(first)
        assert sock.read_exactly(other, len(first)) == first
        sender = sock.Background(source.sendall, text)
        assert sock.read_exactly(other, len(text)) == text
        sender.result()
    name = client.getsockname()
    client.close()
    server.close()
    record = passing.limpid.records.of(name)
    assert record["limpid"]["offload"] == "splice", record


def test_end_in_a_message(passing, pair):
    """Half closed, with half a message in each direction."""
    client, server = pair
    client.sendall(framed(query())[:9])
    client.shutdown(socket.SHUT_WR)
    assert sock.read_to_end(server) == framed(query())[:9]
    server.sendall(framed(answer(query()))[:30])
    server.close()
    assert sock.read_to_end(client) == framed(answer(query()))[:30]
    assert passing.limpid.records.of(client.getsockname())["limpid"]["why"] == "finished"


# --- UDP ----------------------------------------------------------------------------------------

def test_answers_without_a_question_by_udp(passing):
    """The client gets them all, and is the judge; no name is learnt from them."""
    server = passing.lab.udp_server(4, 53, SERVER_2[4])
    s = passing.lab.udp_client(4)
    s.connect((SERVER_2[4], 53))
    s.send(query("asked.test"))
    _, seen = sock.hear(server)
    for lie in (answer(query()), answer(query("asked.test", number=9)),
                answer(query("asked.test", kind=AAAA))):
        server.sendto(lie, seen)
        assert s.recv(1000) == lie
    assert passing.name_of() == (None, "rest")
    server.sendto(answer(query("ASKED.test")), seen)
    s.recv(1000)
    assert passing.name_of() == ("asked.test", "rest")
    server.sendto(answer(query("asked.test"), "192.0.2.1"), seen)  # it has been answered
    s.recv(1000)
    assert passing.name_of(to="192.0.2.1")[0] is None


class Client:
    """As an association wants one."""

    def __init__(self, lab):
        self.lab = lab

    def ask5(self, host, port, command, family):
        s = self.lab.socket(self.lab.client, family)
        s.bind((CLIENT["routed"][family], self.lab.free_port()))
        s.connect((PROXY[family], SOCKS))
        s.sendall(b"\5\1\0" + request5(host, port, command))
        assert sock.read_exactly(s, 2) == b"\5\0"
        return s, read_reply5(s)


def test_association(passing):
    """What a SOCKS client asks by its association."""
    passing.name_server()
    a = Association(Client(passing.lab))
    a.send(query(), NS, 53)
    a.udp.recv(1000)
    assert passing.name_of("socks") == ("bad.test", "bad")
