# SPDX-License-Identifier: Apache-2.0
"""Rules that are printed in well-known documents, to the letter, and limpid behind them.

Only lines that were too long are folded."""
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile

import pytest

from lab.bare import CLIENT, FAMILY, PROXY_FAR, SERVER, Bare
from lab.limpid import Limpid, binary, check_stderr
from lab.sock import Background, eventually, pattern, read_exactly, read_to_end, read_to_reset

USER = 1000
NOBODY = 65534
CAP_NET_RAW = 1 << 13
BUILD = pathlib.Path(binary()).resolve().parent


def rules(text, family):
    """A document's commands; for IPv6 the same ones by their other names."""
    if family == 4:
        return text
    for four, six in (("iptables ", "ip6tables "), ("ip rule", "ip -6 rule"),
                      ("ip route", "ip -6 route"), ("0.0.0.0/0", "::/0"), ("127.0.0.1", "::1")):
        text = text.replace(four, six)
    return text


@pytest.fixture
def start(tmp_path):
    """start(bare, config, ...): a running limpid; ended and checked at the end."""
    running = []

    def begin(bare, config, workdir=None, **more):
        limpid = Limpid(bare.proxy, config, workdir or tmp_path / "limpid", **more)
        running.append(limpid)
        return limpid

    yield begin
    for limpid in running:
        check_stderr(limpid.stderr())
        if limpid.process.returncode is None:
            limpid.stop()


@pytest.fixture
def bare():
    row = Bare()
    yield row
    row.close()


def talk(client, server, n_bytes=200_000):
    """Bytes both ways, and an orderly end both ways."""
    up = Background(lambda: (client.sendall(pattern(n_bytes)), client.shutdown(socket.SHUT_WR)))
    assert read_to_end(server) == pattern(n_bytes)
    up.result()
    server.sendall(pattern(n_bytes, 2))
    server.close()
    assert read_to_end(client) == pattern(n_bytes, 2)
    client.close()


# --- smithproxy: what this host sends, except root's ------------------------------------------
SMITHPROXY = """
iptables -t nat -A OUTPUT -p tcp -d 0.0.0.0/0 --dport 80 \\
  -j REDIRECT --to-port 51080 -m owner ! --uid-owner root
iptables -t nat -A OUTPUT -p tcp -d 0.0.0.0/0 --dport 443 \\
  -j REDIRECT --to-port 51443 -m owner ! --uid-owner root
"""

REDIRECT = """
listeners:
  - { name: plain, mode: redirect, address: ["127.0.0.1:51080", "[::1]:51080"] }
  - { name: tls, mode: redirect, address: ["127.0.0.1:51443", "[::1]:51443"] }
rules: [ { name: all, action: accept, source: SOURCE } ]
record: { flows: { file: "@FLOWS@" } }
"""
OWN = REDIRECT.replace("SOURCE", "own")


def intercepted(bare, limpid, family, port, listener_name):
    """A connection of a user's goes through limpid, once."""
    listener = bare.listen(family, port)
    client = bare.connect(bare.proxy, family, port, USER)
    server = bare.accept(listener)
    name = client.getsockname()
    assert server.getpeername()[0] == PROXY_FAR[family]
    assert server.getpeername()[1] != name[1]
    talk(client, server)
    listener.close()
    r = limpid.records.of(name)
    assert (r["limpid"]["listener"], r["limpid"]["why"]) == (listener_name, "finished")
    assert (r["dest_ip"], r["dest_port"]) == (SERVER[family], port)


def left_alone(bare, family, port):
    """A connection of root's reaches the server as it is."""
    listener = bare.listen(family, port)
    client = bare.connect(bare.proxy, family, port)
    server = bare.accept(listener)
    assert server.getpeername()[:2] == client.getsockname()[:2]
    talk(client, server, 1000)
    listener.close()


@pytest.mark.parametrize("options", [(), ("--user", "nobody")], ids=["root", "nobody"])
def test_smithproxy(bare, start, family, options):
    """Users' connections are taken, root's and limpid's own are not, whoever limpid is."""
    limpid = start(bare, OWN, options=options, prefix=no_leak_check(options))
    bare.shell(rules(SMITHPROXY, family))
    intercepted(bare, limpid, family, 80, "plain")
    intercepted(bare, limpid, family, 443, "tls")
    left_alone(bare, family, 80)
    left_alone(bare, family, 443)
    assert len(limpid.records.poll()) == 2
    assert limpid.stderr().count("Accept") == 2


