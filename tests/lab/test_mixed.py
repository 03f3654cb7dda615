# SPDX-License-Identifier: Apache-2.0
"""mode: mixed: SOCKS and HTTP on one port, in the clear and inside TLS, told apart by a byte."""
import shutil
import socket
import ssl
import subprocess

import pytest

from lab import configs, sock
from lab import socks as s5
from lab.http import page, Reader
from lab.topology import CLIENT, PROXY, SERVER

PORT = 54128
CONNECT = "CONNECT 10.77.2.2:7000 HTTP/1.1\r\nHost: 10.77.2.2:7000\r\n\r\n".encode()


def config(folder=None, more=""):
    tls = f'tls: {{ front: {{ certificate: "{folder}/certificate.pem", key: "{folder}/key.pem" }} }}'
    return f"""
listeners:
  - {{ name: any, mode: mixed, address: ["{PROXY[4]}:{PORT}"]{", tls: front" if folder else ""} }}
rules: [ {{ name: all, action: accept }} ]
timeouts: {{ connect: 2s, sniff: 700ms }}
{tls if folder else ""}
{more}
{configs.RECORD}
"""


@pytest.fixture(params=["plain", "tls-too", "inside-tls"])
def mixed(request, lab, serve, tls_pair):
    """mixed(): a new connection to the port; `inside-tls`: all that is said is in TLS."""
    folder = None if request.param == "plain" else tls_pair.key.parent

    def connect():
        s = lab.socket(lab.client, 4)
        s.bind((CLIENT["routed"][4], lab.free_port()))
        s.connect((PROXY[4], PORT))
        if request.param != "inside-tls":
            return s
        s = tls_pair.client_context.wrap_socket(s, server_hostname="name.test",
                                                suppress_ragged_eofs=False)
        lab.sockets.append(s)
        return s

    connect.limpid = serve(config(folder))
    connect.listener = lab.listen(4, SERVER[4], 7000)
    return connect


def tunnel(lab, mixed, client):
    """The tunnel carries both ways, and to its end."""
    server = lab.accept(mixed.listener)
    name = client.getsockname()
    client.sendall(b"question")
    assert sock.read_exactly(server, 8) == b"question"
    server.sendall(b"answer")
    server.shutdown(socket.SHUT_WR)
    assert sock.read_exactly(client, 6) == b"answer" and client.recv(1) == b""
    client.close()
    server.close()
    record = mixed.limpid.records.of(name)
    assert (record["dest_ip"], record["dest_port"]) == (SERVER[4], 7000)
    assert record["limpid"]["listener"] == "any"


@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "bytes"])
@pytest.mark.parametrize("version", [4, 5])
def test_socks(lab, mixed, version, pieces):
    client = mixed()
    greetings = [(s5.request4(SERVER[4], 7000), b"")] if version == 4 else \
        [(b"\5\1\0", b"\5\0"), (s5.request5(SERVER[4], 7000), b"")]
    for greeting, answer in greetings:
        for part in [bytes([b]) for b in greeting] if pieces else [greeting]:
            client.sendall(part)
        assert sock.read_exactly(client, len(answer)) == answer
    reply = (s5.read_reply4 if version == 4 else s5.read_reply5)(client)
    assert reply.status == (s5.GRANTED if version == 4 else s5.OK)
    tunnel(lab, mixed, client)


@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "bytes"])
def test_connect(lab, mixed, pieces):
    client = mixed()
    for part in [bytes([b]) for b in CONNECT] if pieces else [CONNECT]:
        client.sendall(part)
    answer = Reader(client).message(no_body=True)
    assert answer.first == "HTTP/1.1 200 Connection established"
    tunnel(lab, mixed, client)


def test_what_is_said_in_the_tunnel_is_no_second_greeting(lab, mixed):
    """A tunnel to another proxy: its requests are that one's, whatever they look like."""
    client = mixed()
    client.sendall(b"\5\1\0" + s5.request5(SERVER[4], 7000) + CONNECT)
    assert sock.read_exactly(client, 2) == b"\5\0" and s5.read_reply5(client).status == s5.OK
    server = lab.accept(mixed.listener)
    assert sock.read_exactly(server, len(CONNECT)) == CONNECT


