# SPDX-License-Identifier: Apache-2.0
"""What a command sees inside `limpid run`: names, routes, ports, datagrams, refusals, its own
descriptors and rights, and that hosts of other shapes change nothing of it."""
import contextlib
import itertools
import json
import os
import re
import select
import socket
import subprocess
import threading

import pytest

from host import HOST, LOOPBACK, REMOTE
from lab.netns import Namespace
from lab.sock import Background, eventually
from test_run import accept_lines, authority, python

PLACES = {"loopback": LOOPBACK, "host": HOST, "remote": REMOTE}

# What the snippets below have in common.
PRELUDE = """
import errno, os, socket, struct, sys
def family(ip): return socket.AF_INET6 if ":" in ip else socket.AF_INET
def opened(ip, kind):
	s = socket.socket(family(ip), kind)
	s.settimeout(20)
	return s
def tcp(ip, port):
	s = opened(ip, socket.SOCK_STREAM)
	s.connect((ip, int(port)))
	return s
def udp(ip, port):
	s = opened(ip, socket.SOCK_DGRAM)
	s.connect((ip, int(port)))
	return s
def to_end(s):
	got = b""
	while more := s.recv(65536): got += more
	return got
def get(ip, port):
	s = tcp(ip, port)
	s.sendall(b"GET /hello HTTP/1.0\\r\\n\\r\\n")
	return to_end(s).split(b"\\r\\n\\r\\n")[1].decode()
def said(call, *args):
	try: call(*args)
	except OSError as e: print(errno.errorcode[e.errno])
	else: print("fine")
"""
HELLO = "hello from the origin\n"


def inside(host, user, code, *argv, **more):
    """Python in the command's place; what it printed."""
    done = host.run(user, *python(PRELUDE + code, *argv), **more)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(params=PLACES)
def everywhere(request, family):
    """The address of a server on loopback, on the host's own address, and on a neighbour."""
    return PLACES[request.param][family]


class OneGreeting:
    """A server in a namespace: greets one connection and ends it."""

    def __init__(self, namespace, ip, port=0):
        with namespace.enter():
            self.listener = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((ip, port))
        self.listener.listen(1)
        self.listener.settimeout(20)
        self.port = self.listener.getsockname()[1]
        self.peer = Background(self._greet).result

    def _greet(self):
        conn, peer = self.listener.accept()
        with conn:
            conn.sendall(b"from the host")
        return peer[0]


@contextlib.contextmanager
def listening_at(*where):
    server = OneGreeting(*where)
    try:
        yield server
    finally:
        server.listener.close()


# --- TCP --------------------------------------------------------------------------------------
def test_names_of_a_connection(host, user, family, everywhere):
    """The command sees the names it would see without limpid; so does the server."""
    remote = everywhere == REMOTE[family]
    own = HOST[family] if remote else everywhere
    with listening_at(host.neighbour if remote else host.ns, everywhere) as server:
        done = inside(host, user, """
s = tcp(*sys.argv[1:])
print(s.getpeername()[0], s.getpeername()[1], s.getsockname()[0], to_end(s).decode())
""", everywhere, server.port)
        assert done.stdout == f"{everywhere} {server.port} {own} from the host\n"
        assert accept_lines(done.stderr) == [authority(everywhere, server.port)]
        assert server.peer() == own


def test_own_listener_hides_the_hosts(host, user, family):
    """A port that the host uses, too: the command's socket comes first while there is one."""
    done = inside(host, user, """
ip = sys.argv[1]
l = opened(ip, socket.SOCK_STREAM)
l.bind((ip, 8080)); l.listen(1)
c = tcp(ip, 8080)
s, peer = l.accept()
assert peer[:2] == c.getsockname()[:2]
s.sendall(b"own"); s.close()
print(to_end(c).decode())
c.close(); l.close()
sys.stdout.write(get(ip, 8080))
""", LOOPBACK[family])
    assert done.stdout == "own\n" + HELLO
    assert accept_lines(done.stderr) == [authority(LOOPBACK[family], 8080)]


@pytest.mark.parametrize("bound", ["address", "wildcard"])
def test_own_listener_on_the_hosts_address(host, user, family, bound):
    ip = HOST[family]
    done = inside(host, user, """
ip, bound = sys.argv[1:]
l = opened(ip, socket.SOCK_STREAM)
l.bind((bound, 0)); l.listen(1)
c = tcp(ip, l.getsockname()[1])
print(l.accept()[1][:2] == c.getsockname()[:2])
""", ip, ip if bound == "address" else {4: "0.0.0.0", 6: "::"}[family])
    assert done.stdout == "True\n"
    assert not accept_lines(done.stderr)


