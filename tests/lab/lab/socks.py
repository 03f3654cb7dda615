# SPDX-License-Identifier: Apache-2.0
"""What scenarios about SOCKS share: a listener, its clients to the byte, and who knows names."""
import socket
import struct
from dataclasses import dataclass

from . import configs, sock
from .nameserver import NameServer
from .topology import CLIENT, PROXY, SERVER

PORT = 1080
NS = "10.77.2.2"
ALL = "  - { name: all, action: accept }"
TIMEOUTS = "{ sniff: 400ms, connect: 700ms, deny: 400ms }"

CONNECT, BIND, ASSOCIATE = 1, 2, 3
OK, FAILED, NOT_ALLOWED, NETWORK, HOST, REFUSED, TTL, COMMAND, ADDRESS_TYPE = range(9)
GRANTED, REJECTED = 90, 91


def config(rules=ALL, timeouts=TIMEOUTS, sniff="[tls, http]", more="", socks="", number=0):
    return f"""# {number}
listeners:
  - {{ name: socks, mode: socks, sniff: {sniff}, {socks}
      address: ["{PROXY[4]}:{PORT}", "[{PROXY[6]}]:{PORT}"] }}
rules:
{rules}
timeouts: {timeouts}
resolver: {{ servers: [{NS}], timeout: 1s }}
{more}
{configs.RECORD}"""


def address(host, port):
    """ATYP, address, port of version 5; @host may be bytes: a name, whatever it is."""
    if isinstance(host, bytes):
        return b"\3" + bytes([len(host)]) + host + struct.pack("!H", port)
    for kind, family in ((b"\1", socket.AF_INET), (b"\4", socket.AF_INET6)):
        try:
            return kind + socket.inet_pton(family, host) + struct.pack("!H", port)
        except OSError:
            pass
    return address(host.encode(), port)


def request5(host, port, command=CONNECT):
    return bytes([5, command, 0]) + address(host, port)


def request4(host, port, command=CONNECT, user=b"user"):
    """A name makes it version 4A."""
    try:
        ip, name = socket.inet_pton(socket.AF_INET, host), b""
    except OSError:
        ip, name = b"\0\0\0\1", host.encode() + b"\0"
    return bytes([4, command]) + struct.pack("!H", port) + ip + user + b"\0" + name


def login(user, password):
    """RFC 1929."""
    return b"\1" + bytes([len(user)]) + user + bytes([len(password)]) + password


@dataclass
class Reply:
    version: int
    status: int
    address: tuple


def read_address(s):
    kind = sock.read_exactly(s, 1)[0]
    assert kind in (1, 4)
    family, n = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}[kind]
    ip = socket.inet_ntop(family, sock.read_exactly(s, n))
    return ip, struct.unpack("!H", sock.read_exactly(s, 2))[0]


def read_reply5(s):
    version, status, reserved = sock.read_exactly(s, 3)
    assert (version, reserved) == (5, 0)
    return Reply(5, status, read_address(s))


def read_reply4(s):
    zero, status, port, ip = struct.unpack("!BBH4s", sock.read_exactly(s, 8))
    assert zero == 0
    return Reply(4, status, (socket.inet_ntop(socket.AF_INET, ip), port))


class Socks:
    """A running limpid with a SOCKS listener, as the lab's client meets it."""

    def __init__(self, lab, keeper):
        self.lab, self.keeper = lab, keeper
        self.servers, self.limpid, self.number = [], None, 0

    def name_server(self, zone, moods=None, **more):
        self.servers.append(NameServer(self.lab.server, NS, zone, moods, **more))
        self.number = id(self.servers[-1])  # a limpid of one's own: others know answers already
        return self.servers[-1]

    def start(self, **more):
        self.limpid = self.keeper.get(config(number=self.number, **more))
        return self.limpid

    def connect(self, family=4):
        s = self.lab.socket(self.lab.client, family)
        s.bind((CLIENT["routed"][family], self.lab.free_port()))
        s.connect((PROXY[family], PORT))
        return s

    def greeted(self, family=4):
        """Version 5, without a password."""
        s = self.connect(family)
        s.sendall(b"\5\1\0")
        assert sock.read_exactly(s, 2) == b"\5\0"
        return s

    def ask5(self, host, port, command=CONNECT, family=4):
        s = self.greeted(family)
        s.sendall(request5(host, port, command))
        return s, read_reply5(s)

    def ask4(self, host, port, command=CONNECT):
        s = self.connect()
        s.sendall(request4(host, port, command))
        return s, read_reply4(s)

    def ask(self, version, host, port, command=CONNECT):
        return (self.ask4 if version == 4 else self.ask5)(host, port, command)

    def listen(self, family=4, port=7000):
        return self.lab.listen(family, SERVER[family], port)

    def talk(self, client, server):
        client.sendall(b"question")
        assert sock.read_exactly(server, 8) == b"question"
        server.sendall(b"answer")
        assert sock.read_exactly(client, 6) == b"answer"

    def record(self, client, *others):
        name = client.getsockname()
        for s in (client, *others):
            s.close()
        return self.limpid.records.of(name)

    def ended(self, client):
        """The client hears a FIN (what it was told can be read), and nothing before it."""
        assert sock.read_to_end(client) == b""
        return self.record(client)

    def login(self, user, password):
        """Offer a password, and say it; what the answers are."""
        s = self.connect()
        s.sendall(b"\5\2\0\2")
        assert sock.read_exactly(s, 2) == b"\5\2"
        s.sendall(login(user, password))
        version, status = sock.read_exactly(s, 2)
        assert version == 1
        return s, status

    def close(self):
        self.lab.close_sockets()
        if self.servers:
            self.keeper.stop()
        for s in self.servers:
            s.close()


class Association:
    """A client's UDP ASSOCIATE: the connection, the address it was told, and a socket."""

    def __init__(self, socks, family=4, announce=("0.0.0.0", 0), source=None):
        self.socks, self.family = socks, family
        self.udp = socks.lab.udp(socks.lab.client, family,
                                 source or CLIENT["routed"][family])
        if announce == "own":
            announce = self.udp.getsockname()[:2]
        self.tcp, self.reply = socks.ask5(*announce, ASSOCIATE, family)
        self.relay = self.reply.address

    def send(self, data, host, port, fragment=0, udp=None):
        (udp or self.udp).sendto(bytes([0, 0, fragment]) + address(host, port) + data, self.relay)

    def receive(self, udp=None):
        """(data, who sent it), as the header says."""
        data, sender = (udp or self.udp).recvfrom(1 << 16)
        assert sender[:2] == self.relay and data[:3] == b"\0\0\0"
        family, n = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}[data[3]]
        port, = struct.unpack("!H", data[4 + n:6 + n])
        return data[6 + n:], (socket.inet_ntop(family, data[4:4 + n]), port)

    def asks(self, server, data=b"question"):
        """Send to a server's socket, which answers; the address it saw."""
        host, port = server.getsockname()[:2]
        self.send(data, host, port)
        return self.answered(server, data)

    def answered(self, server, data=b"question"):
        got, seen = server.recvfrom(1 << 16)
        assert got == data
        server.sendto(b"answer to " + data, seen)
        assert self.receive() == (b"answer to " + data, server.getsockname()[:2])
        return seen[:2]
