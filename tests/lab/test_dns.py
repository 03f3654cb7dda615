# SPDX-License-Identifier: Apache-2.0
"""mode: dns.  Queries to 8.8.8.8 and 8.8.4.4 are turned round to it, as to a resolver of the
client's own choice, and what name servers do to them."""
import itertools
import json
import shutil
import socket
import struct
import subprocess
import threading

import pytest

from lab import configs, sock
from lab.names import NS, NS_2, Unbound
from lab.nameserver import NameServer
from lab.topology import CLIENT, PROXY, SERVER, SERVER_2

ASKED, ASKED_2 = "8.8.8.8", "8.8.4.4"
A, TXT, AAAA, OPT, AXFR = 1, 16, 28, 41, 252
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
ZONE = {"db.test": ["A 192.0.2.7"], "www.test": ["CNAME db.test"],
        "big.test": [f"A 192.0.2.{i}" for i in range(1, 100)]}
RULES = """
  - { name: blocked, match: { domain: .blocked.test }, action: reject }
  - { name: hushed, match: { domain: hushed.test }, action: deny }
  - { name: ask, match: { listener: dns }, action: accept }
  - { name: rest, action: accept }
"""


def query(name="db.test", kind=A, number=0x1234, edns=0, flags=0x0100, options=b""):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    opt = b"\0" + struct.pack(">HHIH", OPT, edns, 0, len(options)) + options if edns else b""
    return (struct.pack(">HHHHHH", number, flags, 1, 0, 0, 1 if edns else 0) + labels + b"\0" +
            struct.pack(">HH", kind, 1) + opt)


class Answer:
    def __init__(self, data):
        self.data = data
        self.number, self.flags, self.questions, self.answers, _, self.additional = \
            struct.unpack_from(">HHHHHH", data)
        self.rcode, self.truncated = self.flags & 15, bool(self.flags & 0x0200)
        assert self.flags & 0x8000


class Dns:
    """limpid with a DNS listener, its name servers, and clients of several kinds."""

    numbers = itertools.count()

    def __init__(self, lab, keeper):
        self.lab, self.keeper, self.servers, self.limpid = lab, keeper, [], None
        lab.proxy.nft("""
table inet dns {
	chain prerouting {
		type nat hook prerouting priority dstnat - 1;
		iifname p0 ip daddr { 8.8.8.8, 8.8.4.4 } meta l4proto { tcp, udp } th dport 53 \
			redirect to :51053
	}
}
""")

    def close(self):
        for s in self.servers:
            s.close()
        self.lab.close_sockets()
        self.keeper.stop()
        self.lab.proxy.run("nft", "delete", "table", "inet", "dns")

    def name_server(self, zone=None, moods=None, address=NS, **more):
        self.servers.append(NameServer(self.lab.server, address, zone or ZONE, moods, **more))
        return self.servers[-1]

    def start(self, resolver=f"servers: [{NS}], timeout: 20s", rules=RULES, more=""):
        self.limpid = self.keeper.get(
            f"# {next(self.numbers)}\nlisteners:\n  - {{ name: dns, mode: dns, address: "
            f'["0.0.0.0:51053", "[::]:51053"] }}\nrules:\n{rules}\n'
            f"resolver: {{ {resolver} }}\n{more}\n{configs.RECORD}")
        return self.limpid

    def udp(self, family=4, to=None):
        s = self.lab.udp(self.lab.client, family, CLIENT["routed"][family], self.lab.free_port())
        s.connect(to or ((ASKED, 53) if family == 4 else (PROXY[6], 51053)))
        return s

    def tcp(self, family=4):
        s = self.lab.socket(self.lab.client, family)
        s.bind((CLIENT["routed"][family], self.lab.free_port()))
        s.connect((ASKED, 53) if family == 4 else (PROXY[6], 51053))
        return s

    def ask(self, *args, s=None, **more):
        s = s or self.udp()
        s.send(query(*args, **more))
        return Answer(s.recv(65535))

    def why(self, *args, **more):
        s = self.udp()
        answer = self.ask(*args, s=s, **more)
        return answer.rcode, self.record(s)["limpid"]["why"]

    def record(self, s):
        name = s.getsockname()[:2]
        return self.limpid.records.wait(lambda r: r["event_type"] == "dns" and
                                        (r["src_ip"], r["src_port"]) == name)

    def run(self, *argv):
        with self.lab.client.enter():
            return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=60, check=True).stdout


