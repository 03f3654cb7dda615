# SPDX-License-Identifier: Apache-2.0
"""Dialers of type proxy-v1 and proxy-v2: a limpid that forwards what it gets to another."""
import pytest

from lab import configs, sock
from lab.introduce import Sender, check, over, talk
from lab.limpid import Limpid, listening
from lab.names import NS
from lab.nameserver import NameServer
from lab.topology import PROXY_FAR, SERVER, SERVER_2, Way

FIRST, NAMED, HTTP = 52140, 52145, 52144
FORWARD = """
listeners:
  - { name: routed, mode: tproxy, address: ["127.0.0.1:50080", "[::1]:50080"] }
  - { name: redirected, mode: redirect, address: ["0.0.0.0:51080", "[::]:51080"] }
  - { name: named, mode: fixed, sniff: false, to: "db.test:7000", address: ["0.0.0.0:@NAMED@"] }
  - { name: http, mode: http, address: ["0.0.0.0:@HTTP@"] }
dialers: { first: { type: @TYPE@, address: "@FIRST@" } }
rules: [ { name: to-the-first, action: accept, via: first } ]
resolver: { servers: [@NS@] }
""" + configs.RECORD


def forwarding(kind, to):
    text = FORWARD.replace("@TYPE@", kind).replace("@FIRST@", to).replace("@NS@", NS)
    return text.replace("@NAMED@", str(NAMED)).replace("@HTTP@", str(HTTP))


@pytest.fixture
def forward(lab, serve, tmp_path):
    """forward(type): two limpids; that of the proxy's host sends all to that of the server's."""
    firsts = []

    def begin(kind="proxy-v2", family=4):
        at = f"[{SERVER_2[6]}]:{FIRST}" if family == 6 else f"{SERVER_2[4]}:{FIRST}"
        second = serve(forwarding(kind, at))
        firsts.append(Limpid(lab.server, f"""
listeners: [ {{ name: remote, mode: proxy-protocol, address: ["{at}"],
                trusted: "{PROXY_FAR[family]}" }} ]
rules:
  - {{ name: no, match: {{ port: 7009 }}, action: reject }}
  - {{ name: all, action: accept }}
{configs.RECORD}""", tmp_path / "first"))
        sock.eventually(lambda: ("tcp6" if family == 6 else "tcp", FIRST) in
                        listening(firsts[-1].pid), "the first listens")
        return firsts[-1], second

    yield begin
    lab.close_sockets()
    for limpid in firsts:
        limpid.stop()


@pytest.mark.parametrize("kind", ["proxy-v1", "proxy-v2"])
@pytest.mark.parametrize("mode", ["tproxy", "redirect"])
def test_remote_host_forwards(lab, forward, mode, family, kind):
    """The limpid of a remote host sends a connection on, and the first sees who it is for."""
    first, second = forward(kind, family)
    client, server = Way(lab, mode, family).pair()
    assert server.getpeername()[0] == SERVER[family]  # dialled by the first, on its host
    talk(client, server)
    name = client.getsockname()[:2]
    over(client, server)
    record = first.records.of(name)
    assert (record["dest_ip"], record["dest_port"]) == (SERVER[family], 7000)
    said = record["limpid"]["proxy_header"]
    assert said["sender_ip"] == PROXY_FAR[family]
    assert said["version"] == (1 if kind == "proxy-v1" else 2)
    record = second.records.of(name)
    assert record["dest_ip"] == SERVER[family] and record["limpid"]["via"] == "first"
    assert record["flow"]["bytes_toserver"] == 8


def test_refusal_of_the_first_comes_back(lab, forward):
    forward()
    assert Way(lab).connect_to_reset(port=7009)[1] == b""


def test_first_that_is_not_there(lab, serve):
    limpid = serve(forwarding("proxy-v2", f"{SERVER_2[4]}:9"))
    client, heard = Way(lab).connect_to_reset()
    assert heard == b""
    assert limpid.records.of(client.getsockname())["limpid"]["why"] == "proxy-failed"


def test_names_are_resolved_before_they_are_forwarded(lab, forward):
    """A header has room for addresses only."""
    first, _ = forward()
    zone = NameServer(lab.server, NS, {"db.test": [f"A {SERVER[4]}"]})
    listener = lab.listen(4, SERVER[4], 7000)
    client = Sender(lab).connect(NAMED)
    server = lab.accept(listener)
    talk(client, server)
    name = client.getsockname()
    over(client, server)
    zone.close()
    assert first.records.of(name)["dest_ip"] == SERVER[4]


def test_forwarded_requests_are_of_one_client_each(lab, forward):
    """Connections to origins are not kept for another client: the first was told of one."""
    first, _ = forward()
    listener = lab.listen(4, SERVER[4], 7000)
    names, servers = [], []
    for _ in range(2):
        client = Sender(lab).connect(HTTP)
        client.sendall(f"GET http://{SERVER[4]}:7000/ HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        servers.append(lab.accept(listener))
        assert b"GET / " in servers[-1].recv(4096)
        servers[-1].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert client.recv(4096).endswith(b"ok")
        names.append(client.getsockname())
    lab.close_sockets()
    for name in names:
        assert first.records.of(name)["dest_ip"] == SERVER[4]


WRONG_DIALERS = {
    'a: { type: proxy-v2, address: "192.0.2.1:1", user: ada, password: b }':
        "without effect for this type: 'user'",
    'a: { type: https, address: "db.test:1", via: b }, b: { type: proxy-v1, address: "[::1]:1" }':
        "the one behind it is a name",
    'a: { type: proxy-v3, address: "192.0.2.1:1" }': "accepted: socks5, http, https, proxy-v1",
}


@pytest.mark.parametrize("case", WRONG_DIALERS)
def test_wrong_dialers(tmp_path, case):
    status, said = check('listeners: [ { address: "127.0.0.1:1", mode: tproxy } ]\n'
                         f"dialers: {{ {case} }}\n", tmp_path)
    assert status and WRONG_DIALERS[case] in said, said
