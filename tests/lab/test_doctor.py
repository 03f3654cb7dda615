# SPDX-License-Identifier: Apache-2.0
"""limpid doctor: the host is broken, doctor says so and names the cure; the cure is run as it
stands, and doctor has nothing to say any more."""
import json
import shutil
import socket
import subprocess

import pytest

from lab import sock
from lab.limpid import Limpid, binary, check_stderr
from lab.netns import Namespace
from lab.topology import CLIENT, SERVER, Lab, Way
from test_seed_rules import SMITHPROXY, TPROXY, UPROXY, rules

pytestmark = pytest.mark.plain

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]

CONFIG = """
listeners:
  - { name: routed, mode: tproxy, address: ["127.0.0.1:50080", "[::1]:50080"] }
  - { name: local, mode: redirect, address: ["127.0.0.1:51080", "[::1]:51080"] }
rules:
  - { name: all, action: accept, source: keep }
"""


class Patient:
    """A host with an interface e0, a configuration, and rules that limpid has set for it."""

    def __init__(self, workdir, namespace=None):
        self.ns = namespace or Namespace()
        self.config = workdir / "limpid.yaml"
        self.configure(CONFIG)

    def configure(self, text):
        self.config.write_text(text, encoding="utf-8")

    def limpid(self, *arguments):
        with self.ns.enter():
            done = subprocess.run([binary(), *arguments, "--config", str(self.config)], text=True,
                                  capture_output=True, timeout=60, check=False)
        check_stderr(done.stderr)
        assert done.returncode in (0, 1) and not done.stderr, done.stderr
        return done

    def findings(self, *more):
        done = self.limpid("doctor", "--json", *more)
        found = json.loads(done.stdout)
        assert done.returncode == any(f["status"] == "fail" for f in found)
        return found

    def finding(self, check, subject):
        """The one finding of a check about a subject, with what is well."""
        found = [f for f in self.findings("--all")
                 if f["check"] == check and f["subject"] == subject]
        assert len(found) == 1, json.dumps(self.findings("--all"), indent=1)
        return found[0]

    def cure(self, finding):
        assert finding["cure"], finding
        with self.ns.enter():
            subprocess.run(["sh", "-ec", finding["cure"]], check=True, capture_output=True,
                           env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}, timeout=20)

    def is_cured(self, check, subject, status):
        """That finding, before its cure; afterwards nothing is found at all."""
        found = self.findings()
        assert [(f["check"], f["subject"], f["status"]) for f in found] == \
            [(check, subject, status)], json.dumps(found, indent=1)
        self.cure(found[0])
        assert self.findings() == []


def prepared(ns):
    ns.ip("link set lo up\nlink add e0 type veth peer name e1\nlink set e0 up\nlink set e1 up\n"
          "addr add 192.0.2.1/24 dev e0\nroute add default via 192.0.2.2")
    for name in ("all", "default", "lo", "e0", "e1"):
        ns.sysctl(**{f"net__ipv4__conf__{name}__rp_filter": 0})
    ns.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
    for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
        with ns.enter(), open(f"/proc/sys/net/bridge/{name}", "w", encoding="ascii") as f:
            f.write("0")


@pytest.fixture
def patient(tmp_path):
    p = Patient(tmp_path)
    try:
        prepared(p.ns)
        p.limpid("firewall", "up")
        yield p
    finally:
        p.limpid("firewall", "down")
        p.ns.close()


def test_nothing_to_say_after_firewall_up(patient):
    done = patient.limpid("doctor")
    assert (done.returncode, done.stdout) == (0, "")
    assert patient.finding("when-down", "inet limpid prerouting")["text"].startswith("block")
    listening = [f for f in patient.findings("--all") if f["check"] == "rules"]
    assert len(listening) == 4 and {f["status"] for f in listening} == {"ok"}


