# SPDX-License-Identifier: Apache-2.0
"""serve --user: what is left of root's privileges; and limpid as its own client."""
import os
import pathlib
import select
import shutil
import signal
import subprocess
import tempfile

import pytest

from lab.bare import CLIENT, PROXY_FAR, SERVER, talk
from lab.limpid import binary
from lab.printed import OWN, REDIRECT, SMITHPROXY, USER, intercepted, rules
from lab.sock import DEADLINE_S, eventually, read_to_reset

NOBODY = 65534
CAP_NET_BIND_SERVICE = 1 << 10
CAP_NET_ADMIN = 1 << 12
CAP_NET_RAW = 1 << 13


# --- privileges -------------------------------------------------------------------------------
def status(path):
    with open(path / "status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def dropped(pid):
    """What the kernel says of a process once it has given up privileges: it listens before."""
    path = pathlib.Path(f"/proc/{pid}")
    eventually(lambda: status(path)["NoNewPrivs"] == "1", "privileges are dropped")
    return status(path)


def capabilities(limpid):
    return int(dropped(limpid.pid)["CapPrm"], 16)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(word) for word in f.read().split()]


def is_gone(pid):
    return not os.path.exists(f"/proc/{pid}")


def test_user_has_nothing_that_is_not_needed(bare, start):
    """Every thread: ids, groups, capabilities, no way back."""
    limpid = start(bare, OWN, options=("--user", "nobody"))
    dropped(limpid.pid)
    for task in pathlib.Path(f"/proc/{limpid.pid}/task").iterdir():
        found = status(task)
        assert set(found["Uid"].split()) == set(found["Gid"].split()) == {str(NOBODY)}
        assert set(found["Groups"].split()) <= {str(NOBODY)}
        for name in ("CapPrm", "CapEff", "CapBnd"):
            assert int(found[name], 16) == CAP_NET_RAW, name
        assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
        assert found["NoNewPrivs"] == "1"


def test_user_without_mark_needs_no_capability(bare, start):
    limpid = start(bare, OWN + "firewall: { mark: 0 }\n", options=("--user", "nobody"))
    assert capabilities(limpid) == 0
    bare.shell(SMITHPROXY)
    intercepted(bare, limpid, 4, 80, "plain")


def test_socket_maker_is_root_and_nothing_else(bare, start):
    limpid = start(bare, OWN, options=("--user", "nobody"))
    dropped(limpid.pid)
    maker, = children(limpid.pid)
    found = dropped(maker)
    assert set(found["Uid"].split()) == {"0"}
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(found[name], 16) == 0, name
    assert os.listdir(f"/proc/{maker}/fd") == ["0"]
    limpid.stop()
    eventually(lambda: is_gone(maker), "the socket maker ends with limpid")


def test_socket_maker_dies_with_limpid(bare, start):
    limpid = start(bare, OWN, options=("--user", "nobody"))
    dropped(limpid.pid)
    maker, = children(limpid.pid)
    limpid.kill()
    eventually(lambda: is_gone(maker), "the socket maker dies with limpid")


def test_no_socket_maker_where_it_is_not_needed(bare, start):
    """Neither as root nor where nothing is redirected."""
    limpid = start(bare, OWN)
    assert children(limpid.pid) == []
    limpid.stop()
    limpid = start(bare, OWN.replace("redirect", "tproxy"), options=("--user", "nobody"))
    dropped(limpid.pid)
    assert children(limpid.pid) == []


TPROXY = """
listeners: [ { name: routed, mode: tproxy, address: ["127.0.0.1:50080", "[::1]:50080"],
               network: [tcp, udp] } ]
rules: [ { name: all, action: accept, source: keep } ]
record: { flows: { file: "@FLOWS@" } }
"""


def has_rules(bare):
    return "limpid" in bare.proxy.run("nft", "list", "tables")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_user_with_firewall(bare, start, family, end):
    """The guard stays root: it takes back what limpid itself no longer could.  And what needs
    privileges while serving, other addresses over TCP and UDP, has them."""
    limpid = start(bare, TPROXY, options=("--firewall", "--user", "nobody"))
    assert capabilities(limpid) == CAP_NET_RAW | CAP_NET_BIND_SERVICE
    listener = bare.listen(family, 80)
    client = bare.connect(bare.client, family, 80)
    server = bare.accept(listener)
    assert server.getpeername()[:2] == client.getsockname()[:2]
    talk(client, server)

    there, here = bare.udp(bare.server, family), bare.udp(bare.client, family)
    there.bind((SERVER[family], 9000))
    here.sendto(b"?", (SERVER[family], 9000))
    data, peer = there.recvfrom(100)
    assert (data, peer[0]) == (b"?", CLIENT[family])
    there.sendto(b"!", peer)
    data, peer = here.recvfrom(100)
    assert (data, peer[:2]) == (b"!", (SERVER[family], 9000))

    limpid.records.wait(lambda r: r["limpid"]["source"] == "keep")
    assert has_rules(bare)
    getattr(limpid, end)()
    eventually(lambda: not has_rules(bare), "the rules go with limpid")
    assert "cannot be taken back" not in limpid.stderr()