@pytest.mark.parametrize("greeting", [b"SSH-2.0-x\r\n", b"\0\0\0\0", b"\x80\x2e\1\3\1"],
                         ids=["ssh", "zeros", "ssl2"])
def test_none_of_them(lab, mixed, greeting):
    client = mixed()
    name = client.getsockname()
    client.sendall(greeting)
    page(Reader(client).message(), 400)
    assert client.recv(1) == b"" and sock.silent(mixed.listener)
    client.close()
    assert mixed.limpid.records.of(name)["limpid"]["why"] == "greeting"


def test_silent_client(lab, mixed):
    """Nobody knows which protocol it would be told in: it is reset."""
    client = mixed()
    name = client.getsockname()
    try:
        assert client.recv(1) == b""
    except (ConnectionResetError, ssl.SSLError):
        pass
    assert mixed.limpid.records.of(name)["limpid"]["why"] == "no-target"


@pytest.mark.parametrize("mixed", ["plain"], indirect=True)
def test_tls_without_a_certificate(mixed):
    client = mixed()
    name = client.getsockname()
    client.sendall(bytes([22, 3, 1, 0, 5, 1, 0, 0, 1, 0]))
    assert b"400" in client.recv(1000)
    client.close()
    assert mixed.limpid.records.of(name)["limpid"]["why"] == "greeting"


# --- clients as they are installed ------------------------------------------------------------
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n"
NODE = f"""
const net = require('net');
const s = net.connect({PORT}, '{PROXY[4]}', () =>
    s.write('CONNECT {SERVER[4]}:7000 HTTP/1.1\\r\\nHost: {SERVER[4]}:7000\\r\\n\\r\\n'));
s.once('data', d => {{
    if (!d.toString().startsWith('HTTP/1.1 200 ')) process.exit(1);
    require('http').get({{ host: '{SERVER[4]}', port: 7000, createConnection: () => s }},
        r => r.pipe(process.stdout));
}});
"""


def curl(*options):
    return ["curl", "-sS", "--noproxy", "", "--max-time", "20", *options,
            f"http://{SERVER[4]}:7000/"]


def proxied(scheme):
    code = (f"import requests; p = '{scheme}://{PROXY[4]}:{PORT}'; print(requests.get("
            f"'http://{SERVER[4]}:7000/', proxies={{'http': p}}, timeout=20).text, end='')")
    return ["/usr/bin/python3", "-c", code]


CLIENTS = {
    "curl-socks4": curl("--socks4", f"{PROXY[4]}:{PORT}"),
    "curl-socks4a": curl("--socks4a", f"{PROXY[4]}:{PORT}"),
    "curl-socks5": curl("--socks5", f"{PROXY[4]}:{PORT}"),
    "curl-socks5-hostname": curl("--socks5-hostname", f"{PROXY[4]}:{PORT}"),
    "curl-proxytunnel": curl("--proxytunnel", "--proxy", f"http://{PROXY[4]}:{PORT}"),
    "curl-https-proxy": curl("--proxytunnel", "--proxy-insecure", "--proxy",
                             f"https://{PROXY[4]}:{PORT}"),
    "node": ["node", "-e", NODE],
    "requests-socks5": proxied("socks5"),
    "curl-proxy": curl("--proxy", f"http://{PROXY[4]}:{PORT}"),
    "requests-http": proxied("http"),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_client(lab, serve, tls_pair, client):
    argv = CLIENTS[client]
    if not shutil.which(argv[0]):
        pytest.skip(f"{argv[0]} is not installed")
    if "requests" in client and subprocess.run(
            [argv[0], "-c", "import requests, socks"], capture_output=True, check=False).returncode:
        pytest.skip("requests, or its socks (python3-socks), is not installed")
    limpid = serve(config(tls_pair.key.parent))
    listener = lab.listen(4, SERVER[4], 7000)

    def origin():
        server = lab.accept(listener)
        request = Reader(server).head()
        server.sendall(HELLO)
        server.close()
        return request

    answering = sock.Background(origin)
    assert lab.client.run(*argv) == "hello\n"
    assert answering.result().first == "GET / HTTP/1.1"
    assert limpid.records.wait(lambda r: True)["limpid"]["listener"] == "any"
