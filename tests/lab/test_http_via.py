# SPDX-License-Identifier: Apache-2.0
"""Requests in absolute form whose servers are reached through upstream proxies."""
import pytest

from lab import configs, http, introduce, sock
from lab.http import LISTENERS, Client, Reader, config
from lab.limpid import Limpid
from lab.names import NS
from lab.nameserver import NameServer
from lab.topology import PROXY, SERVER, SERVER_2

UP, PORT = 3128, 7000
ORIGIN = f"{SERVER[4]}:{PORT}"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
VIA = "  - { name: all, action: accept, via: up }"
ONE = "limits: { threads: 1 }\n"


def get(host=ORIGIN, path="/"):
    return f"GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n"


def dialer(kind, more="", port=UP, name="up"):
    return f'  {name}: {{ type: {kind}, address: "{SERVER_2[4]}:{port}"{more} }}\n'


@pytest.fixture
def second(lab, tls_pair, tmp_path):
    """second(mode): one more limpid, the upstream proxy."""
    running = []

    def start(mode, port=UP, **more):
        running.append(Limpid(lab.server, configs.upstream(tls_pair.key.parent, mode, port, **more),
                              tmp_path / str(port)))
        return running[-1]
    yield start
    lab.close_sockets()
    for limpid in running:
        limpid.stop()


def answer(server):
    """The next request of this connection, answered."""
    got = server.message()
    server.sock.sendall(OK)
    return got


@pytest.mark.parametrize("mode, kind, more", [
    ("http", "http", ""), ("socks", "socks5", ""),
    ("https", "https", ", tls: { verify: false }")])
def test_upstream(lab, serve, second, mode, kind, more):
    """Two requests by one tunnel, each with a record that names the dialer."""
    above = second(mode, more=", tls: front" if mode == "https" else "")
    limpid = serve(config(VIA, more=ONE + "dialers:\n" + dialer(kind, more)))
    listener, client = lab.listen(4, SERVER[4], PORT), Client(lab)
    client.send(get(path="/one"))
    server = Reader(lab.accept(listener))
    got = answer(server)
    assert got.first == "GET /one HTTP/1.1" and got.get("Host") == ORIGIN
    assert client.message().body == b"ok"
    client.send(get(path="/two"))
    assert answer(server).first == "GET /two HTTP/1.1" and client.message().body == b"ok"
    first, _ = limpid.records.wait(lambda r: r["event_type"] == "http", count=2)
    assert (first["dest_ip"], first["dest_port"]) == (SERVER[4], PORT)
    assert client.record(limpid)["limpid"]["via"] == "up"
    server.sock.close()
    assert above.records.wait(lambda r: r["dest_port"] == PORT)["limpid"]["why"] == "finished"


def test_chain(lab, serve, second):
    second("http")
    second("https", UP + 1, more=", tls: front")
    second("socks", UP + 2)
    serve(config(VIA, more="dialers:\n" + dialer("http", name="first")
                 + dialer("https", ", via: first, tls: { verify: false }", UP + 1, "middle")
                 + dialer("socks5", ", via: middle", UP + 2)))
    listener, client = lab.listen(4, SERVER[4], PORT), Client(lab)
    client.send(get())
    answer(Reader(lab.accept(listener)))
    assert client.message().body == b"ok"


