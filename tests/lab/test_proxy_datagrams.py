# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol with datagrams: each has its own header in front, its reply has none."""
import select
import socket

import pytest

from lab import configs, sock
from lab.introduce import (SIGNATURE, TCP, TRUSTED, UDP, Sender, check, parse_v2, talk, tlv, v1,
                           v2)
from lab.limpid import Limpid
from lab.topology import CLIENT, PROXY, PROXY_FAR, SERVER, SERVER_2

MODE, SPARE = 52150, 52151
OTHER = {4: ("198.18.0.7", 40007), 6: ("2001:db8::7", 40007)}
CONFIG = f"""
listeners:
  - {{ name: mode, mode: proxy-protocol, network: [tcp, udp],
      address: ["0.0.0.0:{MODE}", "[::]:{MODE}"], trusted: ["{TRUSTED[4]}", "{TRUSTED[6]}"] }}
  - {{ name: spare, mode: proxy-protocol, network: [tcp, udp],
      address: ["0.0.0.0:{SPARE}"],
      to: "{SERVER[4]}:9001", trusted: "{TRUSTED[4]}" }}
  - {{ name: routed, mode: tproxy, network: [tcp, udp],
      address: ["127.0.0.1:50080", "[::1]:50080"]@ROUTED@ }}
rules:
  - {{ name: no, match: {{ source: 198.51.100.0/24 }}, action: reject }}
@RULES@
limits: {{ sessions: 200 }}
{configs.RECORD}"""
ALL = "  - { name: all, action: accept }"


def config(rules=ALL, routed=""):
    return CONFIG.replace("@RULES@", rules).replace("@ROUTED@", routed)


@pytest.fixture
def limpid(serve):
    return serve(config())


@pytest.fixture
def sender(lab, family):
    return lab.udp(lab.client, family, TRUSTED[family], lab.free_port())


def ask(sender, at, header, to, data=b"question", answer=b"an answer"):
    """One datagram and its reply, which has no header and comes from where the first went."""
    sender.sendto(header + data, to)
    got, seen = sock.hear(at)
    assert got == data
    at.sendto(answer, seen)
    assert sock.hear(sender) == (answer, to)
    return seen


def records(keeper, limpid, client):
    """All of one client; limpid ends."""
    keeper.stop()
    return [r for r in limpid.records.poll() if (r["src_ip"], r["src_port"]) == client]


# --- in: mode proxy-protocol --------------------------------------------------------------------


@pytest.mark.parametrize("transport", [UDP, TCP], ids=["DGRAM", "STREAM"])
def test_header_names_client_and_target(lab, limpid, keeper, family, sender, transport):
    """STREAM too: who takes queries by TCP may send them on by UDP, and say so."""
    at = lab.udp_server(family, 9000)
    header = v2(OTHER[family], (SERVER[family], 9000), transport=transport)
    seen = [ask(sender, at, header, (PROXY[family], MODE)) for _ in range(3)]
    assert len(set(seen)) == 1
    record, = records(keeper, limpid, OTHER[family])
    assert (record["dest_ip"], record["dest_port"], record["proto"]) == (SERVER[family], 9000, "UDP")
    assert record["flow"]["bytes_toserver"] == 24 and record["flow"]["bytes_toclient"] == 27
    name = sender.getsockname()[:2]
    assert record["limpid"]["proxy_header"] == {
        "version": 2, "sender_ip": name[0], "sender_port": name[1]}


@pytest.mark.usefixtures("limpid")
def test_reply_comes_from_the_address_that_was_sent_to(lab, family, sender):
    """The listener is on all addresses of the host."""
    at = lab.udp_server(family, 9000)
    header = v2(OTHER[family], (SERVER[family], 9000), transport=UDP)
    for address in PROXY, PROXY_FAR:
        ask(sender, at, header, (address[family], MODE))


@pytest.mark.usefixtures("limpid")
def test_client_of_another_family_than_its_sender(lab):
    for mine, its in (4, 6), (6, 4):
        at = lab.udp_server(its, 9000)
        sender = lab.udp(lab.client, mine, TRUSTED[mine], lab.free_port())
        ask(sender, at, v2(OTHER[its], (SERVER[its], 9000), transport=UDP), (PROXY[mine], MODE))


