# SPDX-License-Identifier: Apache-2.0
"""Interceptors and requests in absolute form: each exchange is shown as a flow of its own."""
import pytest

from lab import sock
from lab.http import PORT, Client, Reader, config, page
from lab.installed import Installed, Program
from lab.limpid import Records
from lab.topology import SERVER, SERVER_2

ORIGIN = f"{SERVER[4]}:7000"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(path, host=ORIGIN, more=""):
    return f"GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"


class Watched:
    def __init__(self, lab, program, folder):
        self.lab, self.program = lab, program
        self.records = Records(folder / "flows")
        self.listener = lab.listen(4, SERVER[4], 7000)

    def client(self):
        return Client(self.lab)

    def exchange(self, client, path, answer=OK, more="", close=True):
        """A request by a connection of its own, and its answer; what each side got."""
        client.send(get(path, more=more))
        server = Reader(self.lab.accept(self.listener))
        got = server.message()
        server.sock.sendall(answer)
        if close:
            server.sock.close()
        return got, client.message()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def watched(tmp_path, installed, lab, keeper):
    keeper.stop()
    path = tmp_path / "limpid.yaml"
    path.write_text(config().replace("@FLOWS@", str(tmp_path / "flows")))
    program = Program(installed, lab.proxy,
                      [installed.build("tests/lab/programs/exchanges.c", "shared"), path], tmp_path,
                      [("tcp", PORT)])
    yield Watched(lab, program, tmp_path)
    lab.close_sockets()
    program.process.terminate()
    assert program.wait() == 0


def test_each_exchange_is_a_flow(watched, lab):
    client, other = watched.client(), lab.listen(4, SERVER_2[4], 7000)
    got, answer = watched.exchange(client, "/one")
    assert got.get("Connection") == "close" and answer.body == b"ok"
    assert "Connection" not in answer
    client.send(get("/two", "10.77.2.3:7000"))
    server = Reader(lab.accept(other))
    length = len(server.message().raw_head)
    server.sock.sendall(OK)
    assert client.message().body == b"ok"
    watched.program.line(f"close /two {length} {len(OK)}")
    assert watched.program.lines() == [
        f"open {ORIGIN}", "end /one up", "end /one down",
        f"close /one {len(got.raw_head)} {len(OK)}",
        "open 10.77.2.3:7000", "end /two up", "end /two down", f"close /two {length} {len(OK)}"]
    assert len(watched.records.wait(lambda r: r["event_type"] == "http", count=2)) == 2


def test_answer_is_changed(watched):
    chunked = b"HTTP/1.1 200 ok\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    client = watched.client()
    for _ in range(2):
        _, answer = watched.exchange(client, "/shout", chunked)
        assert answer.first == "HTTP/1.1 200 OK" and answer.body == b"HELLO"


@pytest.mark.parametrize("head", [b"Content-Length: 5000\r\n", b""], ids=["length", "to the end"])
def test_held_to_the_end(watched, head):
    """The answer goes on as a whole when the server has ended."""
    client, data = watched.client(), sock.pattern(5000)
    client.send(get("/hold"))
    server = Reader(watched.lab.accept(watched.listener))
    server.message()
    server.sock.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + data)
    assert sock.silent(client.sock)
    server.sock.close()
    assert client.message().body == data


def test_trailers_behind_as_much_as_is_written_at_once(watched):
    """What goes on may be longer than what came: the answer is whole all the same."""
    trailers = "".join(f"x{i}:\r\n" for i in range(100))
    for size in range((128 << 10) - 200 - len(trailers), (128 << 10) - 30, 64):
        _, answer = watched.exchange(
            watched.client(), "/hold", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
            f"{size:x}\r\n{'x' * size}\r\n0\r\n{trailers}\r\n".encode())
        assert len(answer.body) == size and answer.trailers.count(b"\r\n") == 100


def test_more_at_the_end(watched):
    """Of an answer that ends with its connection."""
    _, answer = watched.exchange(watched.client(), "/more", b"HTTP/1.1 200 OK\r\n\r\nall")
    assert answer.body == b"all and more"
    _, answer = watched.exchange(watched.client(), "/more", OK)
    assert answer.body == b"ok"