def test_guard_killed_is_said(bare, start):
    """As another user limpid cannot take the rules back: it says so, and how; down does it."""
    limpid = start(bare, TPROXY, options=("--firewall", "--user", "nobody"))
    dropped(limpid.pid)
    guard, = children(limpid.pid)
    os.kill(guard, signal.SIGKILL)
    limpid.stop()
    assert "the guard was killed" in limpid.stderr()
    assert has_rules(bare)
    bare.proxy.run(binary(), "firewall", "down", "--config", str(limpid.path))
    assert not has_rules(bare)


@pytest.mark.parametrize("options, got", [(("--user", "nobody"), "keep"), ((), "keep-address")])
def test_client_with_a_low_port(bare, start, family, options, got):
    """A client's port below 1024 is kept by another user, too; without the capability it falls."""
    without = {} if options else {"prefix": ["setpriv", "--bounding-set", "-net_bind_service"]}
    limpid = start(bare, TPROXY, options=("--firewall", *options), **without)
    eventually(lambda: has_rules(bare), "the rules are there")
    listener = bare.listen(family, 80)
    client = bare.socket(bare.client, family)
    client.bind((CLIENT[family], 900))
    client.connect((SERVER[family], 80))
    server = bare.accept(listener)
    assert (server.getpeername()[:2] == client.getsockname()[:2]) == (got == "keep")
    assert server.getpeername()[0] == CLIENT[family]
    talk(client, server)
    limpid.records.wait(lambda r: r["limpid"]["source"] == got)


def test_capability_to_end_a_time_wait(bare, start):
    """Kept only where a fall to another port is not allowed."""
    limpid = start(bare, TPROXY.replace("source: keep", "source: keep, strict: true"),
                   options=("--user", "nobody"))
    assert capabilities(limpid) == CAP_NET_RAW | CAP_NET_BIND_SERVICE | CAP_NET_ADMIN


def test_user_with_honest_connect(bare, start, family):
    """SYNs are held in a queue that was opened as root, and answered by nobody."""
    limpid = start(bare, TPROXY.replace("network: [tcp, udp]", "connect: honest"),
                   options=("--user", "nobody"))
    assert capabilities(limpid) == CAP_NET_RAW | CAP_NET_BIND_SERVICE | CAP_NET_ADMIN
    bare.shell(rules("""
iptables -t raw -A PREROUTING -i p0 -p tcp --syn -j NFQUEUE --queue-num 50080
iptables -t mangle -A PREROUTING -i p1 -p tcp ! --syn -m socket -j MARK --set-mark 1
iptables -t mangle -A PREROUTING -i p0 -p tcp -j TPROXY --tproxy-mark 1 --on-port 50080 \
  --on-ip 127.0.0.1
ip rule add fwmark 1 lookup 100
ip route add local 0.0.0.0/0 dev lo table 100
""", family))
    with pytest.raises(ConnectionRefusedError):
        bare.connect(bare.client, family, 80)
    listener = bare.listen(family, 80)
    client = bare.connect(bare.client, family, 80)
    server = bare.accept(listener)
    assert server.getpeername()[:2] == client.getsockname()[:2]
    talk(client, server)


def test_user_that_is_not_there(bare, tmp_path):
    user, said = "no-such-user", "there is no user 'no-such-user'"
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
    limpid = start(bare, OWN, options=("--user", "nobody"))
    bare.shell(SMITHPROXY)
    intercepted(bare, limpid, 4, 443, "tls")
    os.kill(children(limpid.pid)[0], signal.SIGKILL)

    def came_back():
        client = bare.socket(bare.proxy, 4, USER)
        try:
            client.connect((SERVER[4], 80))
        except ConnectionResetError:
            return True
        if listener not in select.select([listener, client], [], [], DEADLINE_S)[0]:
            assert read_to_reset(client) == b""
            return True
        talk(client, bare.accept(listener), 1000)
        return False

    listener = bare.listen(4, 80)
    eventually(came_back, "sockets that were in stock have been used")
    assert "process that makes sockets is gone" in limpid.stderr()
    assert limpid.records.wait(lambda r: r["limpid"]["why"] == "loop")
