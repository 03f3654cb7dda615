# SPDX-License-Identifier: Apache-2.0
"""mode: dns to the byte: odd queries that go on as they came, malformed ones that do not, servers
that fail in odd ways, and clients by TCP that do not behave."""
import select
import socket
import struct
import time

import pytest

from lab import sock
from lab.limpid import sanitized
from lab.names import NS
from lab.nameserver import NameServer
from lab.topology import PROXY, PROXY_FAR
from test_dns import (AXFR, FORMERR, NOERROR, NOTIMP, OPT, REFUSED, SERVFAIL, TXT, ZONE, Answer,
                      Dns, Liar, hear, query, tell, truth)

PLAIN = query()
HEADER = PLAIN[:12]
QUESTION = b"\0\1\0\1"


@pytest.fixture
def dns(lab, keeper):
    d = Dns(lab, keeper)
    yield d
    d.close()


def opt(size=1232, ttl=0, options=b""):
    return b"\0" + struct.pack(">HHIH", OPT, size, ttl, len(options)) + options


def with_counts(answers=0, authority=0, additional=0, tail=b""):
    return PLAIN[:6] + struct.pack(">HHH", answers, authority, additional) + PLAIN[12:] + tail


LABELS = b"".join(b"\x3f" + b"a" * 63 for _ in range(3))
UNUSUAL = {
    "root": HEADER + b"\0\0\2\0\1",
    "any": query(kind=255),
    "type-65280": query(kind=65280),
    "chaos": HEADER + b"\7version\4bind\0" + struct.pack(">HH", TXT, 3),
    "class-any": PLAIN[:-2] + b"\0\xff",
    "label-63": HEADER + LABELS[:64] + b"\0" + QUESTION,
    "name-255": HEADER + LABELS + b"\x3d" + b"b" * 61 + b"\0" + QUESTION,
    "nul": HEADER + b"\3a\0b\4test\0" + QUESTION,
    "dot-in-label": HEADER + b"\3a.b\4test\0" + QUESTION,
    "no-recursion": query(flags=0),
    "ad": query(flags=0x0120),
    "cd": query(flags=0x0110),
    "edns": with_counts(additional=1, tail=opt()),
    "do": with_counts(additional=1, tail=opt(ttl=0x8000)),
    "edns-version-1": with_counts(additional=1, tail=opt(ttl=1 << 16)),
}
MALFORMED = {
    "header-only": HEADER,
    "pointer-to-itself": HEADER + b"\xc0\x0c" + QUESTION,
    "pointer-loop": HEADER + b"\1a\xc0\x0c" + QUESTION,
    "pointer-out": HEADER + b"\xff\xff" + QUESTION,
    "label-64": HEADER + b"\x40" + b"a" * 64 + b"\0" + QUESTION,
    "label-type-2": HEADER + b"\x80a\0" + QUESTION,
    "name-256": HEADER + LABELS + b"\x3e" + b"b" * 62 + b"\0" + QUESTION,
    "65535-questions": PLAIN[:4] + b"\xff\xff" + PLAIN[6:],
    "answer-missing": with_counts(answers=1),
    "authority-missing": with_counts(authority=1),
    "additional-missing": with_counts(additional=1),
    "65535-additional": with_counts(additional=65535),
    "opt-cut": with_counts(additional=1, tail=opt()[:-1]),
    "opt-too-long": with_counts(additional=1, tail=opt()[:-2] + b"\xff\xff"),
    "two-opts": with_counts(additional=2, tail=opt() + opt()),   # RFC 6891 section 6.1.1
}


def say(s, data):
    s.send(data)
    return Answer(s.recv(65535))


# --- queries ------------------------------------------------------------------------------------


