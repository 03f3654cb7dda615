# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol: who may say who the client is, what follows, and what is said to servers."""
import socket
import struct

import pytest

from lab import configs, sock
from lab.http import Reader
from lab.introduce import (HAPROXY, NGINX, TRUSTED, UDP, Program, Sender, check, over, read_v2,
                           talk, tlv, v1, v2)
from lab.tls import client_hello
from lab.topology import CLIENT, PROXY, SERVER, SERVER_2, Way

MODE, REQUIRE, OPTIONAL, SPARE, HTTP = 52140, 52141, 52142, 52143, 52144
OTHER = ("198.18.0.7", 40007)
CONFIG = f"""
sets: {{ senders: ["{TRUSTED[4]}", "{TRUSTED[6]}"] }}
listeners:
  - {{ name: mode, mode: proxy-protocol, address: ["0.0.0.0:{MODE}", "[::]:{MODE}"],
      trusted: $senders }}
  - {{ name: require, mode: fixed, address: ["0.0.0.0:{REQUIRE}"], to: "{SERVER[4]}:7000",
      proxy-protocol: require, trusted: $senders }}
  - {{ name: optional, mode: fixed, address: ["0.0.0.0:{OPTIONAL}"], to: "{SERVER[4]}:7000",
      proxy-protocol: optional, trusted: $senders }}
  - {{ name: spare, mode: proxy-protocol, address: ["0.0.0.0:{SPARE}"], to: "{SERVER[4]}:7000",
      trusted: $senders }}
  - {{ name: http, mode: http, address: ["0.0.0.0:{HTTP}"], proxy-protocol: require,
      trusted: $senders }}
  - {{ name: routed, mode: tproxy, address: ["127.0.0.1:50080", "[::1]:50080"] }}
rules:
@RULES@
timeouts: {{ sniff: @SNIFF@, connect: 2s, deny: 300ms }}
limits: {{ look-ahead: 2KiB }}
{configs.RECORD}"""
ALL = "  - { name: all, action: accept }"


def config(rules=ALL, sniff="5s"):
    return CONFIG.replace("@RULES@", rules).replace("@SNIFF@", sniff)


@pytest.fixture
def sender(lab):
    return Sender(lab)


@pytest.fixture
def run(lab, tmp_path):
    """run(namespace, "haproxy" | "nginx", text, port): ended with the test."""
    programs = []

    def begin(namespace, name, text, port):
        start = HAPROXY if name == "haproxy" else NGINX.format(folder=tmp_path)
        programs.append(Program(namespace, tmp_path, name, start + text, port))

    yield begin
    lab.close_sockets()
    for program in programs:
        program.close()


def refused(limpid, client, why):
    """A RST, and why in the record."""
    name = client.getsockname()[:2]
    assert sock.read_to_reset(client) == b""
    return limpid.records.wait(lambda r: r["limpid"]["why"] == why and (
        (r["src_ip"], r["src_port"]) == name))


# --- in: mode proxy-protocol --------------------------------------------------------------------


@pytest.mark.parametrize("make", [v1, v2], ids=["v1", "v2"])
def test_header_names_client_and_target(lab, serve, sender, family, make):
    limpid = serve(config())
    listener = lab.listen(family, SERVER[family], 7000)
    client = sender.connect(MODE, family)
    who = {4: OTHER, 6: ("2001:db8::7", 40007)}[family]
    client.sendall(make(who, (SERVER[family], 7000)))
    server = lab.accept(listener)
    talk(client, server)
    name = client.getsockname()[:2]
    over(client, server)
    record = limpid.records.of(who)
    assert (record["dest_ip"], record["dest_port"]) == (SERVER[family], 7000)
    said = record["limpid"]["proxy_header"]
    assert (said["sender_ip"], said["sender_port"]) == name
    assert said["version"] == (1 if make is v1 else 2) and "local" not in said
    assert record["flow"]["bytes_toserver"] == 8