def test_changes_nothing(patient):
    def state():
        return [patient.ns.run("nft", "list", "ruleset"), patient.ns.run("ip", "rule"),
                patient.ns.run("ip", "route", "show", "table", "all"),
                patient.ns.run("sysctl", "-a", "--pattern", "^net.ipv[46].(conf|tcp|ip)")]
    before = state()
    patient.findings()
    assert state() == before


def test_lines_for_people(patient):
    patient.ns.ip("rule del pref 100")
    patient.ns.sysctl(net__ipv4__conf__e0__src_valid_mark=1)
    done = patient.limpid("doctor")
    assert done.returncode == 1
    line, = done.stdout.splitlines()
    assert line.startswith("fail  src_valid_mark   e0: on: ")
    assert line.endswith(" -> sysctl -w net.ipv4.conf.e0.src_valid_mark=0")


def test_warnings_do_not_fail(patient):
    patient.ns.sysctl(net__ipv4__tcp_timestamps=0)
    assert patient.limpid("doctor").returncode == 0


@pytest.mark.parametrize("setting, value, check, subject, status", [
    ("net__ipv4__ip_forward", 0, "forwarding", "IPv4", "warn"),
    ("net__ipv6__conf__all__forwarding", 0, "forwarding", "IPv6", "warn"),
    ("net__ipv4__conf__e0__rp_filter", 1, "rp_filter", "e0", "warn"),
    ("net__ipv4__tcp_timestamps", 0, "tcp_timestamps", "", "warn"),
    ("net__ipv4__tcp_early_demux", 1, "early_demux", "", "warn"),
    ("net__ipv4__ip_local_reserved_ports", "51080", "ports", "50080", "warn"),
])
def test_setting(patient, setting, value, check, subject, status):
    patient.ns.sysctl(**{setting: value})
    patient.is_cured(check, subject, status)


def test_ipv6_disabled(patient):
    """Its routes are gone, too, and stay away: their finding comes after the cure."""
    patient.ns.sysctl(net__ipv6__conf__lo__disable_ipv6=1)
    found = patient.finding("ipv6", "lo")
    assert found["status"] == "fail"
    patient.cure(found)
    assert patient.finding("ipv6", "")["status"] == "ok"
    assert cure_all(patient) == {("policy-routing", "IPv6 fwmark 0x6c71/0xffff")}


def test_rp_filter_for_each_interface(patient):
    patient.ns.sysctl(net__ipv4__conf__all__rp_filter=1)
    patient.ns.sysctl(net__ipv4__conf__e0__rp_filter=2)
    patient.is_cured("rp_filter", "e1", "warn")


def test_loopback_down(patient):
    patient.ns.ip("link set lo down")
    assert patient.finding("loopback", "lo")["status"] == "fail"
    patient.cure(patient.finding("loopback", "lo"))
    assert patient.finding("loopback", "lo")["status"] == "ok"


def test_bridge(patient):
    patient.ns.ip("link add br0 type bridge\nlink set br0 up")
    assert patient.findings() == []
    with patient.ns.enter(), open("/proc/sys/net/bridge/bridge-nf-call-iptables", "w",
                                  encoding="ascii") as f:
        f.write("1")
    patient.is_cured("br_netfilter", "br0", "warn")


def test_descriptors(patient):
    patient.configure(CONFIG + "limits: { flows: 1000 }\n")
    assert patient.finding("descriptors", "")["status"] == "ok"
    with patient.ns.enter():
        done = subprocess.run(["prlimit", "--nofile=500:500", binary(), "doctor", "--config",
                               str(patient.config)], text=True, capture_output=True, check=False)
    assert done.stdout.startswith("warn  descriptors") and "ulimit -n 2400" in done.stdout


def test_no_rules(patient):
    patient.limpid("firewall", "down")
    missing = [f for f in patient.findings() if f["check"] == "rules"]
    assert len(missing) == 4
    assert {f["cure"] for f in missing} == {f"limpid firewall up --config {patient.config}"}


