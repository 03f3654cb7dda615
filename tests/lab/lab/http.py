# SPDX-License-Identifier: Apache-2.0
"""Both sides of an HTTP proxy, by hand: what a client sends and reads, what an origin does."""
import base64
import re
import subprocess

from . import configs, sock
from .limpid import binary
from .topology import CLIENT, PROXY, SERVER

PORT = 52130
LISTENERS = f"""
listeners:
  - {{ name: proxy, mode: http, address: ["{PROXY[4]}:{PORT}", "[{PROXY[6]}]:{PORT}"] }}
"""
ALL = "  - { name: all, action: accept }"

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def config(rules=ALL, timeouts="{ sniff: 400ms, connect: 700ms, deny: 300ms }", more="",
           listeners=LISTENERS):
    return f"{listeners}\nrules:\n{rules}\ntimeouts: {timeouts}\n{more}\n{configs.RECORD}"


class Message:
    """A request or an answer as it was on the wire."""

    def __init__(self, head, body=b"", trailers=b""):
        self.raw_head, self.body, self.trailers = head, body, trailers
        self.first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.fields = [tuple(line.split(": ", 1)) for line in lines]

    @property
    def status(self):
        return int(self.first.split()[1])

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name):
        values = self.all(name)
        assert len(values) <= 1, f"{name} stands {len(values)} times"
        return values[0] if values else None

    def __contains__(self, name):
        return bool(self.all(name))


class Reader:
    """Reads messages from a socket; keeps what came behind them."""

    def __init__(self, s):
        self.sock, self.rest = s, b""

    def _more(self):
        data = self.sock.recv(1 << 16)
        assert data, f"the stream ended after {self.rest[-200:]!r}"
        self.rest += data

    def _take(self, n):
        while len(self.rest) < n:
            self._more()
        data, self.rest = self.rest[:n], self.rest[n:]
        return data

    def _line(self):
        while b"\r\n" not in self.rest:
            self._more()
        return self._take(self.rest.index(b"\r\n") + 2)

    def head(self):
        while b"\r\n\r\n" not in self.rest:
            self._more()
        return Message(self._take(self.rest.index(b"\r\n\r\n") + 4))

    def _chunked(self, message):
        while size := int(self._line().split(b";")[0], 16):
            message.body += self._take(size)
            assert self._line() == b"\r\n"
        while (line := self._line()) != b"\r\n":
            message.trailers += line

    def message(self, no_body=False):
        """A message; an answer without length goes to the end of the stream."""
        m = self.head()
        if no_body:
            return m
        if m.get("Transfer-Encoding") == "chunked":
            self._chunked(m)
        elif m.get("Content-Length") is not None:
            m.body = self._take(int(m.get("Content-Length")))
        elif m.first.startswith("HTTP/") and m.status not in (204, 304) and m.status >= 200:
            m.body = self.rest + sock.read_to_end(self.sock)
            self.rest = b""
        return m


class Client(Reader):
    """A client that knows the proxy."""

    def __init__(self, lab, family=4, port=PORT):
        s = lab.socket(lab.client, family)
        s.bind((CLIENT["routed"][family], lab.free_port()))
        s.connect((PROXY[family], port))
        super().__init__(s)
        self.name = s.getsockname()

    def send(self, text):
        self.sock.sendall(text if isinstance(text, bytes) else text.encode("latin-1"))

    def ask(self, text, **more):
        self.send(text)
        return self.message(**more)

    def connect_to(self, authority, more=""):
        return self.ask(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{more}\r\n",
                        no_body=True)

    def record(self, limpid):
        """Close, and the record of the connection."""
        self.sock.close()
        return limpid.records.wait(lambda r: r["event_type"] == "flow" and
                                   (r["src_ip"], r["src_port"]) == self.name[:2])

    def at_end(self):
        """The orderly end, and nothing before it."""
        return not self.rest and sock.read_to_end(self.sock) == b""


class Origin:
    """A server that the test plays."""

    def __init__(self, lab, address=SERVER[4], port=7000):
        self.lab = lab
        self.listener = lab.listen(6 if ":" in address else 4, address, port)

    def accept(self):
        return Reader(self.lab.accept(self.listener))

    def takes(self, answer=OK, connection=None, no_body=False):
        """A request, answered; the request and its connection."""
        connection = connection or self.accept()
        got = connection.message(no_body=no_body)
        connection.sock.sendall(answer)
        return got, connection


def page(answer, status, keep=False):
    """An answer that limpid gave itself, with a page that a person can read."""
    assert answer.status == status, answer.first
    assert answer.get("Content-Type") == "text/html; charset=utf-8"
    assert answer.get("Connection") == (None if keep else "close")
    assert re.match(r"limpid; error=[a-z_]+$", answer.get("Proxy-Status"))
    text = answer.body.decode("ascii")
    assert f"<h1>{status} " in text and text.endswith("</html>\n")
    return text


def user_config(tmp_path_factory):
    """A listener that wants to know who asks: ann, by her password."""
    path = tmp_path_factory.mktemp("users") / "office"
    subprocess.run([binary(), "users", "add", "--file", path, "ann"], input=b"open sesame\n",
                   check=True)
    return config("  - { name: hers, match: { user: ann, port: 7000 }, action: accept }\n",
                  listeners=LISTENERS.replace("mode: http", "mode: http, users: office"),
                  more=f"users: {{ office: {{ file: {path} }} }}")


def basic(user, password):
    word = base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"Proxy-Authorization: Basic {word}\r\n"
