# SPDX-License-Identifier: Apache-2.0
"""limpid as the service of a host: first configuration, the manager's socket, few privileges."""
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from lab import configs, confined
from lab.bare import SERVER as BARE_SERVER
from lab.limpid import REPO, Limpid, binary, sanitized
from lab.netns import Namespace
from lab.printed import rules
from lab.sock import Background, eventually, pattern, read_exactly, read_to_end
from lab.topology import OFFLOAD_PORT, PROXY_FAR, SERVER, Way

pytestmark = pytest.mark.plain

UNITS = REPO / "packaging/systemd"
UNIT = UNITS / "limpid.service.in"
# The configuration that is installed; only its records go elsewhere.
FIRST = (REPO / "packaging/limpid.yaml").read_text().replace("/var/log/limpid/flows.json",
                                                              "@FLOWS@")


def exchange(way, listener=None, port=None, up_bytes=3_000_000):
    """A connection through limpid, with enough bytes for each way of moving them."""
    client, server = way.pair(listener, port=port)
    name = client.getsockname()
    sender = Background(client.sendall, pattern(up_bytes))
    assert read_exactly(server, up_bytes) == pattern(up_bytes)
    sender.result()
    client.shutdown(socket.SHUT_WR)
    server.sendall(b"done")
    server.close()
    assert read_to_end(client) == b"done"
    return name


# --- the first configuration --------------------------------------------------------------------
def test_first_configuration_serves_routed_and_redirected(lab, serve, mode, family):
    limpid = serve(FIRST)
    record = limpid.records.of(exchange(Way(lab, mode, family)))
    assert record["limpid"]["rule"] == "all"
    assert record["limpid"]["listener"] == {"tproxy": "routed", "redirect": "local"}[mode]


UDP_RULES = """
iptables -t mangle -A PREROUTING -i p0 -p udp -j TPROXY --tproxy-mark 0x1/0x1 \\
  --on-port 50080 --on-ip 127.0.0.1
ip rule add fwmark 1 lookup 100
ip route add local 0.0.0.0/0 dev lo table 100
"""


def test_first_configuration_serves_datagrams(bare, start, family):
    """All UDP to port 50080, by rules of one's own."""
    limpid = start(bare, FIRST + "timeouts: { udp: 1s }\n")
    bare.shell(rules(UDP_RULES, family))
    server, client = bare.udp(bare.server, family), bare.udp(bare.client, family)
    server.bind((BARE_SERVER[family], 5353))
    client.sendto(b"question", server.getsockname())
    data, seen = server.recvfrom(100)
    server.sendto(b"answer", seen)
    data = data, *client.recvfrom(100)
    assert data[:2] == (b"question", b"answer")
    assert data[2][:2] == (BARE_SERVER[family], 5353)
    record = limpid.records.wait(lambda r: r["src_port"] == client.getsockname()[1])
    assert record["limpid"]["listener"] == "routed"


@pytest.mark.parametrize("option, listener", [
    (("--socks5", "127.0.0.1:1080"), "socks"), (("--socks4", "127.0.0.1:1080"), "socks"),
    (("--proxytunnel", "--proxy", "127.0.0.1:4130"), "http"),
    (("--proxytunnel", "--proxy", "127.0.0.1:4128"), "any"),
    (("--socks5", "[::1]:4128"), "any")])
def test_first_configuration_serves_clients_that_know_it(lab, serve, option, listener):
    limpid = serve(FIRST)
    origin = lab.listen(4, SERVER[4], 7000)

    def answer():
        server = lab.accept(origin)
        server.recv(1000)
        server.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")
        server.close()

    answering = Background(answer)
    assert lab.proxy.run("curl", "-sS", "--noproxy", "", "--max-time", "20", *option,
                         f"http://{SERVER[4]}:7000/") == "hello"
    answering.result()
    assert limpid.records.wait(lambda r: True)["limpid"]["listener"] == listener