@pytest.fixture
def dns(lab, keeper):
    d = Dns(lab, keeper)
    yield d
    d.close()


def tell(s, *queries):
    s.sendall(b"".join(struct.pack(">H", len(q)) + q for q in queries))


def hear(s):
    return Answer(sock.read_exactly(s, struct.unpack(">H", sock.read_exactly(s, 2))[0]))


# --- there and back -----------------------------------------------------------------------------

@pytest.mark.parametrize("to", [ASKED, ASKED_2])
def test_redirected_query_is_answered_by_our_server(dns, to):
    """The answer comes from the address that was asked; the record says it all."""
    ns = dns.name_server()
    dns.start()
    s = dns.udp(to=(to, 53))
    answer = dns.ask("www.test", s=s)
    assert (answer.number, answer.rcode, answer.answers) == (0x1234, NOERROR, 2)
    assert answer.data.endswith(socket.inet_aton("192.0.2.7"))
    assert ns.asked == [("www.test", "A", "udp")]
    record = dns.record(s)
    assert record["dns"]["rrname"] == "www.test" and record["dns"]["rrtype"] == "A"
    assert record["dns"]["rcode"] == "NOERROR"
    assert [(r["rrtype"], r["rdata"]) for r in record["dns"]["answers"]] == \
        [("CNAME", "db.test"), ("A", "192.0.2.7")]
    told = record["limpid"]
    assert (told["listener"], told["rule"], told["action"], told["server"], told["why"]) == \
        ("dns", "ask", "accept", NS, "finished")
    assert "Accept | dns www.test A NOERROR 192.0.2.7\n" in dns.limpid.stderr()


def test_by_ipv6(dns):
    dns.name_server()
    dns.start()
    assert dns.ask(s=dns.udp(6)).answers == 1
    s = dns.tcp(6)
    tell(s, query())
    assert hear(s).answers == 1


def test_negative_answers_go_through(dns):
    dns.name_server()
    dns.start()
    assert dns.ask("gone.test").rcode == NXDOMAIN
    answer = dns.ask(kind=TXT)
    assert (answer.rcode, answer.answers) == (NOERROR, 0)


def test_many_at_once(dns):
    """Each gets its own, whatever order they come in."""
    dns.name_server({f"n{i}.test": [f"A 192.0.2.{i}"] for i in range(100)})
    dns.start()
    s = dns.udp()
    for i in range(100):
        s.send(query(f"n{i}.test", number=i))
    answers = [Answer(s.recv(65535)) for _ in range(100)]
    assert {(a.number, a.data[-1]) for a in answers} == {(i, i) for i in range(100)}


# --- servers ------------------------------------------------------------------------------------

@pytest.mark.parametrize("mood", ["silent", "servfail", "wrong-id"])
def test_next_server(dns, mood):
    first = dns.name_server(moods={"any": mood})
    second = dns.name_server(address=NS_2)
    timeout = "1s" if mood == "silent" else "20s"
    dns.start(f"servers: [{NS}, {NS_2}], timeout: {timeout}")
    answer = dns.ask()
    assert answer.answers == 1 and answer.data.endswith(socket.inet_aton("192.0.2.7"))
    assert len(first.asked) == 1 and len(second.asked) == (mood != "wrong-id")


def test_next_server_where_none_listens(dns):
    dns.name_server(address=NS_2)
    dns.start(f"servers: [{NS}, {NS_2}], timeout: 60s")
    assert dns.ask().answers == 1