def test_no_privileges(patient):
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", binary(), "doctor", "--config",
         str(patient.config)], text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert "neither NET_RAW nor NET_ADMIN" in done.stdout
    assert "cannot be read" in done.stdout and "as root" in done.stdout


@pytest.mark.parametrize("broken, subject", [
    ("rule del pref 101", "IPv4 fwmark 0x6c71/0xffff"),
    ("-6 rule del pref 101", "IPv6 fwmark 0x6c71/0xffff"),
    ("route flush table 27760", "IPv4 fwmark 0x6c71/0xffff"),
    ("-6 route flush table 27760", "IPv6 fwmark 0x6c71/0xffff"),
    ("rule add pref 9 fwmark 0x6c71 lookup 5\nroute add 198.51.100.0/24 dev e0 table 5",
     "IPv4 fwmark 0x6c71/0xffff"),
])
def test_policy_routing(patient, broken, subject):
    patient.ns.ip(broken)
    patient.is_cured("policy-routing", subject, "fail")


def test_own_mark_is_routed_elsewhere(patient):
    patient.ns.ip("rule add pref 9 fwmark 0x4000/0x4000 lookup 5\n"
                  "route add 198.51.100.0/24 dev e0 table 5")
    found = [f for f in patient.findings() if "firewall.mark" in f["subject"]]
    assert found[0]["status"] == "fail" and "table 5" in found[0]["text"]


def test_others_use_our_mark(patient):
    """As some programs for containers do: a bit that firewall.mark has, too."""
    patient.ns.nft("table ip other { chain post { type nat hook postrouting priority 100; "
                   "meta mark & 0x4000 == 0x4000 masquerade; }\n}")
    found, = patient.findings()
    assert (found["check"], found["subject"]) == ("marks", "ip other post")
    assert "firewall.mark" in found["cure"]
    mark = found["cure"].split()[-1]
    patient.limpid("firewall", "down")
    patient.configure(CONFIG + f"firewall: {{ mark: {mark}, mask: 0xfffffff }}\n")
    patient.limpid("firewall", "up")
    assert patient.findings() == []


def test_port_at_the_end_of_a_long_list(patient):
    many = ",".join(str(port) for port in range(1001, 3600, 2))
    patient.ns.sysctl(net__ipv4__ip_local_reserved_ports=f"{many},50080,51080")
    assert patient.findings() == []


@pytest.mark.parametrize("tool", ["nft", "iptables"])
def test_translation(patient, tool):
    """What keeps address and port is not translated: see test_firewall_neighbours.py."""
    if tool == "nft":
        patient.ns.nft("table inet other { chain post { type nat hook postrouting priority 100; "
                       "oifname e0 masquerade; }\n}")
    else:
        patient.ns.run("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "172.17.0.0/16", "!",
                       "-o", "docker0", "-j", "MASQUERADE")
    found, = patient.findings()
    assert (found["check"], found["status"]) == ("translation", "warn")
    assert found["cure"] == f"say source: keep-address in rule 'all' of {patient.config}"
    patient.configure(CONFIG.replace("source: keep", "source: keep-address"))
    assert patient.findings() == []


def test_mark_taken_off(patient):
    patient.ns.nft("table inet other { chain pre { type filter hook prerouting priority -100; "
                   "meta mark set ct mark; }\n}")
    found, = patient.findings()
    assert (found["check"], found["subject"]) == ("marks", "inet other pre")


def test_input_that_drops(patient):
    patient.ns.nft("table inet other { chain in { type filter hook input priority 0; "
                   "policy drop; iif lo accept; ct state established accept; }\n}")
    patient.is_cured("input", "inet other in", "warn")