def test_rules_and_source_see_the_client(lab, serve, sender):
    """source: keep: the server sees the client of the header, to its port."""
    serve(config(f"""
  - {{ name: one, match: {{ source: {CLIENT["tproxy"][4]} }}, action: accept, source: keep,
      strict: true }}
  - {{ name: others, action: reject }}"""))
    listener = lab.listen(4, SERVER[4], 7000)
    who = (CLIENT["tproxy"][4], lab.free_port())
    client = sender.connect(MODE)
    client.sendall(v2(who, (SERVER[4], 7000)))
    server = lab.accept(listener)
    assert server.getpeername() == who
    talk(client, server)
    client = sender.connect(MODE)
    client.sendall(v2(OTHER, (SERVER[4], 7000)))
    assert sock.read_to_reset(client) == b""


def test_header_and_data_in_one_segment(lab, serve, sender):
    serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = sender.connect(MODE)
    client.sendall(v2(OTHER, (SERVER[4], 7000)) + b"first words")
    assert sock.read_exactly(lab.accept(listener), 11) == b"first words"


def test_header_only_then_the_server_speaks_first(lab, serve, sender):
    serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = sender.connect(MODE)
    client.sendall(v1(OTHER, (SERVER[4], 7000)))
    lab.accept(listener).sendall(b"220 hello")
    assert sock.read_exactly(client, 9) == b"220 hello"


def test_byte_by_byte(lab, serve, sender):
    serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    for make in v1, v2:
        client = sender.connect(MODE)
        for byte in make(OTHER, (SERVER[4], 7000)) + b"first":
            client.sendall(bytes([byte]))
            assert sock.silent(client, 0.001)
        server = lab.accept(listener)
        assert sock.read_exactly(server, 5) == b"first"
        talk(client, server)


def test_second_header_is_data(lab, serve, sender):
    serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = sender.connect(MODE)
    second = v1(("192.0.2.9", 9), (SERVER_2[4], 9))
    client.sendall(v2(OTHER, (SERVER[4], 7000)) + second)
    assert sock.read_exactly(lab.accept(listener), len(second)) == second


@pytest.mark.parametrize("header", [v2(), b"PROXY UNKNOWN\r\n"], ids=["local", "unknown"])
def test_no_destination(lab, serve, sender, header):
    """Refused, unless `to` says where to go."""
    limpid = serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = sender.connect(MODE)
    client.sendall(header)
    record = refused(limpid, client, "no-target")
    assert record["limpid"]["proxy_header"]["local"] is True
    client = sender.connect(SPARE)
    client.sendall(header)
    talk(client, lab.accept(listener))


TLVS = tlv(1, b"h2") + tlv(2, b"WWW.Example.ORG") + tlv(5, b"\1\xfe") + tlv(0x30, b"blue") + \
    tlv(0x20, struct.pack(">BI", 7, 0) + tlv(0x21, b"TLSv1.3") + tlv(0x22, b"some\none") +
        tlv(0x23, b"AES")) + tlv(0xE5, b"?")


def test_tlvs_are_recorded_and_authority_is_the_host(lab, serve, sender):
    limpid = serve(config("  - { name: name, match: { domain: www.example.org }, action: accept }"))
    listener = lab.listen(4, SERVER[4], 7000)
    client = sender.connect(MODE)
    client.sendall(v2(OTHER, (SERVER[4], 7000), TLVS))
    server = lab.accept(listener)
    talk(client, server)
    name = client.getsockname()
    over(client, server)
    record = limpid.records.of(OTHER)
    assert record["limpid"]["rule"] == "name"
    assert record["limpid"]["proxy_header"] == {
        "version": 2, "sender_ip": name[0], "sender_port": name[1], "alpn": "h2",
        "authority": "WWW.Example.ORG", "unique_id": "01fe", "netns": "blue",
        "ssl": {"version": "TLSv1.3", "cipher": "AES", "cn": "some\none", "verified": True}}


# --- in: bad headers ----------------------------------------------------------------------------

