# SPDX-License-Identifier: Apache-2.0
"""Programs that know an HTTP proxy, through `mode: http`, to nginx and to python's server."""
import hashlib
import re
import subprocess

import pytest

from host import PORTS, PYTHON_GET, REMOTE
from lab.limpid import Limpid, binary, check_stderr
from lab.sock import eventually

PROXY = "http://127.0.0.1:4130"
HELLO = "hello from the origin\n"
BIG = hashlib.sha256(bytes(range(256)) * 32768).hexdigest()
CONFIG = """
listeners:
  - { name: http, mode: http, address: ["127.0.0.1:4130", "[::1]:4130"] }
  - { name: known, mode: http, address: "127.0.0.1:4131", users: office }
users: { office: { file: "@USERS@" } }
rules:
  - { name: all, action: accept }
resolver: { servers: [127.0.0.53] }
record: { flows: { file: "@FLOWS@" } }
"""
# A client that asks its proxy by CONNECT, or in absolute form; a server that says things back.
WS_CLIENT = """
import asyncio, socket, sys, websockets
form, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def talk(ws):
	for message in ("text", bytes([0, 255]), "x" * 70000, b"y" * 1200000):
		await ws.send(message)
		assert await ws.recv() == message
	await (await ws.ping())
	await ws.close()
	print("closed with", ws.close_code)

class Absolute(websockets.WebSocketClientProtocol):
	def write_http_request(self, path, headers):
		super().write_http_request(f"http://{host}:{port}{path}", headers)

async def main():
	sock = socket.create_connection(("127.0.0.1", 4130))
	if form == "connect":
		sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n".encode())
		assert b" 200 " in sock.recv(1000)
	kind = Absolute if form == "absolute" else websockets.WebSocketClientProtocol
	async with websockets.connect(f"ws://{host}:{port}/chat", sock=sock, create_protocol=kind,
			max_size=2 << 20) as ws:
		await talk(ws)
asyncio.run(main())
"""
WS_SERVER = """
import asyncio, sys, websockets
async def echo(ws, path):
	assert path == "/chat"
	async for message in ws:
		await ws.send(message)
async def main():
	async with websockets.serve(echo, sys.argv[1], 8001, max_size=2 << 20):
		await asyncio.Future()
asyncio.run(main())
"""
NODE_GET = """
const http = require("http"), [proxy, url] = process.argv.slice(1), to = new URL(proxy);
http.get({host: to.hostname, port: to.port, path: url, headers: {Host: new URL(url).host}},
	(res) => res.on("data", (d) => process.stdout.write(d)));
"""


@pytest.fixture(scope="module")
def limpid(host, tmp_path_factory):
    folder = tmp_path_factory.mktemp("http-clients")
    subprocess.run([binary(), "users", "add", "--file", folder / "users", "ann"], check=True,
                   input=b"open sesame\n")
    running = Limpid(host.ns, CONFIG.replace("@USERS@", str(folder / "users")), folder / "limpid")
    yield running
    check_stderr(running.stderr())
    running.stop()


@pytest.fixture
def run(host, limpid):
    """run(command...): its standard output, through a limpid that is checked afterwards."""
    def call(*command):
        with host.ns.enter():
            done = subprocess.run(command, capture_output=True, timeout=60, check=False,
                                  env=host.env("root"), cwd=str(host.folder / "root"))
        check_stderr(limpid.stderr())
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout
    return call


def url(path="hello", name=REMOTE[4], scheme="http"):
    name = f"[{name}]" if ":" in name else name
    return f"{scheme}://{name}:{PORTS['remote'][scheme]}/{path}"


def curl(*more):
    return ["curl", "-sSkf", "--noproxy", "", "--max-time", "20", "--proxy", PROXY, *more]


@pytest.mark.parametrize("name", [REMOTE[4], REMOTE[6], "www.test"])
def test_curl(run, name):
    assert run(*curl(url(name=name))).decode() == HELLO


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_curl_proxytunnel(run, scheme):
    assert run(*curl("--proxytunnel", url(scheme=scheme))).decode() == HELLO