def test_request_is_changed(watched):
    """What was put behind it is for this server, and for no other request."""
    client = watched.client()
    client.send(get("/longer"))
    server = Reader(watched.lab.accept(watched.listener))
    assert server.message().first == "GET /longer HTTP/1.1"
    assert server.head().first == "GET /another HTTP/1.1"
    server.sock.sendall(OK + OK)
    assert client.message().body == b"ok"
    _, answer = watched.exchange(client, "/next", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert answer.get("Content-Length") == "0"


def test_content_that_comes_before_the_server(watched):
    data = sock.pattern(300_000)
    client = watched.client()
    asking = sock.Background(client.send, get("/post", more=f"Content-Length: {len(data)}\r\n")
                             .replace("GET", "POST").encode() + data)
    server = Reader(watched.lab.accept(watched.listener))
    got = server.message()
    assert got.body == data
    asking.result()
    server.sock.sendall(OK)
    assert client.message().body == b"ok"
    watched.program.line(f"close /post {len(got.raw_head) + len(data)} {len(OK)}")


def test_broken_answer(watched):
    """Nothing of it goes on: the client is told so, and its connection goes on."""
    client = watched.client()
    _, answer = watched.exchange(client, "/break")
    assert answer.status == 502
    assert watched.exchange(client, "/next")[1].body == b"ok"


def test_interceptor_ends_it(watched):
    client = watched.client()
    client.send(get("/refuse"))
    sock.read_to_reset(client.sock)
    assert watched.records.of(client.name)["limpid"]["why"] == "filter"
    assert watched.program.line("close /refuse .*")


def test_leaves(watched):
    """Of what comes behind, nothing is shown."""
    client, data = watched.client(), sock.pattern(1 << 20)
    got, answer = watched.exchange(
        client, "/leave", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    assert answer.body == data
    watched.program.line(f"close /leave {len(got.raw_head)} 0")


@pytest.mark.parametrize("more", ["", "Connection: Upgrade\r\nUpgrade: websocket\r\n"],
                         ids=["plain", "upgrade refused"])
def test_each_end_is_said_once(watched, more):
    """To who stays when another leaves, too; and to a request that would have gone on."""
    client, answer = watched.client(), b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst"
    client.send(get("/ends", more=more))
    server = Reader(watched.lab.accept(watched.listener))
    length = len(server.head().raw_head)
    server.sock.sendall(answer)
    assert client.head().status == 200
    server.sock.sendall(b"lasts")
    assert client.rest + sock.read_exactly(client.sock, 10 - len(client.rest)) == b"firstlasts"
    server.sock.close()
    watched.program.line(f"close /ends {length} {len(answer) + 5}")
    assert sorted(line for line in watched.program.lines() if line.startswith("end")) == [
        "end /ends down", "end /ends up"]


def test_websocket(watched):
    """What follows 101 is shown, too, as the same flow."""
    client = watched.client()
    client.send(get("/shout", more="Connection: Upgrade\r\nUpgrade: websocket\r\n") + "ahead")
    server = Reader(watched.lab.accept(watched.listener))
    assert server.head().get("Connection") == "Upgrade"
    head = b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    server.sock.sendall(head + b"first")
    assert client.head().status == 101
    while len(client.rest) < 5:
        client.rest += client.sock.recv(100)
    server.sock.sendall(b"second")
    assert client.rest == b"FIRST" and sock.read_exactly(client.sock, 6) == b"SECOND"
    client.sock.close()
    sock.read_to_end(server.sock)
    server.sock.close()
    watched.program.line(rf"close /shout \d+ {len(head) + 11}")
    flow = watched.records.wait(lambda r: r["event_type"] == "flow")["flow"]
    assert flow["bytes_toclient"] == len(head) + 11


def test_pages_are_not_shown(watched):
    client = watched.client()
    page(client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 400)
    assert not watched.program.lines()


def test_tunnel(watched):
    client = watched.client()
    assert client.connect_to(ORIGIN).status == 200
    server = watched.lab.accept(watched.listener)
    client.send("GET /shout HTTP/1.1\r\n\r\n")
    assert sock.read_exactly(server, 10) == b"GET /shout"
    server.sendall(b"words")
    assert sock.read_exactly(client.sock, 5) == b"WORDS"