def test_input_of_iptables_that_drops(patient):
    patient.ns.run("iptables", "-A", "INPUT", "-p", "tcp", "--dport", "22", "-m", "conntrack",
                   "--ctstate", "NEW", "-j", "ACCEPT")
    patient.ns.run("iptables", "-P", "INPUT", "DROP")
    patient.is_cured("input", "iptables filter INPUT", "warn")


def test_when_down(patient):
    """Rules that let pass, and a configuration that says block."""
    patient.configure(CONFIG + "firewall: { when-down: pass }\n")
    patient.limpid("firewall", "up")
    assert patient.finding("when-down", "inet limpid prerouting")["text"].startswith("pass")
    assert patient.findings() == []
    patient.configure(CONFIG)
    found, = patient.findings()
    assert (found["check"], found["status"]) == ("when-down", "warn")
    patient.limpid("firewall", "up")
    assert patient.findings() == []


LAN = "{ name: lan, match: { source: 10.0.0.0/8 }, action: accept }"
STRANGERS = "{ name: strangers, not: { source: 10.0.0.0/8 }, action: reject }"
ALL = "{ name: all, action: accept }"


@pytest.mark.parametrize("address, rules_, status", [
    ("0.0.0.0:1080", [ALL], "warn"), ("[::]:1080", [ALL], "warn"),
    ("0.0.0.0:1080", [LAN, ALL], "warn"), ("10.0.0.1:1080", [ALL], "ok"),
    ("127.0.0.1:1080", [ALL], "ok"), ("0.0.0.0:1080", [LAN], "ok"),
    ("0.0.0.0:1080", [STRANGERS, ALL], "ok"),
    ("0.0.0.0:1080", ["{ name: web, match: { port: 80 }, action: deny }", ALL], "warn"),
    ("0.0.0.0:1080", ["{ name: other, match: { listener: quiet }, action: accept }"], "ok")])
@pytest.mark.parametrize("mode", ["socks", "http", "mixed"])
def test_open_proxy(patient, mode, address, rules_, status):
    """Whoever reaches the port may use it, and nobody is asked who he is."""
    patient.configure(f"""
listeners:
  - {{ name: any, mode: {mode}, address: "{address}" }}
  - {{ name: quiet, mode: {mode}, address: "127.0.0.1:7" }}
rules: [ {', '.join(rules_)} ]
""")
    found = {f["subject"]: f for f in patient.findings("--all") if f["check"] == "open-proxy"}
    subject = f"any {address}" if status == "warn" else "any"
    assert found[subject]["status"] == status and found["quiet"]["status"] == "ok"
    assert ("`users` for the listener" in found[subject]["cure"]) == (status == "warn")


def test_open_proxy_is_cured_by_users(patient, tmp_path):
    (tmp_path / "some.users").write_text("")
    patient.configure(f"""
listeners: [ {{ name: any, mode: socks, address: "0.0.0.0:1080", users: some }} ]
users: {{ some: {{ file: "{tmp_path}/some.users" }} }}
rules: [ {ALL} ]
""")
    assert patient.finding("open-proxy", "any")["status"] == "ok"


@pytest.fixture
def bare(tmp_path):
    """The same without any rules, prepared for the rules of others."""
    p = Patient(tmp_path)
    try:
        prepared(p.ns)
        p.ns.sysctl(net__ipv4__tcp_early_demux=0,
                    net__ipv4__ip_local_reserved_ports="9091,10025,10080,50080-51443")
        yield p
    finally:
        p.ns.close()


def listeners(text, source="keep"):
    return f"listeners:\n{text}\nrules:\n  - {{ name: all, action: accept, source: {source} }}\n"


def cure_all(patient, rounds=6):
    """Run what doctor says until it has nothing to say; all that was found on the way."""
    seen = []
    for _ in range(rounds):
        found = patient.findings()
        if not found:
            return {(f["check"], f["subject"]) for f in seen}
        # One at a time: a cure may move what the next one points to.
        patient.cure(found[0])
        seen.append(found[0])
    raise AssertionError(json.dumps(patient.findings(), indent=1))


