# SPDX-License-Identifier: Apache-2.0
"""Programs that know SOCKS, or are made to use it, through `mode: mixed`, with and without a
login."""
import os
import re
import subprocess

import pytest

from host import PORTS, PYTHON_GET, REMOTE
from lab.limpid import Limpid, binary, check_stderr
from lab.sock import eventually

HELLO = "hello from the origin\n"
OPEN, OFFICE = 4180, 4181
CONFIG = f"""
listeners:
  - {{ name: open, mode: mixed, address: ["127.0.0.1:{OPEN}", "[::1]:{OPEN}"] }}
  - {{ name: office, mode: mixed, users: office, address: ["127.0.0.1:{OFFICE}"] }}
rules:
  - {{ name: all, action: accept, bind: true }}
users: {{ office: {{ file: "@USERS@" }} }}
resolver: {{ servers: [127.0.0.53] }}
record: {{ flows: {{ file: "@FLOWS@" }} }}
"""
FTP_SERVER = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
FTPHandler.authorizer = DummyAuthorizer()
FTPHandler.authorizer.add_anonymous(sys.argv[2], perm="elrw")
FTPServer((sys.argv[1], 21), FTPHandler).serve_forever()
"""
SSHD = """
Port 22
ListenAddress {address}
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile {folder}/pid
StrictModes no
UsePAM no
PasswordAuthentication no
"""
DANTE = """
route {{
	from: 0.0.0.0/0 to: 0.0.0.0/0 via: 127.0.0.1 port = {port}
	protocol: tcp udp
	proxyprotocol: {protocol}
	command: {command}
	method: {method}
}}
"""
PROXYCHAINS = """
strict_chain
quiet_mode
remote_dns_subnet 224
tcp_connect_time_out 20000
tcp_read_time_out 20000
{dns}
[ProxyList]
{proxy}
"""


@pytest.fixture(scope="module", name="limpid")
def limpid_of_module(host, tmp_path_factory):
    folder = tmp_path_factory.mktemp("socks-clients")
    subprocess.run([binary(), "users", "add", "--file", folder / "users", "ann"],
                   input="secret\n", text=True, check=True)
    running = Limpid(host.ns, CONFIG.replace("@USERS@", str(folder / "users")), folder)
    yield running
    check_stderr(running.stderr())
    running.stop()


@pytest.fixture
def run(host, limpid):
    """run(command...): its standard output, through a limpid that is checked afterwards."""
    def call(*command, stdin=None, env=(), cwd=None):
        with host.ns.enter():
            done = subprocess.run(command, input=stdin, capture_output=True, timeout=60,
                                  check=False, env={**host.env("root"), **dict(env)},
                                  cwd=str(cwd or host.folder / "root"))
        check_stderr(limpid.stderr())
        assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
        return done.stdout
    return call


def serve(host, ready, *argv, **more):
    """A server in the neighbour's namespace, which goes when we go."""
    with host.neighbour.enter():
        # pylint: disable-next=consider-using-with
        server = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *argv],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, **more)
    eventually(lambda: ready in host.neighbour.run("ss", "-ltnH"), f"a server listens at {ready}")
    return server


def end(server):
    server.terminate()
    server.wait()


def url(path="hello", name=REMOTE[4], scheme="http"):
    name = f"[{name}]" if ":" in name else name
    return f"{scheme}://{name}:{PORTS['remote'][scheme]}/{path}"


def of_office(limpid):
    """Has ann been here?"""
    return limpid.records.wait(lambda r: r["limpid"].get("user") == "ann")


# --- who speaks SOCKS by itself -----------------------------------------------------------------


@pytest.mark.parametrize("form, name", [
    ("socks4", REMOTE[4]), ("socks4a", "www.test"), ("socks5", REMOTE[4]), ("socks5", REMOTE[6]),
    ("socks5-hostname", "www.test")])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_curl(run, form, name, scheme):
    got = run("curl", "-sSkf", "--max-time", "20", f"--{form}", f"127.0.0.1:{OPEN}",
              url(name=name, scheme=scheme))
    assert got.decode() == HELLO


