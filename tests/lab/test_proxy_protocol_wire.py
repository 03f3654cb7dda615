# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol to the byte, as haproxy's paper has it: lines and bytes that others accept
and should not, or refuse and should not; every cut."""
import socket
import struct

import pytest

from lab import configs, sock
from lab.introduce import SIGNATURE, Sender, tlv, v1, v2
from lab.topology import CLIENT, SERVER

MODE, SPARE = 52150, 52151
OTHER, OTHER_6 = ("198.18.0.7", 40007), ("fd00:18::7", 40007)
TARGET, TARGET_6 = (SERVER[4], 7000), (SERVER[6], 7000)
CONFIG = f"""
listeners:
  - {{ name: mode, mode: proxy-protocol, address: ["0.0.0.0:{MODE}", "[::]:{MODE}"],
      trusted: "{CLIENT['routed'][4]}" }}
  - {{ name: spare, mode: proxy-protocol, address: ["0.0.0.0:{SPARE}"], to: "{SERVER[4]}:7000",
      trusted: "{CLIENT['routed'][4]}" }}
rules:
  - {{ name: no, match: {{ destination: 10.77.2.3 }}, action: reject }}
  - {{ name: all, action: accept }}
timeouts: {{ sniff: 5s, connect: 2s }}
{configs.RECORD}"""


@pytest.fixture(autouse=True)
def limpid(serve):
    return serve(CONFIG)


@pytest.fixture
def connect(lab):
    return Sender(lab).connect


def raw(command, kind, body=b""):
    return SIGNATURE + struct.pack(">BBH", command, kind, len(body)) + body


def introduced(lab, limpid, client, server, by):
    """The header was taken whole: what follows it arrives; the record of who it named."""
    client.sendall(b"question")
    assert sock.read_exactly(server, 8) == b"question"
    client.close()
    assert sock.read_to_end(server) == b""
    server.close()
    return limpid.records.of(by)


V4 = socket.inet_aton(OTHER[0]) + socket.inet_aton(TARGET[0]) + struct.pack(">HH", 40007, 7000)
LINES = ["TCP4 192.0.2.01 10.77.2.2 1 7000", "TCP4 192.0.2 10.77.2.2 1 7000",
         "TCP4 192.0.2.256 10.77.2.2 1 7000", "TCP4 192.0.2.1 10.77.2.2 65536 7000",
         "TCP4 192.0.2.1 10.77.2.2 1 65536", "TCP4 192.0.2.1 10.77.2.2 01 7000",
         "TCP4 192.0.2.1 10.77.2.2 1 07000", "TCP4 192.0.2.1 10.77.2.2 +1 7000",
         "TCP4 192.0.2.1 10.77.2.2 -1 7000", "TCP4 192.0.2.1 10.77.2.2  1 7000",
         "TCP4 192.0.2.1  10.77.2.2 1 7000", "TCP4  192.0.2.1 10.77.2.2 1 7000",
         "TCP4 192.0.2.1 10.77.2.2 1 7000 ", "TCP4 192.0.2.1 10.77.2.2 1 7000 1",
         "TCP4 192.0.2.1 10.77.2.2 1", "TCP4 192.0.2.1 10.77.2.2", "TCP4", "TCP4 ", "",
         "TCP4 0xc0.0.2.1 10.77.2.2 1 7000", "TCP4 3221225985 10.77.2.2 1 7000",
         "TCP4 fd77::1 fd77:2::2 1 7000", "TCP6 192.0.2.1 10.77.2.2 1 7000",
         "TCP6 fd77::1%1 fd77:2::2 1 7000", "TCP6 [fd77::1] [fd77:2::2] 1 7000",
         "TCP6 fd77:::1 fd77:2::2 1 7000", "TCP6 fd77::12345 fd77:2::2 1 7000",
         "TCP4\t192.0.2.1 10.77.2.2 1 7000", "tcp4 192.0.2.1 10.77.2.2 1 7000",
         "UDP4 192.0.2.1 10.77.2.2 1 7000", "TCP5 192.0.2.1 10.77.2.2 1 7000", "UNKNOWNX",
         "TCP4 192.0.2.1 10.77.2.2 1 7000\n", "TCP4 192.0.2.1 10.77.2.2 1 7\0000",
         "UNKNOWN " + "x" * 200]
BYTES = {
    "version 1": raw(0x11, 0x11, V4), "version 3": raw(0x31, 0x11, V4),
    "version 0": raw(0x01, 0x11, V4), "command 2": raw(0x22, 0x11, V4),
    "command 15": raw(0x2F, 0x11, V4), "family 4": raw(0x21, 0x41, V4),
    "family 15": raw(0x21, 0xF1, V4), "transport 3": raw(0x21, 0x13, V4),
    "transport 15": raw(0x21, 0x1F, V4), "datagrams": raw(0x21, 0x12, V4),
    "short": raw(0x21, 0x11, V4[:-1]), "none": raw(0x21, 0x11),
    "short v6": raw(0x21, 0x21, V4 * 2), "TLV cut in its head": raw(0x21, 0x11, V4 + b"\1\0"),
    "TLV cut in its value": raw(0x21, 0x11, V4 + b"\1\0\5h2"),
    "CRC32C wrong": raw(0x21, 0x11, V4 + tlv(3, b"abcd")),
    "CRC32C short": raw(0x21, 0x11, V4 + tlv(3, b"abc")),
    "SSL short": raw(0x21, 0x11, V4 + tlv(0x20, b"\1\0\0\0")),
    "SSL with a cut TLV": raw(0x21, 0x11, V4 + tlv(0x20, b"\1\0\0\0\0\x21\0\7TLS")),
}


@pytest.mark.parametrize("header", [f"PROXY {line}\r\n".encode() for line in LINES] +
                         [f"PROXY {LINES[0]}\n".encode(), b"PROXY\r\n", b"proxy TCP4\r\n"] +
                         list(BYTES.values()), ids=LINES + ["LF", "PROXY", "proxy"] + list(BYTES))
def test_refused(lab, limpid, connect, header):
    listener = lab.listen(4, SERVER[4], 7000)
    client = connect(MODE)
    name = client.getsockname()
    client.sendall(header)
    assert sock.read_to_reset(client) == b""
    assert limpid.records.of(name)["limpid"]["why"] == "greeting"
    assert sock.silent(listener, 0)


@pytest.mark.parametrize("header", [
    b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN \r\n",
    b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
    b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
    b"PROXY UNKNOWN TCP4 192.0.2.01 nonsense\r\n",
    raw(0x20, 0x00), raw(0x20, 0x11, V4), raw(0x20, 0xFF, bytes(7)), raw(0x21, 0x00),
    raw(0x21, 0x31, bytes(216))],
    ids=["short", "space", "longest", "nonsense", "local", "local-with-addresses",
         "local-unknown-family", "unspecified", "unix"])
def test_nothing_is_said(lab, limpid, connect, header):
    """The connection is the sender's own."""
    listener = lab.listen(4, SERVER[4], 7000)
    client = connect(SPARE)
    name = client.getsockname()
    client.sendall(header)
    introduced(lab, limpid, client, lab.accept(listener), name)


