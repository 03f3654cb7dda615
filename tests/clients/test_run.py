# SPDX-License-Identifier: Apache-2.0
"""`limpid run` around programs that know nothing of it, as root and as nobody."""
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import termios
import time
from datetime import datetime

import pytest

from host import HOST, LOOPBACK, NOBODY, PORTS, REMOTE
from lab.sock import eventually

PYTHON = "/usr/bin/python3"


def authority(ip, port):
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def target(place, family, scheme):
    ip = {"loopback": LOOPBACK, "remote": REMOTE}[place][family]
    return ip, PORTS[place][scheme]


def accept_lines(stderr):
    """Destinations of the lines that say Accept."""
    return re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| INFO \| \S+ => (\S+) \| Accept",
                      stderr, re.M)


def python(code, *argv):
    return [PYTHON, "-I", "-c", code, *map(str, argv)]


# --- clients ----------------------------------------------------------------------------------
PY_GET = """
import ssl, sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}),
	urllib.request.HTTPSHandler(context=ssl._create_unverified_context()))
sys.stdout.write(opener.open(sys.argv[1], timeout=20).read().decode())
"""
NODE_GET = """
const url = process.argv[1];
require(url.split(":")[0]).get(url, {rejectUnauthorized: false},
	(res) => res.on("data", (d) => process.stdout.write(d)));
"""
CLIENTS = {
    "curl": lambda url: ["curl", "-sSk", "--noproxy", "*", "--max-time", "20", url],
    "wget": lambda url: ["wget", "-q", "--no-proxy", "--no-check-certificate", "-T", "20", "-t",
                         "1", "-O", "-", url],
    "python3": lambda url: python(PY_GET, url),
    "node": lambda url: ["node", "-e", NODE_GET, url],
    "busybox": lambda url: ["busybox", "wget", "-q", "-Y", "off", "-O", "-", url],
}


def need(program):
    if not shutil.which(program, path="/usr/local/bin:/usr/bin:/bin"):
        pytest.skip(f"{program} is not installed where every user finds it")


# The TLS of busybox wget does not get on with this nginx even without limpid.
@pytest.mark.parametrize("program, scheme", [(p, s) for p in CLIENTS for s in ("http", "https")
                                             if (p, s) != ("busybox", "https")])