@pytest.mark.parametrize("rotate", [True, False])
def test_rotate(dns, rotate):
    both = [dns.name_server(address=a) for a in (NS, NS_2)]
    dns.start(f"servers: [{NS}, {NS_2}], rotate: {str(rotate).lower()}",
              more="limits: { threads: 1 }")
    for _ in range(6):
        assert dns.ask().answers == 1
    assert [len(ns.asked) for ns in both] == ([3, 3] if rotate else [6, 0])


@pytest.mark.parametrize("attempts", [1, 3])
def test_all_fail(dns, attempts):
    both = [dns.name_server(moods={"any": "silent"}, address=a) for a in (NS, NS_2)]
    dns.start(f"servers: [{NS}, {NS_2}], timeout: 50ms, attempts: {attempts}")
    assert dns.why() == (SERVFAIL, "name-failed")
    sock.eventually(lambda: [len(ns.asked) for ns in both] == [attempts, attempts], "all attempts",
                    lambda: [ns.asked for ns in both])


class Liar:
    """A name server that sends, for each query, what lies(query) says, from the socket it names."""

    def __init__(self, dns, lies):
        self.at, self.other = (dns.lab.udp(dns.lab.server, 4, NS, port) for port in (53, 5300))
        self.at.settimeout(None)
        self.lies, self.seen, self.over = lies, [], False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        dns.servers.append(self)

    def _serve(self):
        while True:
            data, peer = self.at.recvfrom(65535)
            if self.over:
                return
            self.seen.append((data, peer))
            for where, answer in self.lies(data):
                {"at": self.at, "other": self.other}[where].sendto(answer, peer)

    def close(self):
        self.over = True
        self.other.sendto(b"", (NS, 53))
        self.thread.join()
        self.at.close()
        self.other.close()