TARGET = (SERVER[4], 7000)
BAD = {
    "no header": b"GET / HTTP/1.1\r\n\r\n",
    "leading zero": b"PROXY TCP4 192.0.2.01 10.77.2.2 1 7000\r\n",
    "port 65536": b"PROXY TCP4 192.0.2.1 10.77.2.2 65536 7000\r\n",
    "three parts": b"PROXY TCP4 192.0.2 10.77.2.2 1 7000\r\n",
    "long line": b"PROXY UNKNOWN " + b"x" * 200,
    "unknown command": v2(OTHER, TARGET, command=0x22),
    "wrong CRC32C": v2(OTHER, TARGET, tlv(3, b"\0\0\0\0")),
    "TLV too long": v2(OTHER, TARGET, b"\xea\0\xff"),
    "of datagrams": v2(OTHER, TARGET, transport=UDP),
    "over limits.look-ahead": v2(OTHER, TARGET, tlv(0xEA, bytes(4000))),
}


PORTS = {"mode": MODE, "require": REQUIRE, "optional": OPTIONAL}
# What is no header at all is data where one is optional: test_optional_without_header.
BAD_CASES = [(case, port) for case in BAD for port in PORTS if (case, port) != (
    "no header", "optional")]


@pytest.mark.parametrize("case,port", BAD_CASES)
def test_bad_header(lab, serve, sender, case, port):
    limpid = serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = sender.connect(PORTS[port])
    client.sendall(BAD[case])
    refused(limpid, client, "greeting")
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("end", ["FIN", "silence"])
@pytest.mark.parametrize("port", PORTS.values(), ids=PORTS)
def test_truncated(serve, sender, port, end):
    limpid = serve(config(sniff="300ms"))
    for make in v1, v2:
        client = sender.connect(port)
        client.sendall(make(OTHER, TARGET)[:-1])
        if end == "FIN":
            client.shutdown(socket.SHUT_WR)
        refused(limpid, client, "greeting")


@pytest.mark.parametrize("port", [MODE, REQUIRE, HTTP], ids=["mode", "require", "http"])
def test_untrusted_sender(lab, serve, sender, port):
    limpid = serve(config())
    client = sender.connect_untrusted(port)
    name = client.getsockname()
    sock.eventually(lambda: lab.server_tap.wire(name).down("RST"), "a RST")
    record = limpid.records.of(name)
    assert record["limpid"]["why"] == "untrusted" and "proxy_header" not in record["limpid"]


# --- in: on other listeners ---------------------------------------------------------------------


def test_require_keeps_the_listeners_target(lab, serve, sender):
    limpid = serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = sender.connect(REQUIRE)
    client.sendall(v1(OTHER, (SERVER_2[4], 9)))
    server = lab.accept(listener)
    talk(client, server)
    over(client, server)
    assert limpid.records.of(OTHER)["dest_ip"] == SERVER[4]


def test_silent_client_where_a_header_is_required(serve, sender):
    limpid = serve(config(sniff="300ms"))
    refused(limpid, sender.connect(REQUIRE), "greeting")


def test_optional_with_header(lab, serve, sender):
    limpid = serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = sender.connect(OPTIONAL)
    client.sendall(v2(OTHER, TARGET))
    server = lab.accept(listener)
    talk(client, server)
    over(client, server)
    assert limpid.records.of(OTHER)["limpid"]["proxy_header"]["version"] == 2


@pytest.mark.parametrize("first", [b"X", b"PROPER", b"\r\n\r\nX", b"GET / HTTP/1.0\r\n\r\n"])
def test_optional_without_header(lab, serve, sender, first):
    """Decided by the first byte that no header has there; no byte is lost."""
    limpid = serve(config(sniff="1h"))
    listener = lab.listen(4, SERVER[4], 7000)
    client = sender.connect(OPTIONAL)
    client.sendall(first)
    server = lab.accept(listener)
    assert sock.read_exactly(server, len(first)) == first
    talk(client, server)
    name = client.getsockname()
    over(client, server)
    assert "proxy_header" not in limpid.records.of(name)["limpid"]