def shell(patient, text):
    patient.ns.run("sh", "-e", stdin='sudo() { "$@"; }\n' + text)


@pytest.mark.parametrize("address, program", [("127.0.0.1", "iptables"), ("[::1]", "ip6tables")],
                         ids=["v4", "v6"])
def test_smithproxy(bare, address, program):
    """The user as the only guard: it holds for a limpid that is root."""
    bare.configure(listeners(f"""
  - {{ name: http, mode: redirect, address: "{address}:51080" }}
  - {{ name: tls, mode: redirect, address: "{address}:51443" }}
""", "own"))
    shell(bare, rules(SMITHPROXY, 4 if program == "iptables" else 6))
    bare.is_cured("loop", f"{program} nat OUTPUT", "warn")


def test_redirect_without_guard(bare):
    bare.configure(listeners("""
  - { name: http, mode: redirect, address: ["127.0.0.1:51080", "[::1]:51080"] }
""", "own"))
    for program in ("iptables", "ip6tables"):
        bare.ns.run(program, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "80", "-j",
                    "REDIRECT", "--to-port", "51080")
    assert {(f["check"], f["status"]) for f in bare.findings()} == {("loop", "fail")}
    assert cure_all(bare) == {("loop", "iptables nat OUTPUT"), ("loop", "ip6tables nat OUTPUT")}


def test_routed_redirect_to_loopback(bare):
    bare.configure(listeners("""
  - { name: http, mode: redirect, address: "127.0.0.1:51080" }
""", "own"))
    bare.ns.run("iptables", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "80", "-j",
                "REDIRECT", "--to-port", "51080")
    found, = bare.findings()
    assert (found["check"], found["status"]) == ("rules", "fail")
    assert "0.0.0.0:51080" in found["cure"]
    bare.configure(bare.config.read_text(encoding="utf-8").replace("127.0.0.1", "0.0.0.0"))
    assert bare.findings() == []


def test_routed_dnat_to_loopback(bare):
    bare.configure(listeners("""
  - { name: http, mode: redirect, address: "127.0.0.1:51080" }
""", "own"))
    bare.ns.run("iptables", "-t", "nat", "-A", "PREROUTING", "-i", "e0", "-p", "tcp", "--dport",
                "80", "-j", "DNAT", "--to-destination", "127.0.0.1:51080")
    bare.is_cured("route_localnet", "e0", "fail")


@pytest.mark.parametrize("family", [4, 6])
def test_tproxy_document(bare, family):
    host, program = ("127.0.0.1", "iptables") if family == 4 else ("[::1]", "ip6tables")
    bare.configure(listeners(f"""
  - {{ name: mail, mode: tproxy, address: "{host}:10025" }}
  - {{ name: web, mode: tproxy, address: "{host}:10080" }}
"""))
    shell(bare, rules(TPROXY, family))
    assert cure_all(bare) == {
        ("loop", f"{program} mangle PREROUTING"),          # no exemption of our mark
        ("return-path", f"IPv{family} ICMP"),
        ("socket-match", f"{program} mangle PREROUTING"),  # -m socket sees SYN
    }


def test_tproxy_document_of_old(bare):
    """Without --on-ip a listener on loopback is not found."""
    bare.configure(listeners('  - { name: web, mode: tproxy, address: "127.0.0.1:10080" }', "own"))
    shell(bare, TPROXY.replace("--on-ip 127.0.0.1", ""))
    assert ("rules", "web 127.0.0.1:10080") in cure_all(bare)
    assert "--on-port 10080 --on-ip 127.0.0.1" in bare.ns.run("iptables-save", "-t", "mangle")


