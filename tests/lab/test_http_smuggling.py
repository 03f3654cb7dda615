# SPDX-License-Identifier: Apache-2.0
"""mode: http, requests that are refused: what two could read in two ways."""
import pytest

from lab import sock
from lab.http import Client, config, page
from lab.topology import SERVER

ORIGIN = "10.77.2.2:7000"


def request(method="GET", path="/", fields="", body="", version="1.1", host=ORIGIN):
    return (f"{method} http://{host}{path} HTTP/{version}\r\nHost: {host}\r\n{fields}\r\n{body}")


@pytest.fixture
def limpid(serve):
    return serve(config(more="limits: { threads: 1 }"))


@pytest.fixture
def client(lab, limpid):
    # pylint: disable=unused-argument
    return Client(lab)


@pytest.mark.parametrize("fields", [
    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    "Content-Length: 4\r\nContent-Length: 5\r\n",
    "Content-Length: 4, 4\r\n",
    "Content-Length: -4\r\n",
    "Content-Length: 0x4\r\n",
    "Content-Length: 1844674407370955161600\r\n",
    "Content-Length: \r\n",
    "Content-Length : 4\r\n",
    "Content-Length:\x0b4\r\n",
    "Transfer-Encoding: \x0bchunked\r\n",
    "Transfer-Encoding: chunked\x0c\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding:\r\n chunked\r\n",
    "Connection: Content-Length\r\nContent-Length: 4\r\n",
    "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
    "X: a\x00b\r\n",
    "X: a\rb\r\n",
    "X: a\n",
    "X: a\r\n folded\r\n",
    "X y: a\r\n",
    ": a\r\n",
    "Host: again\r\n",
], ids=lambda f: ascii(f.strip())[1:40])
def test_smuggling(lab, client, limpid, fields):
    """RFC 9112 sections 2.2, 5, 6.3 and 11.2: what two could read in two ways nobody reads."""
    listener = lab.listen(4, SERVER[4], 7000)
    client.send(request("POST", fields=fields, body="0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"))
    page(client.message(), 400)
    assert client.at_end() and sock.silent(listener, 0.02)
    assert client.record(limpid)["limpid"]["why"] == "greeting"


def test_transfer_coding_in_http_1_0(client):
    client.send(request("POST", fields="Transfer-Encoding: chunked\r\n", version="1.0"))
    page(client.message(), 400)


def test_unknown_transfer_coding(client):
    client.send(request("POST", fields="Transfer-Encoding: gzip, chunked\r\n"))
    page(client.message(), 501)


@pytest.mark.parametrize("body", ["g\r\n", "\r\n", "5\nhello\r\n", "5\r\nhelloX", "-1\r\n",
                                  "5 0\r\nhello\r\n", "5 x;y\r\nhello\r\n",
                                  "fffffffffffffffff\r\n", "5;\x00\r\nhello\r\n", "0\r\nX\x00\r\n"])
def test_bad_chunks(client, body):
    client.send(request("POST", fields="Transfer-Encoding: chunked\r\n", body=body))
    page(client.message(), 400)
    assert client.at_end()


@pytest.mark.parametrize("target, status", [
    ("https://10.77.2.2/", 501), ("ftp://10.77.2.2/", 501), ("/", 400), ("*", 400),
    ("http://user@10.77.2.2/", 400), ("http:///", 400), ("http://10.77.2.2:99999/", 400),
    ("http://10.77.2.2/#x", 400)])
def test_bad_target(client, target, status):
    """After a good request: the first is looked at by the learner."""
    client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
    page(client.message(), status)