@pytest.mark.parametrize("begun", [b"", b"PRO"])
def test_optional_and_the_server_speaks_first(lab, serve, sender, begun):
    """The client may have timeouts.sniff to begin a header, and has none to send."""
    serve(config(sniff="300ms"))
    listener = lab.listen(4, SERVER[4], 7000)
    client = sender.connect(OPTIONAL)
    client.sendall(begun)
    server = lab.accept(listener)
    server.sendall(b"220 hello")
    assert sock.read_exactly(client, 9) == b"220 hello"
    assert sock.read_exactly(server, len(begun)) == begun if begun else True
    talk(client, server)


def test_optional_from_an_untrusted_sender_is_data(lab, serve, sender):
    """Not read, not waited for, and it does not say who the client is."""
    limpid = serve(config(sniff="1h"))
    listener = lab.listen(4, SERVER[4], 7000)
    client = sender.connect_untrusted(OPTIONAL)
    server = lab.accept(listener)
    header = v2(OTHER, (SERVER_2[4], 9))
    client.sendall(header)
    assert sock.read_exactly(server, len(header)) == header
    name = client.getsockname()
    over(client, server)
    assert "proxy_header" not in limpid.records.of(name)["limpid"]


@pytest.mark.parametrize("before", [b"", b"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n"])
def test_before_a_proxys_greeting(lab, serve, sender, before):
    """Who sent the header stays known, too, when a request comes before the tunnel."""
    limpid = serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    client = sender.connect(HTTP)
    client.sendall(v1(OTHER, (PROXY[4], HTTP)) + before)
    if before:
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    client.sendall(b"CONNECT 10.77.2.2:7000 HTTP/1.1\r\nHost: 10.77.2.2:7000\r\n\r\n")
    server = lab.accept(listener)
    assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    talk(client, server)
    name = client.getsockname()[:2]
    over(client, server)
    record = limpid.records.wait(lambda r: r["event_type"] == "flow" and
                                 (r["src_ip"], r["src_port"]) == OTHER)
    assert record["dest_ip"] == SERVER[4]
    header = record["limpid"]["proxy_header"]
    assert (header["sender_ip"], header["sender_port"]) == name


def test_before_tls(lab, serve, sender, tls_pair):
    limpid = serve(f"""
listeners:
  - {{ name: https, mode: fixed, address: ["0.0.0.0:{REQUIRE}"], to: "{SERVER[4]}:7000",
      proxy-protocol: require, trusted: 10.77.1.0/24, tls: front }}
tls: {{ front: {{ certificate: "{tls_pair.certificate}", key: "{tls_pair.key}" }} }}
rules: [ {{ name: all, action: accept }} ]
{configs.RECORD}""")
    listener = lab.listen(4, SERVER[4], 7000)
    plain = sender.connect(REQUIRE)
    plain.sendall(v2(OTHER, TARGET))
    with tls_pair.client_context.wrap_socket(plain, server_hostname="name.test") as client:
        server = lab.accept(listener)
        talk(client, server)
        server.close()
        assert client.recv(1) == b""
    assert limpid.records.of(OTHER)["limpid"]["proxy_header"]["version"] == 2


# --- in: from programs --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn",
                                 "send-proxy-v2 proxy-v2-options crc32c,authority,unique-id"])
def test_from_haproxy(lab, serve, run, tls_pair, tmp_path, how):
    limpid = serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    pem = tmp_path / "both.pem"
    pem.write_bytes(tls_pair.key.read_bytes() + tls_pair.certificate.read_bytes())
    run(lab.client, "haproxy", f"""
listen front
    bind {TRUSTED[4]}:7443 ssl crt {pem}
    unique-id-format %ci
    server s {PROXY[4]}:{SPARE} source {TRUSTED[4]} {how}
""", 7443)
    with lab.client.enter():
        plain = socket.create_connection((TRUSTED[4], 7443), 20)
    name = plain.getsockname()
    # Who connects to haproxy's own address, haproxy's header says; limpid cannot get there.
    with tls_pair.client_context.wrap_socket(lab.track(plain), server_hostname="name.test") as s:
        s.sendall(b"question")
        listener.settimeout(0.3)
        with pytest.raises(TimeoutError):
            lab.accept(listener)
    record = limpid.records.of(name)
    assert (record["dest_ip"], record["dest_port"]) == (TRUSTED[4], 7443)
    said = record["limpid"]["proxy_header"]
    assert said["version"] == (1 if how == "send-proxy" else 2)
    if how == "send-proxy-v2-ssl-cn":
        assert said["ssl"] == {"version": "TLSv1.3", "verified": False}
    if "authority" in how:
        assert said["authority"] == "name.test" and said["unique_id"] == name[0].encode().hex()