@pytest.mark.usefixtures("limpid")
def test_many_clients_of_one_sender(lab, sender, family):
    """Each has an address of its own towards the server, and its replies come."""
    at = lab.udp_server(family, 9000)
    seen = set()
    for i in range(20):
        who = (OTHER[family][0], 41000 + i)
        sender.sendto(v2(who, (SERVER[family], 9000), transport=UDP) + b"%d" % i,
                      (PROXY[family], MODE))
    for _ in range(20):
        data, peer = sock.hear(at)
        seen.add(peer)
        at.sendto(data * 2, peer)
    assert len(seen) == 20
    assert {sock.hear(sender)[0] for _ in range(20)} == {b"%d" % i * 2 for i in range(20)}


@pytest.mark.parametrize("source", ["own", "keep"])
def test_one_client_by_several_senders(lab, serve, family, source):
    """As from a forwarder that asks from several ports: each gets what it asked for, also where
    only one of them can have the client's address and port."""
    serve(config(f"  - {{ name: all, action: accept, source: {source} }}"))
    at = lab.udp_server(family, 9000)
    who = (CLIENT["tproxy"][family], lab.free_port())
    header = v2(who, (SERVER[family], 9000), transport=UDP)
    senders = [lab.udp(lab.client, family, TRUSTED[family], lab.free_port()) for _ in range(5)]
    for i, s in enumerate(senders):
        s.sendto(header + b"%d" % i, (PROXY[family], MODE))
    got = [sock.hear(at) for _ in senders]
    for data, peer in reversed(got):
        at.sendto(data * 2, peer)
    for i, s in enumerate(senders):
        assert sock.hear(s) == (b"%d" % i * 2, (PROXY[family], MODE))


@pytest.mark.parametrize("size", [0, 1, 1400, 1472, 9000, 65507 - 52])
@pytest.mark.usefixtures("limpid")
def test_every_size_whole(lab, family, sender, size):
    data = sock.pattern(size)
    header = v2(OTHER[family], (SERVER[family], 9000), transport=UDP)
    ask(sender, lab.udp_server(family, 9000), header, (PROXY[family], MODE), data, data[::-1])


@pytest.mark.usefixtures("limpid")
def test_a_train_of_datagrams_with_headers(lab, family, sender):
    """Datagrams that the network keeps together (GSO, GRO) have a header each."""
    at = lab.udp_server(family, 9000)
    one = v2(OTHER[family], (SERVER[family], 9000), transport=UDP) + sock.pattern(400)
    sender.setsockopt(socket.IPPROTO_UDP, 103, len(one))  # UDP_SEGMENT
    sender.sendto(one * 20, (PROXY[family], MODE))
    assert [sock.hear(at)[0] for _ in range(20)] == [sock.pattern(400)] * 20


def test_rules_see_the_client(lab, serve, keeper):
    limpid = serve(config("  - { name: name, match: { domain: ns.test }, action: accept }"))
    at = lab.udp_server(4, 9000)
    sender = lab.udp(lab.client, 4, TRUSTED[4], lab.free_port())
    to = (PROXY[4], MODE)
    sender.sendto(v2(("198.51.100.1", 5), (SERVER[4], 9000), transport=UDP) + b"x", to)
    tlvs = tlv(2, b"NS.test") + tlv(1, b"doq") + tlv(5, b"\1\2")
    ask(sender, at, v2(OTHER[4], (SERVER[4], 9000), tlvs, transport=UDP), to)
    record, = records(keeper, limpid, OTHER[4])
    said = record["limpid"]["proxy_header"]
    assert (said["authority"], said["alpn"], said["unique_id"]) == ("NS.test", "doq", "0102")
    record, = records(keeper, limpid, ("198.51.100.1", 5))
    assert record["limpid"]["rule"] == "no" and record["limpid"]["why"] == "rejected"


def test_source_keep(lab, serve, family, sender):
    """The server sees the client's own address, and answers it."""
    serve(config("  - { name: all, action: accept, source: keep, strict: true }"))
    who = (CLIENT["tproxy"][family], lab.free_port())
    at = lab.udp_server(family, 9000)
    header = v2(who, (SERVER[family], 9000), transport=UDP)
    assert ask(sender, at, header, (PROXY[family], MODE)) == who