@pytest.mark.parametrize("header, by", [
    (v1(OTHER, TARGET), OTHER),
    (b"PROXY TCP4 198.18.0.7 10.77.2.2 0 7000\r\n", ("198.18.0.7", 0)),
    (b"PROXY TCP6 FD00:18:0:0:0:0:0:7 fd77:2::2 40007 7000\r\n", OTHER_6),
    (b"PROXY TCP6 fd00:18::7 fd77:2::2 65535 7000\r\n", (OTHER_6[0], 65535)),
    (v2(OTHER, TARGET, tlv(4, b"") + tlv(4, bytes(9)) + tlv(0xEE, b"x" * 300)), OTHER),
    (v2(OTHER_6, TARGET_6, tlv(0x30, b"ns") + tlv(0x05, b"u" * 128)), OTHER_6)],
    ids=["v1", "source-port-0", "capitals", "port-65535", "unknown-tlvs", "v6"])
def test_taken(lab, limpid, connect, header, by):
    """At once, and in two pieces."""
    family = 6 if ":" in by[0] else 4
    listener = lab.listen(family, SERVER[family], 7000)
    for at in 0, 1, 5, 11, 12, 13, 15, 16, 17, len(header) // 2, len(header) - 1:
        client = connect(MODE)
        client.sendall(header[:at])
        sock.silent(client, 0.002)
        client.sendall(header[at:])
        record = introduced(lab, limpid, client, lab.accept(listener), by)
        limpid.records.restart()
        assert record["dest_ip"] == SERVER[family] and record["dest_port"] == 7000


@pytest.mark.parametrize("end", ["fin", "rst"])
@pytest.mark.parametrize("header", [v1(OTHER, TARGET), v2(OTHER, TARGET, tlv(1, b"h2"))],
                         ids=["v1", "v2"])
def test_cut_at_each_byte(lab, limpid, connect, header, end):
    listener = lab.listen(4, SERVER[4], 7000)
    for cut in range(len(header)):
        client = connect(MODE)
        name = client.getsockname()
        client.sendall(header[:cut])
        if end == "rst":
            sock.reset(client)
        else:
            client.shutdown(socket.SHUT_WR)
            assert sock.read_to_reset(client) == b""
        assert limpid.records.of(name)["limpid"]["why"] in (
            ("greeting",) if end == "fin" and cut else
            ("client-reset", "client-gone", "greeting", "no-target"))
    assert sock.silent(listener, 0)


def test_destination_in_disguise(limpid, connect):
    """A rule about an IPv4 address sees it in an IPv6 header, too."""
    for header in (v2(OTHER_6, ("::ffff:10.77.2.3", 7000)), v1(OTHER_6, ("::ffff:10.77.2.3", 7000))):
        client = connect(MODE)
        client.sendall(header)
        assert sock.read_to_reset(client) == b""
        record = limpid.records.wait(lambda r: r.get("dest_ip") == "10.77.2.3")
        assert record["limpid"]["why"] == "rejected"
        limpid.records.restart()
