# SPDX-License-Identifier: Apache-2.0
"""The lab without any rule of its own: what `limpid firewall` sets up is all there is.

A Host is the proxy's namespace for one test.  At its end everything must be as it was: tables,
policy rules, routes, values below /proc/sys, and what is kept in /run/limpid.
"""
import os
import pathlib
import re
import signal
import subprocess

from . import sock
from .limpid import Limpid, binary
from .netns import Namespace
from .topology import Lab

STATE = pathlib.Path("/run/limpid")
VALUES = ("tcp_early_demux", "ip_local_reserved_ports")

LISTENERS = """
listeners:
  - { name: routed, mode: tproxy, address: ["127.0.0.1:50080", "[::1]:50080"], network: [tcp, udp] }
"""
REDIRECT = """
listeners:
  - { name: local, mode: redirect, address: ["0.0.0.0:51080", "[::]:51080"] }
"""
KEEP = "rules: [ { name: all, action: accept, source: keep } ]\n"
OWN = "rules: [ { name: all, action: accept } ]\n"
RECORD = 'record: { flows: { file: "@FLOWS@" } }\ntimeouts: { connect: 2s, udp: 1s, dns: 1s }\n'


def config(firewall="", listeners=LISTENERS, rules=KEEP):
    return listeners + rules + RECORD + (f"firewall:\n{firewall}" if firewall else "")


FROM_HERE = "  intercept: [ { listener: routed, traffic: [routed, local] } ]\n"
WAYS = {"tproxy": config(FROM_HERE), "redirect": config(listeners=REDIRECT, rules=OWN)}

FAR = {4: "10.77.7.2", 6: "fd77:7::2"}  # behind the server's side, by a narrow link


class Ground(Lab):
    def __init__(self):
        self.far = Namespace()
        super().__init__()

    def _build(self):
        super()._build()
        self.far.ip(f"link add f0 type veth peer name s1 netns {self.server.path}")
        self.far.ip("""
link set f0 up
addr add 10.77.7.2/24 dev f0
addr add fd77:7::2/64 dev f0 nodad
route add default via 10.77.7.1
-6 route add default via fd77:7::1
""")
        # Only the near end is narrow: the far one does not know, and announces as much as ever.
        self.server.ip("""
link set s1 mtu 1280 up
addr add 10.77.7.1/24 dev s1
addr add fd77:7::1/64 dev s1 nodad
""")
        self.proxy.ip("""
route add 10.77.7.0/24 via 10.77.2.2
-6 route add fd77:7::/64 via fd77:2::2
""")
        self.proxy.nft("delete table inet intercept\ndelete table inet count")
        self.proxy.ip("""
rule del fwmark 1 lookup 100
-6 rule del fwmark 1 lookup 100
route del local default dev lo table 100
-6 route del local default dev lo table 100
""")
        # Not all of what the lab reserves; the ports of limpid are out of the kernel's range.
        self.proxy.sysctl(net__ipv4__ip_local_reserved_ports="1000,2000-2010",
                          net__ipv4__ip_local_port_range="32768 49999")

    def listen_far(self, family, port):
        s = self.socket(self.far, family)
        s.bind((FAR[family], port))
        s.listen()
        return s

    def close(self):
        super().close()
        self.far.close()


def snapshot(namespace):
    """All of a namespace that a firewall could have changed."""
    found = {}
    with namespace.enter():
        for name in VALUES:
            with open(f"/proc/sys/net/ipv4/{name}", encoding="ascii") as f:
                found[name] = f.read().strip()
        inode = os.stat("/proc/thread-self/ns/net").st_ino
    found["state"] = (STATE / f"firewall-{inode}").exists()
    found["nft"] = re.sub(r"packets \d+ bytes \d+", "", namespace.run("nft", "list", "ruleset"))
    for family in ("-4", "-6"):
        found[f"rules{family}"] = namespace.run("ip", family, "rule")
        # A table that was never used is an error to some, and nothing to others.
        routes = namespace.run("ip", family, "route", "show", "table", "all")
        found[f"routes{family}"] = sorted(r for r in routes.splitlines() if "fe80:" not in r)
    return found


class Host:
    def __init__(self, network, workdir):
        self.lab = network
        self.ns = network.proxy
        self.workdir = workdir
        self.limpids = []
        self.before = snapshot(self.ns)

    def write(self, text, name="limpid.yaml"):
        path = self.workdir / name
        path.write_text(text.replace("@FLOWS@", str(self.workdir / "flows")), encoding="utf-8")
        return str(path)

    def firewall(self, verb, text, prefix=(), status=0, env=None, options=()):
        """Run the verb; returns what it said on both outputs."""
        with self.ns.enter():
            done = subprocess.run([*prefix, binary(), "firewall", verb, "--config",
                                   self.write(text), *options], text=True,
                                  capture_output=True, check=False,
                                  env=None if env is None else {**os.environ, **env})
        assert done.returncode == status, done.stderr + done.stdout
        return done.stdout + done.stderr

    def serve(self, text, *options, **more):
        workdir = self.workdir / str(len(self.limpids))
        limpid = Limpid(self.ns, text, workdir, options=options, **more)
        self.limpids.append(limpid)
        return limpid

    def serve_with_rules(self, text):
        """serve --firewall, once all of it is there."""
        limpid = self.serve(text, "--firewall")
        sock.eventually(lambda: "table inet" in snapshot(self.ns)["nft"] or not limpid.alive(),
                        "rules are there")
        assert limpid.alive(), limpid.stderr()
        return limpid

    def guard_of(self, limpid):
        """Process number of a limpid's guard."""
        children = pathlib.Path(f"/proc/{limpid.pid}/task/{limpid.pid}/children").read_text(
            encoding="ascii")
        found = [int(n) for n in children.split()
                 if pathlib.Path(f"/proc/{n}/comm").read_text(encoding="ascii").strip() ==
                 "limpid-guard"]
        assert len(found) == 1, children
        return found[0]

    def clean(self):
        return snapshot(self.ns) == self.before

    def becomes_clean(self):
        sock.eventually(self.clean, "the host is clean", self.changed)

    def changed(self):
        after = snapshot(self.ns)
        return {key: (self.before[key], after[key]) for key in after
                if after[key] != self.before[key]}

    def end(self):
        """Whatever a test left; returns what is not as it was."""
        for limpid in self.limpids:
            if limpid.alive():
                limpid.process.send_signal(signal.SIGTERM)
                limpid.wait_exit()
        with self.ns.enter():
            subprocess.run([binary(), "firewall", "down", "--config", self.write(config())],
                           check=False, capture_output=True)
        return self.changed()
