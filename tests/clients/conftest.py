# SPDX-License-Identifier: Apache-2.0
"""A host to run `limpid run` on: a namespace with loopback servers, a resolver and a neighbour.

The real host is never used: its ports, its resolver and its IPv6 would be part of the result.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]

# pylint: disable=wrong-import-position
from dns import NameServer  # noqa: E402
from lab.certificate import TlsPair  # noqa: E402
from lab.limpid import binary, check_stderr  # noqa: E402
from lab.netns import Namespace  # noqa: E402
from nginx import Nginx  # noqa: E402

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
HOST = {4: "10.78.1.1", 6: "fd78:1::1"}
REMOTE = {4: "10.78.1.2", 6: "fd78:1::2"}
PORTS = {"loopback": {"http": 8080, "https": 8443}, "remote": {"http": 80, "https": 443}}


def pytest_configure(config):
    config.addinivalue_line("markers", "tsan: worth its time under ThreadSanitizer too")


def pytest_collection_modifyitems(items):
    reason = None
    if os.geteuid() != 0:
        reason = "the namespaces that stand for a host need root; nobody is played by setpriv"
    elif not os.access(binary(), os.X_OK):
        reason = f"no program to test at {binary()} (env LIMPID names it)"
    for item in items if reason else ():
        if HERE in pathlib.Path(item.fspath).parents:
            item.add_marker(pytest.mark.skip(reason=reason))


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
                **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}}

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
            return subprocess.Popen(self.argv(user, options, command), env=self.env(user),
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


@pytest.fixture(scope="session")
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="limpid-clients-"))
    path.chmod(0o755)
    for user, uid in (("root", 0), ("nobody", 65534)):
        (path / user).mkdir(mode=0o755)
        os.chown(path / user, uid, uid)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def tls(tmp_path_factory):
    return TlsPair(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def web_root(folder):
    root = folder / "www"
    root.mkdir()
    (root / "hello").write_text("hello from the origin\n", encoding="ascii")
    (root / "big").write_bytes(bytes(range(256)) * 32768)
    work = folder / "work"

    def git(*argv):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t.test", *argv],
                       check=True, capture_output=True, env={"PATH": "/usr/bin:/bin"})
    git("init", "-q", "-b", "main", str(work))
    (work / "file").write_text("cloned\n", encoding="ascii")
    git("-C", str(work), "add", "file")
    git("-C", str(work), "commit", "-q", "-m", "first")
    git("clone", "-q", "--bare", str(work), str(root / "repo.git"))
    git("-C", str(root / "repo.git"), "update-server-info")
    return root


@pytest.fixture(scope="session")
def host(folder, tls, web_root):
    h = Host(folder)
    parts = [Nginx(h.ns, folder / "near", web_root, tls, LOOPBACK, PORTS["loopback"]),
             Nginx(h.neighbour, folder / "far", web_root, tls, REMOTE, PORTS["remote"])]
    h.names = NameServer(h.ns, ["127.0.0.53", "::1"], REMOTE)
    h.far_names = NameServer(h.neighbour, ["10.78.1.2", "fd78:1::2"], REMOTE)
    parts += [h.names, h.far_names]
    yield h
    for part in parts:
        part.close()
    h.close()


@pytest.fixture(params=["root", "nobody"])
def user(request):
    return request.param


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def family(request):
    return request.param


@pytest.fixture(params=["loopback", "remote"])
def place(request):
    return request.param