def test_uproxy(bare):
    """Interfaces ens6 and ens7: the rules are limited to them, only errors do not come back."""
    bare.ns.ip("link add ens6 type veth peer name ens7\nlink set ens6 up\nlink set ens7 up")
    bare.configure(listeners('  - { name: any, mode: tproxy, address: "127.0.0.1:9091" }'))
    shell(bare, UPROXY)
    found = cure_all(bare)
    assert ("return-path", "IPv4 ICMP") in found
    assert {check for check, _ in found} == {"return-path", "socket-match"}


def test_uproxy_without_its_return_path(bare):
    bare.ns.ip("link add ens6 type veth peer name ens7\nlink set ens6 up\nlink set ens7 up")
    bare.configure(listeners('  - { name: any, mode: tproxy, address: "127.0.0.1:9091" }'))
    bare.ns.sysctl(net__ipv4__conf__ens7__rp_filter=1)
    lines = [line for line in UPROXY.replace("\\\n", "").splitlines() if "DIVERT" not in line]
    shell(bare, "\n".join(line for line in lines if "ip route" not in line))
    assert cure_all(bare) == {
        ("rp_filter", "ens7"), ("policy-routing", "IPv4 fwmark 0x1"),
        ("return-path", "IPv4 TCP"), ("return-path", "IPv4 ICMP")}


def test_queue_of_honest_connect(bare):
    bare.configure(listeners("""
  - { name: any, mode: tproxy, address: "127.0.0.1:50080", connect: honest, queue: 9 }
""", "own"))
    shell(bare, rules(TPROXY, 4).replace("10080", "50080"))
    assert ("queue", "any 127.0.0.1:50080") in cure_all(bare)
    assert "-p tcp -m tcp --dport 80" in bare.ns.run("iptables-save", "-t", "raw")


def test_nft_rules_of_an_example(bare):
    """As they are often written down: no address, no exemption, SYN seen, nothing dropped."""
    bare.configure(listeners("""
  - { name: any, mode: tproxy, address: ["127.0.0.1:50080"] }
"""))
    bare.ns.nft("""
table ip example {
	chain pre {
		type filter hook prerouting priority mangle;
		meta l4proto tcp socket transparent 1 meta mark set 1 accept
		tcp dport { 80, 443 } tproxy to :50080 accept
	}
}
""")
    assert cure_all(bare, 9) == {
        ("rules", "any 127.0.0.1:50080"), ("loop", "ip example pre"),
        ("policy-routing", "ip example pre"), ("policy-routing", "IPv4 fwmark 0x1"),
        ("return-path", "IPv4 ICMP"), ("socket-match", "ip example pre"),
        ("when-down", "ip example pre")}
    assert "tproxy to 127.0.0.1:50080" in bare.ns.run("nft", "list", "ruleset")


@pytest.fixture
def network():
    lab = Lab()
    try:
        lab.proxy.run("nft", "delete", "table", "inet", "intercept")
        lab.proxy.ip("rule del fwmark 1\n-6 rule del fwmark 1")
        lab.proxy.ip("route flush table 100")
        yield lab
    finally:
        lab.close()


def relays(lab, seconds=sock.DEADLINE_S):
    """Does a connection of the client's get through with its own address, in that time?"""
    way = Way(lab)
    listener = way.listen()
    listener.settimeout(seconds)
    try:
        client = way.socket()
        client.settimeout(seconds)
        client.connect((SERVER[4], way.port))
        server, _ = listener.accept()
        server.settimeout(seconds)
        client.sendall(b"ping")
        server.sendall(server.recv(4))
        return client.recv(4) == b"ping" and server.getpeername() == client.getsockname()
    except (socket.timeout, ConnectionError):
        return False
    finally:
        lab.close_sockets()


