# SPDX-License-Identifier: Apache-2.0
"""Three namespaces in a row:  client  c0 ---- p0  proxy  p1 ---- s0  server

The proxy's firewall intercepts by the client's address: what comes from .2 goes to the tproxy
listeners, from .3 to the redirect listeners, and from .4 nowhere (it is forwarded).  So one
limpid with one configuration can be asked in every way, and a test chooses the way by the
address its client socket is bound to.
"""
import itertools
import socket
from dataclasses import dataclass

from . import sock
from .netns import Namespace
from .tap import Tap

CLIENT = {"tproxy": {4: "10.77.1.2", 6: "fd77:1::2"},
          "redirect": {4: "10.77.1.3", 6: "fd77:1::3"},
          "routed": {4: "10.77.1.4", 6: "fd77:1::4"}}
PROXY = {4: "10.77.1.1", 6: "fd77:1::1"}          # where the client sees it
PROXY_FAR = {4: "10.77.2.1", 6: "fd77:2::1"}      # where the server sees it
SERVER = {4: "10.77.2.2", 6: "fd77:2::2"}
SERVER_2 = {4: "10.77.2.3", 6: "fd77:2::3"}
UNREACHABLE = {4: "10.77.3.2", 6: "fd77:3::2"}        # the server's side answers with ICMP
NO_ROUTE = {4: "10.77.4.2", 6: "fd77:4::2"}           # the proxy itself has no way there
PROHIBITED = {4: "10.77.6.2", 6: "fd77:6::2"}         # the same, "administratively prohibited"
BLACKHOLE = {4: "10.77.5.2", 6: "fd77:5::2"}          # swallowed behind the server

# Same on every socket of every party, whatever the host's default; windows that a test can
# fill; and no source port that is a listener's.
SYSCTL = {
    "net__ipv4__tcp_congestion_control": "reno",
    "net__ipv4__icmp_ratelimit": 0,  # every case of unreachable gets its ICMP
    "net__ipv6__icmp__ratelimit": 0,
    "net__ipv4__tcp_rmem": "4096 131072 4194304",
    "net__ipv4__tcp_wmem": "4096 65536 2097152",
    "net__ipv4__ip_local_reserved_ports": "50000-53000",
    "net__ipv4__conf__all__rp_filter": 0,
    "net__ipv4__conf__default__rp_filter": 0,
    "net__ipv6__conf__all__accept_dad": 0,
    "net__ipv6__conf__default__accept_dad": 0,
    "net__ipv4__icmp_ratelimit": 0,
    "net__ipv6__icmp__ratelimit": 0,
}

NFT = """
table inet intercept {
	chain prerouting {
		type filter hook prerouting priority mangle;
		meta l4proto { icmp, icmpv6 } socket transparent 1 meta mark set 1 accept
		iifname p1 meta l4proto tcp tcp flags & (syn | ack) != syn socket transparent 1 \
			meta mark set 1 accept
		iifname p1 meta l4proto udp socket transparent 1 meta mark set 1 accept
		iifname p0 ip saddr 10.77.1.2 meta l4proto { tcp, udp } \
			tproxy ip to 127.0.0.1:50080 meta mark set 1 accept
		iifname p0 ip6 saddr fd77:1::2 meta l4proto { tcp, udp } \
			tproxy ip6 to [::1]:50080 meta mark set 1 accept
	}
	chain nat {
		type nat hook prerouting priority dstnat;
		iifname p0 ip saddr 10.77.1.3 meta l4proto tcp redirect to :51080
		iifname p0 ip6 saddr fd77:1::3 meta l4proto tcp redirect to :51080
	}
}
table inet count {
	counter dialled { }
	counter unmarked { }
	chain output {
		type filter hook output priority 0;
		oifname p1 tcp flags & (syn | ack) == syn counter name dialled
		oifname p1 meta l4proto tcp meta mark != 0x6c70 tcp flags & rst == 0 \
			counter name unmarked
	}
}
"""


