# SPDX-License-Identifier: Apache-2.0
"""limpid firewall plan, up and down: the same commands, everything taken back, and nothing left
behind when something fails.  That nothing is left is checked at the end of each test."""
import itertools
import os
import pathlib
import re
import stat
import subprocess
import types

import pytest

from lab.ground import LISTENERS, REDIRECT, STATE, Host, config, snapshot
from lab.limpid import binary
from lab.netns import Namespace

EVERYTHING = """
  intercept:
    - { listener: routed, traffic: [routed, local], interface: [p0, "wlan*"], port: [80, 8000-8100] }
    - { listener: routed, source: [10.77.1.0/24, "fd77:1::/64"], network: udp }
    - { listener: routed, user: [root, 65534], destination: 10.77.2.2 }
  exempt:
    - { destination: [192.0.2.0/24, 192.0.2.7-192.0.3.9, "2001:db8::/32"] }
    - { user: nobody, port: 25 }
"""

# Stands for nft and ip: writes down how it was called, and goes on as the real one.
SPY = """#!/bin/sh
name=${0##*/}
{ echo "$name $*"; } >>"$SPY_LOG"
case "$*" in -f*) tee -a "$SPY_LOG" | /usr/sbin/$name "$@";; *) exec /usr/sbin/$name "$@";; esac
"""
# The SPY_FAIL-th call fails.
FAILING = """#!/bin/sh
echo x >>"$SPY_LOG"
[ "$(wc -l <"$SPY_LOG")" -eq "$SPY_FAIL" ] && { echo "no, says ${0##*/}" >&2; exit 1; }
exec /usr/sbin/${0##*/} "$@"
"""


@pytest.fixture
def fake(tmp_path):
    """fake(script): an environment in which nft and ip are that script."""
    def make(script, **more):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name in ("nft", "ip"):
            path = folder / name
            path.write_text(script, encoding="ascii")
            path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        log = tmp_path / "log"
        log.write_text("")
        return {"PATH": f"{folder}:{os.environ['PATH']}", "SPY_LOG": str(log), **more}
    return make


@pytest.mark.parametrize("firewall", ["", EVERYTHING], ids=["default", "everything"])
def test_plan_is_what_up_runs(host, fake, firewall):
    """The plan, given to a shell, calls the same programs with the same words and input, and
    leads to the same."""
    text = config(firewall)
    plan = host.firewall("plan", text)
    env = fake(SPY)
    host.firewall("up", text, env=env)
    run = pathlib.Path(env["SPY_LOG"]).read_text(encoding="utf-8")
    up = snapshot(host.ns)
    host.firewall("down", text)
    assert host.clean()
    env = fake(SPY)
    with host.ns.enter():
        subprocess.run(["sh", "-eu"], input=plan, text=True, check=True, env={**os.environ, **env})
    assert pathlib.Path(env["SPY_LOG"]).read_text(encoding="utf-8") == run
    pasted = snapshot(host.ns)
    assert pasted.pop("state") is False
    del up["state"]
    assert pasted == up
    assert "table inet limpid" in pasted["nft"] and len(pasted["rules-6"].splitlines()) > 4
    host.firewall("down", text)
    host.ns.sysctl(net__ipv4__tcp_early_demux=1,
                   net__ipv4__ip_local_reserved_ports="1000,2000-2010")


def test_plan_changes_nothing(host):
    host.firewall("plan", config(EVERYTHING))
    assert host.clean()


def test_plan_needs_no_rights(host):
    host.workdir.chmod(0o755)
    for parent in list(host.workdir.parents)[:3]:
        parent.chmod(0o755)
    nobody = ["setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps=-all",
              "--bounding-set=-all", "--"]
    assert "nft -f -" in host.firewall("plan", config(), prefix=nobody)
    said = host.firewall("up", config(), prefix=nobody, status=1)
    assert "needs CAP_NET_ADMIN: run it as root" in said


def test_up_twice_is_once_and_down_is_too(host):
    text = config(EVERYTHING)
    host.firewall("up", text)
    once = snapshot(host.ns)
    host.firewall("up", text)
    assert snapshot(host.ns) == once
    host.firewall("down", text)
    assert host.clean()
    host.firewall("down", text)
    assert host.clean()


