# SPDX-License-Identifier: Apache-2.0
"""Connections through a host with rules, or from it, and whether limpid had a hand in them."""
import os
import socket

from .sock import read_to_end
from .topology import CLIENT, SERVER, SERVER_2

PORT = 7000


class Road:
    """Connections through the host, or from it, and whether limpid had a hand in them."""

    def __init__(self, host, family, limpid=None):
        self.host, self.lab, self.family, self.limpid = host, host.lab, family, limpid

    def listen(self, address=None, port=PORT):
        return self.lab.listen(self.family, address or SERVER[self.family], port)

    def client(self, namespace=None, source=None, uid=0):
        namespace = namespace or self.lab.client
        s = self.socket_of(uid, namespace, socket.SOCK_STREAM)
        if namespace is self.lab.client:
            s.bind((source or CLIENT["tproxy"][self.family], self.lab.free_port()))
        return s

    def socket_of(self, uid, namespace, kind):
        """A socket that belongs to that user."""
        with namespace.enter():
            os.seteuid(uid)
            try:
                s = socket.socket({4: socket.AF_INET, 6: socket.AF_INET6}[self.family], kind)
            finally:
                os.seteuid(0)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return self.lab.track(s)

    def exchange(self, client, listener):
        """There, back, and both ends in order; returns (source as the server sees it, client)."""
        client.connect(listener.getsockname()[:2])
        server, peer = listener.accept()
        self.lab.track(server)
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(server) == b"question"
        server.sendall(b"an answer")
        server.close()
        assert read_to_end(client) == b"an answer"
        return peer[:2], client.getsockname()[:2]

    def ask(self, client, server):
        """The same with datagrams."""
        client.sendto(b"question", server.getsockname()[:2])
        data, peer = server.recvfrom(100)
        server.sendto(b"an answer", peer)
        answer, origin = client.recvfrom(100)
        assert (data, answer) == (b"question", b"an answer")
        assert origin[:2] == server.getsockname()[:2]
        return peer[:2], client.getsockname()[:2]

    def records(self, proto="TCP"):
        return [r for r in self.limpid.records.poll() if r["proto"] == proto]

    def intercepted(self, make, hit=False):
        """Does limpid get it?  make() makes one connection and ends it.  @hit: it should, and its
        record, of whichever thread, is waited for."""
        before = len(self.records())
        seen, name = make()
        if hit:
            self.limpid.records.of(name)
        # What comes later, and surely is intercepted, has its record later.
        probe = self.client()
        with self.lab.listen(self.family, SERVER_2[self.family], 9) as listener:
            _, probe_name = self.exchange(probe, listener)
        self.limpid.records.wait(lambda r: (r["src_ip"], r["src_port"]) == probe_name)
        mine = [r for r in self.records()[before:] if (r["src_ip"], r["src_port"]) == name]
        assert len(mine) < 2, mine
        return bool(mine)
