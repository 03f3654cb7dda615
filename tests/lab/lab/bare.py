# SPDX-License-Identifier: Apache-2.0
"""Three namespaces in a row without a rule, for tests that bring rules of their own:

client  c0 ---- NEAR  proxy  FAR ---- s0 server         10.78.x and fd78:x
"""
import contextlib
import ctypes
import os
import socket

from . import sock
from .netns import Namespace
from .sock import Background, pattern, read_to_end
from .topology import SYSCTL

CLIENT = {4: "10.78.1.2", 6: "fd78:1::2"}
PROXY = {4: "10.78.1.1", 6: "fd78:1::1"}
PROXY_FAR = {4: "10.78.2.1", 6: "fd78:2::1"}
SERVER = {4: "10.78.2.2", 6: "fd78:2::2"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}

_libc = ctypes.CDLL(None)


@contextlib.contextmanager
def as_user(uid):
    """Sockets that this thread makes in the block belong to a user: setfsuid(2)."""
    _libc.setfsuid(uid)
    try:
        yield
    finally:
        _libc.setfsuid(os.geteuid())


class Bare:
    def __init__(self, near="p0", far="p1"):
        self.client, self.proxy, self.server = (Namespace() for _ in range(3))
        self.sockets = []
        for ns in (self.client, self.proxy, self.server):
            ns.sysctl(**SYSCTL)
        self.client.ip(f"link add c0 type veth peer name {near} netns {self.proxy.path}")
        self.server.ip(f"link add s0 type veth peer name {far} netns {self.proxy.path}")
        self._address(self.client, "c0", CLIENT)
        self._address(self.proxy, near, PROXY)
        self._address(self.proxy, far, PROXY_FAR)
        self._address(self.server, "s0", SERVER)
        self._default(self.client, PROXY)
        self._default(self.proxy, SERVER)
        self._default(self.server, PROXY_FAR)
        self.proxy.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)

    @staticmethod
    def _address(ns, name, addresses):
        ns.ip(f"link set lo up\nlink set {name} up\naddr add {addresses[4]}/24 dev {name}\n"
              f"addr add {addresses[6]}/64 dev {name} nodad")

    @staticmethod
    def _default(ns, via):
        ns.ip(f"route add default via {via[4]}\n-6 route add default via {via[6]}")

    def shell(self, text):
        """Commands for the proxy as a document prints them; root needs no sudo."""
        self.proxy.run("sh", "-e", stdin='sudo() { "$@"; }\n' + text)

    def socket(self, namespace, family, uid=0):
        with namespace.enter(), as_user(uid):
            s = socket.socket(FAMILY[family], socket.SOCK_STREAM)
        s.settimeout(sock.DEADLINE_S)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sockets.append(s)
        return s

    def udp(self, namespace, family):
        with namespace.enter():
            s = socket.socket(FAMILY[family], socket.SOCK_DGRAM)
        s.settimeout(sock.DEADLINE_S)
        self.sockets.append(s)
        return s

    def listen(self, family, port):
        s = self.socket(self.server, family)
        s.bind((SERVER[family], port))
        s.listen(256)
        return s

    def accept(self, listener):
        s, _ = listener.accept()
        s.settimeout(sock.DEADLINE_S)
        self.sockets.append(s)
        return s

    def connect(self, namespace, family, port, uid=0):
        s = self.socket(namespace, family, uid)
        s.connect((SERVER[family], port))
        return s

    def close(self):
        for s in self.sockets:
            s.close()
        for ns in (self.client, self.proxy, self.server):
            ns.close()


def talk(client, server, n_bytes=200_000):
    """Bytes both ways, and an orderly end both ways."""
    up = Background(lambda: (client.sendall(pattern(n_bytes)), client.shutdown(socket.SHUT_WR)))
    assert read_to_end(server) == pattern(n_bytes)
    up.result()
    server.sendall(pattern(n_bytes, 2))
    server.close()
    assert read_to_end(client) == pattern(n_bytes, 2)
    client.close()
