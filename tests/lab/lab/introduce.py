# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol by hand, and the programs that speak it."""
import socket
import struct
import subprocess
import time

from . import sock
from .limpid import binary, listening
from .topology import CLIENT, PROXY, PROXY_FAR, SERVER

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, TCP, UDP = 0x20, 1, 2
TRUSTED = CLIENT["routed"]
UNTRUSTED_AT = PROXY_FAR  # where the server's side finds the listeners


def v1(source, destination):
    return f"PROXY TCP{6 if ':' in source[0] else 4} {source[0]} {destination[0]} " \
           f"{source[1]} {destination[1]}\r\n".encode()


def tlv(kind, value):
    return struct.pack(">BH", kind, len(value)) + value


def _ip(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def v2(source=None, destination=None, tlvs=b"", transport=TCP, command=0x21):
    """Without addresses: LOCAL."""
    if not source:
        return SIGNATURE + struct.pack(">BBH", LOCAL, 0, len(tlvs)) + tlvs
    body = _ip(source[0]) + _ip(destination[0]) + struct.pack(">HH", source[1], destination[1])
    kind = (2 if ":" in source[0] else 1) << 4 | transport
    return SIGNATURE + struct.pack(">BBH", command, kind, len(body + tlvs)) + body + tlvs


def parse_v2(data, transport=TCP):
    """(source, destination, {kind: value}, size) of the header that @data begins with."""
    assert data[:12] == SIGNATURE and data[12] == 0x21 and data[13] & 15 == transport, data[:16]
    family, width = {1: (socket.AF_INET, 4), 2: (socket.AF_INET6, 16)}[data[13] >> 4]
    size = 16 + struct.unpack(">H", data[14:16])[0]
    body = data[16:size]
    ips = [socket.inet_ntop(family, body[i:i + width]) for i in (0, width)]
    ports = struct.unpack(">HH", body[2 * width:2 * width + 4])
    rest, tlvs = body[2 * width + 4:], {}
    while rest:
        kind, length = struct.unpack(">BH", rest[:3])
        tlvs[kind], rest = rest[3:3 + length], rest[3 + length:]
    return (ips[0], ports[0]), (ips[1], ports[1]), tlvs, size


def read_v2(s):
    """(source, destination, {kind: value}) of a header that is read to its last byte."""
    head = sock.read_exactly(s, 16)
    return parse_v2(head + sock.read_exactly(s, struct.unpack(">H", head[14:])[0]))[:3]


def query(name, number=0x1234):
    """A question for an address, as name servers have it."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def over_tcp(message):
    return struct.pack(">H", len(message)) + message


def talk(client, server):
    client.sendall(b"question")
    assert sock.read_exactly(server, 8) == b"question"
    server.sendall(b"an answer")
    assert sock.read_exactly(client, 9) == b"an answer"


def over(client, server):
    client.close()
    assert sock.read_to_end(server) == b""
    server.close()


class Sender:
    """Connects to a listener from where it is trusted; or, untrusted, from the other side."""

    def __init__(self, lab):
        self.lab = lab

    def connect(self, port, family=4):
        s = self.lab.socket(self.lab.client, family)
        s.bind((TRUSTED[family], self.lab.free_port()))
        s.connect((PROXY[family], port))
        return s

    def connect_untrusted(self, port, family=4):
        s = self.lab.socket(self.lab.server, family)
        s.bind((SERVER[family], self.lab.free_port()))
        try:
            s.connect((UNTRUSTED_AT[family], port))
        except ConnectionResetError:
            pass  # it came so fast that connect() itself tells: the next read will not
        return s


class Program:
    """haproxy or nginx in a namespace, in the foreground, until closed."""

    def __init__(self, namespace, folder, name, text, port):
        self.path = folder / f"{name}-{port}.conf"
        self.path.write_text(text, encoding="utf-8")
        self.said = folder / f"{name}-{port}.stderr"
        argv = {"haproxy": ["haproxy", "-db", "-f", str(self.path)],
                "nginx": ["nginx", "-c", str(self.path), "-e", str(self.said)]}[name]
        with open(self.said, "wb") as err, namespace.enter():
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", "--", *argv],
                                            stdin=subprocess.DEVNULL, stdout=err, stderr=err)
        deadline = time.monotonic() + 20
        while not any(port == p for _, p in listening(self.process.pid)):
            assert self.process.poll() is None and time.monotonic() < deadline, \
                self.said.read_text(encoding="utf-8")
            time.sleep(0.01)

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 10s
    timeout server 10s
"""

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events {{ }}
"""


def check(text, tmp_path):
    path = tmp_path / "limpid.yaml"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run([binary(), "check", "--config", path], text=True, capture_output=True,
                          check=False)
    return done.returncode, done.stderr