def test_from_nginx(lab, serve, run, sender):
    limpid = serve(config())
    listener = lab.listen(4, SERVER[4], 7000)
    run(lab.client, "nginx", f"""
stream {{ server {{ listen {TRUSTED[4]}:7444; proxy_bind {TRUSTED[4]}; proxy_protocol on;
                    proxy_pass {PROXY[4]}:{REQUIRE}; }} }}
""", 7444)
    client = lab.socket(lab.client, 4)
    client.connect((TRUSTED[4], 7444))
    server = lab.accept(listener)
    talk(client, server)
    name = client.getsockname()
    over(client, server)
    assert limpid.records.of(name)["limpid"]["proxy_header"]["version"] == 1


def test_from_curl(lab, serve):
    """--haproxy-protocol; its header says where it connected to itself."""
    limpid = serve(config())
    listener = lab.listen(4, SERVER[4], 7000)

    def origin():
        s = lab.accept(listener)
        Reader(s).head()
        s.sendall(b"HTTP/1.0 200 OK\r\n\r\nfrom the origin")
        s.close()

    answering = sock.Background(origin)
    said = lab.client.run("curl", "-sS", "--max-time", "15", "--noproxy", "*", "--interface",
                          TRUSTED[4], "--haproxy-protocol", f"http://{PROXY[4]}:{REQUIRE}/")
    answering.result()
    assert said == "from the origin"
    record = limpid.records.wait(lambda r: "proxy_header" in r["limpid"])
    assert record["src_ip"] == TRUSTED[4] and record["http"]["url"] == "/"


# --- out: a rule tells the server ---------------------------------------------------------------


def telling(version, more=""):
    return config(f"  - {{ name: told, action: accept, proxy-protocol: {version}{more} }}")