def truth(data, last=7, question=None):
    question = question or data[12:]
    return (data[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + question + b"\xc0\x0c" +
            struct.pack(">HHIH", A, 1, 60, 4) + socket.inet_aton(f"192.0.2.{last}"))


@pytest.mark.parametrize("lie", [
    lambda q: ("other", truth(q, 66)),
    lambda q: ("at", bytes([q[0] ^ 1]) + truth(q, 66)[1:]),
    lambda q: ("at", truth(q, 66, query("evil.test")[12:])),
    lambda q: ("at", truth(q, 66, query(kind=AAAA)[12:])),
    lambda q: ("at", q),
    lambda q: ("at", truth(q, 66)[:20]),
    lambda q: ("at", truth(q, 66)[:11]),
    lambda q: ("at", b""),
    lambda q: ("at", b"\xff" * 600),
], ids=["source", "id", "name", "type", "query", "cut", "cut-header", "empty", "garbage"])
def test_lies_are_passed_over(dns, lie):
    Liar(dns, lambda q: [lie(q), ("at", truth(q))])
    dns.start()
    assert dns.ask().data.endswith(socket.inet_aton("192.0.2.7"))


def test_ids_and_ports_are_our_own(dns):
    liar = Liar(dns, lambda q: [("at", truth(q))])
    dns.start()
    s = dns.udp()
    for _ in range(20):
        assert dns.ask(s=s, number=77).number == 77
    assert len({data[:2] for data, _ in liar.seen}) > 15
    assert len({peer[1] for _, peer in liar.seen}) > 15


def test_what_the_client_asks_goes_on_as_it_came(dns):
    liar = Liar(dns, lambda q: [("at", truth(q, question=query("DB.test")[12:]))])
    dns.start()
    sent = query("DB.test", edns=4096, options=struct.pack(">HH", 10, 8) + b"cookie!!",
                 flags=0x0130)
    s = dns.udp()
    s.send(sent)
    s.recv(65535)
    assert liar.seen[0][0][2:] == sent[2:]


def test_late_answer_is_for_nobody(dns):
    late = []
    liar = Liar(dns, lambda q: late.append(truth(q, 66)) or [])
    dns.name_server(address=NS_2)
    dns.start(f"servers: [{NS}, {NS_2}], timeout: 500ms")
    s = dns.udp()
    assert dns.ask(s=s).data.endswith(socket.inet_aton("192.0.2.7"))
    liar.at.sendto(late[0], liar.seen[0][1])
    assert dns.ask(s=s, number=5).number == 5


# --- long answers -------------------------------------------------------------------------------

def test_truncated_is_asked_again_by_tcp(dns):
    ns = dns.name_server(moods={"any": "truncated"})
    dns.start()
    assert dns.ask().answers == 1
    assert [how for _, _, how in ns.asked] == ["udp", "tcp"]


@pytest.mark.parametrize("edns, whole", [(0, False), (600, False), (4096, True)])
def test_as_long_as_the_client_takes(dns, edns, whole):
    ns = dns.name_server()
    dns.start()
    answer = dns.ask("big.test", edns=edns)
    assert (answer.truncated, answer.answers) == ((False, 99) if whole else (True, 0))
    assert answer.additional == (1 if edns and not whole else 0)
    assert ns.count("big.test", how="tcp") == 1
    s = dns.tcp()
    tell(s, query("big.test"))
    assert hear(s).answers == 99


# --- by TCP -------------------------------------------------------------------------------------

def test_pipelined(dns):
    """Answers come back out of order, and the end comes after the last."""
    ns = dns.name_server({"db.test": ZONE["db.test"], "slow.test": ["AAAA fd00::1"]},
                         {"AAAA": "hold"})
    dns.start()
    s = dns.tcp()
    tell(s, query("slow.test", AAAA, 1), *(query(number=i) for i in range(2, 50)))
    s.shutdown(socket.SHUT_WR)
    assert {hear(s).number for _ in range(48)} == set(range(2, 50))
    ns.release()
    assert hear(s).number == 1
    assert s.recv(1) == b""


def test_byte_by_byte(dns):
    dns.name_server()
    dns.start()
    s = dns.tcp()
    q = query()
    for byte in struct.pack(">H", len(q)) + q:
        s.sendall(bytes([byte]))
    assert hear(s).answers == 1


def test_garbage_by_tcp(dns):
    dns.start()
    s = dns.tcp()
    s.sendall(b"\0\3abc" + b"x" * 100)
    assert sock.read_to_reset(s) == b""
    name = s.getsockname()
    told = dns.limpid.records.wait(lambda r: r["event_type"] == "flow" and
                                   (r["src_ip"], r["src_port"]) == name)
    assert told["limpid"]["why"] == "greeting"


def test_client_leaves_while_servers_are_asked(dns):
    ns = dns.name_server(moods={"any": "hold"})
    dns.start()
    s = dns.tcp()
    tell(s, *(query(number=i) for i in range(10)))
    sock.eventually(lambda: len(ns.asked) == 10, "ten are asked")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
    ns.release()
    assert dns.ask().answers == 1


def test_idle_connection_ends(dns):
    dns.name_server()
    dns.start(more="timeouts: { dns: 1s }")
    s = dns.tcp()
    tell(s, query())
    assert hear(s).answers == 1
    assert s.recv(1) == b""


# --- policy and limits --------------------------------------------------------------------------

@pytest.mark.parametrize("by", ["udp", "tcp"])
def test_reject_is_refused(dns, by):
    ns = dns.name_server()
    dns.start()
    s = getattr(dns, by)()
    if by == "udp":
        answer = dns.ask("www.blocked.test", s=s, edns=1232)
    else:
        tell(s, query("www.blocked.test", edns=1232))
        answer = hear(s)
    assert (answer.rcode, answer.questions, answer.additional) == (REFUSED, 1, 1)
    told = dns.record(s)["limpid"]
    assert (told["rule"], told["action"], told["why"]) == ("blocked", "reject", "rejected")
    assert not ns.asked


@pytest.mark.parametrize("by", ["udp", "tcp"])
def test_deny_says_nothing(dns, by):
    ns = dns.name_server()
    dns.start()
    s = getattr(dns, by)()
    hushed, other = query("hushed.test", number=1), query(number=2)
    if by == "udp":
        s.send(hushed)
        assert dns.record(s)["limpid"]["why"] == "denied"
        s.send(other)
        assert Answer(s.recv(65535)).number == 2
    else:
        tell(s, hushed, other)
        assert hear(s).number == 2
    assert [name for name, _, _ in ns.asked] == ["db.test"]


@pytest.mark.parametrize("bad, rcode", [
    (query(flags=0x2800), NOTIMP),                             # UPDATE
    (query(kind=AXFR), NOTIMP),
    (query()[:4] + b"\0\2" + query()[6:] + query()[12:], FORMERR),  # two questions
    (query()[:4] + b"\0\0" + query()[6:12], FORMERR),          # none
    (query()[:-3], FORMERR),                                   # cut off
], ids=["update", "transfer", "two", "none", "cut"])
def test_bad_queries(dns, bad, rcode):
    ns = dns.name_server()
    dns.start()
    s = dns.udp()
    s.send(bad)
    answer = Answer(s.recv(65535))
    assert (answer.number, answer.rcode) == (0x1234, rcode)
    assert not ns.asked


def test_answers_are_not_answered(dns):
    """Two resolvers must not talk to each other for ever."""
    dns.name_server()
    dns.start()
    s = dns.udp()
    s.send(query(flags=0x8180, number=1))
    s.send(b"short")
    s.send(query(number=2))
    assert Answer(s.recv(65535)).number == 2


def test_queries_are_bounded(dns):
    ns = dns.name_server(moods={"any": "hold"})
    dns.start(more="limits: { threads: 1, lookups: 5 }")
    s = dns.udp()
    for i in range(6):
        s.send(query(number=i))
    answer = Answer(s.recv(65535))
    assert (answer.number, answer.rcode) == (5, SERVFAIL)
    ns.release()
    assert {Answer(s.recv(65535)).number for _ in range(5)} == set(range(5))


# --- real programs ------------------------------------------------------------------------------

@pytest.fixture
def unbound(dns, tmp_path):
    server = Unbound(dns.lab.server, NS, ZONE, tmp_path / "unbound")
    dns.start()
    yield dns
    server.stop()


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


@pytest.mark.parametrize("options", [["+bufsize=4096"], ["+tcp"], ["+noedns"], ["+dnssec"],
                                     ["+bufsize=512"]], ids=lambda o: o[0])
@pytest.mark.parametrize("program", [pytest.param(p, marks=needs(p)) for p in ("dig", "kdig")])
def test_clients_and_unbound(unbound, program, options):
    out = unbound.run(program, f"@{ASKED}", *options, "big.test", "A")
    assert out.count("192.0.2.") >= 99 and "NOERROR" in out


@needs("dnsperf")
def test_dnsperf(unbound, tmp_path):
    """Nothing is lost."""
    (tmp_path / "queries").write_text("db.test A\nwww.test A\ngone.test A\n", encoding="ascii")
    out = unbound.run("dnsperf", "-s", ASKED, "-d", str(tmp_path / "queries"), "-n", "500",
                      "-q", "50", "-c", "5")
    assert "Queries lost:         0 (0.00%)" in out, out


def test_odd_names_and_types_are_json(dns):
    """A name of odd bytes and a type without a name."""
    dns.name_server()
    dns.start()
    s = dns.udp()
    s.send(query(kind=65280).replace(b"\2db", b"\2\"\n"))
    s.recv(65535)
    record = dns.record(s)
    assert (record["dns"]["rrname"], record["dns"]["rrtype"]) == ('"\\010.test', "TYPE65280")
    assert json.dumps(record)


def test_server_on_ipv6(dns):
    ns = dns.name_server(address=SERVER[6], port=5353)
    dns.start(f'servers: "[{SERVER[6]}]:5353"')
    assert dns.ask().answers == 1
    assert len(ns.asked) == 1