def test_client(host, user, family, place, program, scheme):
    need(program)
    ip, port = target(place, family, scheme)
    done = host.run(user, *CLIENTS[program](f"{scheme}://{authority(ip, port)}/hello"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "hello from the origin\n"
    assert accept_lines(done.stderr) == [authority(ip, port)]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_git_clone(host, user, family, place, scheme, folder):
    ip, port = target(place, family, scheme)
    into = folder / user / f"clone-{place}-{family}-{scheme}"
    done = host.run(user, "git", "-c", "http.sslVerify=false", "clone", "-q",
                    f"{scheme}://{authority(ip, port)}/repo.git", str(into))
    assert done.returncode == 0, done.stderr
    assert (into / "file").read_text() == "cloned\n"
    assert authority(ip, port) in accept_lines(done.stderr)


def test_big_download_is_whole(host, user, family, place):
    ip, port = target(place, family, "http")
    done = host.run(user, "sh", "-c", f"curl -sS --noproxy '*' 'http://{authority(ip, port)}/big'"
                                      " | sha256sum")
    with open(host.folder / "www" / "big", "rb") as f:
        want = subprocess.run(["sha256sum"], stdin=f, capture_output=True, check=True).stdout
    assert done.stdout.encode() == want


def test_many_connections(host, user, place):
    code = """
import socket, sys
ends = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) for _ in range(60)]
for s in ends: s.sendall(b"GET /hello HTTP/1.0\\r\\n\\r\\n")
for s in ends:
	data = b""
	while more := s.recv(4096): data += more
	assert data.endswith(b"hello from the origin\\n")
"""
    ip, port = target(place, 4, "http")
    done = host.run(user, *python(code, ip, port))
    assert done.returncode == 0, done.stderr
    assert len(accept_lines(done.stderr)) == 60


# --- names ------------------------------------------------------------------------------------
ASK = """
import socket, struct, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.settimeout(15)
if sys.argv[2] == "connected": s.connect((sys.argv[1], 53))
for i in range(3):
	query = struct.pack(">HHHHHH", 100 + i, 0x100, 1, 0, 0, 0) + b"\\6origin\\4test\\0\\0\\1\\0\\1"
	if sys.argv[2] == "connected": s.send(query)
	else: s.sendto(query, (sys.argv[1], 53))
	reply, peer = s.recvfrom(4096)
	assert peer[:2] == (sys.argv[1], 53), peer
	assert struct.unpack(">H", reply[:2])[0] == 100 + i
	print(socket.inet_ntoa(reply[-4:]))
"""


@pytest.mark.parametrize("how", ["connected", "unconnected"])
@pytest.mark.parametrize("resolver", ["127.0.0.53", "::1", "10.78.1.2", "fd78:1::2"])
def test_dns(host, user, resolver, how):
    """Whatever resolver the command asks, a stub on loopback included; the answer comes from it."""
    done = host.run(user, *python(ASK, resolver, how))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [REMOTE[4]] * 3


@pytest.mark.parametrize("resolver", ["127.0.0.53", "10.78.1.2"])
def test_name_to_connection(host, user, resolver, folder):
    """The C library's resolver: A and AAAA from one socket, then the connection."""
    conf = folder / f"resolv-{resolver}"
    conf.write_text(f"nameserver {resolver}\n", encoding="ascii")
    before = ["unshare", "-m", "sh", "-c", f'mount --bind {conf} /etc/resolv.conf; exec "$@"', "sh"]
    done = host.run(user, "curl", "-sS", "--noproxy", "*", "--max-time", "20",
                    "http://origin.test/hello", before=before)
    assert done.stdout == "hello from the origin\n", done.stderr
    assert set(accept_lines(done.stderr)) & {"10.78.1.2:80", "[fd78:1::2]:80"}


OTHER_UDP = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 9999))
s.settimeout(15)
s.send(b"x")
try: s.recv(10)
except ConnectionRefusedError: print("refused")
"""


@pytest.mark.parametrize("ip", ["10.78.1.2", "127.0.0.1", "fd78:1::2", "::1"])
def test_refused_udp_is_refused_at_once_and_said(host, user, ip):
    done = host.run(user, *python(OTHER_UDP, ip))
    assert done.stdout == "refused\n", done.stderr
    assert authority(ip, 9999) in done.stderr


# --- TCP as it should be ----------------------------------------------------------------------
def test_refused_is_a_reset(host, user, family, place):
    code = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.settimeout(15)
try:
	s.connect((sys.argv[1], 9))
	print("end" if s.recv(1) == b"" else "data")
except (ConnectionResetError, ConnectionRefusedError): print("reset")
"""
    ip, _ = target(place, family, "http")
    assert host.run(user, *python(code, ip)).stdout == "reset\n"


def test_server_speaks_first_and_half_close(host, user, family):
    with host.ns.enter():
        listener = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET)
    listener.bind((LOOPBACK[family], 0))
    listener.listen(1)
    listener.settimeout(20)
    code = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