def test_cures_make_it_work(network, tmp_path):
    """Rules that lack everything; after the cures a connection passes, its source kept."""
    config = listeners('  - { name: any, mode: tproxy, address: ["127.0.0.1:50080"] }') + \
        'record: { flows: { file: "@FLOWS@" } }\n'
    patient = Patient(tmp_path, network.proxy)
    patient.configure(config)
    network.proxy.sysctl(net__ipv4__conf__all__src_valid_mark=1)
    network.proxy.run("iptables", "-t", "mangle", "-A", "PREROUTING", "-i", "p0", "-s",
                      CLIENT["tproxy"][4], "-p", "tcp", "-j", "TPROXY", "--on-port", "50080")
    network.proxy.run("iptables", "-P", "INPUT", "DROP")
    limpid = Limpid(network.proxy, config, tmp_path / "limpid")
    try:
        assert not relays(network, 1)
        assert cure_all(patient, 12) >= {
            ("src_valid_mark", "all"), ("rules", "any 127.0.0.1:50080"),
            ("policy-routing", "iptables mangle PREROUTING"),
            ("policy-routing", "IPv4 fwmark 0x1/0x1"), ("return-path", "IPv4 TCP"),
            ("input", "iptables filter INPUT")}
        assert relays(network)
        assert limpid.records.poll() or limpid.records.wait(lambda r: True)
    finally:
        limpid.stop()


@pytest.mark.parametrize("rule, passes", [
    (["iptables", "-t", "mangle", "-A", "PREROUTING", "-i", "p0", "-p", "tcp", "-j", "TPROXY",
      "--on-port", "50080", "--on-ip", "127.0.0.1", "--tproxy-mark", "1"], False),
    (["nft", "add table inet t { chain c { type filter hook prerouting priority mangle; "
             "iifname p0 tcp dport 1-65535 tproxy ip to 127.0.0.1:50080 meta mark set 1 accept;"
             "}; }"], True),
], ids=["iptables", "nft"])
def test_who_blocks_while_limpid_is_down(network, tmp_path, rule, passes):
    """TPROXY of iptables drops what no socket takes; that of nft lets it go on."""
    patient = Patient(tmp_path, network.proxy)
    patient.configure(listeners('  - { mode: tproxy, address: "127.0.0.1:50080" }'))
    network.proxy.run(*rule)
    assert relays(network, sock.DEADLINE_S if passes else 1) == passes
    found = [f for f in patient.findings("--all") if f["check"] == "when-down"]
    assert [f["status"] for f in found] == ["warn" if passes else "ok"]
    if passes:
        patient.cure(found[0])
        assert not relays(network, 1)


@pytest.fixture
def program(tmp_path):
    """A copy that ordinary users can run: the build may be in a folder that they cannot read."""
    path = tmp_path / "limpid"
    shutil.copy(binary(), path)
    for folder in [tmp_path, *list(tmp_path.parents)[:2]]:
        folder.chmod(0o755)
    return str(path)


def doctor_of_run(program, *before):
    """Without a configuration: exit status, and the findings by check."""
    ns = Namespace()
    try:
        ns.ip("link set lo up")
        with ns.enter():
            done = subprocess.run([*before, program, "doctor", "--json", "--all"], text=True,
                                  capture_output=True, check=False, timeout=60)
    finally:
        ns.close()
    check_stderr(done.stderr)
    return done.returncode, {f["check"]: f for f in json.loads(done.stdout)}


@pytest.mark.parametrize("user", [[], NOBODY], ids=["root", "nobody"])
def test_run_works(program, user):
    status, found = doctor_of_run(program, *user)
    assert status == 0 and found["run"]["status"] == "ok"
    assert "rules" not in found


def test_run_is_refused(program):
    status, found = doctor_of_run(
        program, "unshare", "--user", "--map-root-user", "sh", "-ec",
        "echo 0 > /proc/sys/user/max_user_namespaces; "
        "echo 0 > /proc/sys/user/max_net_namespaces; exec \"$@\"", "sh")
    assert status == 1 and found["run"]["status"] == "fail"
    assert found["run"]["cure"] == "sysctl user.max_net_namespaces=10000"
    assert found["user-namespaces"]["status"] == "warn"