def test_up_with_other_numbers_leaves_nothing_of_the_first(host):
    host.firewall("up", config())
    host.firewall("up", config("  table: other\n  divert-mark: 0x20000\n  mask: 0xf0000\n"
                               "  mark: 0x10000\n  route-table: 77\n  rule-priority: 500\n"
                               "  priority: \"-140\"\n"))
    now = snapshot(host.ns)
    assert "table inet limpid" not in now["nft"] and "table inet other" in now["nft"]
    assert "prerouting priority mangle + 10" in now["nft"] and "100:" not in now["rules-4"]
    assert "501:\tfrom all fwmark 0x20000/0xf0000 lookup 77" in now["rules-6"]
    assert any("table 77" in route for route in now["routes-4"])
    host.firewall("down", config())  # what is there counts, not what would be
    assert host.clean()


@pytest.mark.parametrize("twice", [False, True], ids=["first", "again"])
def test_failing_half_way_leaves_nothing(host, fake, twice):
    """Whichever command fails: its words are told, and everything is as before limpid came."""
    text = config(EVERYTHING)
    for call in range(1, 100):
        if twice:
            host.firewall("up", text)
        env = fake(FAILING, SPY_FAIL=str(call))
        try:
            said = host.firewall("up", text, env=env, status=1)
        except AssertionError:
            break
        assert re.search(r"'(nft|ip) .*' failed: no, says (nft|ip)", said), said
        if twice and call == 1:  # nft was asked what it would say
            assert "table inet limpid" in snapshot(host.ns)["nft"]
            continue
        assert host.clean(), f"call {call}"
    assert call > 5, "no command was made to fail"


def test_what_nft_says_is_told(host):
    said = host.firewall("up", config("  intercept: [ { listener: routed, "
                                      "cgroup: no/such.group } ]\n"), status=1)
    assert "cgroup" in said and "No such file or directory" in said
    assert host.clean()


def test_table_that_nft_has_no_name_for(host):
    """A word of nft's own: told, and the next up or down is not kept from its work by it."""
    said = host.firewall("up", config("  table: list\n"), status=1)
    assert "syntax error" in said
    assert host.clean()
    host.firewall("up", config())
    host.firewall("up", config("  table: list\n"), status=1)
    host.firewall("down", config("  table: list\n"))
    assert host.clean()


@pytest.mark.parametrize("mistake", ["cgroup: no/such.group", "cgroup: no/such.group } ]\n  mark: 7"
                                     "\n  exempt: [ { port: 1"], ids=["here", "elsewhere"])
def test_mistake_leaves_the_rules_that_are_there(host, mistake):
    """As with nft itself: nothing passes unseen because somebody mistyped."""
    host.firewall("up", config())
    before = snapshot(host.ns)
    text = config("  intercept: [ { listener: routed, " + mistake + " } ]\n")
    host.firewall("up", text, status=1)
    assert snapshot(host.ns) == before


def test_whoever_started_limpid_ignores_sigchld(host):
    """What an ignored signal takes is the status of the programs that are run."""
    ignored = ["env", "--ignore-signal=CHLD"]
    host.firewall("up", config(), prefix=ignored)
    assert "table inet limpid" in snapshot(host.ns)["nft"]
    host.firewall("down", config(), prefix=ignored)
    assert host.clean()


def test_values_that_are_as_they_should_be_need_not_be_written(host):
    """In a container, /proc/sys cannot be written to."""
    read_only = ["unshare", "--mount", "sh", "-ec", "mount --bind /proc/sys /proc/sys && "
                 "mount -o remount,bind,ro /proc/sys && exec \"$@\"", "sh"]
    said = host.firewall("up", config(), prefix=read_only, status=1)
    assert "cannot write '0' to /proc/sys/net/ipv4/tcp_early_demux: Read-only" in said
    assert host.clean()
    host.ns.sysctl(net__ipv4__tcp_early_demux=0,
                   net__ipv4__ip_local_reserved_ports="1000,2000-2010,50080")
    prepared = snapshot(host.ns)
    host.firewall("up", config(), prefix=read_only)
    assert "table inet limpid" in snapshot(host.ns)["nft"]
    host.firewall("down", config(), prefix=read_only)
    assert snapshot(host.ns) == prepared
    host.ns.sysctl(net__ipv4__tcp_early_demux=host.before["tcp_early_demux"],
                   net__ipv4__ip_local_reserved_ports=host.before["ip_local_reserved_ports"])