@pytest.fixture
def firewall(lab, tmp_path):
    """firewall("up"), as the unit of the firewall may run it; down in the end."""
    config = tmp_path / "limpid.yaml"
    config.write_text(FIRST.replace("@FLOWS@", "/dev/null"))
    may = () if sanitized() else confined.prefix(UNITS / "limpid-firewall.service.in", "root")

    def run(verb):
        lab.proxy.run(*may, binary(), "firewall", verb, "--config", config)

    yield run
    run("down")


def test_first_configuration_and_its_firewall(lab, serve, firewall, family):
    """Ports 80 and 443, of others and of this host; the rest goes by."""
    limpid = serve(FIRST)
    routed = Way(lab, "routed", family)
    firewall("up")
    for port, suffix in (80, ""), (443, "-tls"):
        listener = routed.listen(port)
        record = limpid.records.of(exchange(routed, listener, port))
        assert record["limpid"]["listener"] == "routed" + suffix
        client = lab.socket(lab.proxy, family)
        # The kernel may choose the same port for both, and does so again for minutes.
        client.bind((PROXY_FAR[family], lab.free_port()))
        client.connect((SERVER[family], port))
        name = client.getsockname()
        lab.accept(listener).close()
        client.close()
        record = limpid.records.of(name)
        assert (record["limpid"]["listener"], record["dest_port"]) == ("local" + suffix, port)
    seen = len(limpid.records.poll())
    exchange(routed, routed.listen(22), 22)
    firewall("down")
    lab.close_sockets()
    exchange(routed, routed.listen(80), 80)
    assert len(limpid.records.poll()) == seen


def test_configuration_of_the_host_is_read_unless_another_is_named():
    """In a mount namespace of its own: an /etc with a limpid.yaml, and one without."""
    script = ('mount -t tmpfs none /etc && {} exec "$0" check')
    found = subprocess.run(
        ["unshare", "--mount", "sh", "-c",
         script.format('mkdir /etc/limpid && cp "$1" /etc/limpid &&'), binary(),
         REPO / "packaging/limpid.yaml"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("/etc/limpid/limpid.yaml: ok")
    lacking = subprocess.run(["unshare", "--mount", "sh", "-c", script.format(""), binary()],
                             capture_output=True, text=True, check=False)
    assert lacking.returncode == 1
    assert "/etc/limpid/limpid.yaml" in lacking.stderr


def test_host_without_ipv6_is_served(tmp_path):
    """Not even ::1 is there; what is asked for in vain is said, and the rest is served."""
    host = Namespace()
    host.ip("link set lo up")
    host.sysctl(net__ipv6__conf__all__disable_ipv6=1)
    limpid = Limpid(host, """
listeners:
  - { name: both, mode: redirect, address: [ "127.0.0.1:51080" ] }
  - { name: six, mode: redirect, address: "[::1]:51081" }
rules: [ { name: all, action: accept } ]
""", tmp_path)
    try:
        eventually(lambda: "listener 'six': not listening on [::1]:51081: this host has no IPv6"
                   in limpid.stderr(), "a word about IPv6")
    finally:
        limpid.stop()
        host.close()


# --- the service manager ------------------------------------------------------------------------
class Manager:
    """The datagram socket that systemd has for a unit; an abstract one is of one namespace."""

    def __init__(self, namespace, address):
        with namespace.enter():
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1) if address[0] == "@" else address)
        self.socket.settimeout(20)
        self.prefix = ("env", f"NOTIFY_SOCKET={address}")

    def told(self):
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().split("\n"))


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_manager_is_told_of_start_and_end(lab, keeper, tmp_path, kind):
    keeper.stop()  # the ports are wanted here
    manager = Manager(lab.proxy, {"path": f"{tmp_path}/notify", "abstract": f"@{tmp_path}"}[kind])
    limpid = Limpid(lab.proxy, FIRST + "timeouts: { drain: 7s }\n", tmp_path / "limpid",
                    manager.prefix)
    try:
        ready = manager.told()
        assert ready["READY"] == "1"
        assert ready["STATUS"] == "serving: 8 listeners, 1 rules"
        client, server = Way(lab).pair()
        limpid.terminate()
        stopping = manager.told()
        assert stopping["STOPPING"] == "1"
        assert int(stopping["EXTEND_TIMEOUT_USEC"]) > 7_000_000
        client.close()
        server.close()
    finally:
        limpid.stop()
        manager.socket.close()


