# SPDX-License-Identifier: Apache-2.0
"""The test bed: three network namespaces, cl -- px -- sv, and a control group for each party.

Nothing outside them is changed, and close() takes everything away again.  All names carry our
process id, so that two beds never meet; sweep() removes what a killed one has left.

Addresses: clients 10.1.0.2-65 (fd01::2-41), origin 10.2.0.2 (fd02::2).  The origin has a second
address, .4, for the flows that no proxy touches: where a proxy has bound a client's address, its
TIME_WAIT sockets would match (early demux) the replies of a later forwarded flow with the same
four-tuple, and ip_forward() drops packets that carry a socket.
"""
import glob
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

PARTIES = ("cl", "px", "sv")
PREFIX = "lpb-"
CLIENTS = 64
PERIOD_US = 10000       # of a limited share of processor time
ADDRESS = {
    4: {"client": "10.1.0.2", "proxied": "10.2.0.2", "direct": "10.2.0.4", "proxy": "10.1.0.1"},
    6: {"client": "fd01::2", "proxied": "fd02::2", "direct": "fd02::4", "proxy": "fd01::1"},
}
SYSCTLS = {
    "net.ipv4.tcp_congestion_control": "@cc@",
    "net.ipv4.ip_local_port_range": "1024 65535",
    "net.ipv4.ip_local_reserved_ports": "3120-3159,7000-7799,50080,50443,51080,51443",
    "net.ipv4.tcp_tw_reuse": "1",
    "net.ipv4.tcp_max_syn_backlog": "8192",
    "net.core.somaxconn": "4096",
}
PROXY_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.send_redirects": "0",
}
# The way back: segments of connections that the proxy made in a client's name.  Never a SYN, so
# that a new connection cannot match a listener here.
RULES = """table inet bench {{
    chain prerouting {{
        type filter hook prerouting priority mangle; policy accept;
        iifname "p1" tcp flags & (syn | ack) != syn socket transparent 1 meta mark set 1 accept
        iifname "p0" ip daddr {proxy4} accept
        iifname "p0" ip6 daddr {proxy6} accept
        {intercept}
    }}
}}
"""