def no_leak_check(options):
    """Who has changed its user cannot be traced, not even by its own sanitizer."""
    return ["env", "ASAN_OPTIONS=detect_leaks=0"] if options else []


@pytest.mark.tsan
def test_many_sockets_by_the_maker(bare, start, family):
    """More connections at once than one batch of sockets holds, in two threads."""
    start(bare, OWN + "limits: { threads: 2 }\n", options=("--user", "nobody"),
          prefix=no_leak_check("nobody"))
    bare.shell(rules(SMITHPROXY, family))
    listener = bare.listen(family, 80)
    clients = {}
    for i in range(60):
        clients[i] = bare.connect(bare.proxy, family, 80, USER)
        clients[i].sendall(bytes([i]))
    for _ in clients:
        server = bare.accept(listener)
        i = server.recv(1)[0]
        talk(clients[i], server, 1000)


# --- privileges -------------------------------------------------------------------------------
def status(path):
    with open(path / "status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(word) for word in f.read().split()]


def is_gone(pid):
    return not os.path.exists(f"/proc/{pid}")


def test_user_has_nothing_that_is_not_needed(bare, start):
    """Every thread: ids, groups, capabilities, no way back."""
    limpid = start(bare, OWN, options=("--user", "nobody"), prefix=no_leak_check("nobody"))
    for task in pathlib.Path(f"/proc/{limpid.pid}/task").iterdir():
        found = status(task)
        assert set(found["Uid"].split()) == set(found["Gid"].split()) == {str(NOBODY)}
        assert set(found["Groups"].split()) <= {str(NOBODY)}
        for name in ("CapPrm", "CapEff", "CapBnd"):
            assert int(found[name], 16) == CAP_NET_RAW, name
        assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
        assert found["NoNewPrivs"] == "1"


def test_user_without_mark_needs_no_capability(bare, start):
    limpid = start(bare, OWN + "firewall: { mark: 0 }\n", options=("--user", "nobody"),
                   prefix=no_leak_check("nobody"))
    assert int(status(pathlib.Path(f"/proc/{limpid.pid}"))["CapPrm"], 16) == 0
    bare.shell(SMITHPROXY)
    intercepted(bare, limpid, 4, 80, "plain")


def test_socket_maker_is_root_and_nothing_else(bare, start):
    limpid = start(bare, OWN, options=("--user", "nobody"), prefix=no_leak_check("nobody"))
    maker, = children(limpid.pid)
    found = status(pathlib.Path(f"/proc/{maker}"))
    assert set(found["Uid"].split()) == {"0"}
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(found[name], 16) == 0, name
    assert found["NoNewPrivs"] == "1"
    assert os.listdir(f"/proc/{maker}/fd") == ["0"]
    limpid.stop()
    eventually(lambda: is_gone(maker), "the socket maker ends with limpid")


def test_socket_maker_dies_with_limpid(bare, start):
    limpid = start(bare, OWN, options=("--user", "nobody"), prefix=no_leak_check("nobody"))
    maker, = children(limpid.pid)
    limpid.kill()
    eventually(lambda: is_gone(maker), "the socket maker dies with limpid")


def test_no_socket_maker_where_it_is_not_needed(bare, start):
    """Neither as root nor where nothing is redirected."""
    limpid = start(bare, OWN)
    assert children(limpid.pid) == []
    limpid.stop()
    limpid = start(bare, OWN.replace("redirect", "tproxy"), options=("--user", "nobody"),
                   prefix=no_leak_check("nobody"))
    assert children(limpid.pid) == []


@pytest.mark.parametrize("user, said", [("no-such-user", "there is no user 'no-such-user'")])
def test_user_that_cannot_be(bare, tmp_path, user, said):
    path = tmp_path / "limpid.yaml"
    path.write_text(OWN.replace("@FLOWS@", str(tmp_path / "flows")), encoding="ascii")
    with bare.proxy.enter():
        done = subprocess.run([binary(), "serve", "--config", path, "--user", user],
                              capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert said in done.stderr


# --- loops ------------------------------------------------------------------------------------
@pytest.fixture
def folder_of_nobody():
    """A folder that nobody may write, with the program in it: the build's may be closed."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        shutil.copy(binary(), name + "/limpid")
        work = pathlib.Path(name, "work")
        work.mkdir()
        os.chown(work, NOBODY, NOBODY)
        yield pathlib.Path(name)


AS_NOBODY = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--inh-caps",
             "+net_raw", "--ambient-caps", "+net_raw", "--pdeathsig", "KILL", "--"]


def reset_at_once(bare, family):
    """A user's connection ends in RST, perhaps before connect() is back; its own address."""
    client = bare.socket(bare.proxy, family, USER)
    client.bind((PROXY_FAR[family], 0))
    name = client.getsockname()[:2]
    try:
        client.connect((SERVER[family], 80))
    except ConnectionResetError:
        return name
    assert read_to_reset(client) == b""
    return name


def loops(bare, limpid, family, n=25):
    """Every connection comes back to limpid: each ends at once, and none makes more of them."""
    baseline = limpid.descriptors()
    names = {reset_at_once(bare, family) for _ in range(n)}

    def mine():
        return {(r["src_ip"], r["src_port"]) for r in limpid.records.poll()} & names

    eventually(lambda: mine() == names, "each client has its record")
    records = limpid.records.wait(lambda r: True, count=2 * n)
    assert {r["limpid"]["why"] for r in records} == {"loop"}
    eventually(lambda: limpid.descriptors() <= baseline, "descriptors come back")
    assert len(limpid.records.poll()) == 2 * n, "it goes round"
    assert limpid.stderr().count("came back to it") == 1
    assert "0x6c70 (firewall.mark)" in limpid.stderr()


@pytest.mark.tsan
@pytest.mark.parametrize("source", ["own", "keep-address", "keep"])
def test_loop_ends_at_once(folder_of_nobody, bare, start, family, source):
    """limpid as another user than the one that the rules except."""
    limpid = start(bare, REDIRECT.replace("SOURCE", source), folder_of_nobody / "work",
                   prefix=AS_NOBODY, program=folder_of_nobody / "limpid")
    bare.shell(rules(SMITHPROXY, family))
    loops(bare, limpid, family)


def test_loop_of_a_server_that_speaks_first(folder_of_nobody, bare, start):
    """Nobody says a word, and policy waits for the name: the loop is found all the same."""
    named = OWN.replace("rules: [", "rules: [ { name: web, match: { domain: a.test }, "
                        "action: accept }, ") + "timeouts: { sniff: 300ms }\n"
    limpid = start(bare, named, folder_of_nobody / "work", prefix=AS_NOBODY,
                   program=folder_of_nobody / "limpid")
    bare.shell(SMITHPROXY)
    loops(bare, limpid, 4, 3)


def test_loop_by_tproxy(bare, start):
    """What this host sends is turned round to a tproxy listener, and limpid is not excepted."""
    limpid = start(bare, OWN.replace("redirect", "tproxy"))
    bare.proxy.ip("rule add fwmark 1 lookup 100\nroute add local default dev lo table 100")
    bare.proxy.nft("""
table ip turn {
	chain out {
		type route hook output priority mangle;
		ip daddr 10.78.2.2 tcp dport 80 meta mark set 1
	}
	chain pre {
		type filter hook prerouting priority mangle;
		iif lo meta mark 1 tcp dport 80 tproxy to 127.0.0.1:51080 accept
	}
}
""")
    loops(bare, limpid, 4)


def test_without_socket_maker_it_is_a_loop(bare, start):
    """The maker is killed: said, and what is dialled now is taken by the rules, and refused."""
    limpid = start(bare, OWN, options=("--user", "nobody"), prefix=no_leak_check("nobody"))
    bare.shell(SMITHPROXY)
    intercepted(bare, limpid, 4, 443, "tls")
    os.kill(children(limpid.pid)[0], signal.SIGKILL)

    def came_back():
        client = bare.socket(bare.proxy, 4, USER)
        try:
            client.connect((SERVER[4], 80))
            server = bare.accept(listener)
        except (TimeoutError, ConnectionResetError):
            return True
        talk(client, server, 1000)
        return False

    listener = bare.listen(4, 80)
    listener.settimeout(0.5)
    eventually(came_back, "sockets that were in stock have been used")
    assert "process that makes sockets is gone" in limpid.stderr()
    assert limpid.records.wait(lambda r: r["limpid"]["why"] == "loop")


# --- "Linux transparent proxy support" --------------------------------------------------------
TPROXY_ROUTING = """
ip rule add fwmark 1 lookup 100
ip route add local 0.0.0.0/0 dev lo table 100
"""
TPROXY_SYSCTL = """
sysctl net.ipv4.conf.all.forwarding=1
sysctl net.ipv6.conf.all.forwarding=1
sysctl net.ipv4.conf.eth0.rp_filter=0
"""
TPROXY = TPROXY_ROUTING + """
iptables -t mangle -N DIVERT
iptables -t mangle -A DIVERT -j MARK --set-mark 1
iptables -t mangle -A DIVERT -j ACCEPT
iptables -t mangle -A PREROUTING -p tcp -m socket -j DIVERT
iptables -t mangle -A PREROUTING -p tcp --dport 25 -j TPROXY \\
  --tproxy-mark 0x1/0x1 --on-port 10025 --on-ip 127.0.0.1
iptables -t mangle -A PREROUTING -p tcp --dport 80 -j TPROXY \\
  --tproxy-mark 0x1/0x1 --on-port 10080 --on-ip 127.0.0.1
"""

TPROXY_CONFIG = """
listeners:
  - { name: mail, mode: tproxy, address: ["HOST4:10025", "[HOST6]:10025"] }
  - { name: web, mode: tproxy, address: ["HOST4:10080", "[HOST6]:10080"] }
rules: [ { name: all, action: accept, source: SOURCE } ]
record: { flows: { file: "@FLOWS@" } }
"""


@pytest.fixture
def eth():
    row = Bare("eth0", "eth1")
    yield row
    row.close()


def through(row, family, port, source):
    """A connection from the client: both of its ends, the server's seen from `source`."""
    listener = row.listen(family, port)
    client = row.connect(row.client, family, port)
    server = row.accept(listener)
    seen, name = server.getpeername()[:2], client.getsockname()[:2]
    if source == "keep":
        assert seen == name
    else:
        assert seen[0] == PROXY_FAR[family]
    return client, server


@pytest.mark.parametrize("source", ["own", "keep"])
@pytest.mark.parametrize("on_ip", [True, False], ids=["on-ip", "no-on-ip"])
def test_transparent_proxy_document(eth, start, family, source, on_ip):
    """Mail and web, with the refinement -m socket; --on-ip is left out in older copies."""
    text, host4, host6 = TPROXY, "127.0.0.1", "::1"
    if not on_ip:
        text, host4, host6 = text.replace(" --on-ip 127.0.0.1", ""), "0.0.0.0", "::"
    limpid = start(eth, TPROXY_CONFIG.replace("HOST4", host4).replace("HOST6", host6)
                   .replace("SOURCE", source))
    eth.shell(TPROXY_SYSCTL)
    eth.shell(rules(text, family))

    client, server = through(eth, family, 25, source)
    server.sendall(b"220 mail.test ESMTP\r\n")
    assert read_exactly(client, 21) == b"220 mail.test ESMTP\r\n"
    client.sendall(b"EHLO client.test\r\n")
    assert read_exactly(server, 18) == b"EHLO client.test\r\n"
    name = client.getsockname()
    talk(client, server)
    r = limpid.records.of(name)
    assert (r["limpid"]["listener"], r["limpid"]["why"]) == ("mail", "finished")

    client, server = through(eth, family, 80, source)
    client.sendall(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n")
    assert read_exactly(server, 34) == b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"
    name = client.getsockname()
    talk(client, server)
    r = limpid.records.of(name)
    assert (r["limpid"]["listener"], r["limpid"]["why"]) == ("web", "finished")

    listener = eth.listen(family, 8080)     # what no rule names is forwarded as ever
    talk(eth.connect(eth.client, family, 8080), eth.accept(listener), 1000)
    assert len(limpid.records.poll()) == 2


def udp_packets(data, family):
    """(source, destination, text) of a packet from the network layer up, if it is UDP."""
    head, proto = ((data[0] & 15) * 4, data[9]) if family == 4 else (40, data[6])
    if proto != socket.IPPROTO_UDP:
        return None
    where = (data[12:16], data[16:20]) if family == 4 else (data[8:24], data[24:40])
    ports = struct.unpack_from(">HH", data, head)
    ends = [(socket.inet_ntop(FAMILY[family], ip), port) for ip, port in zip(where, ports)]
    return *ends, data[head + 8:]


@pytest.mark.parametrize("family, source, target", [
    (4, ("1.2.3.4", 5300), ("198.41.0.4", 53)),
    (6, ("2001:db8::1234", 5300), ("2001:503:ba3e::2:30", 53))], ids=["v4", "v6"])
def test_document_spoofs_an_address(eth, family, source, target):
    """Its UDP example, examples/spoof.c: the packet really leaves, with what is not ours."""
    spoof = BUILD / "examples" / "spoof"
    with eth.server.enter():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        tap.bind(("s0", 0x0800 if family == 4 else 0x86DD))
    tap.settimeout(20)
    eth.sockets.append(tap)
    words = [f"{ip}:{port}" if family == 4 else f"[{ip}]:{port}" for ip, port in (source, target)]
    eth.proxy.run(str(spoof), *words, "hi!")
    found = None
    while not found or found[1] != target:
        found = udp_packets(tap.recv(2000), family)
    assert found == (source, target, b"hi!")


def test_spoof_needs_the_privilege(eth):
    """And says so."""
    with eth.proxy.enter():
        done = subprocess.run(["setpriv", "--bounding-set=-net_raw,-net_admin", "--inh-caps",
                               "-net_raw,-net_admin", "--", BUILD / "examples" / "spoof",
                               "1.2.3.4:5300", "198.41.0.4:53"],
                              capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "IP_TRANSPARENT" in done.stderr


# --- uproxy -----------------------------------------------------------------------------------
UPROXY = """
# 1
sudo iptables -t mangle -N DIVERT
sudo iptables -t mangle -A PREROUTING -i ens6 -p tcp -m socket --dport 9090 -j DIVERT
sudo iptables -t mangle -A PREROUTING -i ens7 -p tcp -m socket --sport 9090 -j DIVERT
sudo iptables -t mangle -A DIVERT -j MARK --set-mark 1
sudo iptables -t mangle -A DIVERT -j ACCEPT
# 2
sudo iptables -t mangle -A PREROUTING -i ens6 -p tcp --dport 9090 \\
  -j TPROXY --tproxy-mark 1 --on-port 9091 --on-ip 127.0.0.1
sudo iptables -t mangle -A PREROUTING -i ens7 -p tcp --sport 9090 \\
  -j TPROXY --tproxy-mark 1 --on-port 9091 --on-ip 127.0.0.1
# 3
sudo ip rule add fwmark 1 lookup 100
sudo ip route add local 0.0.0.0/0 dev lo table 100
"""

UPROXY_CONFIG = """
listeners: [ { name: liproxy, mode: tproxy, address: ["127.0.0.1:9091"] } ]
rules: [ { name: all, action: accept, source: keep } ]
record: { flows: { file: "@FLOWS@" } }
"""
LIPROXY = BUILD / "examples" / "liproxy"


@pytest.fixture
def ens():
    row = Bare("ens6", "ens7")
    yield row
    row.close()


def through_uproxy(ens):
    """Several at once, and one after another from the same port."""
    for _ in range(2):
        listener = ens.listen(4, 9090)
        pairs = []
        for port in (41001, 41002, 41003):
            client = ens.socket(ens.client, 4)
            client.bind((CLIENT[4], port))
            client.connect((SERVER[4], 9090))
            server = ens.accept(listener)
            assert server.getpeername() == (CLIENT[4], port)
            pairs.append((client, server))
        for client, server in pairs:
            talk(client, server)
        listener.close()


def test_uproxy(ens, start):
    """The rules of its README; limpid where its sample listens."""
    limpid = start(ens, UPROXY_CONFIG)
    ens.shell(UPROXY)
    through_uproxy(ens)
    records = limpid.records.wait(lambda r: True, count=6)
    assert {r["limpid"]["source"] for r in records} == {"keep"}


if LIPROXY.exists():
    def test_uproxy_with_liproxy(ens):
        """The same, and the sample of the same name."""
        ens.shell(UPROXY)
        with ens.proxy.enter():
            process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", LIPROXY])
        try:
            through_uproxy(ens)
        finally:
            process.terminate()
            process.wait(20)