def test_curl_keeps_its_connection(run):
    out = run(*curl("-w", "%{num_connects} ", url(), url(), url()))
    assert re.sub(r"[^0-9 ]", "", out.decode()).split() == ["1", "0", "0"]


@pytest.mark.parametrize("how", ["--proxy-anyauth", "--proxy-basic"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_curl_logs_in(run, scheme, how):
    """When it has been asked to, on the same connection; or at once."""
    out = run(*curl("--proxy", "http://127.0.0.1:4131", how, "--proxy-user", "ann:open sesame",
                    "-w", "%{num_connects}", url(scheme=scheme)))
    assert out.decode() == HELLO + "1"


@pytest.mark.parametrize("how", [["--http1.0"], ["-I"], ["-r", "0-4"], ["--compressed"]])
def test_curl_in_other_ways(run, how):
    assert run(*curl(*how, url()))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_big(run, scheme):
    got = run(*curl(url("big", scheme=scheme)))
    assert hashlib.sha256(got).hexdigest() == BIG


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_wget(run, scheme):
    got = run("wget", "-q", "--no-check-certificate", "-T", "20", "-t", "1", "-O", "-", "-e",
              "use_proxy=yes", "-e", f"{scheme}_proxy={PROXY}", url(scheme=scheme))
    assert got.decode() == HELLO


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_git(run, host, tmp_path, scheme):
    # pylint: disable=unused-argument
    run("git", "-c", f"http.proxy={PROXY}", "-c", "http.sslVerify=false", "clone", "-q",
        url("repo.git", scheme=scheme), str(tmp_path / "clone"))
    assert (tmp_path / "clone" / "file").read_text(encoding="ascii") == "cloned\n"


def test_python_requests(run):
    got = run("/usr/bin/python3", "-I", "-c", PYTHON_GET, PROXY, url(), url(name="www.test"),
              url(scheme="https"))
    assert got.decode() == HELLO * 3


def test_node(run):
    assert run("node", "-e", NODE_GET, PROXY, url()).decode() == HELLO


@pytest.fixture
def python_server(host):
    """python_server(port, arguments...): a python program that listens there in the neighbour."""
    running = []

    def start(port, *argv):
        with host.neighbour.enter():
            # pylint: disable-next=consider-using-with
            running.append(subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", "/usr/bin/python3", *argv],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        eventually(lambda: f":{port} " in host.neighbour.run("ss", "-ltnH"), "the server listens")
    yield start
    for process in running:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("form", ["connect", "absolute"])
def test_websockets(run, python_server, form):
    python_server(8001, "-c", WS_SERVER, REMOTE[4])
    assert run("/usr/bin/python3", "-c", WS_CLIENT, form, "www.test", "8001") == \
        b"closed with 1000\n"


def test_pythons_server(run, python_server, web_root):
    """HTTP/1.0, content to the end of the connection."""
    python_server(8000, "-m", "http.server", "8000", "--bind", REMOTE[4], "--directory",
                  str(web_root))
    got = run(*curl(f"http://{REMOTE[4]}:8000/hello", f"http://{REMOTE[4]}:8000/hello"))
    assert got.decode() == HELLO * 2


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_line_for_people(run, limpid, scheme):
    """`time | INFO | client => server:port | Accept`, the server by its address."""
    before = len(limpid.stderr())
    run("env", f"{scheme}_proxy=http://localhost:4130", "curl", "-sSkf", "--max-time", "20",
        f"{scheme}://line.test/hello")
    line = (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| INFO \| (127\.0\.0\.1|::1) => "
            rf"(10\.78\.1\.2|\[fd78:1::2\]):{PORTS['remote'][scheme]} \| Accept( \| .*)?")
    eventually(lambda: any(re.fullmatch(line, said) and "line.test" in said
                           for said in limpid.stderr()[before:].splitlines()), "the line")


def test_records(run, limpid):
    run(*curl("-A", "me/1", url(name="seen.test")))
    seen = limpid.records.wait(lambda r: r["event_type"] == "http" and
                               r["http"]["hostname"] == "seen.test")
    assert seen["http"]["http_user_agent"] == "me/1" and seen["http"]["status"] == 200
    assert seen["http"]["length"] == len(HELLO) and seen["dest_ip"] in REMOTE.values()
