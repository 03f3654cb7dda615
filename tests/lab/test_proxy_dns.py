# SPDX-License-Identifier: Apache-2.0
"""The PROXY protocol between name servers: to mode dns, and from limpid to a resolver."""
import subprocess
import time

import pytest

from lab import configs, sock
from lab.introduce import TCP, TRUSTED, UDP, over_tcp, query, v2
from lab.names import NS
from lab.nameserver import NameServer
from lab.topology import CLIENT, PROXY, SERVER

DNS, DNSDIST = 51055, 5300
OTHER = {4: ("198.18.0.7", 40007), 6: ("2001:db8::7", 40007)}
ZONE = {"db.test": ["A 192.0.2.7"]}


def config(word="require"):
    return f"""
listeners:
  - {{ name: dns, mode: dns, address: ["0.0.0.0:{DNS}", "[::]:{DNS}"], proxy-protocol: {word},
      trusted: ["{TRUSTED[4]}", "{TRUSTED[6]}"] }}
rules:
  - {{ name: no, match: {{ source: 198.51.100.0/24 }}, action: reject }}
  - {{ name: all, action: accept }}
resolver: {{ servers: [{NS}], timeout: 2s }}
{configs.RECORD}"""


@pytest.fixture
def zone(lab):
    server = NameServer(lab.server, NS, ZONE)
    yield server
    server.close()


@pytest.fixture
def run(lab, tmp_path):
    """run(namespace, argv, ready): a name server in the foreground, until the end of the test."""
    processes = []

    def begin(namespace, argv, ready):
        said = tmp_path / f"{argv[0]}.said"
        with open(said, "wb") as out, namespace.enter():
            # pylint: disable-next=consider-using-with
            processes.append(subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *argv],
                                              stdin=subprocess.DEVNULL, stdout=out, stderr=out))
        deadline = time.monotonic() + 20
        while not ready():
            assert processes[-1].poll() is None and time.monotonic() < deadline, \
                said.read_text(encoding="utf-8")
            time.sleep(0.02)

    yield begin
    lab.close_sockets()
    for process in processes:
        process.kill()
        process.wait()


def listens(namespace, port):
    return lambda: f":{port} " in namespace.run("ss", "-lntH") and \
        f":{port} " in namespace.run("ss", "-lnuH")


def sender(lab, family=4, address=None):
    s = lab.udp(lab.client, family, address or TRUSTED[family], lab.free_port())
    s.connect((PROXY[family], DNS))
    return s


def dig(namespace, source, server, port, *more):
    return namespace.run("dig", "+short", "+tries=1", "+time=10", "-b", source, f"@{server}",
                         "-p", str(port), *more, "db.test", "A").strip()


def dns_record(limpid, client):
    return limpid.records.wait(lambda r: r["event_type"] == "dns" and
                               (r["src_ip"], r["src_port"]) == client)


# --- to mode dns --------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["require", "optional"])
@pytest.mark.parametrize("transport", [UDP, TCP], ids=["DGRAM", "STREAM"])
@pytest.mark.usefixtures("zone")
def test_query_with_header(lab, serve, family, transport, word):
    limpid = serve(config(word))
    s = sender(lab, family)
    s.send(v2(OTHER[family], (PROXY[family], 53), transport=transport) + query("db.test"))
    assert s.recv(65535).endswith(b"\xc0\0\2\7")
    record = dns_record(limpid, OTHER[family])
    assert record["dns"]["rrname"] == "db.test" and record["proto"] == "UDP"
    name = s.getsockname()[:2]
    assert record["limpid"]["proxy_header"] == {"sender_ip": name[0], "sender_port": name[1]}


@pytest.mark.parametrize("transport", [UDP, TCP], ids=["DGRAM", "STREAM"])
@pytest.mark.usefixtures("zone")
def test_query_by_tcp_with_header(lab, serve, family, transport):
    """DGRAM too: who sends queries on by TCP may have got them by UDP."""
    limpid = serve(config())
    s = lab.socket(lab.client, family)
    s.bind((TRUSTED[family], lab.free_port()))
    s.connect((PROXY[family], DNS))
    header = v2(OTHER[family], (PROXY[family], 53), transport=transport)
    for byte in header + over_tcp(query("db.test")):
        s.sendall(bytes([byte]))
    size = int.from_bytes(sock.read_exactly(s, 2), "big")
    assert sock.read_exactly(s, size).endswith(b"\xc0\0\2\7")
    record = dns_record(limpid, OTHER[family])
    assert record["limpid"]["proxy_header"]["sender_port"] == s.getsockname()[1]


@pytest.mark.usefixtures("zone")
def test_one_sender_for_many_clients(lab, serve):
    """Rules see each client; all answers go to the one socket."""
    serve(config())
    s = sender(lab)
    for i in range(10):
        who = ("198.51.100.1" if i == 5 else f"198.18.0.{i}", 53)
        s.send(v2(who, (PROXY[4], 53), transport=UDP) + query("db.test", number=i))
    answers = [s.recv(65535) for _ in range(10)]
    assert {a[1]: a[3] & 15 for a in answers} == {i: 5 if i == 5 else 0 for i in range(10)}


