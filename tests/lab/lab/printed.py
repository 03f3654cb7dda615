# SPDX-License-Identifier: Apache-2.0
"""The rules of smithproxy's documents for what this host sends, and limpid behind them.

To the letter; only lines that were too long are folded.
"""
from .bare import PROXY_FAR, SERVER, talk

USER = 1000

SMITHPROXY = """
iptables -t nat -A OUTPUT -p tcp -d 0.0.0.0/0 --dport 80 \\
  -j REDIRECT --to-port 51080 -m owner ! --uid-owner root
iptables -t nat -A OUTPUT -p tcp -d 0.0.0.0/0 --dport 443 \\
  -j REDIRECT --to-port 51443 -m owner ! --uid-owner root
"""

REDIRECT = """
listeners:
  - { name: plain, mode: redirect, address: ["127.0.0.1:51080", "[::1]:51080"] }
  - { name: tls, mode: redirect, address: ["127.0.0.1:51443", "[::1]:51443"] }
rules: [ { name: all, action: accept, source: SOURCE } ]
record: { flows: { file: "@FLOWS@" } }
"""
OWN = REDIRECT.replace("SOURCE", "own")


def rules(text, family):
    """A document's commands; for IPv6 the same ones by their other names."""
    if family == 4:
        return text
    for four, six in (("iptables ", "ip6tables "), ("ip rule", "ip -6 rule"),
                      ("ip route", "ip -6 route"), ("0.0.0.0/0", "::/0"), ("127.0.0.1", "::1")):
        text = text.replace(four, six)
    return text


def intercepted(bare, limpid, family, port, listener_name):
    """A connection of a user's goes through limpid, once."""
    listener = bare.listen(family, port)
    client = bare.connect(bare.proxy, family, port, USER)
    server = bare.accept(listener)
    name = client.getsockname()
    assert server.getpeername()[0] == PROXY_FAR[family]
    assert server.getpeername()[1] != name[1]
    talk(client, server)
    listener.close()
    r = limpid.records.of(name)
    assert (r["limpid"]["listener"], r["limpid"]["why"]) == (listener_name, "finished")
    assert (r["dest_ip"], r["dest_port"]) == (SERVER[family], port)


def left_alone(bare, family, port):
    """A connection of root's reaches the server as it is."""
    listener = bare.listen(family, port)
    client = bare.connect(bare.proxy, family, port)
    server = bare.accept(listener)
    assert server.getpeername()[:2] == client.getsockname()[:2]
    talk(client, server, 1000)
    listener.close()
