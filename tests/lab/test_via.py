# SPDX-License-Identifier: Apache-2.0
"""Rules that dial through upstream proxies: `via`.

The proxies stand in the server's namespace: real ones, scripted ones, and a second limpid.
"""
import itertools
import subprocess

import pytest

from lab import configs, sock
from lab.http import Reader
from lab.limpid import Limpid
from lab.topology import CLIENT, PROXY, SERVER, SERVER_2

PORT, TARGET_PORT, UP = 52090, 7000, 3128
TO = f"{SERVER[4]}:{TARGET_PORT}"
numbers = itertools.count()


def config(dialers, to=TO, rule="via: up", more=""):
    return f"""# {next(numbers)}
listeners:
  - {{ name: in, mode: fixed, sniff: false, to: "{to}", address: ["{PROXY[4]}:{PORT}"] }}
dialers:
{dialers}
rules:
  - {{ name: all, action: accept, {rule} }}
timeouts: {{ connect: 3s }}
{more}
{configs.RECORD}
"""


def up(kind, more="", address=f"{SERVER_2[4]}:{UP}", name="up"):
    return f'  {name}: {{ type: {kind}, address: "{address}"{more} }}'


LOGIN = ", user: ada, password: lovelace"


class Via:
    def __init__(self, lab, serve):
        self.lab, self.serve = lab, serve
        self.limpid = None
        self.processes = []
        self.limpids = []
        self.target = None

    def start(self, *more, **options):
        self.limpid = self.serve(config(*more, **options))
        self.target = self.lab.listen(4, SERVER[4], TARGET_PORT)

    def program(self, *argv, port=UP):
        with self.lab.server.enter():
            # pylint: disable-next=consider-using-with
            process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *argv],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
        self.processes.append(process)
        sock.eventually(lambda: f":{port} " in self.lab.server.run("ss", "-ltnH"),
                        f"{argv[0]} listens")

    def second(self, text, folder):
        self.limpids.append(Limpid(self.lab.server, text, folder))
        return self.limpids[-1]

    def connect(self):
        s = self.lab.socket(self.lab.client, 4)
        s.bind((CLIENT["routed"][4], self.lab.free_port()))
        s.connect((PROXY[4], PORT))
        return s

    def works(self):
        """Bytes cross both ways, and the ends; the record."""
        client = self.connect()
        name = client.getsockname()
        client.sendall(b"question")
        server = self.lab.accept(self.target)
        assert sock.read_exactly(server, 8) == b"question"
        data = sock.pattern(2_000_000)
        sending = sock.Background(server.sendall, data)
        assert sock.read_exactly(client, len(data)) == data
        sending.result()
        client.shutdown(1)
        assert sock.read_to_end(server) == b""
        server.close()
        assert sock.read_to_end(client) == b""
        client.close()
        record = self.limpid.records.of(name)
        assert record["limpid"]["via"] == "up" and record["limpid"]["why"] == "finished"
        return record

    def why(self):
        client = self.lab.socket(self.lab.client, 4)
        client.bind((CLIENT["routed"][4], self.lab.free_port()))
        name = client.getsockname()
        try:
            client.connect((PROXY[4], PORT))
            assert sock.read_to_reset(client) == b""
        except ConnectionResetError:
            pass
        return self.limpid.records.of(name)["limpid"]["why"]

    def close(self):
        for process in self.processes:
            process.terminate()
            process.wait()
        for limpid in self.limpids:
            limpid.stop()
        sock.eventually(lambda: f":{UP} " not in self.lab.server.run("ss", "-ltnH"),
                        "the proxies' children have gone, too")


@pytest.fixture
def via(lab, serve):
    v = Via(lab, serve)
    yield v
    lab.close_sockets()
    v.close()


# --- real proxies -----------------------------------------------------------------------------
def test_microsocks(via):
    via.program("microsocks", "-i", SERVER_2[4], "-p", str(UP))
    via.start(up("socks5"))
    record = via.works()
    assert (record["dest_ip"], record["dest_port"]) == (SERVER[4], TARGET_PORT)


def test_microsocks_with_password(via):
    via.program("microsocks", "-i", SERVER_2[4], "-p", str(UP), "-u", "ada", "-P", "lovelace")
    via.start(up("socks5", LOGIN))
    via.works()


def test_microsocks_wrong_password(via):
    via.program("microsocks", "-i", SERVER_2[4], "-p", str(UP), "-u", "ada", "-P", "lovelace")
    via.start(up("socks5", ", user: ada, password: babbage"))
    assert via.why() == "proxy-login"


