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
from host import LOOPBACK, PORTS, REMOTE, Host  # noqa: E402
from lab.certificate import TlsPair  # noqa: E402
from lab.limpid import binary  # noqa: E402
from nameserver import NameServer  # noqa: E402
from origin import Nginx  # noqa: E402


def pytest_collection_modifyitems(items):
    reason = None
    if os.geteuid() != 0:
        reason = "the namespaces that stand for a host need root; nobody is played by setpriv"
    elif not os.access(binary(), os.X_OK):
        reason = f"no program to test at {binary()} (env LIMPID names it)"
    for item in items if reason else ():
        if HERE in pathlib.Path(item.fspath).parents:
            item.add_marker(pytest.mark.skip(reason=reason))


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