def test_own_wildcard_listener_takes_nothing_foreign(host, user, family):
    """Bound to all addresses, it is not what the same port of another machine is."""
    with listening_at(host.neighbour, REMOTE[family]) as server:
        done = inside(host, user, """
ip, port = sys.argv[1:]
l = opened(ip, socket.SOCK_STREAM)
l.bind(("", int(port))); l.listen(1)
print(to_end(tcp(ip, port)).decode())
l.settimeout(0)
said(l.accept)
""", REMOTE[family], server.port)
    assert done.stdout == "from the host\nEAGAIN\n"


def test_only_addresses_of_the_host_can_be_bound(host, user, family):
    done = inside(host, user, """
for ip in sys.argv[1:]: said(opened(ip, socket.SOCK_STREAM).bind, (ip, 0))
""", LOOPBACK[family], HOST[family], REMOTE[family])
    assert done.stdout == "fine\nfine\nEADDRNOTAVAIL\n"


LISTENS = {4: "198.18.0.1", 6: "100::1"}


@pytest.fixture
def neighbour_with_such_an_address(host, family):
    nodad = " nodad" if family == 6 else ""
    host.neighbour.ip(f"addr add {LISTENS[family]} dev n0{nodad}")
    yield
    host.neighbour.ip(f"addr del {LISTENS[family]} dev n0")


@pytest.mark.usefixtures("neighbour_with_such_an_address")
def test_where_limpid_listens_is_an_address_as_any_other(host, user, family):
    with listening_at(host.neighbour, LISTENS[family], 1) as server:
        done = inside(host, user, "print(to_end(tcp(sys.argv[1], 1)).decode())", LISTENS[family])
        assert done.stdout == "from the host\n"
        assert server.peer() == HOST[family]


# --- UDP --------------------------------------------------------------------------------------
class Echo(threading.Thread):
    """Sends datagrams back as they come."""

    def __init__(self, namespace, *addresses):
        super().__init__(daemon=True)
        self.sockets = []
        self.stop_r, self.stop_w = socket.socketpair()
        for ip, port in itertools.product(addresses, ECHO_PORTS):
            with namespace.enter():
                s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET,
                                  socket.SOCK_DGRAM)
            s.bind((ip, port))
            self.sockets.append(s)
        self.start()

    def run(self):
        while True:
            ready, _, _ = select.select([self.stop_r, *self.sockets], [], [])
            if self.stop_r in ready:
                return
            for s in ready:
                data, peer = s.recvfrom(65535)
                s.sendto(data, peer)

    def close(self):
        self.stop_w.send(b"x")
        self.join(5)
        for s in (*self.sockets, self.stop_r, self.stop_w):
            s.close()


ECHO = {4: "127.0.0.54", 6: HOST[6]}
ECHO_PORTS = [53, 443]


@pytest.fixture(scope="module")
def echo(host):
    server = Echo(host.ns, *ECHO.values())
    yield server
    server.close()


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize("port", ECHO_PORTS)
def test_datagrams_of_every_size(host, user, family, port):
    done = inside(host, user, """
s = udp(sys.argv[1], int(sys.argv[2]))
for n in (1, 12, 512, 1472, 1473, 4000, 60000):
	sent = os.urandom(n)
	s.send(sent)
	assert s.recv(65536) == sent, n
print("whole")
""", ECHO[family], str(port))
    assert done.stdout == "whole\n"


def test_own_name_of_a_datagram_socket(host, user, family, everywhere):
    done = inside(host, user, "print(udp(sys.argv[1], 53).getsockname()[0])", everywhere)
    assert done.stdout.strip() == (everywhere if everywhere != REMOTE[family] else HOST[family])


def test_one_socket_asks_many_resolvers(host, user):
    """Each answer comes from who was asked."""
    done = inside(host, user, """
s = opened("0.0.0.0", socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 0))
for i, ip in enumerate(sys.argv[1:]):
	s.sendto(struct.pack(">HHHHHH", i, 0x100, 1, 0, 0, 0) + b"\\6origin\\4test\\0\\0\\1\\0\\1",
		 (ip, 53))
answers = {}
for _ in sys.argv[1:]:
	reply, peer = s.recvfrom(4096)
	assert peer[1] == 53
	answers[struct.unpack(">H", reply[:2])[0]] = peer[0]
print(*(answers[i] for i in sorted(answers)))
""", "127.0.0.53", "10.78.1.2")
    assert done.stdout == "127.0.0.53 10.78.1.2\n"