def test_unusual_queries_go_on_as_they_came(dns):
    liar = Liar(dns, lambda q: [("at", truth(q))])
    dns.start()
    udp, tcp = dns.udp(), dns.tcp()
    for name, data in UNUSUAL.items():
        del liar.seen[:]
        answer = say(udp, data)
        assert (answer.number, answer.rcode, answer.answers) == (0x1234, NOERROR, 1), name
        tell(tcp, data)
        assert hear(tcp).answers == 1, name
        assert [q[2:] for q, _ in liar.seen] == [data[2:]] * 2, name


def test_malformed_queries_are_format_errors(dns):
    ns = dns.name_server()
    dns.start()
    udp, tcp = dns.udp(), dns.tcp()
    for name, data in MALFORMED.items():
        tell(tcp, data)
        for answer in (say(udp, data), hear(tcp)):
            assert (answer.number, answer.rcode, answer.answers) == (0x1234, FORMERR, 0), name
    assert not ns.asked


def test_cut_at_each_byte(dns):
    """Below a header's length there is nobody to answer; above it is a format error."""
    ns = dns.name_server()
    dns.start()
    s = dns.udp()
    whole = query(edns=1232, options=struct.pack(">HH", 10, 8) + b"cookie!!")
    for cut in range(12):
        s.send(whole[:cut])
    for cut in range(12, len(whole)):
        assert say(s, whole[:cut]).rcode == FORMERR, cut
    assert not ns.asked
    assert say(s, whole).rcode == NOERROR


def test_opcodes(dns):
    ns = dns.name_server()
    dns.start()
    s = dns.udp()
    for opcode in range(1, 16):
        answer = say(s, query(flags=opcode << 11 | 0x0100))
        assert (answer.rcode, answer.flags >> 11 & 15) == (NOTIMP, opcode)
    assert not ns.asked


def test_every_address_answers_as_itself(dns, family):
    """A client takes no answer from elsewhere than it asked."""
    dns.name_server()
    dns.start()
    for address in PROXY[family], PROXY_FAR[family]:
        assert dns.ask(s=dns.udp(family, (address, 51053))).answers == 1


@pytest.mark.parametrize("size, takes", [(0, 512), (100, 512), (512, 512), (1000, 1000),
                                         (65535, 4096)])
def test_how_much_a_client_takes(dns, size, takes):
    """RFC 6891 section 6.2.3: less than 512 means 512; nobody is sent trains of fragments."""
    def of_length(data, n):
        answer = truth(data)
        padding = b"\0" + struct.pack(">HHIH", 10, 1, 0, n - len(answer) - 11)
        return answer[:10] + b"\0\1" + answer[12:] + padding + bytes(n - len(answer) - 11)

    lengths = iter((takes, takes + 1))
    Liar(dns, lambda q: [("at", of_length(q, next(lengths)))])
    dns.start()
    s = dns.udp()
    whole = with_counts(additional=1, tail=opt(size))
    answer = say(s, whole)
    assert (len(answer.data), answer.truncated) == (takes, False)
    answer = say(s, whole)
    assert (answer.answers, answer.truncated) == (0, True)


@pytest.mark.parametrize("ttl", [0, 0x8000])
def test_answers_of_our_own_repeat_do(dns, ttl):
    """RFC 3225 section 3, whatever the answer is."""
    dns.name_server(moods={"AAAA": "servfail"})
    dns.start()
    s = dns.udp()
    for name, kind, rcode in (("big.test", 1, NOERROR), ("db.test", 28, SERVFAIL),
                              ("db.test", AXFR, NOTIMP), ("a.blocked.test", 1, REFUSED)):
        answer = say(s, query(name, kind)[:10] + b"\0\1" + query(name, kind)[12:] +
                     opt(512, ttl))
        assert (answer.rcode, answer.answers) == (rcode, 0)
        assert answer.data.endswith(opt(1232, ttl))


# --- servers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rcode, told", [(1, SERVFAIL), (2, SERVFAIL), (4, SERVFAIL)])
def test_failure_without_a_question_is_heard_at_once(dns, rcode, told):
    """Servers that cannot read a query answer with a bare header."""
    liar = Liar(dns, lambda q: [("at", q[:2] + bytes([0x81, 0x80 | rcode]) + bytes(8))])
    dns.start(f"servers: [{NS}], timeout: 60s, attempts: 2")
    assert dns.why() == (told, "name-failed")
    assert len(liar.seen) == 2