assert s.recv(100) == b"220 ready\\n"
s.sendall(b"question")
s.shutdown(socket.SHUT_WR)
print(s.recv(100).decode())
assert s.recv(1) == b""
"""
    child = host.popen(user, *python(code, *listener.getsockname()[:2]), stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True)
    conn, _ = listener.accept()
    conn.settimeout(20)
    conn.sendall(b"220 ready\n")
    assert conn.recv(100) == b"question"
    assert conn.recv(1) == b""
    conn.sendall(b"answer")
    conn.close()
    listener.close()
    out, err = child.communicate(timeout=30)
    assert (out, child.returncode) == ("answer\n", 0), err


def test_server_sees_the_host_itself(host, user, family):
    with host.neighbour.enter():
        listener = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET)
    listener.bind((REMOTE[family], 0))
    listener.listen(1)
    listener.settimeout(20)
    code = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 20).recv(1)"
    child = host.popen(user, *python(code, *listener.getsockname()[:2]),
                       stderr=subprocess.DEVNULL)
    conn, peer = listener.accept()
    assert peer[0] == HOST[family]
    conn.close()
    listener.close()
    assert child.wait(30) == 0


OWN = """
import socket, sys, threading
ip, bound = sys.argv[1:]
family = socket.AF_INET6 if ":" in ip else socket.AF_INET
l = socket.socket(family); l.bind((bound, 0)); l.listen(1)
c = socket.socket(family); c.settimeout(15)
c.connect((ip, l.getsockname()[1]))
s, peer = l.accept()
assert peer[:2] == c.getsockname()[:2], (peer, c.getsockname())
c.sendall(b"x"); assert s.recv(1) == b"x"
print("direct")
"""


@pytest.mark.parametrize("ip, bound", [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"),
                                       ("::1", "::1"), ("::1", "::"), ("127.0.0.1", "::ffff:0:0")])
def test_own_listener_is_reached_directly(host, user, ip, bound):
    code = OWN
    if bound == "::ffff:0:0":
        code = OWN.replace("l = socket.socket(family); l.bind((bound, 0))",
                           "l = socket.socket(socket.AF_INET6); l.bind(('::', 0))")
        code = code.replace("peer[:2] == c.getsockname()[:2]",
                            "peer[0] == '::ffff:' + c.getsockname()[0]")
    done = host.run(user, *python(code, ip, bound))
    assert done.stdout == "direct\n", done.stderr
    assert not accept_lines(done.stderr)


def test_no_ipv6_outside_means_none_inside(host, user):
    """So that programs fall back as they would without limpid."""
    code = """