@pytest.mark.parametrize("form", ["socks5", "socks5-hostname"])
def test_curl_with_login(run, limpid, form):
    limpid.records.restart()
    got = run("curl", "-sSf", "--max-time", "20", f"--{form}", f"127.0.0.1:{OFFICE}",
              "--proxy-user", "ann:secret", url())
    assert got.decode() == HELLO and of_office(limpid)["dest_ip"] == REMOTE[4]


@pytest.mark.parametrize("proxy", [f"socks4://127.0.0.1:{OPEN}", f"socks5://127.0.0.1:{OPEN}",
                                   f"socks5h://[::1]:{OPEN}",
                                   f"socks5h://ann:secret@127.0.0.1:{OFFICE}"])
def test_python_requests(run, proxy):
    names = ["www.test"] if "socks5h" in proxy else []
    got = run("/usr/bin/python3", "-I", "-c", PYTHON_GET, proxy, url(), url(scheme="https"),
              *(url(name=n) for n in names))
    assert got.decode() == HELLO * (2 + len(names))


def test_git(run, tmp_path):
    run("git", "-c", f"http.proxy=socks5h://127.0.0.1:{OPEN}", "clone", "-q",
        url("repo.git", name="www.test"), str(tmp_path / "clone"))
    assert (tmp_path / "clone" / "file").read_text(encoding="ascii") == "cloned\n"


@pytest.mark.parametrize("form", ["4", "5", "connect"])
def test_nc(run, form):
    got = run("nc", "-X", form, "-x", f"127.0.0.1:{OPEN}", "-w", "20", REMOTE[4], "80",
              stdin=b"GET /hello HTTP/1.0\r\n\r\n")
    assert got.decode().endswith("\r\n\r\n" + HELLO)


@pytest.fixture(scope="module", name="sshd")
def sshd_of_module(host, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name],
                       check=True)
    (folder / "conf").write_text(SSHD.format(folder=folder, address=REMOTE[4]), encoding="ascii")
    # sshd wants its empty folder, which its own service makes
    server = serve(host, f"{REMOTE[4]}:22 ", "unshare", "--mount", "sh", "-c",
                   "mount -t tmpfs none /run && mkdir /run/sshd && "
                   'exec /usr/sbin/sshd -D -e -f "$0"', str(folder / "conf"))
    yield folder
    end(server)


@pytest.mark.parametrize("form", ["4", "5", "connect"])
def test_ssh(run, sshd, form):
    """An interactive protocol, in which the server speaks first, and bulk in both directions."""
    data = os.urandom(1 << 20)
    got = run("ssh", "-F", "none", "-i", str(sshd / "key"), "-o", "BatchMode=yes",
              "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
              f"ProxyCommand=nc -X {form} -x 127.0.0.1:{OPEN} %h %p", f"root@{REMOTE[4]}",
              "cat", stdin=data)
    assert got == data


# --- who is made to -----------------------------------------------------------------------------


@pytest.fixture
def chained(run, tmp_path):
    """chained(proxy, command...): under proxychains4."""
    def call(proxy, *command, dns="proxy_dns", **more):
        path = tmp_path / "proxychains.conf"
        path.write_text(PROXYCHAINS.format(proxy=proxy, dns=dns), encoding="ascii")
        return run("proxychains4", "-q", "-f", str(path), *command, **more)
    return call


CHAINS = [f"socks4 127.0.0.1 {OPEN}", f"socks5 127.0.0.1 {OPEN}", f"http 127.0.0.1 {OPEN}",
          f"socks5 127.0.0.1 {OFFICE} ann secret", f"http 127.0.0.1 {OFFICE} ann secret"]


@pytest.mark.parametrize("proxy", CHAINS)
@pytest.mark.parametrize("name", [REMOTE[4], "www.test"])
def test_proxychains_wget(chained, limpid, proxy, name):
    limpid.records.restart()
    got = chained(proxy, "wget", "-q", "--no-proxy", "-T", "20", "-t", "1", "-O", "-",
                  url(name=name))
    assert got.decode() == HELLO
    if "ann" in proxy:
        assert of_office(limpid)["dest_ip"] in (REMOTE.values() if name == "www.test" else [name])


