# SPDX-License-Identifier: Apache-2.0
"""`limpid run --honest`: what the command's connect() says is what it would say outside."""
import json

import pytest

from host import HOST, LOOPBACK, PORTS, REMOTE
from test_run_inside import HELLO, inside

HONEST = ("--honest",)
CONNECT = """
def attempt(ip, port):
	s = opened(ip, socket.SOCK_STREAM)
	try: s.connect((ip, int(port)))
	except OSError as e: return errno.errorcode[e.errno]
	return "connected"
"""


def test_served(host, user, family, place):
    address = {"loopback": LOOPBACK, "remote": REMOTE}[place][family]
    done = inside(host, user, "print(get(sys.argv[1], sys.argv[2]), end='')", address,
                  str(PORTS[place]["http"]), options=HONEST)
    assert done.stdout == HELLO


@pytest.mark.parametrize("where", [LOOPBACK, HOST, REMOTE], ids=["loopback", "host", "remote"])
def test_refused(host, user, family, where):
    record = host.folder / user / "honest.json"
    record.unlink(missing_ok=True)
    done = inside(host, user, CONNECT + "print(attempt(sys.argv[1], 9))", where[family],
                  options=(*HONEST, "--record", str(record)))
    assert done.stdout == "ECONNREFUSED\n"
    r = json.loads(record.read_text(encoding="utf-8"))
    assert r["limpid"]["why"] == "server-refused" and r["dest_port"] == 9


def test_without_the_option_it_is_connected_first(host, user, family):
    done = inside(host, user, CONNECT + "print(attempt(sys.argv[1], 9))", LOOPBACK[family])
    assert done.stdout in ("connected\n", "ECONNRESET\n")


UNREACHABLE = {4: ("203.0.113.1", "203.0.113.0/24"), 6: ("2001:db8:9::1", "2001:db8:9::/64")}


def test_unreachable(host, user, family):
    """As the neighbour's router says it."""
    address, network = UNREACHABLE[family]
    six = "-6 " if family == 6 else ""
    host.neighbour.ip(f"{six}route add unreachable {network}")
    host.neighbour.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
    try:
        done = inside(host, user, CONNECT + "print(attempt(sys.argv[1], 80))", address,
                      options=HONEST)
    finally:
        host.neighbour.ip(f"{six}route del unreachable {network}")
        host.neighbour.sysctl(net__ipv4__ip_forward=0, net__ipv6__conf__all__forwarding=0)
    assert done.stdout in ("EHOSTUNREACH\n", "ENETUNREACH\n")


def test_curl_says_refused(host, user):
    """Status 7 is "failed to connect"; a server that is only reset later would be 56."""
    done = host.run(user, "curl", "-sS", "http://127.0.0.1:9/", options=HONEST)
    assert done.returncode == 7, done.stderr


def test_curl_falls_back_to_the_family_that_is_served(host, user):
    """Happy Eyeballs: IPv6 is refused, IPv4 is served, and curl asks both."""
    port = PORTS["loopback"]["http"]
    done = host.run(user, "curl", "-sS", "--resolve", f"both.test:{port}:[fd78:1::2],127.0.0.1",
                    f"http://both.test:{port}/hello", options=HONEST)
    assert (done.returncode, done.stdout) == (0, HELLO), done.stderr


def test_own_listener_is_reached_directly(host, user, family):
    done = inside(host, user, """
l = opened(sys.argv[1], socket.SOCK_STREAM)
l.bind((sys.argv[1], 0))
l.listen()
s = tcp(*l.getsockname()[:2])
peer, _ = l.accept()
peer.sendall(b"mine")
print(s.recv(4).decode())
""", LOOPBACK[family], options=HONEST)
    assert done.stdout == "mine\n"
    assert "Accept" not in done.stderr


def test_many_at_once(host, user):
    """More than one batch of the queue, refused and served in turn."""
    code = CONNECT + """
import concurrent.futures
with concurrent.futures.ThreadPoolExecutor(50) as pool:
	ports = [9 if i % 2 else int(sys.argv[1]) for i in range(200)]
	said = list(pool.map(lambda port: attempt("127.0.0.1", port), ports))
print(said[::2].count("connected"), said[1::2].count("ECONNREFUSED"))
"""
    done = inside(host, user, code, str(PORTS["loopback"]["http"]), options=(*HONEST, "-q"))
    assert done.stdout == "100 100\n"


def test_more_than_the_queue_holds(host, user):
    """What finds no room is sent again: nobody is connected early."""
    code = CONNECT + """
for _ in range(4500): # the SYNs wait on, at most 4096 of them
	s = opened("10.78.1.9", socket.SOCK_STREAM)
	s.setblocking(False)
	s.connect_ex(("10.78.1.9", 80))
	s.close()
s = opened("127.0.0.1", socket.SOCK_STREAM)
s.settimeout(0.5)
print(errno.errorcode.get(s.connect_ex(("127.0.0.1", 9)), "connected"))
"""
    done = inside(host, user, code, options=(*HONEST, "-q"), before=("prlimit", "--nofile=512"))
    assert done.stdout in ("EAGAIN\n", "ECONNREFUSED\n")


def test_no_queue_no_command(host, user):
    """Where SYNs cannot be held the command is not run otherwise than asked."""
    hidden = host.folder / user / "no-iptables"
    hidden.mkdir(exist_ok=True)
    for program in ("iptables", "ip6tables"):
        fake = hidden / program
        fake.write_text("#!/bin/sh\necho 'no such target' >&2\nexit 1\n", encoding="ascii")
        fake.chmod(0o755)
    done = host.run(user, "true", options=HONEST,
                    before=("env", f"PATH={hidden}:/usr/sbin:/usr/bin:/bin"))
    if "queue" in host.ns.run("sh", "-c", "nft -c -f - 2>&1 <<'EOF' || :\n"
                              "table inet x { chain c { type filter hook input priority 0; "
                              "queue num 0; }; }\nEOF\n"):
        assert done.returncode == 1
        assert "cannot hold a SYN" in done.stderr and "no such target" in done.stderr
    else:
        assert done.returncode == 0