@pytest.mark.parametrize("how", ["tcp", "udp"])
@pytest.mark.parametrize("resolver", ["127.0.0.53", "10.78.1.2"])
def test_learnt_name(host, user, resolver, how):
    """What a resolver says, on loopback too, is the name of a flow that says none."""
    path = host.folder / user / f"learnt-{resolver}-{how}.json"
    with listening_at(host.neighbour, REMOTE[4]) as server:
        inside(host, user, """
query = b"\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\6origin\\4test\\0\\0\\1\\0\\1"
if sys.argv[3] == "tcp":
	s = tcp(sys.argv[1], 53)
	s.sendall(b"\\0" + bytes([len(query)]) + query)
	reply = to_end(s)
else:
	s = udp(sys.argv[1], 53)
	s.send(query)
	reply = s.recv(1000)
to_end(tcp(socket.inet_ntoa(reply[-4:]), sys.argv[2]))
""", resolver, server.port, how, options=["--record", str(path)])
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {r["dest_port"]: r["limpid"].get("learnt_name") for r in records} == \
        {53: None, server.port: "origin.test"}


@pytest.mark.parametrize("ip, bound", [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"),
                                       ("::1", "::1"), ("::1", "::"), (HOST[4], HOST[4]),
                                       (HOST[6], "::")])
def test_own_datagram_socket_is_reached_directly(host, user, ip, bound):
    done = inside(host, user, """
ip, bound = sys.argv[1:]
server = opened(ip, socket.SOCK_DGRAM)
server.bind((bound, 0))
client = udp(ip, server.getsockname()[1])
client.send(b"question")
data, peer = server.recvfrom(100)
assert peer[:2] == client.getsockname()[:2]
server.sendto(b"answer", peer)
print(data.decode(), client.recv(100).decode())
""", ip, bound)
    assert done.stdout == "question answer\n"


def test_refusal_names_who_refused(host, user, everywhere):
    """ICMP port unreachable, to an unconnected socket, from the address that was asked."""
    done = inside(host, user, """
ip = sys.argv[1]
s = opened(ip, socket.SOCK_DGRAM)
v6 = ":" in ip
RECVERR, ERRQUEUE = 25 if v6 else 11, 0x2000
s.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP, RECVERR, 1)
s.sendto(b"x" * 100, (ip, 9999))
try: s.recv(1)
except ConnectionRefusedError: pass
data, control, _, name = s.recvmsg(4096, 512, ERRQUEUE)
code, _, kind, sub = struct.unpack_from("IBBB", control[0][2])
offender = control[0][2][24:40] if v6 else control[0][2][20:24]
print(errno.errorcode[code], kind, sub, name[:2] == (ip, 9999),
      socket.inet_ntop(family(ip), offender), data == b"x" * 100)
""", everywhere)
    kind = "1 4" if ":" in everywhere else "3 3"
    assert done.stdout == f"ECONNREFUSED {kind} True {everywhere} True\n"


def test_refusal_of_a_big_datagram(host, user, everywhere):
    done = inside(host, user, """
s = udp(sys.argv[1], 9999)
s.send(b"x" * 60000)
said(s.recv, 1)
""", everywhere)
    assert done.stdout == "ECONNREFUSED\n"


# --- what is neither --------------------------------------------------------------------------
def test_ping_is_told_that_it_may_not(host):
    """Only root can try: no other protocol leaves, and the sender hears of it."""
    done = inside(host, "root", r"""
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
said(s.sendto, b"\x08\0\xf7\xff\0\0\0\0", (sys.argv[1], 0))
""", REMOTE[4])
    assert done.stdout == "EPERM\n"


def test_multicast_stays_within(host, user):
    done = inside(host, user, """
said(opened("0.0.0.0", socket.SOCK_DGRAM).sendto, b"x", ("224.0.0.251", 5353))
""")
    assert done.stdout == "fine\n"


# --- descriptors and rights -------------------------------------------------------------------
LIST = """
found = sorted(map(int, os.listdir("/proc/self/fd")))
os.write(1, " ".join(map(str, found)).encode())
"""


def test_no_descriptor_of_limpids(host, user):
    """Standard ones, and the one that lists."""
    assert inside(host, user, LIST).stdout == "0 1 2 3"


def test_descriptors_of_the_callers_pass(host, user):
    done = inside(host, user, LIST, before=["sh", "-c", 'exec 7</dev/null; exec "$@"', "sh"])
    assert done.stdout == "0 1 2 3 7"


@pytest.mark.parametrize("closed, left", [((0,), "0 1 2"), ((0, 2), "0 1"), ((2,), "0 1 2")],
                         ids=["in", "in-err", "err"])
