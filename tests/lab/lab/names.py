# SPDX-License-Identifier: Apache-2.0
"""What scenarios about names share: a listener that forwards to one, and who knows it."""
import itertools
import signal
import subprocess

from . import configs, sock
from .nameserver import NameServer
from .tap import ACK, SYN
from .topology import CLIENT, PROXY

# Beside the unique local addresses of the lab, global ones, as IPv6 has them where it comes first.
GLOBAL, GLOBAL_HOLE, GLOBAL_HOLE_2 = "2001:db8:2::2", "2001:db8:5::2", "2001:db8:5::3"
HOLE = "10.77.5.2"
PORT = 7000
NS, NS_2 = "10.77.2.2", "10.77.2.3"
ALL = "  - { name: all, action: accept }"


class Wide:
    """The lab with global IPv6, and a count of questions without our mark."""

    def __init__(self, lab):
        self.lab = lab
        lab.proxy.ip("-6 addr add 2001:db8:2::1/64 dev p1 nodad\n"
                     "-6 route add 2001:db8:5::/64 via 2001:db8:2::2")
        lab.server.ip("-6 addr add 2001:db8:2::2/64 dev s0 nodad\n"
                      "-6 route add blackhole 2001:db8:5::/64")
        lab.proxy.nft("""
table inet questions {
	counter unmarked { }
	chain output {
		type filter hook output priority 0;
		udp dport 53 meta mark != 0x6c70 counter name unmarked
		tcp dport 53 meta mark != 0x6c70 tcp flags & rst == 0 counter name unmarked
	}
}
""")

    def unmarked(self):
        out = self.lab.proxy.run("nft", "list", "counter", "inet", "questions", "unmarked")
        return int(out.split("packets")[1].split()[0])

    def close(self):
        self.lab.proxy.run("nft", "delete", "table", "inet", "questions")
        self.lab.proxy.ip("-6 route del 2001:db8:5::/64\n-6 addr del 2001:db8:2::1/64 dev p1")
        self.lab.server.ip("-6 route del blackhole 2001:db8:5::/64\n"
                           "-6 addr del 2001:db8:2::2/64 dev s0")


class Forward:
    """A listener that forwards to a name, the server's side, and its name servers."""

    numbers = itertools.count()

    def __init__(self, lab, keeper):
        self.lab, self.keeper = lab, keeper
        self.servers, self.limpid = [], None

    def name_server(self, zone, moods=None, address=NS, **more):
        self.servers.append(NameServer(self.lab.server, address, zone, moods, **more))
        return self.servers[-1]

    def start(self, to=f"db.test:{PORT}", rules=ALL, resolver=None, sniff="false", more="",
              prefix=()):
        if resolver is None:
            resolver = f"resolver: {{ servers: [{NS}], timeout: 2s }}"
        targets = [to] if isinstance(to, str) else to
        listeners = "\n".join(
            f'  - {{ name: forward{i}, mode: fixed, sniff: {sniff}, to: "{to}", '
            f'address: ["{PROXY[4]}:{52080 + i}", "[{PROXY[6]}]:{52080 + i}"] }}'
            for i, to in enumerate(targets))
        # A limpid of one's own: others know the answers already.
        self.limpid = self.keeper.get(
            f"# {next(self.numbers)}\nlisteners:\n{listeners}\nrules:\n{rules}\n{resolver}\n"
            f"{more}\n{configs.RECORD}", prefix)
        return self.limpid

    def stop(self):
        """End limpid; what it said."""
        self.keeper.stop()
        return self.limpid.stderr()

    def socket(self, family=4):
        s = self.lab.socket(self.lab.client, family)
        s.bind((CLIENT["routed"][family], self.lab.free_port()))
        return s

    def connect(self, family=4, number=0):
        s = self.socket(family)
        s.connect((PROXY[family], 52080 + number))
        return s

    def listen(self, *addresses):
        return [self.lab.listen(6 if ":" in a else 4, a, PORT) for a in addresses]

    def reaches(self, listener, client=None, family=4):
        """A client gets to this listener; its record."""
        client = client or self.connect(family)
        server = self.lab.accept(listener)
        client.sendall(b"question")
        assert sock.read_exactly(server, 8) == b"question"
        server.sendall(b"answer")
        assert sock.read_exactly(client, 6) == b"answer"
        name = client.getsockname()
        client.close()
        server.close()
        return self.limpid.records.of(name)

    def fails(self, family=4, number=0):
        """A client gets a RST and nothing else; its record."""
        client = self.socket(family)
        name = client.getsockname()
        try:  # the RST may come so fast that connect() itself tells
            client.connect((PROXY[family], 52080 + number))
            assert sock.read_to_reset(client) == b""
        except ConnectionResetError:
            pass
        return self.limpid.records.of(name)

    def why(self, **more):
        return self.fails(**more)["limpid"]["why"]

    def dialled(self):
        """Whom SYNs were sent to, in this order, each once."""
        return list(dict.fromkeys(
            p.destination[0] for p in self.lab.server_tap.packets()
            if p.flags & (SYN | ACK) == SYN and p.destination[1] == PORT))

    def close(self):
        self.lab.close_sockets()
        self.keeper.stop()
        for s in self.servers:
            s.close()


class Unbound:
    """The real thing, with names of its own."""

    def __init__(self, namespace, address, zone, folder):
        folder.mkdir()
        local = "\n".join(f'  local-data: "{name} {record}"'
                          for name, records in zone.items() for record in records)
        path = folder / "unbound.conf"
        path.write_text(f"""
server:
  interface: {address}
  access-control: 10.0.0.0/8 allow
  directory: "{folder}"
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  local-zone: "test." static
{local}
remote-control:
  control-enable: no
""", encoding="ascii")
        with namespace.enter():
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", "unbound", "-d", "-c", path],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=open(folder / "stderr", "wb"))
        sock.eventually(lambda: f"{address}:53 " in namespace.run("ss", "-lunH"),
                        f"unbound listens: {(folder / 'stderr').read_text(encoding='utf-8')}")

    def stop(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        self.process.wait()
