# SPDX-License-Identifier: Apache-2.0
"""Headers of the PROXY protocol as its specification has them, valid and not, to a TCP listener."""
import socket
import struct
import time

import pytest

from lab import configs, sock
from lab.introduce import SIGNATURE, TRUSTED, Sender, over, talk, tlv, v1, v2
from lab.topology import PROXY, SERVER

PORT = 52160
WHO, TO = ("198.18.0.7", 40007), (SERVER[4], 7000)
CONFIG = f"""
listeners:
  - {{ name: in, mode: proxy-protocol, address: ["0.0.0.0:{PORT}"], to: "{SERVER[4]}:7000",
      trusted: "{TRUSTED[4]}" }}
rules: [ {{ name: all, action: accept }} ]
timeouts: {{ sniff: @SNIFF@ }}
limits: {{ look-ahead: 64KiB }}
{configs.RECORD}"""


def config(sniff="5s"):
    return CONFIG.replace("@SNIFF@", sniff)


def raw(command, kind, body, size=None):
    """A header of version 2 with each field as it is given."""
    return SIGNATURE + struct.pack(">BBH", command, kind, len(body) if size is None else size) + body


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def summed(tlvs):
    """With a CRC32C in front of the other TLVs."""
    blank = v2(WHO, TO, tlv(3, bytes(4)) + tlvs)
    return blank.replace(tlv(3, bytes(4)), tlv(3, struct.pack(">I", crc32c(blank))))


V4 = socket.inet_aton("198.18.0.7") + socket.inet_aton(SERVER[4]) + struct.pack(">HH", 40007, 7000)
LINE = b"PROXY UNKNOWN "

GOOD = {
    # section 2.1
    "v1": v1(WHO, TO),
    "UNKNOWN": b"PROXY UNKNOWN\r\n",
    "UNKNOWN and addresses": b"PROXY UNKNOWN ffff:f::1 ffff:f::2 65535 65535\r\n",
    "UNKNOWN and anything": b"PROXY UNKNOWN \x01\xff  ,\r\n",
    "107 bytes": LINE + b"x" * (107 - len(LINE) - 2) + b"\r\n",
    # section 2.2
    "v2": v2(WHO, TO),
    "LOCAL": raw(0x20, 0, b""),
    "LOCAL with addresses": raw(0x20, 0x11, V4),
    "LOCAL of an unknown family": raw(0x20, 0xFF, b"?"),
    "LOCAL with a block that is no TLV": raw(0x20, 0x31, b"\xff\xff\xff"),
    "UNSPEC": raw(0x21, 0, b""),
    "UNIX": raw(0x21, 0x31, bytes(216)),
    "NOOP": v2(WHO, TO, tlv(4, bytes(500)) + tlv(4, b"")),
    "unknown TLVs": v2(WHO, TO, tlv(0xE0, b"a") + tlv(0xF0, b"") + tlv(0xFF, b"b")),
    "CRC32C": summed(tlv(4, b"pad")),
    "60 KiB": v2(WHO, TO, tlv(0xE0, bytes(60000))),
}
NAMELESS = ("UNKNOWN", "LOCAL", "UNSPEC", "UNIX", "107 bytes")

BAD = {
    "108 bytes": LINE + b"x" * (108 - len(LINE) - 2) + b"\r\n",
    "no CR": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 7000\n",
    "lower case": b"proxy TCP4 192.0.2.1 192.0.2.2 1 7000\r\n",
    "two spaces": b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 7000\r\n",
    "tab": b"PROXY\tTCP4 192.0.2.1 192.0.2.2 1 7000\r\n",
    "TCP5": b"PROXY TCP5 192.0.2.1 192.0.2.2 1 7000\r\n",
    "UDP4": b"PROXY UDP4 192.0.2.1 192.0.2.2 1 7000\r\n",
    "one port": b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
    "three ports": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 7000 3\r\n",
    "name": b"PROXY TCP4 a.test b.test 1 7000\r\n",
    "v6 in TCP4": b"PROXY TCP4 2001:db8::1 2001:db8::2 1 7000\r\n",
    "v4 in TCP6": b"PROXY TCP6 192.0.2.1 192.0.2.2 1 7000\r\n",
    "part 256": b"PROXY TCP4 192.0.2.256 192.0.2.2 1 7000\r\n",
    "port +1": b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 7000\r\n",
    "port 01": b"PROXY TCP4 192.0.2.1 192.0.2.2 01 7000\r\n",
    "port -1": b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 7000\r\n",
    "NUL": b"PROXY TCP4 192.0.2.1\0 192.0.2.2 1 7000\r\n",
    "garbage": bytes(range(128, 256)) * 4,
    "TLS": b"\x16\x03\x01\0\xc8\x01\0\0\xc4\x03\x03" + bytes(60),
    "signature with a wrong byte": SIGNATURE[:-1] + b"\r" + v2(WHO, TO)[12:],
    "version 1 in binary": raw(0x11, 0x11, V4),
    "version 3": raw(0x31, 0x11, V4),
    "command 2": raw(0x22, 0x11, V4),
    "family 4": raw(0x21, 0x41, V4),
    "transport 3": raw(0x21, 0x13, V4),
    "no addresses": raw(0x21, 0x11, b""),
    "addresses cut": raw(0x21, 0x11, V4[:-1]),
    "v6 with the addresses of v4": raw(0x21, 0x21, V4),
    "TLV without a length": raw(0x21, 0x11, V4 + b"\x01\0"),
    "TLV one too long": raw(0x21, 0x11, V4 + b"\x01\0\x03ab"),
    "length 65535": raw(0x21, 0x11, V4, 65535) + bytes(66000),
    "CRC32C wrong": v2(WHO, TO, tlv(3, b"\1\2\3\4")),
    "CRC32C of three bytes": v2(WHO, TO, tlv(3, b"\1\2\3")),
    "SSL too short": v2(WHO, TO, tlv(0x20, b"\1\0\0\0")),
    "SSL with a TLV that is too long": v2(WHO, TO, tlv(0x20, b"\1\0\0\0\0\x21\0\x09TLS")),
    "UNIQUE_ID of 129 bytes": v2(WHO, TO, tlv(5, bytes(129))),
}