def test_microsocks_without_password(via):
    via.program("microsocks", "-i", SERVER_2[4], "-p", str(UP), "-u", "ada", "-P", "lovelace")
    via.start(up("socks5"))
    assert via.why() == "proxy-login"


def test_password_of_a_file(via, tmp_path):
    (tmp_path / "secret").write_text("lovelace\n", encoding="ascii")
    via.program("microsocks", "-i", SERVER_2[4], "-p", str(UP), "-u", "ada", "-P", "lovelace")
    via.start(up("socks5", f', user: ada, password-file: "{tmp_path}/secret"'))
    via.works()


def test_microsocks_target_refuses(via):
    via.program("microsocks", "-i", SERVER_2[4], "-p", str(UP))
    via.start(up("socks5"))
    via.target.close()
    assert via.why() == "server-refused"


def dante(via, folder, rules):
    path = folder / "danted.conf"
    path.write_text(f"""
errorlog: /dev/null
internal: {SERVER_2[4]} port = {UP}
external: {SERVER_2[4]}
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
{rules}
""", encoding="ascii")
    via.program("danted", "-f", str(path), "-p", str(folder / "pid"))


def test_dante(via, tmp_path):
    dante(via, tmp_path, "socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }")
    via.start(up("socks5"))
    via.works()


def test_dante_refuses(via, tmp_path):
    dante(via, tmp_path, "socks block { from: 0.0.0.0/0 to: 0.0.0.0/0 }")
    via.start(up("socks5"))
    assert via.why() == "proxy-refused"


def tinyproxy(via, folder, more=""):
    path = folder / "tinyproxy.conf"
    path.write_text(f"Port {UP}\nListen {SERVER_2[4]}\nTimeout 60\nMaxClients 20\n{more}\n",
                    encoding="ascii")
    via.program("tinyproxy", "-d", "-c", str(path))


def test_tinyproxy(via, tmp_path):
    tinyproxy(via, tmp_path)
    via.start(up("http"))
    via.works()


@pytest.mark.parametrize("password, why", [("lovelace", None), ("babbage", "proxy-login")])
def test_tinyproxy_with_password(via, tmp_path, password, why):
    tinyproxy(via, tmp_path, "BasicAuth ada lovelace")
    via.start(up("http", f", user: ada, password: {password}"))
    if why:
        assert via.why() in (why, "proxy-refused")  # it answers 401 where 407 is due
    else:
        via.works()


def test_tinyproxy_refuses_the_port(via, tmp_path):
    tinyproxy(via, tmp_path, "ConnectPort 443")
    via.start(up("http"))
    assert via.why() == "proxy-refused"


def test_tinyproxy_target_refuses(via, tmp_path):
    tinyproxy(via, tmp_path)
    via.start(up("http"))
    via.target.close()
    assert via.why() == "server-unreachable"


# --- a second limpid, TLS, chains ----------------------------------------------------------------
def test_https(via, tls_pair, tmp_path):
    folder = tls_pair.key.parent
    second = via.second(configs.upstream(folder, more=", tls: front"), tmp_path)
    via.start(up("https", f', tls: {{ ca: "{folder}/certificate.pem", name: name.test }}'))
    via.works()
    record = second.records.wait(lambda r: r["dest_port"] == TARGET_PORT)
    assert record["limpid"]["why"] == "finished"


@pytest.mark.parametrize("tls", ["{ name: name.test }", '{ ca: "@/certificate.pem" }',
                                 '{ ca: "@/certificate.pem", name: other.test }'],
                         ids=["not trusted", "its address", "another name"])
def test_https_that_is_not_who_it_should_be(via, tls_pair, tmp_path, tls):
    folder = tls_pair.key.parent
    via.second(configs.upstream(folder, more=", tls: front"), tmp_path)
    via.start(up("https", ", tls: " + tls.replace("@", str(folder))))
    assert via.why() == "server-tls"


def test_https_not_verified(via, tls_pair, tmp_path):
    via.second(configs.upstream(tls_pair.key.parent, more=", tls: front"), tmp_path)
    via.start(up("https", ", tls: { verify: false }"))
    via.works()