def test_large_content_both_ways(lab, serve, second):
    second("https", more=", tls: front")
    serve(config(VIA, more="dialers:\n" + dialer("https", ", tls: { verify: false }")))
    listener, client, data = lab.listen(4, SERVER[4], PORT), Client(lab), sock.pattern(3_000_000)
    asking = sock.Background(client.send, f"POST http://{ORIGIN}/ HTTP/1.1\r\nHost: {ORIGIN}\r\n"
                             f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
    server = Reader(lab.accept(listener))
    assert server.message().body == data
    asking.result()
    sending = sock.Background(server.sock.sendall,
                              b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    assert client.message().body == data
    sending.result()


def test_name_goes_on_unresolved(lab, serve):
    """...to an HTTP proxy that the test plays; the second request uses the tunnel again."""
    proxy = lab.listen(4, SERVER_2[4], UP)
    serve(config(VIA, more=ONE + "dialers:\n" + dialer("http", ", user: ada, password: lovelace")))
    client = Client(lab)
    client.send(get("only.there.test:81"))
    tunnel = Reader(lab.accept(proxy))
    asked = tunnel.head()
    assert asked.first == "CONNECT only.there.test:81 HTTP/1.1"
    assert asked.get("Proxy-Authorization") == "Basic YWRhOmxvdmVsYWNl"
    tunnel.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    for path in ("", "again"):
        got = answer(tunnel)
        assert got.first == f"GET /{path} HTTP/1.1" and "Proxy-Authorization" not in got
        assert client.message().body == b"ok"
        if not path:
            client.send(get("only.there.test:81", "/again"))
    assert sock.silent(proxy)


def test_each_by_its_rule(lab, serve):
    """One client, one name direct and one through the proxy; neither connection is the other's."""
    names = NameServer(lab.server, NS, {"near.test": [f"A {SERVER[4]}"]})
    proxy, listener = lab.listen(4, SERVER_2[4], UP), lab.listen(4, SERVER[4], PORT)
    serve(config("  - { name: far, match: { domain: far.test }, action: accept, via: up }\n"
                 "  - { name: rest, action: accept }", more=f"{ONE}dialers:\n{dialer('socks5')}"
                 f"resolver: {{ servers: [{NS}] }}"))
    client = Client(lab)
    client.send(get(f"near.test:{PORT}"))
    near = Reader(lab.accept(listener))
    answer(near)
    assert client.message().body == b"ok"
    client.send(get(f"far.test:{PORT}"))
    far = Reader(lab.accept(proxy))
    assert sock.read_exactly(far.sock, 3) == b"\5\1\0"
    far.sock.sendall(b"\5\0")
    assert sock.read_exactly(far.sock, 15) == b"\5\1\0\3\x08far.test\x1b\x58"
    far.sock.sendall(b"\5\0\0\1\0\0\0\0\0\0")
    assert answer(far).get("Host") == f"far.test:{PORT}"
    assert client.message().body == b"ok"
    client.send(get(f"near.test:{PORT}"))
    answer(near)
    assert client.message().body == b"ok"
    names.close()


def test_record_of_each(lab, serve):
    """What one exchange was told, and by whom, stands in its record and not in the next one's."""
    far = lab.listen(4, SERVER_2[4], UP)
    listener = lab.listen(4, SERVER[4], PORT)
    sender = introduce.TRUSTED[4]
    limpid = serve(config(
        f"  - {{ name: far, match: {{ domain: far.test }}, action: accept, via: up }}\n"
        f"  - {{ name: near, match: {{ port: {PORT} }}, action: accept }}",
        listeners=LISTENERS.replace("mode: http", "mode: http, proxy-protocol: require, "
                                    f"trusted: [{sender}]"), more=ONE + "dialers:\n" + dialer("http")))
    client, who = Client(lab), ("192.0.2.7", 40007)
    client.send(introduce.v1(who, (PROXY[4], http.PORT)))
    client.send(get("far.test:81"))
    tunnel = Reader(lab.accept(far))
    tunnel.head()
    tunnel.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    answer(tunnel)
    assert client.message().body == b"ok"
    client.send(f"GET http://{ORIGIN}/ HTTP/1.1\r\nHost: other.test\r\n\r\n")
    answer(Reader(lab.accept(listener)))
    assert client.message().body == b"ok"
    assert client.ask(get("no.test:82")).status == 403
    seen = limpid.records.wait(lambda r: r["event_type"] == "http", count=3)
    header = {"version": 1, "sender_ip": sender, "sender_port": client.name[1]}
    by_far, by_near, refused = ({k: v for k, v in r["limpid"].items() if k != "start"}
                                for r in seen)
    same = {"listener": "proxy", "inspected": False, "proxy_header": header}
    assert by_far == same | {"target_name": "far.test", "rule": "far", "action": "accept",
                             "via": "up", "source": "own", "why": "finished"}
    assert by_near == same | {"mismatch": True, "rule": "near", "action": "accept",
                              "source": "own", "why": "finished"}
    assert refused == same | {"target_name": "no.test", "action": "deny", "why": "denied"}


def test_same_target_by_two_ways(lab, serve):
    """A connection through a proxy is not given to whom policy sends directly."""
    proxy, listener = lab.listen(4, SERVER_2[4], UP), lab.listen(4, SERVER[4], PORT)
    other = f'  - {{ name: other, mode: http, address: "{PROXY[4]}:{http.PORT + 1}" }}\n'
    serve(config("  - { name: rest, match: { listener: other }, action: accept }\n" + VIA,
                 listeners=LISTENERS + other, more=f"{ONE}dialers:\n{dialer('http')}"))
    client = Client(lab)
    client.send(get())
    far = Reader(lab.accept(proxy))
    assert far.head().first == f"CONNECT {ORIGIN} HTTP/1.1"
    far.sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    answer(far)
    assert client.message().body == b"ok"
    other = Client(lab, port=http.PORT + 1)
    other.send(get())
    answer(Reader(lab.accept(listener)))
    assert other.message().body == b"ok"


@pytest.mark.parametrize("said, status, why", [
    (b"HTTP/1.1 403 no\r\n\r\n", 403, "proxy-refused"),
    (b"HTTP/1.1 407 who\r\n\r\n", 502, "proxy-login"),
    (b"HTTP/1.1 502 x\r\n\r\n", 502, "server-unreachable"),
    (b"HTTP/1.1 504 x\r\n\r\n", 504, "connect-timeout"), (b"SSH-2.0-x\r\n", 502, "proxy-failed")])
def test_upstream_that_says_no(lab, serve, said, status, why):
    """The client gets a page, and its connection goes on."""
    proxy = lab.listen(4, SERVER_2[4], UP)
    limpid = serve(config(VIA, more="dialers:\n" + dialer("http")))
    client = Client(lab)
    for _ in range(2):
        client.send(get())
        tunnel = Reader(lab.accept(proxy))
        tunnel.head()
        tunnel.sock.sendall(said)
        tunnel.sock.close()
        message = client.message()
        assert message.status == status and why.encode() in message.body
    seen = limpid.records.wait(lambda r: r["event_type"] == "http" and
                               r["src_port"] == client.name[1])
    assert seen["limpid"]["why"] == why


def test_no_upstream(lab, serve):
    serve(config(VIA, more="dialers:\n" + dialer("socks5")))
    assert Client(lab).ask(get()).status == 502


def test_websocket(lab, serve, second):
    second("socks")
    serve(config(VIA, more="dialers:\n" + dialer("socks5")))
    listener, client = lab.listen(4, SERVER[4], PORT), Client(lab)
    client.send(get()[:-2] + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    server = Reader(lab.accept(listener))
    assert server.head().get("Upgrade") == "websocket"
    server.sock.sendall(b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert client.head().status == 101
    client.send("up")
    assert sock.read_exactly(server.sock, 2) == b"up"
    server.sock.sendall(b"down")
    assert sock.read_exactly(client.sock, 4) == b"down"


def test_stale_tunnel_is_tried_once_more(lab, serve, second):
    second("http")
    serve(config(VIA, more=ONE + "dialers:\n" + dialer("http")))
    listener, client = lab.listen(4, SERVER[4], PORT), Client(lab)
    client.send(get())
    server = Reader(lab.accept(listener))
    answer(server)
    assert client.message().body == b"ok"
    client.send(get())
    server.message()
    server.sock.close()
    answer(Reader(lab.accept(listener)))
    assert client.message().body == b"ok"


def test_http_errors_of_the_server_are_its_own(lab, serve, second):
    second("http")
    serve(config(VIA, more="dialers:\n" + dialer("http")))
    listener, client = lab.listen(4, SERVER[4], PORT), Client(lab)
    client.send(get())
    server = Reader(lab.accept(listener))
    server.message()
    server.sock.sendall(b"HTTP/1.1 407 Mine\r\nContent-Length: 0\r\n\r\n")
    message = client.message()
    assert message.first == "HTTP/1.1 407 Mine"