@pytest.mark.parametrize("case", GOOD)
def test_good(lab, serve, case):
    limpid = serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = Sender(lab).connect(PORT)
    client.sendall(GOOD[case])
    server = lab.accept(listener)
    talk(client, server)
    name = client.getsockname() if case.startswith(NAMELESS) else WHO
    over(client, server)
    said = limpid.records.of(name)["limpid"]["proxy_header"]
    assert said["version"] == (2 if GOOD[case].startswith(SIGNATURE) else 1)
    assert said.get("local", False) == case.startswith(NAMELESS)


@pytest.mark.parametrize("case", BAD)
def test_bad(lab, serve, case):
    """Ends at once, is recorded, and nothing of it gets anywhere."""
    limpid = serve(config(sniff="1h"))
    listener = lab.listen(4, SERVER[4], 7000)
    client = Sender(lab).connect(PORT)
    name = client.getsockname()
    try:  # of the RST whoever comes first is told, and nobody else
        client.sendall(BAD[case])
        assert sock.read_to_reset(client) == b""
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert limpid.records.of(name)["limpid"]["why"] == "greeting"
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


SSL = {
    "TLS, no certificate": (struct.pack(">BI", 1, 0) + tlv(0x21, b"TLSv1.2"),
                            {"version": "TLSv1.2", "verified": False}),
    "certificate": (struct.pack(">BI", 3, 0) + tlv(0x21, b"TLSv1.3") + tlv(0x22, b"ann"),
                    {"version": "TLSv1.3", "cn": "ann", "verified": True}),
    "certificate of the session": (struct.pack(">BI", 5, 0) + tlv(0x22, b"ann"),
                                   {"cn": "ann", "verified": True}),
    "certificate that is not good": (struct.pack(">BI", 3, 20) + tlv(0x22, b"ann"),
                                     {"cn": "ann", "verified": False}),
    "all": (struct.pack(">BI", 7, 0) + tlv(0x21, b"TLSv1.3") + tlv(0x22, b"ann") +
            tlv(0x23, b"AES256") + tlv(0x24, b"SHA256") + tlv(0x25, b"RSA2048") + tlv(0x2F, b"?"),
            {"version": "TLSv1.3", "cipher": "AES256", "cn": "ann", "verified": True}),
}


@pytest.mark.parametrize("case", SSL)
def test_ssl(lab, serve, case):
    value, want = SSL[case]
    limpid = serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = Sender(lab).connect(PORT)
    client.sendall(summed(tlv(0x20, value)))
    server = lab.accept(listener)
    talk(client, server)
    over(client, server)
    assert limpid.records.of(WHO)["limpid"]["proxy_header"]["ssl"] == want


def test_other_tlvs(lab, serve):
    limpid = serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = Sender(lab).connect(PORT)
    client.sendall(summed(tlv(1, b"h2") + tlv(2, "münchen.test".encode()) + tlv(5, bytes(range(128)))
                          + tlv(0x30, b"/run/netns/blue")))
    server = lab.accept(listener)
    talk(client, server)
    over(client, server)
    said = limpid.records.of(WHO)["limpid"]["proxy_header"]
    assert (said["alpn"], said["authority"], said["netns"]) == ("h2", "münchen.test",
                                                                "/run/netns/blue")
    assert said["unique_id"] == bytes(range(128)).hex()


@pytest.mark.parametrize("make", [v1, v2], ids=["v1", "v2"])
def test_slow(serve, lab, make):
    """What comes bit by bit has timeouts.sniff in all, not after each byte."""
    limpid = serve(config(sniff="500ms"))
    client = Sender(lab).connect(PORT)
    name = client.getsockname()
    header = make(WHO, TO)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        for at in range(len(header) - 1):
            client.sendall(header[at:at + 1])
            time.sleep(0.1)
    assert limpid.records.of(name)["limpid"]["why"] == "greeting"


def test_pipelined(lab, serve):
    """Behind the header everything is data: another header, garbage, and much of it."""
    serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = Sender(lab).connect(PORT)
    data = v1(("192.0.2.9", 9), (PROXY[4], 9)) + v2() + bytes(range(256)) * 4000
    sending = sock.Background(client.sendall, v2(WHO, TO) + data)
    assert sock.read_exactly(lab.accept(listener), len(data)) == data
    sending.result()