import socket
try: socket.create_connection(("fd78:1::2", 80), 15)
except OSError as e: print(e.errno)
"""
    done = host.run(user, *python(code), namespace=host.bare)
    assert done.stdout == "101\n", done.stderr


# --- the command's own life -------------------------------------------------------------------
@pytest.mark.parametrize("script, status", [
    ("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137),
    ("kill -HUP $$", 129)])
def test_exit_status(host, user, script, status):
    assert host.run(user, "sh", "-c", script).returncode == status


def test_command_not_found(host, user):
    done = host.run(user, "no-such-command-anywhere")
    assert done.returncode == 127
    assert "no-such-command-anywhere" in done.stderr


def test_command_not_executable(host, user, folder):
    path = folder / "plain"
    path.write_text("text\n", encoding="ascii")
    path.chmod(0o644)
    done = host.run(user, str(path))
    assert done.returncode == 126
    assert "plain" in done.stderr


@pytest.mark.parametrize("argv", [["run"], ["run", "--"], ["run", "--nonsense", "--", "true"]],
                         ids=" ".join)
def test_wrong_usage(host, argv):
    done = subprocess.run([host.limpid, *argv], capture_output=True, text=True, timeout=20,
                          check=False)
    assert done.returncode == 2 and done.stderr


def test_identity_and_surroundings(host, user):
    done = host.run(user, "sh", "-c", "id -u; id -g; pwd; echo $HOME; cat", stdin="from stdin\n")
    uid = "0" if user == "root" else "65534"
    here = str(host.folder / user)
    assert done.stdout.split("\n")[:5] == [uid, uid, here, here, "from stdin"]


def test_options_of_the_command_are_its_own(host, user):
    done = host.run(user, "echo", "-q", "--record", "--", "x")
    assert done.stdout == "-q --record -- x\n"


def test_quiet(host, user):
    ip, port = target("loopback", 4, "http")
    done = host.run(user, *CLIENTS["curl"](f"http://{ip}:{port}/hello"), options=["-q"])
    assert done.stdout == "hello from the origin\n"
    assert done.stderr == ""


def test_record(host, user, family):
    path = host.folder / user / f"flows-{family}.json"
    ip, port = target("remote", family, "https")
    host.run(user, "sh", "-c", f"curl -sSk --noproxy '*' https://name.test:{port}/hello "
             f"--resolve 'name.test:{port}:{authority(ip, port).rsplit(':', 1)[0]}'; "
             f"curl -sS --noproxy '*' 'http://{authority(ip, 80)}/hello'",
             options=["--record", str(path)])
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    flows = {r["dest_port"]: r for r in records if r["proto"] == "TCP"}
    tls, http = flows[443], flows[80]
    assert tls["dest_ip"] == http["dest_ip"] == ip
    assert tls["tls"]["sni"] == "name.test" and tls["tls"]["version"] == "TLS 1.3"
    assert http["http"]["url"] == "/hello" and http["http"]["http_method"] == "GET"
    assert http["http"]["http_user_agent"].startswith("curl/")
    assert http["limpid"]["why"] == tls["limpid"]["why"] == "finished"
    assert http["flow"]["bytes_toclient"] > 20
    datetime.fromisoformat(http["timestamp"].replace("+0000", "+00:00"))


def test_record_of_dns(host, user):
    path = host.folder / user / "flows-dns.json"
    host.run(user, *python(ASK, "127.0.0.53", "unconnected"), options=["--record", str(path)])
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(r["proto"], r["dest_ip"], r["dest_port"]) for r in records] == \
        [("UDP", "127.0.0.53", 53)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_go_on_to_the_command(host, user, number):
    code = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [int(sys.argv[1])])
print("up", flush=True)
signal.sigwait([int(sys.argv[1])])
sys.exit(7)
"""
    with host.popen(user, *python(code, int(number)), stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"up\n"
        child.send_signal(number)
        assert child.wait(20) == 7


def test_command_killed_by_a_forwarded_signal(host, user):
    with host.popen(user, "sh", "-c", "echo up; exec sleep 1000",
                    stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"up\n"
        child.terminate()
        assert child.wait(20) == 143


def test_nothing_stays_behind(host, user):
    """Neither after an orderly end nor when limpid itself is killed."""
    host.run(user, "true")
    eventually(lambda: not host.processes(), "limpid's processes are gone")
    with host.popen(user, "sh", "-c", "echo up; exec sleep 1001",
                    stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"up\n"
        child.kill()
        child.wait(20)
        eventually(lambda: not host.processes(), "limpid's helper is gone")
        child.stdout.read()   # ends when the command has gone too


def test_host_is_left_as_it_was(host, user):
    def state():
        return [host.ns.run(*argv.split()) for argv in (
            "ip rule", "ip -6 rule", "ip route show table all", "ip -6 route show table all",
            "ip -br link", "nft list ruleset")]
    before = state()
    with host.popen(user, "sh", "-c", "echo up; cat", stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"up\n"
        during = state()
        child.stdin.close()
        assert child.wait(20) == 0
    assert before == during == state()


# --- terminals --------------------------------------------------------------------------------
# A wait for a line that no signal can slip past: a handler in Python runs between two of its
# instructions, and not when the signal came just before read(2).
WAITS = """
import os, select, signal, sys
arrived, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake)
def line(on_signal):
	while 0 not in select.select([0, arrived], [], [])[0]:
		for number in os.read(arrived, 64): on_signal(number)
	return os.read(0, 64)
"""


class Terminal:
    """A shell with job control on a terminal of its own."""

    def __init__(self, host, user):
        prefix = NOBODY if user == "nobody" else []
        argv = [*prefix, "bash", "--norc", "--noprofile", "--noediting", "-i"]
        self.script = host.folder / "script.sh"
        env = dict(host.env(user), PS1="", TERM="dumb", L=host.limpid, S=str(self.script))
        with host.ns.enter():
            self.pid, self.fd = pty.fork()
            if self.pid == 0:
                try:
                    os.chdir(host.folder / user)
                    os.execvpe(argv[0], argv, env)
                finally:
                    os._exit(127)
        mode = termios.tcgetattr(self.fd)
        mode[3] &= ~termios.ECHO
        termios.tcsetattr(self.fd, termios.TCSANOW, mode)
        self.text = self.before = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def start(self, script, more=""):
        self.script.write_text(script + "\n", encoding="ascii")
        self.type(f'"$L" run -- sh "$S"{more}\n')

    def until(self, command, pattern):
        """Type a command of the shell again and again until its output matches."""
        for _ in range(200):
            self.type(f"{command}; echo do''ne\n")
            self.wait("done")
            if re.search(pattern, self.before):
                return
            time.sleep(0.05)
        raise AssertionError(f"{command} never said {pattern!r}: {self.before!r}")

    def status(self):
        self.type("echo sta''tus=$?\n")
        return int(self.wait(r"status=(\d+)")[1])

    def wait(self, pattern, seconds=20):
        """Read on until the pattern; forget what was before it."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            left = deadline - time.monotonic()
            assert left > 0, f"never saw {pattern!r} in {self.text!r}"
            if select.select([self.fd], [], [], left)[0]:
                try:
                    self.text += os.read(self.fd, 4096).decode(errors="replace")
                except OSError as e:
                    raise AssertionError(f"the shell ended: {self.text!r}") from e
        self.before, self.text = self.text[:found.start()], self.text[found.end():]
        return found

    def close(self):
        try:
            os.kill(self.pid, signal.SIGHUP)
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.fixture
def terminal(host, user):
    t = Terminal(host, user)
    t.type("stty -echo; echo rea''dy\n")
    t.wait("ready")
    yield t
    t.close()


def test_interrupt(terminal):
    terminal.start("echo up; exec sleep 1002")
    terminal.wait("up")
    terminal.type("\x03")
    assert terminal.status() == 130


def test_interrupt_that_the_command_handles(terminal):
    """The command decides about ^C; limpid stays as long as it does."""
    terminal.start(f"""exec /usr/bin/python3 -I -c '
{WAITS}
signal.signal(signal.SIGINT, lambda *_: None)
os.write(1, b"up\\n")
line(lambda _: os.write(1, b"caught\\n"))
sys.exit(5)
'""")
    terminal.wait("up")
    terminal.type("\x03")
    terminal.wait("caught")
    terminal.type("go\n")
    assert terminal.status() == 5


def test_stop_and_continue(terminal):
    terminal.start("echo up; read x; echo got-$x; exit 4")
    terminal.wait("up")
    terminal.type("\x1a")
    terminal.wait("Stopped")
    terminal.type("fg\n")
    terminal.wait("run")
    terminal.type("line\n")
    terminal.wait("got-line")
    assert terminal.status() == 4


def test_background_job_that_reads_is_stopped(terminal):
    """The whole job stops, as the shell expects, and goes on in the foreground."""
    terminal.start("echo up; read x; echo got-$x; exec sleep 1003", " &")
    terminal.wait("up")
    terminal.until("jobs", "Stopped")
    terminal.type("fg\n")
    terminal.wait("run")
    terminal.type("line\n")
    terminal.wait("got-line")
    terminal.type("\x03")
    assert terminal.status() == 130


def test_continued_in_the_background(terminal):
    terminal.start("echo up; read x; echo got-$x; exit 6")
    terminal.wait("up")
    terminal.type("\x1a")
    terminal.wait("Stopped")
    terminal.type("kill -CONT %1\n")
    terminal.until("jobs", "Stopped")   # it reads again, and is not in the foreground
    terminal.type("fg\n")
    terminal.wait("run")
    terminal.type("line\n")
    terminal.wait("got-line")
    assert terminal.status() == 6


# --- hosts that forbid it ---------------------------------------------------------------------
def test_forbidden_namespaces(host, user, folder):
    """One clear line, status 1, and the command is not run without interception."""
    witness = folder / user / "ran"
    script = ('echo 0 > /proc/sys/user/max_user_namespaces; '
              'echo 0 > /proc/sys/user/max_net_namespaces; exec "$@"')
    prefix = NOBODY if user == "nobody" else []
    done = subprocess.run([*prefix, "unshare", "-r", "sh", "-c", script, "sh", host.limpid, "run",
                           "--", "touch", str(witness)], capture_output=True, text=True,
                          timeout=30, check=False, env=host.env(user))
    assert done.returncode == 1
    assert "namespace" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not pathlib.Path(witness).exists()