@pytest.mark.usefixtures("zone")
def test_local(lab, serve):
    """A health check: the sender speaks for itself."""
    limpid = serve(config())
    s = sender(lab)
    s.send(v2() + query("db.test"))
    assert s.recv(65535).endswith(b"\xc0\0\2\7")
    dns_record(limpid, s.getsockname())


@pytest.mark.parametrize("header", [b"", v2(OTHER[4], OTHER[4], transport=UDP, command=0x31),
                                    v2(OTHER[4], OTHER[4], b"\x03\0\4\0\0\0\0", UDP)],
                         ids=["none", "version 3", "CRC32C"])
def test_bad_header(lab, serve, zone, header):
    """No answer: who the client is cannot be known, and so not who would get it."""
    limpid = serve(config())
    s = sender(lab)
    s.send(header + query("db.test"))
    assert dns_record(limpid, s.getsockname())["limpid"]["why"] == "greeting"
    assert not zone.count("db.test") and sock.silent(s, 0.05)


def test_untrusted_sender(lab, serve, zone):
    limpid = serve(config())
    s = sender(lab, 4, CLIENT["redirect"][4])
    s.send(v2(OTHER[4], (PROXY[4], 53), transport=UDP) + query("db.test"))
    assert dns_record(limpid, s.getsockname())["limpid"]["why"] == "untrusted"
    assert not zone.count("db.test") and sock.silent(s, 0.05)


@pytest.mark.parametrize("address", [TRUSTED[4], CLIENT["redirect"][4]],
                         ids=["trusted", "untrusted"])
@pytest.mark.usefixtures("zone")
def test_optional_without_header(lab, serve, address):
    limpid = serve(config("optional"))
    s = sender(lab, 4, address)
    s.send(query("db.test"))
    assert s.recv(65535).endswith(b"\xc0\0\2\7")
    assert "proxy_header" not in dns_record(limpid, s.getsockname())["limpid"]


# --- programs -----------------------------------------------------------------------------------


@pytest.mark.plain
@pytest.mark.parametrize("how", ["", ", tcpOnly=true"], ids=["udp", "tcp"])
@pytest.mark.usefixtures("zone")
def test_from_dnsdist(lab, serve, run, tmp_path, how):
    """Queries by UDP and by TCP, sent on by either."""
    limpid = serve(config())
    path = tmp_path / "dnsdist.conf"
    path.write_text(f"""
setLocal("{TRUSTED[4]}:{DNSDIST}")
setSecurityPollSuffix("")
newServer({{ address="{PROXY[4]}:{DNS}", source="{TRUSTED[4]}", useProxyProtocol=true,
             checkName="db.test."{how} }})
""", encoding="utf-8")
    run(lab.client, ["dnsdist", "--supervised", "--disable-syslog", "-C", str(path)],
        listens(lab.client, DNSDIST))
    # its own health check says LOCAL, and must have been answered before it sends on anything
    limpid.records.wait(lambda r: r["event_type"] == "dns" and r["src_ip"] == TRUSTED[4])
    for more in [], ["+tcp"]:
        port = lab.free_port()
        source = CLIENT["redirect"][4]
        assert dig(lab.client, f"{source}#{port}", TRUSTED[4], DNSDIST, *more) == "192.0.2.7"
        record = dns_record(limpid, (source, port))
        assert record["proto"] == ("TCP" if how or more else "UDP")
        assert record["limpid"]["proxy_header"]["sender_ip"] == TRUSTED[4]


@pytest.mark.plain
@pytest.mark.parametrize("more", [[], ["+tcp"]], ids=["udp", "tcp"])
def test_recursor_is_told(lab, serve, run, tmp_path, more):
    """It answers the client of the header, and nobody else."""
    serve(f"""
listeners:
  - {{ name: routed, mode: tproxy, network: [tcp, udp],
      address: ["127.0.0.1:50080", "[::1]:50080"] }}
rules: [ {{ name: told, action: accept, proxy-protocol: v2 }} ]
{configs.RECORD}""")
    (tmp_path / "test.zone").write_text(
        "@ 60 IN SOA ns.test. me.test. 1 1 1 1 1\n@ 60 IN NS ns.test.\ndb 60 IN A 192.0.2.7\n",
        encoding="ascii")
    run(lab.server, ["pdns_recursor", f"--config-dir={tmp_path}", f"--socket-dir={tmp_path}",
                     "--daemon=no", "--disable-syslog", f"--local-address={SERVER[4]}",
                     "--local-port=5353", "--threads=1", "--proxy-protocol-from=10.77.2.0/24",
                     f"--allow-from={CLIENT['tproxy'][4]}/32", "--security-poll-suffix=",
                     "--hint-file=no", f"--auth-zones=test={tmp_path}/test.zone"],
        listens(lab.server, 5353))
    source = f"{CLIENT['tproxy'][4]}#{lab.free_port()}"
    assert dig(lab.client, source, SERVER[4], 5353, *more) == "192.0.2.7"