class Lab:
    def __init__(self):
        self.client, self.proxy, self.server = (Namespace() for _ in range(3))
        self.sockets = []
        self._ports = itertools.cycle(range(2000, 32768))  # above it the kernel chooses
        self._build()
        self.client_tap = Tap(self.client, "c0")
        self.server_tap = Tap(self.server, "s0")

    def _build(self):
        for ns in (self.client, self.proxy, self.server):
            ns.sysctl(**SYSCTL)
        self.proxy.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
        self.server.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
        self.client.ip(f"link add c0 type veth peer name p0 netns {self.proxy.path}")
        self.server.ip(f"link add s0 type veth peer name p1 netns {self.proxy.path}")
        self.client.ip("""
link set lo up
link set c0 up
addr add 10.77.1.2/24 dev c0
addr add 10.77.1.3/24 dev c0
addr add 10.77.1.4/24 dev c0
addr add fd77:1::2/64 dev c0 nodad
addr add fd77:1::3/64 dev c0 nodad
addr add fd77:1::4/64 dev c0 nodad
""")
        self.server.ip("""
link set lo up
link set s0 up
addr add 10.77.2.2/24 dev s0
addr add 10.77.2.3/24 dev s0
addr add fd77:2::2/64 dev s0 nodad
addr add fd77:2::3/64 dev s0 nodad
route add unreachable 10.77.3.0/24
route add blackhole 10.77.5.0/24
route add prohibit 10.77.6.0/24
-6 route add unreachable fd77:3::/64
-6 route add prohibit fd77:6::/64
-6 route add blackhole fd77:5::/64
""")
        self.proxy.ip("""
link set lo up
link set p0 up
link set p1 up
addr add 10.77.1.1/24 dev p0
addr add 10.77.2.1/24 dev p1
addr add fd77:1::1/64 dev p0 nodad
addr add fd77:2::1/64 dev p1 nodad
route add 10.77.3.0/24 via 10.77.2.2
route add 10.77.5.0/24 via 10.77.2.2
route add 10.77.6.0/24 via 10.77.2.2
-6 route add fd77:3::/64 via fd77:2::2
-6 route add fd77:5::/64 via fd77:2::2
-6 route add fd77:6::/64 via fd77:2::2
route add unreachable 10.77.4.0/24
-6 route add unreachable fd77:4::/64
rule add fwmark 1 lookup 100
-6 rule add fwmark 1 lookup 100
route add local default dev lo table 100
-6 route add local default dev lo table 100
""")
        self.client.ip("route add default via 10.77.1.1\n-6 route add default via fd77:1::1")
        self.server.ip("route add default via 10.77.2.1\n-6 route add default via fd77:2::1")
        self.proxy.nft(NFT)

    # --- per test -------------------------------------------------------------------------
    def restart(self):
        self.client_tap.restart()
        self.server_tap.restart()

    def track(self, s):
        s.settimeout(sock.DEADLINE_S)
        self.sockets.append(s)
        return s

    def close_sockets(self):
        for s in self.sockets:
            s.close()
        self.sockets.clear()

    def free_port(self):
        """A source port that was not used for a long time.  A port used twice, even towards two
        servers, meets its own conntrack entry in the redirect rules, and is changed there."""
        return next(self._ports)

    # --- sockets --------------------------------------------------------------------------
    def socket(self, namespace, family):
        with namespace.enter():
            s = socket.socket({4: socket.AF_INET, 6: socket.AF_INET6}[family], socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.track(s)

    def udp(self, namespace, family, address, port=0):
        with namespace.enter():
            s = socket.socket({4: socket.AF_INET, 6: socket.AF_INET6}[family], socket.SOCK_DGRAM)
        s.bind((address, port))
        return self.track(s)

    def udp_client(self, family):
        """One whose datagrams the tproxy rules take."""
        return self.udp(self.client, family, CLIENT["tproxy"][family], self.free_port())

    def udp_server(self, family, port, address=None):
        return self.udp(self.server, family, address or SERVER[family], port)

    def listen(self, family, address, port, rcvbuf_bytes=0):
        s = self.socket(self.server, family)
        if rcvbuf_bytes:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf_bytes)
        s.bind((address, port))
        s.listen(256)
        return s

    def accept(self, listener):
        s, _ = listener.accept()
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.track(s)

    def counter(self, name):
        out = self.proxy.run("nft", "list", "counter", "inet", "count", name)
        return int(out.split("packets")[1].split()[0])

    def close(self):
        self.close_sockets()
        self.client_tap.close()
        self.server_tap.close()
        for ns in (self.client, self.proxy, self.server):
            ns.close()


OFFLOAD_PORT = {"auto": 7000, "copy": 7001, "splice": 7002}


@dataclass(frozen=True)
class Way:
    """One way through limpid: which listener, which family, how the bytes move."""
    lab: Lab
    mode: str = "tproxy"
    family: int = 4
    offload: str = "auto"

    @property
    def port(self):
        return OFFLOAD_PORT[self.offload]

    @property
    def client(self):
        return CLIENT[self.mode][self.family]

    @property
    def server(self):
        return SERVER[self.family]

    @property
    def keeps_source(self):
        return self.mode == "tproxy"

    def listen(self, port=None, address=None, rcvbuf_bytes=0):
        return self.lab.listen(self.family, address or self.server, port or self.port,
                               rcvbuf_bytes)

    def socket(self, source_port=0):
        s = self.lab.socket(self.lab.client, self.family)
        s.bind((self.client, source_port or self.lab.free_port()))
        return s

    def connect(self, address=None, port=None, source_port=0):
        s = self.socket(source_port)
        s.connect((address or self.server, port or self.port))
        return s

    def connect_to_reset(self, address=None, port=None):
        """Connect where a RST is due; it may come so fast that connect() itself tells."""
        s = self.socket()
        try:
            s.connect((address or self.server, port or self.port))
        except ConnectionResetError:
            return s, b""
        return s, sock.read_to_reset(s)

    def pair(self, listener=None, **more):
        """A relayed connection: the client's socket and the server's."""
        listener = listener or self.listen()
        client = self.connect(**more)
        return client, self.lab.accept(listener)

    def client_wire(self, client):
        return self.lab.client_tap.wire(client.getsockname())

    def server_wire(self, server):
        return self.lab.server_tap.wire(server.getpeername(), server.getsockname())