@pytest.mark.parametrize("name, package", [("nft", "nftables"), ("ip", "iproute2")])
def test_program_that_is_not_there(host, name, package):
    hidden = " ".join(f"mount --bind /dev/null {path} &&" for folder in ("/usr/sbin", "/usr/bin")
                      if os.path.exists(path := os.path.realpath(f"{folder}/{name}")))
    said = host.firewall("up", config(), status=1,
                         prefix=["unshare", "-m", "sh", "-c", f'{hidden} exec "$@"', "sh"])
    assert f"the program {name} was not found" in said and package in said
    assert host.clean()


@pytest.fixture
def fresh(tmp_path):
    """fresh(): a host whose tables of routes and rules nobody has ever touched."""
    made = []

    def make():
        made.append(Namespace())
        made[-1].ip("link set lo up")
        return Host(types.SimpleNamespace(proxy=made[-1]), tmp_path)
    yield make
    for namespace in made:
        namespace.close()


def test_down_where_nothing_was_ever_up(fresh):
    host = fresh()
    for _ in range(2):
        host.firewall("down", config())
        assert host.clean()


def test_failure_of_each_command_on_a_fresh_host(fresh, fake):
    """There is less to take back than was planned."""
    for number in itertools.count(1):
        host = fresh()
        env = fake(FAILING, SPY_FAIL=str(number))
        with host.ns.enter():
            status = subprocess.run([binary(), "firewall", "up", "--config",
                                     host.write(config())], capture_output=True, check=False,
                                    env={**os.environ, **env}).returncode
        if status == 0:
            break
        assert host.clean(), f"command {number} fails: {host.changed()}"
    assert number > 8
    assert not host.end()


def value(host, name):
    return snapshot(host.ns)[name]


def test_listening_ports_are_reserved(host):
    """Merged with what is there, and restored."""
    text = config(listeners=REDIRECT)
    host.firewall("up", text)
    assert value(host, "ip_local_reserved_ports") == "1000,2000-2010,51080"
    host.firewall("up", config())
    assert value(host, "ip_local_reserved_ports") == "1000,2000-2010,50080,51080"
    host.firewall("down", text)
    assert value(host, "ip_local_reserved_ports") == "1000,2000-2010"


def test_long_list_of_reserved_ports(host):
    """More than a page of it, which the kernel reads out at once only and takes a page at a
    time."""
    before = value(host, "ip_local_reserved_ports")
    many = ",".join(str(port) for port in range(1001, 3600, 2))
    assert len(many) > 4096
    try:
        host.ns.sysctl(net__ipv4__ip_local_reserved_ports=many)
        host.firewall("up", config())
        assert value(host, "ip_local_reserved_ports") == f"{many},50080"
        host.firewall("down", config())
        assert value(host, "ip_local_reserved_ports") == many
    finally:
        host.ns.sysctl(net__ipv4__ip_local_reserved_ports=before)


def test_reserved_port_is_not_taken_by_a_connection(host):
    """With one free port in the range, and that one ours, there is none."""
    host.ns.sysctl(net__ipv4__ip_local_port_range="50080 50081",
                   net__ipv4__ip_local_reserved_ports="1000,2000-2010,50081")
    try:
        server = host.lab.listen(4, "10.77.2.2", 7000)
        first = host.lab.socket(host.ns, 4)
        first.connect(server.getsockname())
        assert first.getsockname()[1] == 50080
        first.close()
        host.firewall("up", config())
        with pytest.raises(OSError, match="Cannot assign"):
            host.lab.socket(host.ns, 4).connect(server.getsockname())
        host.firewall("down", config())
    finally:
        host.ns.sysctl(net__ipv4__ip_local_port_range="32768 49999",
                       net__ipv4__ip_local_reserved_ports="1000,2000-2010")


def test_values_somebody_changed_since_are_left_alone(host):
    host.firewall("up", config())
    host.ns.sysctl(net__ipv4__ip_local_reserved_ports="3000")
    host.firewall("down", config())
    assert value(host, "ip_local_reserved_ports") == "3000"
    assert value(host, "tcp_early_demux") == "1"
    host.ns.sysctl(net__ipv4__ip_local_reserved_ports="1000,2000-2010")


@pytest.fixture
def empty():
    """A namespace with nothing in it."""
    namespace = Namespace()
    namespace.run("ip", "link", "set", "lo", "up")
    yield namespace
    namespace.close()