def run(*command, stdin=None, check=True):
    """Run a command to its end and return its output; a failure shows what it said."""
    done = subprocess.run(command, input=stdin, text=True, capture_output=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def cgroup_root():
    for line in open("/proc/mounts"):
        word = line.split()
        if word[2] == "cgroup2":
            return word[1]
    raise RuntimeError("no cgroup2 hierarchy is mounted: processor time cannot be told apart")


def processor_root():
    """Where groups are given shares of processor time: a version 1 hierarchy, or cgroup2."""
    for line in open("/proc/mounts"):
        word = line.split()
        if word[2] == "cgroup" and "cpu" in word[3].split(","):
            return word[1]
    return cgroup_root()


def congestion_control(wanted):
    """One algorithm for every socket; it must be one that a namespace may choose."""
    allowed = open("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read().split()
    if wanted not in allowed:
        raise RuntimeError(f"congestion control {wanted}: this host allows {' '.join(allowed)}")
    return wanted


def sweep():
    """Remove the namespaces, groups and folders of benches that no longer run."""
    places = ("/run/netns", cgroup_root(), processor_root(), tempfile.gettempdir())
    for path in [p for place in places for p in glob.glob(f"{place}/{PREFIX}*")]:
        name = os.path.basename(path)
        owner = re.match(PREFIX + r"(\d+)", name)
        if not owner or os.path.exists(f"/proc/{owner[1]}"):
            continue
        if path.startswith("/run/netns/"):
            run("ip", "netns", "del", name, check=False)
        elif path.startswith(tempfile.gettempdir()):
            shutil.rmtree(path, ignore_errors=True)
        else:
            remove_group(path)


def remove_group(path):
    for inner in glob.glob(path + "/*/cgroup.procs"):
        remove_group(os.path.dirname(inner))
    try:
        for pid in open(path + "/cgroup.procs").read().split():
            os.kill(int(pid), signal.SIGKILL)
        deadline = time.time() + 5
        while open(path + "/cgroup.procs").read() and time.time() < deadline:
            time.sleep(0.02)
        os.rmdir(path)
    except OSError:
        pass


class Bed:
    def __init__(self, cc):
        self.cc = cc
        self.name = f"{PREFIX}{os.getpid()}"
        self.group = f"{cgroup_root()}/{self.name}"
        self.share_group = None
        self.queued = False
        self.ksoftirqd = [
            pid for pid in filter(str.isdigit, os.listdir("/proc"))
            if self._comm(pid).startswith("ksoftirqd/")
        ]

    @staticmethod
    def _comm(pid):
        try:
            return open(f"/proc/{pid}/comm").read()
        except OSError:
            return ""

    def ns(self, party):
        return f"{self.name}-{party}"

    def open(self):
        sweep()
        for party in PARTIES:
            os.makedirs(f"{self.group}/{party}")
            run("ip", "netns", "add", self.ns(party))
            self._sysctl(party, SYSCTLS)
        self._sysctl("px", PROXY_SYSCTLS)
        self._link("cl", "c0", "p0")
        self._link("sv", "s0", "p1")
        clients = "".join(f"addr add 10.1.0.{2 + i}/24 dev c0\n"
                          f"addr add fd01::{2 + i:x}/64 dev c0 nodad\n" for i in range(CLIENTS))
        self._ip("cl", clients + "route add default via 10.1.0.1\n"
                 "route add default via fd01::1\n")
        origins = "".join(f"addr add 10.2.0.{n}/24 dev s0\n"
                          f"addr add fd02::{n}/64 dev s0 nodad\n" for n in (2, 4))
        self._ip("sv", origins + "route add default via 10.2.0.1\nroute add default via fd02::1\n")
        self._ip("px", "addr add 10.1.0.1/24 dev p0\naddr add fd01::1/64 dev p0 nodad\n"
                 "addr add 10.2.0.1/24 dev p1\naddr add fd02::1/64 dev p1 nodad\n"
                 "rule add fwmark 1 lookup 100\nroute add local 0.0.0.0/0 dev lo table 100\n")
        run("ip", "-n", self.ns("px"), "-6", "rule", "add", "fwmark", "1", "lookup", "100")
        run("ip", "-n", self.ns("px"), "-6", "route", "add", "local", "::/0", "dev", "lo",
            "table", "100")

    def close(self):
        remove_group(self.group)
        if self.share_group:
            remove_group(f"{processor_root()}/{self.name}")
        for party in PARTIES:
            run("ip", "netns", "del", self.ns(party), check=False)

    def _sysctl(self, party, values):
        words = [f"{k}={v.replace('@cc@', self.cc)}" for k, v in values.items()]
        run("ip", "netns", "exec", self.ns(party), "sysctl", "-qw", *words)

    def _ip(self, party, batch):
        run("ip", "-n", self.ns(party), "-batch", "-", stdin=batch)

    def _link(self, party, outer, inner):
        run("ip", "link", "add", outer, "netns", self.ns(party), "type", "veth",
            "peer", "name", inner, "netns", self.ns("px"))
        self._ip(party, f"link set lo up\nlink set {outer} up\n")
        self._ip("px", f"link set lo up\nlink set {inner} up\n")

    def spawn(self, party, command, **more):
        """Start a command in the party's namespace and group, with as many files as it may."""
        share = f"echo 0 > {self.share_group}/cgroup.procs && " if (
            self.share_group and party == "px") else ""
        script = (f'{share}echo 0 > {self.group}/{party}/cgroup.procs && ulimit -n "$(ulimit -Hn)" && '
                  f'exec nsenter --net=/run/netns/{self.ns(party)} "$@"')
        more.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(["sh", "-c", script, "bench", *command], text=True,
                                start_new_session=True, **more)

    def limit(self, share):
        """Until limit(None) what is started as proxy has this share of one processor together."""
        root = processor_root()
        folder = f"{root}/{self.name}/px"
        if share is None:
            if root != cgroup_root():
                remove_group(os.path.dirname(folder))
            else:
                self._write(f"{folder}/cpu.max", "max")
            self.share_group = None
            return
        os.makedirs(folder, exist_ok=True)
        if root != cgroup_root():
            self._write(f"{folder}/cpu.cfs_period_us", PERIOD_US)
            self._write(f"{folder}/cpu.cfs_quota_us", int(share * PERIOD_US))
        else:
            self._write(f"{self.group}/cgroup.subtree_control", "+cpu")
            self._write(f"{folder}/cpu.max", f"{int(share * PERIOD_US)} {PERIOD_US}")
        self.share_group = folder

    @staticmethod
    def _write(path, value):
        with open(path, "w") as f:
            f.write(str(value))

    def pids(self, party):
        return [int(p) for p in open(f"{self.group}/{party}/cgroup.procs").read().split()]

    def end(self, party, wait_s=1.0):
        """End every process of a party: first asked, then killed."""
        deadline = time.time() + wait_s
        how = signal.SIGTERM
        while True:
            pids = self.pids(party)
            if not pids:
                return
            for pid in pids if how else ():
                try:
                    os.kill(pid, how)
                except OSError:
                    pass
            how = 0 if time.time() < deadline else signal.SIGKILL
            time.sleep(0.02)

    def listening(self, port):
        return bool(run("nsenter", f"--net=/run/netns/{self.ns('px')}", "ss", "-Hltn",
                        f"sport = :{port}"))

    def intercept(self, port, loopback, queue=None):
        """Send what clients dial to the port: on the loopback addresses, or on any address.

        With a queue their SYN goes there first; not every kernel knows that in nft.
        """
        for program in ("iptables", "ip6tables") if queue else ():
            run("nsenter", f"--net=/run/netns/{self.ns('px')}", program, "-t", "raw", "-A",
                "PREROUTING", "-i", "p0", "-p", "tcp", "--syn", "-j", "NFQUEUE", "--queue-num",
                str(queue))
        self.queued = bool(queue)
        to4, to6 = ("127.0.0.1", "[::1]") if loopback else ("", "")
        lines = "\n        ".join(
            f'iifname "p0" meta nfproto {family} meta l4proto {protocol} tproxy {word} '
            f"to {to}:{port} meta mark set 1 accept"
            for protocol in ("tcp", "udp")
            for family, word, to in (("ipv4", "ip", to4), ("ipv6", "ip6", to6)))
        self._nft(RULES.format(proxy4=ADDRESS[4]["proxy"], proxy6=ADDRESS[6]["proxy"],
                               intercept=lines))

    def pass_by(self):
        for program in ("iptables", "ip6tables") if self.queued else ():
            run("nsenter", f"--net=/run/netns/{self.ns('px')}", program, "-t", "raw", "-F")
        self.queued = False
        self._nft("table inet bench\ndelete table inet bench\n")

    def _nft(self, text):
        run("nsenter", f"--net=/run/netns/{self.ns('px')}", "nft", "-f", "-", stdin=text)

    def foreign_cc(self, party):
        """Established sockets of a party that do not use the one algorithm."""
        shown = run("nsenter", f"--net=/run/netns/{self.ns(party)}", "ss", "-Htino",
                    "state", "established")
        facts = [line for line in shown.split("\n") if "cwnd:" in line]
        return [line for line in facts if f" {self.cc} " not in f" {line.strip()} "]

    def own_source(self):
        """Connections at the origin that come from the proxy's own address: none may."""
        shown = run("nsenter", f"--net=/run/netns/{self.ns('sv')}", "ss", "-Htn")
        return [line for line in shown.split("\n") if "10.2.0.1]:" in line or "10.2.0.1:" in line
                or "fd02::1]:" in line]

    def cpu_options(self):
        """Files for the load client: one for each party, then the softirq threads."""
        files = [f"{self.group}/{p}/cpu.stat" for p in PARTIES]
        files += [f"/proc/{pid}/schedstat" for pid in self.ksoftirqd]
        return [word for f in files[:8] for word in ("--cpu", f)]
