# SPDX-License-Identifier: Apache-2.0
"""Who sends headers of the PROXY protocol and is what they name: limpid would be its client."""
import pytest

from lab import configs, sock
from lab.introduce import TRUSTED, UDP, Sender, over, talk, v1, v2
from lab.topology import PROXY, PROXY_FAR, SERVER

MODE = 52160
CONFIG = f"""
listeners:
  - {{ name: mode, mode: proxy-protocol, network: [tcp, udp],
      address: ["0.0.0.0:{MODE}", "[::]:{MODE}"], trusted: ["{TRUSTED[4]}", "{TRUSTED[6]}"] }}
rules: [ {{ name: all, action: accept, source: @SOURCE@ }} ]
{configs.RECORD}"""
CLIENT = {4: ("198.18.0.7", 40007), 6: ("2001:db8::7", 40007)}


def begin(serve, source="own"):
    return serve(CONFIG.replace("@SOURCE@", source))


def introduced(lab, family, header):
    client = Sender(lab).connect(MODE, family)
    client.sendall(header)
    return client


@pytest.mark.parametrize("make", [v1, v2])
def test_connection_that_comes_back(lab, serve, family, make):
    limpid = begin(serve)
    middle = lab.listen(family, SERVER[family], 7000)  # as it would be in front of limpid
    first = introduced(lab, family, make(CLIENT[family], (SERVER[family], 7000)))
    reached = lab.accept(middle)
    own = reached.getpeername()[:2]
    assert own[0] == PROXY_FAR[family]
    second = introduced(lab, family, make(own, (SERVER[family], 7000)))
    assert sock.read_to_reset(second) == b""
    assert limpid.records.of(own)["limpid"]["why"] == "loop"
    third = introduced(lab, family, make((own[0], own[1] ^ 1), (SERVER[family], 7000)))
    talk(third, lab.accept(middle))  # somebody else's of the same address
    talk(first, reached)  # and the first is none the worse for it
    assert limpid.stderr().count("came back to it with a header of the PROXY protocol") == 1


def test_client_with_two_connections(lab, serve, family):
    """Who takes one connection of a client apart, as HTTP proxies do, names it more than once."""
    limpid = begin(serve, "keep")
    middle = lab.listen(family, SERVER[family], 7000)
    header = v2((TRUSTED[family], 40007), (SERVER[family], 7000))
    pairs = []
    for _ in range(2):
        client = introduced(lab, family, header)
        pairs.append((client, lab.accept(middle)))
        talk(*pairs[-1])
    for pair, source in zip(pairs, ("keep", "keep-address")):  # the port was taken
        over(*pair)
        assert limpid.records.wait(lambda r, s=source: r["limpid"]["source"] == s)


def test_datagram_that_comes_back(lab, serve, family):
    limpid = begin(serve)
    middle = lab.udp_server(family, 9000)
    sender = lab.udp(lab.client, family, TRUSTED[family], lab.free_port())
    to, there = (PROXY[family], MODE), (SERVER[family], 9000)
    sender.sendto(v2(CLIENT[family], there, transport=UDP) + b"question", to)
    got, own = sock.hear(middle)
    assert got == b"question"
    sender.sendto(v2(own[:2], there, transport=UDP) + b"question", to)
    assert limpid.records.of(own)["limpid"]["why"] == "loop"
    assert sock.silent(middle)