def test_manager_is_not_told_of_a_start_that_failed(lab, tmp_path):
    manager = Manager(lab.proxy, f"{tmp_path}/notify")
    config = tmp_path / "limpid.yaml"
    config.write_text('listeners: [ { mode: redirect, address: "192.0.2.1:1" } ]\n')
    done = subprocess.run([*manager.prefix, binary(), "serve", "--config", config],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "cannot listen" in done.stderr
    manager.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.told()


# --- few privileges -----------------------------------------------------------------------------
@pytest.fixture
def folder_of_nobody():
    """A folder which the user nobody can reach, and may write to."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="limpid-lab-"))
    os.chown(folder, *pwd.getpwnam("nobody")[2:4])
    yield folder
    shutil.rmtree(folder)


def test_unit_allows_what_serving_takes(lab, keeper, folder_of_nobody):
    """As another user, with the unit's capabilities, system calls and address families only."""
    if sanitized():
        pytest.skip("a sanitizer makes system calls of its own")
    keeper.stop()
    manager = Manager(lab.proxy, f"@{folder_of_nobody}")
    limpid = Limpid(lab.proxy, configs.EVERY_WAY, folder_of_nobody,
                    (*manager.prefix, *confined.prefix(UNIT, "nobody")))
    try:
        assert manager.told()["READY"] == "1"
        status = pathlib.Path(f"/proc/{limpid.pid}/status").read_text()
        assert re.search(r"^Uid:\t65534\b", status, re.M)
        assert re.search(r"^Seccomp:\t2$", status, re.M)
        for offload in OFFLOAD_PORT:
            for mode in ("tproxy", "redirect"):
                lab.close_sockets()
                way = Way(lab, mode, 4, offload)
                record = limpid.records.of(exchange(way))
                assert record["limpid"]["why"] == "finished"
                assert record["limpid"]["source"] == {"tproxy": "keep", "redirect": "own"}[mode]
        limpid.terminate()
        assert manager.told()["STOPPING"] == "1"
    finally:
        limpid.stop()
        manager.socket.close()


@pytest.mark.parametrize("code, error", [
    ("os.chroot('/')", "PermissionError"), ("os.setuid(0)", "PermissionError"),
    ("os.nice(1)", "PermissionError"),
    ("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "Address family not supported"),
    ("socket.socket().setsockopt(socket.SOL_SOCKET, 33, 1)", "PermissionError")],
    ids=["chroot", "setuid", "nice", "packet", "net-admin"])
def test_unit_allows_no_more(code, error):
    """Of what the unit forbids some examples: 33 is SO_RCVBUFFORCE, which takes NET_ADMIN."""
    done = subprocess.run([*confined.prefix(UNIT, "nobody"), "/usr/bin/python3", "-c",
                           f"import os, socket; {code}"], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 1 and error in done.stderr


# --- more than it can serve ---------------------------------------------------------------------
def stands_still(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return all((t / "stat").read_text().rsplit(")", 1)[1].split()[0] == "T" for t in tasks)


def test_backlog_is_short_while_connections_wait(lab, serve, keeper):
    """Who had to wait to be accepted was too many; when nobody waits it is as long as before."""
    keeper.stop()  # on a busy machine clients of the tests before have waited, too
    limpid = serve(FIRST)

    def may_wait():
        return int(lab.proxy.run("ss", "-Hltn", "sport = :50080 and src 0.0.0.0").split()[2])

    most = may_wait()
    way = Way(lab)
    listener = way.listen()
    limpid.process.send_signal(signal.SIGSTOP)
    eventually(lambda: stands_still(limpid.pid), "none of its threads runs")
    try:
        clients = [way.connect() for _ in range(20)]
        time.sleep(0.5)
    finally:
        limpid.process.send_signal(signal.SIGCONT)
    for _ in clients:
        lab.accept(listener)
    eventually(lambda: may_wait() <= most // 4, "a shorter backlog")

    def grown():
        way.pair(listener)
        time.sleep(0.1)
        return may_wait() == most

    eventually(grown, "the backlog of before")