def test_chain(via, tls_pair, tmp_path):
    """SOCKS through HTTPS through HTTP: TLS inside a tunnel, and a tunnel inside that."""
    folder = tls_pair.key.parent
    via.second(configs.upstream(folder, mode="http"), tmp_path / "http")
    via.second(configs.upstream(folder, port=UP + 1, more=", tls: front"), tmp_path / "https")
    via.second(configs.upstream(folder, mode="socks", port=UP + 2), tmp_path / "socks")
    via.start("\n".join([
        up("http", name="first"),
        up("https", ", via: first, tls: { verify: false }", f"{SERVER_2[4]}:{UP + 1}", "middle"),
        up("socks5", ", via: middle", f"{SERVER_2[4]}:{UP + 2}")]))
    via.works()


def test_refused_by_the_second_limpid(via, tls_pair, tmp_path):
    via.second(configs.upstream(tls_pair.key.parent, mode="socks",
                        rules="  - { name: no, match: { port: 7000 }, action: reject }\n"),
               tmp_path)
    via.start(up("socks5"))
    assert via.why() == "proxy-refused"


def brief(value):
    return value[:13].hex() if isinstance(value, bytes) else value


# --- scripted proxies --------------------------------------------------------------------------
def test_every_byte_alone_and_the_server_first(via):
    """Answers come in crumbs, and what the server says first comes with the last of them."""
    listener = via.lab.listen(4, SERVER_2[4], UP)
    via.start(up("socks5"))
    client = via.connect()
    proxy = via.lab.accept(listener)
    assert sock.read_exactly(proxy, 3) == b"\x05\x01\x00"
    proxy.sendall(b"\x05")
    assert sock.silent(proxy)
    proxy.sendall(b"\x00")
    assert sock.read_exactly(proxy, 10) == b"\x05\x01\x00\x01\x0a\x4d\x02\x02\x1b\x58"
    for byte in b"\x05\x00\x00\x03\x04name\x00\x50"[:-1]:
        proxy.sendall(bytes([byte]))
    proxy.sendall(b"\x50220 hello")
    assert sock.read_exactly(client, 9) == b"220 hello"


@pytest.mark.parametrize("cut", [1, 12, 30, 37, 38, 43])
def test_bytes_behind_an_http_answer(via, cut):
    listener = via.lab.listen(4, SERVER_2[4], UP)
    via.start(up("http", LOGIN))
    client = via.connect()
    proxy = via.lab.accept(listener)
    assert Reader(proxy).head().raw_head == (
        f"CONNECT {TO} HTTP/1.1\r\nHost: {TO}\r\nProxy-Authorization: Basic "
        "YWRhOmxvdmVsYWNl\r\n\r\n").encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n220 hello"
    proxy.sendall(answer[:cut])
    if cut <= answer.index(b"220"):
        assert sock.silent(client, 0.05)
    proxy.sendall(answer[cut:])
    assert sock.read_exactly(client, 9) == b"220 hello"
    big = sock.pattern(3_000_000)  # enough to splice
    sending = sock.Background(proxy.sendall, big)
    assert sock.read_exactly(client, len(big)) == big
    sending.result()


def ends_with(via, kind, said, why):
    """An upstream proxy says this, and then it dies."""
    listener = via.lab.listen(4, SERVER_2[4], UP)
    via.start(up(kind))
    client = via.connect()
    name = client.getsockname()
    proxy = via.lab.accept(listener)
    proxy.sendall(said)
    try:
        proxy.shutdown(1)
    except OSError:
        pass  # it has been left already
    assert sock.read_to_reset(client) == b""
    assert via.limpid.records.of(name)["limpid"]["why"] == why


@pytest.mark.parametrize("said, why", [
    (b"", "proxy-failed"), (b"\x05", "proxy-failed"), (b"\x04\x00", "proxy-failed"),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "proxy-failed"), (b"\x05\xff", "proxy-login"),
    (b"\x05\x02", "proxy-login"), (b"\x05\x00\x05\x00\x00", "proxy-failed"),
    (b"\x05\x00\x05\x03\x00\x01\0\0\0\0\0\0", "server-unreachable"),
    (b"\x05\x00\x05\x06\x00\x01\0\0\0\0\0\0", "connect-timeout"),
    (b"\x05\x00\x05\x00\x00\x09\0\0\0\0\0\0", "proxy-failed"),
], ids=brief)
def test_socks_answers(via, said, why):
    ends_with(via, "socks5", said, why)