@pytest.mark.parametrize("header", [v2(), v2(tlvs=tlv(0xE0, b"?")),
                                    SIGNATURE + b"\x21\x31\0\xd8" + bytes(216)],
                         ids=["local", "local with a TLV", "unix"])
def test_no_destination(lab, limpid, keeper, header):
    """The client is the sender; it goes where `to` says, or nowhere."""
    at = lab.udp_server(4, 9001)
    sender = lab.udp(lab.client, 4, TRUSTED[4], lab.free_port())
    ask(sender, at, header, (PROXY[4], SPARE))
    sender.sendto(header + b"x", (PROXY[4], MODE))
    limpid.records.wait(lambda r: r["limpid"]["why"] == "no-target")
    record, = [r for r in records(keeper, limpid, sender.getsockname())
               if r["limpid"]["listener"] == "spare"]
    assert record["limpid"]["proxy_header"]["local"] is True


TARGET = (SERVER[4], 9000)
BAD = {
    "none": b"question",
    "empty": b"",
    "short": b"\r\n",
    "v1": v1(OTHER[4], TARGET),
    "cut": v2(OTHER[4], TARGET, transport=UDP)[:-1],
    "fixed part only": v2(OTHER[4], TARGET, transport=UDP)[:16],
    "version 3": v2(OTHER[4], TARGET, transport=UDP, command=0x31),
    "command 2": v2(OTHER[4], TARGET, transport=UDP, command=0x22),
    "transport 3": v2(OTHER[4], TARGET, transport=3),
    "length 65535": SIGNATURE + b"\x21\x12\xff\xff" + bytes(60000),
    "addresses too short": SIGNATURE + b"\x21\x12\0\x0b" + bytes(11),
    "TLV too long": v2(OTHER[4], TARGET, b"\xea\0\xff", UDP),
    "wrong CRC32C": v2(OTHER[4], TARGET, tlv(3, b"\0\0\0\0"), UDP),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_header(lab, limpid, case):
    at = lab.udp_server(4, 9000)
    sender = lab.udp(lab.client, 4, TRUSTED[4], lab.free_port())
    sender.sendto(BAD[case], (PROXY[4], MODE))
    record = limpid.records.wait(lambda r: (r["src_ip"], r["src_port"]) == sender.getsockname())
    assert record["limpid"]["why"] == "greeting"
    # and the next one is as good as if nothing had been
    ask(sender, at, v2(OTHER[4], TARGET, transport=UDP), (PROXY[4], MODE))


def test_untrusted_sender(lab, limpid):
    at = lab.udp_server(4, 9000)
    sender = lab.udp(lab.client, 4, CLIENT["redirect"][4], lab.free_port())
    sender.sendto(v2(OTHER[4], TARGET, transport=UDP) + b"x", (PROXY[4], MODE))
    record = limpid.records.wait(lambda r: (r["src_ip"], r["src_port"]) == sender.getsockname())
    assert record["limpid"]["why"] == "untrusted" and "proxy_header" not in record["limpid"]
    assert not select.select([at, sender], [], [], 0.05)[0]


def test_own_address_as_destination(lab, limpid):
    """It would come back, and again."""
    sender = lab.udp(lab.client, 4, TRUSTED[4], lab.free_port())
    sender.sendto(v2(OTHER[4], (PROXY[4], MODE), transport=UDP) + b"x", (PROXY[4], MODE))
    record = limpid.records.wait(lambda r: (r["src_ip"], r["src_port"]) == OTHER[4])
    assert record["limpid"]["why"] == "loop"


# --- in: intercepted datagrams ------------------------------------------------------------------


def routed(word):
    return f', proxy-protocol: {word}, trusted: ["{CLIENT["tproxy"][4]}", ' \
           f'"{CLIENT["tproxy"][6]}"]'


@pytest.fixture
def client(lab, family):
    return lab.udp_client(family)


@pytest.mark.parametrize("word", ["require", "optional"])
def test_intercepted_with_header(lab, serve, keeper, family, client, word):
    """The header names the client; where it goes is where it was sent."""
    limpid = serve(config(routed=routed(word)))
    at = lab.udp_server(family, 9000)
    header = v2(OTHER[family], (SERVER_2[family], 9), transport=UDP)
    ask(client, at, header, (SERVER[family], 9000))
    record, = records(keeper, limpid, OTHER[family])
    assert (record["dest_ip"], record["dest_port"]) == (SERVER[family], 9000)
    assert record["limpid"]["proxy_header"]["sender_port"] == client.getsockname()[1]


def test_trains_of_replies(lab, serve, family, client):
    """To the sender, as other replies, and not to the client that it speaks for."""
    serve(config(routed=routed("require")))
    at = lab.udp_server(family, 9000)
    who = (CLIENT["redirect"][family], 40007)
    header = v2(who, (SERVER_2[family], 9), transport=UDP)
    seen = ask(client, at, header, (SERVER[family], 9000))
    at.setsockopt(socket.IPPROTO_UDP, 103, 500)  # UDP_SEGMENT
    at.sendto(sock.pattern(500) * 20, seen)
    assert [sock.hear(client)[0] for _ in range(20)] == [sock.pattern(500)] * 20
    ask(client, at, header, (SERVER[family], 9000))


@pytest.mark.parametrize("data", [b"", b"\r\n", b"\r\n\r\n\0", b"PROXY", b"anything else"])
def test_intercepted_without_header(lab, serve, keeper, family, client, data):
    limpid = serve(config(routed=routed("optional")))
    ask(client, lab.udp_server(family, 9000), b"", (SERVER[family], 9000), data)
    record, = records(keeper, limpid, client.getsockname()[:2])
    assert "proxy_header" not in record["limpid"]


@pytest.mark.parametrize("word", ["require", "optional"])
def test_intercepted_with_bad_header(lab, serve, family, client, word):
    """Refused as the network refuses."""
    limpid = serve(config(routed=routed(word)))
    at = lab.udp_server(family, 9000)
    client.connect((SERVER[family], 9000))
    client.send(v2(OTHER[family], (SERVER[family], 9), transport=UDP)[:-3])
    with pytest.raises(ConnectionRefusedError):
        client.recv(1)
    assert not select.select([at], [], [], 0.05)[0]
    assert limpid.records.of(client.getsockname()[:2])["limpid"]["why"] == "greeting"


# --- out: a rule tells the server ---------------------------------------------------------------


TOLD = "  - { name: told, action: accept, proxy-protocol: v2 }"


def told(at):
    """Source, destination and payload of a datagram with a header."""
    data, peer = sock.hear(at)
    source, destination, tlvs, size = parse_v2(data, UDP)
    assert not tlvs
    return source, destination, data[size:], peer


def test_server_is_told(lab, serve, keeper, family, client):
    """Each datagram says who its client is; replies have no header."""
    limpid = serve(config(TOLD))
    at = lab.udp_server(family, 9000)
    name, to = client.getsockname()[:2], (SERVER[family], 9000)
    for data in b"one", b"", sock.pattern(9000):
        client.sendto(data, to)
        source, destination, got, peer = told(at)
        assert (source, destination, got) == (name, to, data)
        at.sendto(data[::-1], peer)
        assert sock.hear(client) == (data[::-1], to)
    record, = records(keeper, limpid, name)
    assert record["flow"]["bytes_toserver"] == record["flow"]["bytes_toclient"] == 9003


def test_server_is_told_with_each_of_a_train(lab, serve, family, client):
    serve(config(TOLD))
    at = lab.udp_server(family, 9000)
    client.setsockopt(socket.IPPROTO_UDP, 103, 500)  # UDP_SEGMENT
    client.sendto(sock.pattern(500) * 20 + b"end", (SERVER[family], 9000))
    got = [told(at) for _ in range(21)]
    assert [data for _, _, data, _ in got] == [sock.pattern(500)] * 20 + [b"end"]
    assert {source for source, _, _, _ in got} == {client.getsockname()[:2]}


def test_version_1_knows_no_datagrams(lab, serve, client, family):
    """They go as they are."""
    serve(config("  - { name: told, action: accept, proxy-protocol: v1 }"))
    ask(client, lab.udp_server(family, 9000), b"", (SERVER[family], 9000))


def test_refusal_of_the_server_comes_back(serve, client, family):
    serve(config(TOLD))
    client.connect((SERVER[family], 9009))
    client.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        client.recv(1)


# --- a limpid that forwards to another ----------------------------------------------------------


@pytest.fixture
def first(lab, tmp_path, family):
    at = f"[{SERVER_2[6]}]:{MODE}" if family == 6 else f"{SERVER_2[4]}:{MODE}"
    limpid = Limpid(lab.server, f"""
listeners: [ {{ name: remote, mode: proxy-protocol, network: [tcp, udp], address: "{at}",
                trusted: "{PROXY_FAR[family]}" }} ]
rules: [ {{ name: all, action: accept }} ]
{configs.RECORD}""", tmp_path / "first")
    limpid.at = at
    sock.eventually(lambda: f":{MODE} " in lab.server.run("ss", "-lunH"), "the first listens")
    yield limpid
    lab.close_sockets()
    if limpid.alive():
        limpid.stop()


def forwarding(first):
    return config("  - { name: on, action: accept, via: first }") + f"""
dialers: {{ first: {{ type: proxy-v2, address: "{first.at}" }} }}
"""


def test_remote_host_forwards(lab, serve, keeper, family, client, first):
    """One client, several servers: each reply comes from the server that was asked."""
    second = serve(forwarding(first))
    places = [(SERVER[family], 9000), (SERVER[family], 9001), (SERVER_2[family], 9000)]
    servers = [lab.udp_server(family, port, ip) for ip, port in places]
    for place in places:
        client.sendto(b"to %d" % place[1], place)
    for at, place in zip(reversed(servers), reversed(places)):
        data, peer = sock.hear(at)
        assert data == b"to %d" % place[1]
        at.sendto(b"from %d" % place[1], peer)
        assert sock.hear(client) == (b"from %d" % place[1], place)
    name = client.getsockname()[:2]
    seen = records(keeper, second, name)
    assert {r["limpid"]["via"] for r in seen} == {"first"}
    first.stop()
    for list_ in seen, [r for r in first.records.poll() if (r["src_ip"], r["src_port"]) == name]:
        assert {(r["dest_ip"], r["dest_port"]) for r in list_} == set(places)


def test_first_that_is_not_there(serve, family, client, first):
    serve(forwarding(first))
    first.stop()
    client.connect((SERVER[family], 9000))
    client.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        client.recv(1)


@pytest.mark.parametrize("dialer", ['{ type: proxy-v1, address: "10.77.2.3:9" }',
                                    '{ type: socks5, address: "10.77.2.3:9" }'])
def test_other_proxies_are_for_connections(serve, keeper, dialer, client, family):
    """Past them it must not go."""
    limpid = serve(config("  - { name: on, action: accept, via: up }") +
                   f"dialers: {{ up: {dialer} }}\n")
    client.connect((SERVER[family], 9000))
    client.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        client.recv(1)
    record, = records(keeper, limpid, client.getsockname()[:2])
    assert record["limpid"]["why"] == "proxy-refused"


def test_to_a_name(tmp_path):
    status, said = check('listeners: [ { address: "127.0.0.1:1", mode: proxy-protocol, to: "a.b:1",'
                         ' trusted: 10.0.0.1, network: udp } ]', tmp_path)
    assert status and "datagrams are not sent to a name" in said


def test_without_privileges(lab, serve, family, sender):
    """Who is only spoken to needs none; TCP and UDP."""
    serve(f"""
listeners:
  - {{ name: mode, mode: proxy-protocol, network: [tcp, udp],
      address: ["0.0.0.0:{MODE}", "[::]:{MODE}"], trusted: ["{TRUSTED[4]}", "{TRUSTED[6]}"] }}
rules:
{ALL}
{configs.RECORD}""", prefix=["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"])
    header = v2(OTHER[family], (SERVER[family], 9000), transport=UDP)
    ask(sender, lab.udp_server(family, 9000), header, (PROXY[family], MODE))
    listener = lab.listen(family, SERVER[family], 7000)
    client = Sender(lab).connect(MODE, family)
    client.sendall(v2(OTHER[family], (SERVER[family], 7000)))
    talk(client, lab.accept(listener))


def test_wrong_mode(tmp_path):
    status, said = check('listeners: [ { address: "127.0.0.1:1", mode: redirect, network: udp } ]',
                         tmp_path)
    assert status and "mode: tproxy, dns or proxy-protocol" in said
