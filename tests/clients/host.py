# SPDX-License-Identifier: Apache-2.0
"""The namespaces that stand for a host and its neighbour, and `limpid run` on that host."""
import os
import re
import shutil
import subprocess

from lab.limpid import binary, check_stderr
from lab.netns import Namespace

# Of our environment: what tells sanitizers and chaos.c what to do.
PASSED_ON = re.compile(r"SAN_OPTIONS$|^CHAOS_|^LD_PRELOAD$")
NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
HOST = {4: "10.78.1.1", 6: "fd78:1::1"}
REMOTE = {4: "10.78.1.2", 6: "fd78:1::2"}
PORTS = {"loopback": {"http": 8080, "https": 8443}, "remote": {"http": 80, "https": 443}}
# python3-requests: PROXY URL...
PYTHON_GET = """
import sys, requests
requests.packages.urllib3.disable_warnings()
s = requests.Session()
s.trust_env = False
s.proxies = {"http": sys.argv[1], "https": sys.argv[1]}
for url in sys.argv[2:]:
	sys.stdout.write(s.get(url, verify=False, timeout=20).text)
"""


class Child(subprocess.Popen):
    """As `with` child: a test that fails ends it, and does not wait for it."""

    def __exit__(self, kind, error, trace):
        if kind:
            self.kill()
        super().__exit__(kind, error, trace)


class Host:
    """Where limpid runs, and a neighbour it can reach."""

    def __init__(self, folder):
        self.folder = folder
        self.limpid = str(folder / "limpid")
        shutil.copy(binary(), self.limpid)   # the build may be in a folder that nobody cannot read
        self.ns, self.neighbour, self.bare = (Namespace() for _ in range(3))
        for ns in (self.ns, self.neighbour, self.bare):
            ns.sysctl(net__ipv4__tcp_congestion_control="reno",
                      net__ipv6__conf__all__accept_dad=0, net__ipv6__conf__default__accept_dad=0)
        self.ns.ip(f"link add h0 type veth peer name n0 netns {self.neighbour.path}")
        self.ns.ip("""
link set lo up
link set h0 up
addr add 10.78.1.1/24 dev h0
addr add fd78:1::1/64 dev h0 nodad
route add default via 10.78.1.2
-6 route add default via fd78:1::2
""")
        self.neighbour.ip("""
link set lo up
link set n0 up
addr add 10.78.1.2/24 dev n0
addr add fd78:1::2/64 dev n0 nodad
""")
        # No IPv6 here beyond loopback.
        self.bare.ip(f"link add b0 type veth peer name m0 netns {self.neighbour.path}")
        self.bare.ip("link set lo up\nlink set b0 up\naddr add 10.79.1.1/24 dev b0\n"
                     "route add default via 10.79.1.2")
        self.bare.sysctl(net__ipv6__conf__b0__disable_ipv6=1)
        self.neighbour.ip("link set m0 up\naddr add 10.79.1.2/24 dev m0")

    def argv(self, user, options, command):
        prefix = NOBODY if user == "nobody" else []
        return [*prefix, self.limpid, "run", *options, "--", *command]

    def env(self, user):
        return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.folder / user),
                "LC_ALL": "C.UTF-8", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0",
                **{k: v for k, v in os.environ.items() if PASSED_ON.search(k)}}

    def run(self, user, *command, options=(), stdin=None, namespace=None, before=()):
        """`limpid run` to its end; text of both outputs."""
        with (namespace or self.ns).enter():
            done = subprocess.run([*before, *self.argv(user, options, command)], input=stdin,
                                  text=True, capture_output=True, timeout=60, check=False,
                                  env=self.env(user), cwd=str(self.folder / user))
        check_stderr(done.stderr)
        return done

    def popen(self, user, *command, options=(), **more):
        with self.ns.enter():
            return Child(self.argv(user, options, command), env=self.env(user),
                         cwd=str(self.folder / user), **more)

    def processes(self):
        """Pids of limpid's processes on this host."""
        found = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.readlink(f"/proc/{entry}/exe") == self.limpid:
                    found.append(int(entry))
            except OSError:
                pass
        return found

    def close(self):
        for ns in (self.ns, self.neighbour, self.bare):
            ns.close()