@pytest.mark.parametrize("said, why", [
    (b"HTTP/1.1 403 no\r\n\r\n", "proxy-refused"), (b"HTTP/1.0 407 who\r\n\r\n", "proxy-login"),
    (b"HTTP/1.1 502 x\r\n\r\n", "server-unreachable"), (b"HTTP/1.1 504\r\n\r\n", "connect-timeout"),
    (b"HTTP/1.1 200 OK\r\n", "proxy-failed"), (b"SSH-2.0-x\r\n", "proxy-failed"),
    (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20000, "proxy-failed"),
], ids=brief)
def test_http_answers(via, said, why):
    ends_with(via, "http", said, why)


def test_silent_proxy(via):
    listener = via.lab.listen(4, SERVER_2[4], UP)
    via.start(up("socks5"))
    client = via.connect()
    name = client.getsockname()
    proxy = via.lab.accept(listener)
    assert sock.read_to_reset(client) == b""
    assert via.limpid.records.of(name)["limpid"]["why"] == "connect-timeout"
    assert sock.read_exactly(proxy, 3) == b"\x05\x01\x00"


def test_no_proxy_there(via):
    via.start(up("socks5"))
    assert via.why() == "proxy-failed"


def test_proxy_that_is_limpid_itself(via):
    via.start(up("socks5", address=f"{PROXY[4]}:{PORT}"))
    assert via.why() == "loop"


def test_client_leaves_meanwhile(via):
    listener = via.lab.listen(4, SERVER_2[4], UP)
    via.start(up("socks5"))
    client = via.connect()
    name = client.getsockname()
    proxy = via.lab.accept(listener)
    assert sock.read_exactly(proxy, 3) == b"\x05\x01\x00"
    sock.reset(client)
    assert via.limpid.records.of(name)["limpid"]["why"] == "client-gone"
    sock.read_to_reset(proxy)


# --- names -----------------------------------------------------------------------------------
def test_a_name_goes_on_unresolved(via):
    listener = via.lab.listen(4, SERVER_2[4], UP)
    via.start(up("socks5"), to=f"only.there.test:{TARGET_PORT}")
    client = via.connect()
    proxy = via.lab.accept(listener)
    assert sock.read_exactly(proxy, 3) == b"\x05\x01\x00"
    proxy.sendall(b"\x05\x00")
    assert sock.read_exactly(proxy, 22) == b"\x05\x01\x00\x03\x0fonly.there.test\x1b\x58"
    proxy.sendall(b"\x05\x00\x00\x01\0\0\0\0\0\0" + b"hello")
    assert sock.read_exactly(client, 5) == b"hello"


def test_a_rule_has_to_know_the_address(forward, lab):
    """The name is resolved, policy is asked, and the proxy is told the address."""
    forward.name_server({"db.test": [f"A {SERVER[4]}"]})
    listener = lab.listen(4, SERVER_2[4], UP)
    forward.start(rules=f"  - {{ name: there, match: {{ destination: {SERVER[4]} }}, "
                        "action: accept, via: up }", more=f"dialers:\n{up('socks5')}")
    client = forward.connect()
    proxy = lab.accept(listener)
    proxy.sendall(b"\x05\x00")
    assert sock.read_exactly(proxy, 13)[3:] == b"\x05\x01\x00\x01\x0a\x4d\x02\x02\x1b\x58"
    proxy.sendall(b"\x05\x00\x00\x01\0\0\0\0\0\0" + b"hello")
    assert sock.read_exactly(client, 5) == b"hello"


def test_a_proxy_that_has_a_name(forward, lab):
    forward.name_server({"proxy.test": [f"A {SERVER_2[4]}"]})
    listener = lab.listen(4, SERVER_2[4], UP)
    forward.start(to=f"10.9.8.7:{TARGET_PORT}", rules="  - { name: all, action: accept, via: up }",
                  more=f"dialers:\n{up('socks5', address=f'proxy.test:{UP}')}")
    client = forward.connect()
    proxy = lab.accept(listener)
    proxy.sendall(b"\x05\x00")
    assert sock.read_exactly(proxy, 13)[3:] == b"\x05\x01\x00\x01\x0a\x09\x08\x07\x1b\x58"
    proxy.sendall(b"\x05\x00\x00\x01\0\0\0\0\0\0" + b"hello")
    assert sock.read_exactly(client, 5) == b"hello"


def test_a_proxy_whose_name_is_unknown(forward):
    forward.name_server({})
    forward.start(rules="  - { name: all, action: accept, via: up }",
                  more=f"dialers:\n{up('http', address=f'proxy.test:{UP}')}")
    assert forward.why() == "proxy-failed"