def test_closed_standard_descriptors(host, user, closed, left):
    """They stay closed (the one that lists takes the place).  And limpid, which says its lines
    to descriptor 2, has no socket there: the lines would go into a connection of the command."""
    code = PRELUDE + LIST + """
s = tcp("127.0.0.1", 8080)
s.sendall(b"GET /hello HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n")
got = b""
while not got.endswith(b"origin\\n"):
	more = s.recv(4096)
	assert more, got
	got += more
os.write(1, b" open\\n")
to_end(s)
"""
    with host.popen(user, *python(code), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    preexec_fn=lambda: [os.close(fd) for fd in closed]) as child:
        assert child.stdout.readline() == f"{left} open\n".encode()
        sockets = [fd for fd in closed if links_to(f"/proc/{child.pid}/fd/{fd}", "socket:")]
        child.terminate()
        assert child.wait(20) == 143
    assert not sockets


def links_to(path, start):
    try:
        return os.readlink(path).startswith(start)
    except FileNotFoundError:
        return False


def test_rights_are_the_callers(host, user):
    """No capability is left from the set-up."""
    def rights(text):
        return re.findall(r"^(?:Cap(?:Inh|Prm|Eff|Amb)|NoNewPrivs|Seccomp|[UG]id|Groups):.*", text,
                          re.M)
    without = host.ns.run(*host.argv(user, (), ())[:-4], "cat", "/proc/self/status")
    within = host.run(user, "cat", "/proc/self/status").stdout
    assert rights(within) == rights(without)
    assert len(rights(within)) == 9


# --- hosts of other shapes --------------------------------------------------------------------
def test_limpid_in_limpid(host, user, place, family):
    ip = {"loopback": LOOPBACK, "remote": REMOTE}[place][family]
    port = {"loopback": 8080, "remote": 80}[place]
    done = inside(host, user, """
os.execv(sys.argv[1], [sys.argv[1], "run", "--", *sys.argv[2:]])
""", host.limpid, "curl", "-sS", "--noproxy", "*", f"http://{authority(ip, port)}/hello")
    assert done.stdout == HELLO
    assert accept_lines(done.stderr) == [authority(ip, port)] * 2


@pytest.mark.parametrize("before", [
    pytest.param(["unshare", "-U", "-r"], id="container"),
    pytest.param(["setpriv", "--bounding-set=-net_admin"], id="no-net-admin")])
def test_root_of_less(host, before):
    """uid 0 without the rights of root: a user namespace does it, and uid 0 it stays."""
    done = inside(host, "root", "print(os.getuid(), get(sys.argv[1], 80), end='')", REMOTE[4],
                  before=before)
    assert done.stdout == "0 " + HELLO


def test_no_new_privileges(host, user):
    done = inside(host, user, "sys.stdout.write(get(sys.argv[1], 80))", REMOTE[4],
                  before=["setpriv", "--no-new-privs"])
    assert done.stdout == HELLO


@pytest.fixture(scope="module")
def island():
    """A host without IPv6 and without a default route: 10.9.0.0/16 by 10.1.2.1, and its wire."""
    ns, other = Namespace(), Namespace()
    ns.ip(f"link add i0 type veth peer name o0 netns {other.path}")
    ns.sysctl(net__ipv6__conf__i0__disable_ipv6=1, net__ipv6__conf__lo__disable_ipv6=1)
    other.ip("link set o0 up")
    ns.ip("link set lo up\nlink set i0 up\naddr add 10.1.2.3/24 dev i0\n"
          "route add 10.9.0.0/16 via 10.1.2.1")
    yield ns
    ns.close()
    other.close()


def test_routes_are_those_of_the_host(host, user, island):
    """What the host cannot reach is unreachable at once, so that programs fall back."""
    done = inside(host, user, """
for ip in sys.argv[1:]:
	try: print(ip, udp(ip, 9).getsockname()[0])
	except OSError as e: print(ip, errno.errorcode[e.errno])
""", "10.9.1.1", "10.1.2.9", "127.0.0.1", "8.8.8.8", "2001:db8::1", namespace=island)
    assert done.stdout == ("10.9.1.1 10.1.2.3\n10.1.2.9 10.1.2.3\n127.0.0.1 127.0.0.1\n"
                           "8.8.8.8 ENETUNREACH\n2001:db8::1 ENETUNREACH\n")


def test_nothing_of_limpids_runs_inside(host, user):
    """The command is limpid's own child, and the only process of its namespace."""
    done = inside(host, user, """
own = os.stat("/proc/self/ns/net").st_ino
def ns(pid):
	try: return os.stat(f"/proc/{pid}/ns/net").st_ino
	except OSError: return 0
print(open(f"/proc/{os.getppid()}/comm").read().strip(),
      [int(p) for p in os.listdir("/proc") if p.isdigit() and ns(p) == own] == [os.getpid()])
""")
    assert done.stdout == "limpid True\n"
    eventually(lambda: not host.processes(), "limpid's processes are gone")