@pytest.mark.parametrize("rcode", [1, 3, 6, 15])
def test_other_answers_go_through(dns, rcode):
    liar = Liar(dns, lambda q: [("at", q[:2] + bytes([0x81, 0x80 | rcode]) + q[4:])])
    dns.start()
    assert dns.ask().rcode == rcode
    assert len(liar.seen) == 1


@pytest.mark.parametrize("answer", [
    lambda q: q[:2] + b"\x81\x80\0\1\0\5\0\0\0\0" + q[12:],
    lambda q: q[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + q[12:] + b"\xc0" + bytes([len(q)]) + bytes(10),
    lambda q: truth(q)[:-4] + b"\xff\xff",
], ids=["none-there", "loop", "cut"])
def test_answers_with_broken_records(dns, answer):
    """They answer the question asked; what they are worth is the client's to see."""
    Liar(dns, lambda q: [("at", answer(q))])
    dns.start()
    assert dns.ask().rcode == NOERROR
    assert dns.limpid.alive()


class Chatty(NameServer):
    """By TCP, something follows the answer in the same segment."""

    def _serve_stream(self, s):
        with s, s.makefile("rb") as f:
            data = f.read(struct.unpack(">H", f.read(2))[0])
            self._handle(data, lambda a: s.sendall(struct.pack(">H", len(a)) + a + b"more"), "tcp")


def test_server_that_says_more_by_tcp(dns):
    dns.servers.append(Chatty(dns.lab.server, NS, ZONE, {"any": "truncated"}))
    dns.start()
    answer = dns.ask()
    assert answer.answers == 1 and answer.data.endswith(socket.inet_aton("192.0.2.7"))


# --- by TCP -------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"\0\0", b"\0\1x", b"\0\x0b" + bytes(11)])
def test_no_message_is_that_short(dns, data):
    dns.start()
    s = dns.tcp()
    s.sendall(data)
    assert sock.read_to_reset(s) == b""


def test_longest_garbage(dns):
    dns.start()
    s = dns.tcp()
    tell(s, bytes([1]) * 65535, PLAIN[:4] + bytes(8))
    assert [hear(s).number for _ in range(2)] == [0x0101, 0x1234]


@pytest.mark.parametrize("cut", [0, 1, 2, 13, 26])
def test_client_ends_in_a_message(dns, cut):
    ns = dns.name_server()
    dns.start()
    s = dns.tcp()
    s.sendall((struct.pack(">H", len(PLAIN)) + PLAIN)[:cut])
    s.shutdown(socket.SHUT_WR)
    assert sock.read_to_end(s) == b"" and not ns.asked


def test_drip(dns):
    """A byte now and then is no query, and the client is disconnected as one that asks nothing."""
    ns = dns.name_server()
    dns.start(more="timeouts: { dns: 300ms }")
    s = dns.tcp()
    with pytest.raises(OSError):
        for byte in struct.pack(">H", 65535) + bytes(400):
            s.sendall(bytes([byte]))
            time.sleep(0.02)
    assert not ns.asked


def test_client_that_does_not_read(dns):
    """It is read no further, so what it may hold is bounded; others are answered meanwhile."""
    dns.name_server()
    dns.start(more="timeouts: { dns: 20s }\nlimits: { threads: 1 }")
    before = dns.limpid.rss_bytes()
    s = dns.tcp()
    s.setblocking(False)
    flood = (struct.pack(">H", len(PLAIN)) + PLAIN) * 1000
    while select.select([], [s], [], 0.3)[1]:
        s.send(flood)
    assert dns.ask().answers == 1
    if not sanitized():  # which keep what is freed for a while
        assert dns.limpid.rss_bytes() < before + (8 << 20)