def test_proxychains_git(chained, tmp_path):
    chained(CHAINS[1], "git", "clone", "-q", url("repo.git"), str(tmp_path / "clone"))
    assert (tmp_path / "clone" / "file").read_text(encoding="ascii") == "cloned\n"


@pytest.fixture
def socksified(run, tmp_path):
    """socksified(command...): under dante's socksify."""
    def call(*command, protocol="socks_v5", port=OPEN, **more):
        login = port == OFFICE
        path = tmp_path / "dante.conf"
        path.write_text(DANTE.format(
            port=port, protocol=protocol, method="username" if login else "none",
            command="connect bind" + (" udpassociate" if protocol == "socks_v5" else "")),
            encoding="ascii")
        env = {"SOCKS_CONF": str(path), "SOCKS_AUTOADD_LANROUTES": "no",
               **({"SOCKS_USERNAME": "ann", "SOCKS_PASSWORD": "secret"} if login else {})}
        # it closes all descriptors that there might be, one by one
        return run("prlimit", "--nofile=1024", "socksify", *command, env=env, **more)
    return call


@pytest.mark.parametrize("protocol, port", [("socks_v4", OPEN), ("socks_v5", OPEN),
                                            ("socks_v5", OFFICE)])
def test_socksify_wget(socksified, limpid, protocol, port):
    limpid.records.restart()
    got = socksified("wget", "-q", "--no-proxy", "-T", "20", "-t", "1", "-O", "-", url(),
                     protocol=protocol, port=port)
    assert got.decode() == HELLO
    if port == OFFICE:
        assert of_office(limpid)["dest_port"] == 80


@pytest.mark.parametrize("port", [OPEN, OFFICE])
def test_socksify_kdig(socksified, limpid, port):
    """UDP ASSOCIATE.  (dig sends by sendmmsg(2), which socksify does not see.)"""
    limpid.records.restart()
    got = socksified("kdig", "+short", "+time=10", "+retry=0", f"@{REMOTE[4]}", "www.test",
                     port=port)
    assert got.decode() == REMOTE[4] + "\n"
    record = limpid.records.wait(lambda r: r.get("proto") == "UDP")
    assert (record["dest_ip"], record["dest_port"]) == (REMOTE[4], 53)
    assert record["limpid"]["listener"] == ("office" if port == OFFICE else "open")


@pytest.mark.parametrize("protocol, port", [("socks_v4", OPEN), ("socks_v5", OPEN),
                                            ("socks_v5", OFFICE)])
def test_socksify_ftp(socksified, host, limpid, tmp_path, protocol, port):
    """Active mode: for each transfer the server connects to the client, by BIND; both ways."""
    limpid.records.restart()
    root = tmp_path / "ftp"
    root.mkdir()
    (root / "there").write_bytes(os.urandom(300000))
    (tmp_path / "here").write_bytes(os.urandom(300000))
    server = serve(host, f"{REMOTE[4]}:21 ", "/usr/bin/python3", "-I", "-c", FTP_SERVER,
                   REMOTE[4], str(root))
    try:
        said = socksified("tnftp", "-A", "-n", "-v", REMOTE[4], protocol=protocol, port=port,
                          cwd=tmp_path, stdin=b"user anonymous x\nepsv4 off\nbinary\n"
                          b"get there\nput here\nbye\n")
    finally:
        end(server)
    assert len(re.findall(r"^226 ", said.decode(), re.M)) == 2
    assert (tmp_path / "there").read_bytes() == (root / "there").read_bytes()
    assert (root / "here").read_bytes() == (tmp_path / "here").read_bytes()
    for record in limpid.records.wait(lambda r: r["limpid"].get("bind"), count=2):
        assert record["dest_ip"] == REMOTE[4] and record["limpid"]["why"] == "finished"