@pytest.mark.parametrize("how", ["switched off", "not there"])
def test_host_without_ipv6(host, empty, how):
    prefix = ()
    if how == "switched off":
        empty.sysctl(net__ipv6__conf__all__disable_ipv6=1)
    else:
        prefix = ["unshare", "-m", "sh", "-c",
                  'mount -t tmpfs none /proc/sys/net/ipv6 && exec "$@"', "sh"]
    host.ns, before = empty, snapshot(empty)
    plan = host.firewall("plan", config(EVERYTHING), prefix)
    assert "ip -4" in plan and "ip -6" not in plan
    assert not re.search(r"\bip6\b|icmpv6|::", plan)
    host.firewall("up", config(EVERYTHING), prefix)
    now = snapshot(empty)
    assert "tproxy ip to" in now["nft"] and now["rules-6"] == before["rules-6"]
    host.firewall("down", config(EVERYTHING), prefix)
    assert snapshot(empty) == before
    host.ns = host.lab.proxy


def test_ipv6_of_one_interface(host, empty):
    """Off in general and on again for one, as NetworkManager does it: not let pass unseen."""
    empty.ip("link add e0 type veth peer name e1")
    empty.sysctl(net__ipv6__conf__all__disable_ipv6=1)
    empty.sysctl(net__ipv6__conf__e0__disable_ipv6=0)
    host.ns, before = empty, snapshot(empty)
    said = host.firewall("up", config(), status=1)
    assert "ip -6 route" in said and "IPv6 is disabled" in said  # of lo
    assert snapshot(empty) == before
    v4_only = config(listeners=LISTENERS.replace(', "[::1]:50080"', ""))
    host.firewall("up", v4_only)
    host.firewall("down", v4_only)
    assert snapshot(empty) == before
    empty.sysctl(net__ipv6__conf__lo__disable_ipv6=0)
    host.firewall("up", config())
    assert "tproxy ip6 to [::1]:50080" in snapshot(empty)["nft"]
    host.firewall("down", config())
    host.ns = host.lab.proxy


def test_state_of_a_namespace_that_is_gone(host):
    """The number of a namespace comes round again: what was kept of the old one is not ours."""
    host.firewall("up", config())
    with host.ns.enter():
        path = STATE / f"firewall-{os.stat('/proc/thread-self/ns/net').st_ino}"
    old = path.read_text(encoding="ascii")
    host.firewall("down", config())
    path.write_text(re.sub(r"cookie \d+", "cookie 1", old).replace("1000,2000-2010\n", "7\n"),
                    encoding="ascii")
    host.firewall("up", config())
    host.firewall("down", config())
    assert host.clean()


def test_damaged_state_is_told(host):
    with host.ns.enter():
        path = STATE / f"firewall-{os.stat('/proc/thread-self/ns/net').st_ino}"
    path.write_text("limpid firewall 1\ncookie", encoding="ascii")
    said = host.firewall("up", config(), status=1)
    assert str(path) in said and "damaged" in said
    path.unlink()
    assert host.clean()


def test_folder_of_state_that_is_full(host):
    """Nothing is begun that could not be taken back."""
    full = ("unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=4k t /run; head -c 4096 /dev/zero "
            '>/run/x; "$@"; status=$?; ls /run/limpid; exit $status', "sh")
    said = host.firewall("up", config(), prefix=full, status=1)
    assert said.count("firewall-") == 1 and "No space left on device" in said
    assert host.clean()


def test_two_namespaces_do_not_meet(host, empty):
    host.firewall("up", config())
    host.ns, before = empty, snapshot(empty)
    host.firewall("up", config())
    host.firewall("down", config())
    assert snapshot(empty) == before
    host.ns = host.lab.proxy
    assert "table inet limpid" in snapshot(host.ns)["nft"]


@pytest.mark.parametrize("text, said", [
    (config("  mark: 0\n"), "firewall.mark 0 is nothing within firewall.mask 0xffff"),
    (config("  divert-mark: 0xffff\n  intercept: [ { listener: routed, traffic: local } ]\n"),
     "the mark 0x10000 is needed, which firewall.mask does not allow"),
    (config("  divert-mark: 0xffffffff\n  mask: 0xffffffff\n"
            "  intercept: [ { listener: routed, traffic: local } ]\n"), "the mark 0 is needed"),
    (config("  intercept: [ { listener: local, traffic: routed } ]\n",
            listeners=REDIRECT.replace("0.0.0.0", "127.0.0.1")),
     "which routed traffic cannot be redirected to: listen on 0.0.0.0"),
])
def test_what_cannot_be_done_is_told(host, text, said):
    for verb in ("plan", "up"):
        assert said in host.firewall(verb, text, status=1)
    assert host.clean()
