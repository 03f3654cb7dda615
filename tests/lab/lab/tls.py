# SPDX-License-Identifier: Apache-2.0
"""ClientHellos made by hand, RFC 8446 section 4.1.2: any size, any cut into records."""
import struct

TLS13, TLS12, TLS10 = 0x0304, 0x0303, 0x0301
GREASE = 0x4A4A


def _vector(width, body):
    return len(body).to_bytes(width, "big") + body


def _extension(kind, body):
    return struct.pack(">H", kind) + _vector(2, body)


def client_hello(sni=None, alpn=(), versions=(GREASE, TLS13, TLS12), legacy=TLS12,
                 padding_bytes=0, key_share_bytes=32, record_bytes=16384):
    """The records of one ClientHello.  versions=None leaves supported_versions out."""
    ext = _extension(GREASE, b"")
    if sni is not None:
        name = b"\0" + _vector(2, sni.encode())
        ext += _extension(0, _vector(2, name))
    ext += _extension(10, _vector(2, struct.pack(">HHH", GREASE, 29, 23)))
    ext += _extension(13, _vector(2, struct.pack(">HH", 0x0403, 0x0804)))
    if alpn:
        ext += _extension(16, _vector(2, b"".join(_vector(1, p.encode()) for p in alpn)))
    if versions:
        ext += _extension(43, _vector(1, b"".join(struct.pack(">H", v) for v in versions)))
        share = struct.pack(">H", 29) + _vector(2, bytes(key_share_bytes))
        ext += _extension(51, _vector(2, share))
    if padding_bytes:
        ext += _extension(21, bytes(padding_bytes))
    body = struct.pack(">H", legacy) + bytes(range(32)) + _vector(1, bytes(32))
    body += _vector(2, struct.pack(">HHHH", GREASE, 0x1301, 0x1302, 0xC02F))
    body += b"\1\0" + _vector(2, ext)
    return records(b"\1" + _vector(3, body), record_bytes)


def records(message, record_bytes=16384):
    """A handshake message as TLS records of at most so many bytes each."""
    return b"".join(b"\x16\3\1" + _vector(2, message[i:i + record_bytes])
                    for i in range(0, len(message), record_bytes))