@pytest.mark.parametrize("source", ["own", "keep"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_server_is_told(lab, serve, family, version, source):
    limpid = serve(telling(version, f", source: {source}"))
    way = Way(lab, "tproxy", family)
    client, server = way.pair()
    name, target = client.getsockname()[:2], (SERVER[family], 7000)
    if version == "v1":
        want = v1(name, target)
        assert sock.read_exactly(server, len(want)) == want
    else:
        assert read_v2(server) == (name, target, {})
    talk(client, server)
    over(client, server)
    record = limpid.records.of(name)
    assert record["flow"]["bytes_toserver"] == 8  # what the client said, and no more


def test_server_that_speaks_first_is_told_at_once(lab, serve):
    serve(telling("v2"))
    client, server = Way(lab).pair()
    assert read_v2(server)[0] == client.getsockname()
    server.sendall(b"220 hello")
    assert sock.read_exactly(client, 9) == b"220 hello"


def test_server_is_told_the_name_that_is_known(lab, serve):
    """AUTHORITY of v2, where policy had to hear the client; nothing of it is lost."""
    serve(config("  - { name: named, match: { domain: www.test }, action: accept, "
                 "proxy-protocol: v2 }"))
    way = Way(lab)
    listener = way.listen()
    client = way.connect()
    hello = client_hello("www.test")
    client.sendall(hello)
    server = lab.accept(listener)
    assert read_v2(server) == (client.getsockname(), (SERVER[4], 7000), {2: b"www.test"})
    assert sock.read_exactly(server, len(hello)) == hello
    talk(client, server)


@pytest.mark.parametrize("offload", ["copy", "splice"])
def test_bulk_behind_a_header(lab, serve, offload):
    serve(telling("v1", f", offload: {offload}"))
    client, server = Way(lab).pair()
    data = sock.pattern(5_000_000)
    sender = sock.Background(client.sendall, data)
    want = v1(client.getsockname(), (SERVER[4], 7000))
    assert sock.read_exactly(server, len(want)) == want
    assert sock.read_exactly(server, len(data)) == data
    sender.result()


def test_client_of_a_header_is_passed_on(lab, serve, sender):
    serve(telling("v2"))
    listener = lab.listen(4, SERVER[4], 7000)
    client = sender.connect(MODE)
    client.sendall(v1(OTHER, (SERVER[4], 7000)))
    assert read_v2(lab.accept(listener))[:2] == (OTHER, (SERVER[4], 7000))


def test_rules_that_tell_differently_wait_for_the_name(lab, serve):
    """Not dialled early: another rule might ask for another header."""
    serve(config("  - { name: one, match: { domain: a.test }, action: accept, "
                 "proxy-protocol: v1 }\n" + ALL))
    way = Way(lab)
    listener = way.listen()
    client = way.connect()
    listener.settimeout(0.2)
    with pytest.raises(TimeoutError):
        listener.accept()
    client.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    listener.settimeout(sock.DEADLINE_S)
    want = v1(client.getsockname(), (SERVER[4], 7000))
    assert sock.read_exactly(lab.accept(listener), len(want)) == want


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("name", ["haproxy", "nginx"])
def test_programs_are_told(lab, serve, run, name, version):
    serve(telling(version))
    if name == "haproxy":
        run(lab.server, name, f"""
listen http
    mode http
    bind {SERVER[4]}:7000 accept-proxy
    http-request return content-type text/plain lf-string "%[src]:%[src_port] %[dst]:%[dst_port]"
""", 7000)
    else:
        run(lab.server, name, f"""
stream {{ server {{ listen {SERVER[4]}:7000 proxy_protocol;
  set $to "$proxy_protocol_server_addr:$proxy_protocol_server_port";
  return "$proxy_protocol_addr:$proxy_protocol_port $to"; }} }}
""", 7000)
    client = Way(lab).connect()
    if name == "haproxy":
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    said = sock.read_to_end(client).decode()
    assert said.endswith("{}:{} {}:7000".format(*client.getsockname(), SERVER[4]))


# --- configuration ------------------------------------------------------------------------------

WRONG = {
    "mode: proxy-protocol": "who may say who the client is?: 'trusted'",
    'mode: fixed, to: "192.0.2.1:1", proxy-protocol: require': "this key is missing",
    'mode: fixed, to: "192.0.2.1:1", trusted: 10.0.0.0/8': "without effect where no header is",
    "mode: proxy-protocol, trusted: $nobody": "there is no such set",
    "mode: proxy-protocol, trusted: name.test": "'name.test'",
    "mode: proxy-protocol, trusted: 10.0.0.0/8, proxy-protocol: require": "it requires the header",
    "mode: tproxy, proxy-protocol: optional, trusted: 10.0.0.0/8, connect: honest":
        "the header comes only once the client is connected",
    "mode: fixed, proxy-protocol: maybe": "accepted: require, optional",
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_listeners(tmp_path, case):
    status, said = check(f'listeners: [ {{ address: "127.0.0.1:1", {case} }} ]\n', tmp_path)
    assert status and WRONG[case] in said, said


def test_wrong_rules(tmp_path):
    start = 'listeners: [ { address: "127.0.0.1:1", mode: tproxy } ]\n'
    status, said = check(start + "rules: [ { name: a, action: deny, proxy-protocol: v1 } ]",
                         tmp_path)
    assert status and "without effect where the action is deny" in said
    status, said = check(start + "rules: [ { name: a, action: accept, proxy-protocol: v3 } ]",
                         tmp_path)
    assert status and "accepted: v1, v2" in said
