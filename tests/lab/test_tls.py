# SPDX-License-Identifier: Apache-2.0
"""Clients that speak TLS with limpid itself: `tls:` on a listener."""
import os
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import time

import pytest

from lab import configs, sock
from lab.certificate import TlsPair
from lab.http import Reader
from lab.limpid import binary
from lab.topology import CLIENT, PROXY, SERVER

PORT, PLAIN_PORT = 52443, 7000


def config(folder, more="", listener="", end=""):
    return f"""
listeners:
  - {{ name: front, mode: fixed, to: "{SERVER[4]}:{PLAIN_PORT}", address: ["{PROXY[4]}:{PORT}"],
      tls: front{listener} }}
tls:
  front: {{ certificate: "{folder}/certificate.pem", key: "{folder}/key.pem"{more} }}
rules:
  - {{ name: all, action: accept }}
timeouts: {{ connect: 2s, sniff: 1s }}
{end}
{configs.RECORD}
"""


class Front:
    def __init__(self, lab, serve, folder, **more):
        self.lab, self.folder = lab, folder
        self.limpid = serve(config(folder, **more))
        self.server = lab.listen(4, SERVER[4], PLAIN_PORT)
        self.context = ssl.create_default_context(cafile=str(folder / "certificate.pem"))

    def connect(self):
        s = self.lab.socket(self.lab.client, 4)
        s.bind((CLIENT["routed"][4], self.lab.free_port()))
        s.connect((PROXY[4], PORT))
        return s

    def open(self, context=None):
        return (context or self.context).wrap_socket(self.connect(), server_hostname="name.test",
                                                     suppress_ragged_eofs=False)

    def pair(self, context=None):
        tls = self.open(context)
        tls.sendall(b"first")
        server = self.lab.accept(self.server)
        assert sock.read_exactly(server, 5) == b"first"
        return tls, server

    def why(self, name):
        return self.limpid.records.of(name)["limpid"]["why"]


@pytest.fixture
def front(lab, serve, tls_pair):
    # pylint: disable=unused-argument
    return Front(lab, serve, tls_pair.key.parent)


def version(maximum):
    def limited(context):
        context.maximum_version = maximum
        return context
    return limited


def both_ways(tls, up, n_down):
    """Send and read at the same time, in one thread: an ssl.SSLSocket is not made for two."""
    got, sent = bytearray(), 0
    tls.setblocking(False)
    while sent < len(up) or len(got) < n_down:
        writing = [tls] if sent < len(up) else []
        assert tls.pending() or any(select.select([tls], writing, [], sock.DEADLINE_S)), "stalled"
        try:
            if sent < len(up):
                sent += tls.send(memoryview(up)[sent:sent + (1 << 16)])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        try:
            if len(got) < n_down:
                data = tls.recv(1 << 20)
                assert data, f"the stream ended after {len(got)} bytes"
                got += data
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
    tls.settimeout(sock.DEADLINE_S)
    return bytes(got)


def test_end_while_the_sniffer_looks(front):
    """What has come could be the beginning of an HTTP request; the end behind it goes on."""
    tls, server = front.pair()
    ending = sock.Background(tls.unwrap)
    assert sock.read_to_end(server) == b""
    server.close()
    ending.result().close()


@pytest.mark.parametrize("maximum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3],
                         ids=["1.2", "1.3"])
def test_bulk_both_ways(front, maximum):
    front.context.maximum_version = maximum
    tls, server = front.pair()
    name = tls.getsockname()
    up, down = sock.pattern(5_000_000, 1), sock.pattern(5_000_000, 2)
    sending = sock.Background(server.sendall, down)
    receiving = sock.Background(sock.read_exactly, server, len(up))
    assert both_ways(tls, up, len(down)) == down
    sending.result()
    assert receiving.result() == up
    server.shutdown(socket.SHUT_WR)
    assert tls.recv(1) == b""  # close_notify: a ragged end would be an error
    tls.unwrap().close()
    assert server.recv(1) == b""
    assert front.why(name) == "finished"


def test_one_byte_per_segment(front):
    """Every record in pieces: ClientHello, Finished, data."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = front.context.wrap_bio(incoming, outgoing, server_hostname="name.test")
    raw = front.connect()

    def flush():
        for byte in outgoing.read():
            raw.sendall(bytes([byte]))

    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            flush()
            incoming.write(raw.recv(100))
    tls.write(b"first")
    flush()
    server = front.lab.accept(front.server)
    assert sock.read_exactly(server, 5) == b"first"


def test_server_speaks_first(front, serve, tls_pair):
    front.limpid = serve(config(tls_pair.key.parent, listener=", sniff: false"))
    tls = front.open()
    server = front.lab.accept(front.server)
    server.sendall(b"220 hello")
    assert sock.read_exactly(tls, 9) == b"220 hello"


def test_server_is_not_dialled_before_the_handshake(front):
    raw = front.connect()
    raw.sendall(b"\x16\x03\x01")
    assert sock.silent(front.server)
    assert sock.read_to_reset(raw) == b""  # timeouts.sniff
    assert sock.silent(front.server)


def test_cut_without_close_notify(front):
    """A FIN alone is no end: the server is reset, never told that it has everything."""
    tls, server = front.pair()
    name = tls.getsockname()
    tls.sendall(b"half of it")
    assert sock.read_exactly(server, 10) == b"half of it"
    raw = socket.socket(fileno=tls.detach())
    raw.shutdown(socket.SHUT_WR)
    assert sock.read_to_reset(server) == b""
    raw.close()
    assert front.why(name) == "client-reset"


def test_server_resets(front):
    tls, server = front.pair()
    server.sendall(b"some")
    assert sock.read_exactly(tls, 4) == b"some"
    sock.reset(server)
    raw = socket.socket(fileno=tls.detach())
    raw.settimeout(sock.DEADLINE_S)
    sock.read_to_reset(raw)


def test_record_tampered_with(front):
    tls, server = front.pair()
    name = tls.getsockname()
    raw = socket.socket(fileno=tls.detach())
    raw.settimeout(sock.DEADLINE_S)
    raw.sendall(b"\x17\x03\x03" + struct.pack(">H", 40) + bytes(40))
    assert sock.read_to_reset(server) == b""
    raw.close()
    assert front.why(name) == "client-tls"


def test_plain_http_is_told(front):
    s = front.connect()
    name = s.getsockname()
    s.sendall(b"GET / HTTP/1.1\r\nHost: name.test\r\n\r\n" + b"x" * 5000)
    answer = sock.read_to_end(s)
    assert answer.startswith(b"HTTP/1.1 400 ") and b"speaks TLS" in answer
    s.close()
    assert front.why(name) == "client-tls"


@pytest.mark.parametrize("said", [b"\x05\x01\x00", b"\x00" * 100, b"\x80\x2e\x01\x03\x01"],
                         ids=["socks", "zeros", "ssl2"])
def test_other_protocols(front, said):
    s = front.connect()
    name = s.getsockname()
    s.sendall(said)
    assert sock.read_to_reset(s) == b""
    assert front.why(name) == "client-tls"


def test_fin_instead_of_a_hello(front):
    s = front.connect()
    name = s.getsockname()
    s.shutdown(socket.SHUT_WR)
    assert sock.read_to_reset(s) == b""
    assert front.why(name) == "client-gone"
    assert sock.silent(front.server)


def test_alert_reaches_a_client_of_old(front):
    """The handshake fails: the client is told by an alert and not by a RST."""
    with front.lab.client.enter():
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"{PROXY[4]}:{PORT}", "-tls1_1",
             "-cipher", "ALL:@SECLEVEL=0"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20)
    assert "alert protocol version" in done.stderr


def s_client(front, *options, stdin=""):
    with front.lab.client.enter():
        return subprocess.run(
            ["openssl", "s_client", "-connect", f"{PROXY[4]}:{PORT}", "-servername", "name.test",
             "-CAfile", str(front.folder / "certificate.pem"), "-verify_return_error", *options],
            input=stdin, capture_output=True, text=True, check=False, timeout=20)


def test_alpn_and_minimum(lab, serve, tls_pair):
    folder = tls_pair.key.parent
    front = Front(lab, serve, folder, more=", alpn: [http/1.1, x], min-version: 1.3")
    assert "ALPN protocol: http/1.1" in s_client(front, "-alpn", "h2,x,http/1.1").stdout
    assert "No ALPN negotiated" in s_client(front).stdout
    assert "alert no application protocol" in s_client(front, "-alpn", "h2").stderr
    assert "alert protocol version" in s_client(front, "-tls1_2").stderr


@pytest.mark.parametrize("mode, status", [("https", 1), ("http", 1), ("mixed", 1), ("socks", 0)])
def test_h2_is_not_for_modes_of_http(tls_pair, tmp_path, mode, status):
    """A browser would agree on it, and be refused with the first request."""
    folder = tls_pair.key.parent
    (tmp_path / "c").write_text(f"""
listeners: [{{ name: a, mode: {mode}, address: "127.0.0.1:8443", tls: front }}]
tls:
  front: {{ certificate: "{folder}/certificate.pem", key: "{folder}/key.pem", alpn: [http/1.1, h2] }}
rules: [{{ name: all, action: accept }}]
""")
    done = subprocess.run([binary(), "check", "--config", tmp_path / "c"], capture_output=True,
                          text=True, check=False)
    assert done.returncode == status, done.stderr
    assert ("its alpn offers h2" in done.stdout + done.stderr) is (status != 0)


@pytest.mark.parametrize("cipher", [
    "AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256", "ADH-AES128-SHA256",
    "NULL-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-GCM-SHA256"])
def test_ciphers_of_1_2(lab, serve, tls_pair, tmp_path, cipher):
    """Forward secrecy and AEAD, or nothing (RFC 9325 section 4.2)."""
    folder = tls_pair.key.parent
    if "ECDSA" not in cipher:  # such a certificate, so that nothing else can be the reason
        folder = tmp_path
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=name.test", "-keyout", folder / "key.pem",
                        "-out", folder / "certificate.pem"], check=True, capture_output=True)
    done = s_client(Front(lab, serve, folder), "-tls1_2", "-cipher", cipher + ":@SECLEVEL=0")
    if cipher == "ECDHE-ECDSA-AES128-GCM-SHA256":
        assert f"Cipher is {cipher}" in done.stdout
    else:
        assert "alert handshake failure" in done.stderr


def test_session_of_1_3_is_resumed(front, tmp_path):
    session = tmp_path / "session"

    def one(option):
        tls = ["openssl", "s_client", "-connect", f"{PROXY[4]}:{PORT}", "-tls1_3", "-ign_eof",
               option, str(session)]
        with front.lab.client.enter(), subprocess.Popen(
                tls, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL) as client:
            client.stdin.write(b"hello\n")
            client.stdin.flush()
            server = front.lab.accept(front.server)
            assert sock.read_exactly(server, 6) == b"hello\n"
            server.close()
            return client.stdout.read()

    assert b"New, TLSv1.3" in one("-sess_out")
    resumed = one("-sess_in")
    assert b"Reused, TLSv1.3" in resumed and b"Early data was not sent" in resumed


@pytest.mark.parametrize("hello, alert", [
    (b"\x16\x03\x01\xff\xff" + bytes(100), 22),               # record_overflow
    (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", 50),           # decode_error
    (b"\x16\x03\x01\x00\x00" * 40, 10),                        # unexpected_message
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(508), 50),
], ids=["overflow", "empty hello", "empty records", "zeros"])
def test_alert_for_a_broken_hello(front, hello, alert):
    """RFC 8446 section 6.2: which alert it is, and an end that does not take it back."""
    s = front.connect()
    name = s.getsockname()
    s.sendall(hello)
    assert sock.read_to_end(s) == bytes([21, 3, 3, 0, 2, 2, alert])
    s.close()
    assert front.why(name) == "client-tls" and sock.silent(front.server)


def test_renegotiation_is_refused(front):
    done = s_client(front, "-tls1_2", stdin="R\n")
    assert "no renegotiation" in done.stderr or "RENEGOTIATING" in done.stdout
    assert done.returncode != 0


def test_resumption(front, tmp_path):
    session = tmp_path / "session"
    assert "Reused" not in s_client(front, "-tls1_2", "-sess_out", str(session)).stdout
    for _ in range(4):  # by whichever thread
        assert "Reused" in s_client(front, "-tls1_2", "-sess_in", str(session)).stdout


def test_certificate_changes_while_connections_go_on(lab, serve, tmp_path):
    """Files are read again; what is open keeps what it began with; what is wrong is not taken."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in first, second:
        folder.mkdir()
        TlsPair(folder)
    live = tmp_path / "live"
    shutil.copytree(first, live)
    front = Front(lab, serve, live)
    tls, server = front.pair()
    contexts = {n: ssl.create_default_context(cafile=str(tmp_path / n / "certificate.pem"))
                for n in ("first", "second")}

    def replace(name, folder):
        shutil.copy(folder / name, live / "new")
        os.rename(live / "new", live / name)

    def served_by():
        for name, context in contexts.items():
            try:
                front.open(context).close()
                return name
            except ssl.SSLCertVerificationError:
                pass
        return None

    assert served_by() == "first"
    replace("certificate.pem", second)  # not the key: it cannot be used
    sock.eventually(lambda: served_by() and "another key" in front.limpid.stderr(), "it is said")
    assert served_by() == "first"
    replace("key.pem", second)
    sock.eventually(lambda: served_by() == "second", "the new certificate is served")
    tls.sendall(b"still")
    assert sock.read_exactly(server, 5) == b"still"


def test_hangup_reads_certificates_at_once(lab, serve, tmp_path):
    """Without HUP it would be a second later; a busy machine gets some tries."""
    pairs = []
    for name in "first", "second":
        (tmp_path / name).mkdir()
        pairs.append(TlsPair(tmp_path / name))
    live = tmp_path / "live"
    shutil.copytree(tmp_path / "first", live)
    front = Front(lab, serve, live, end="limits: { threads: 1 }")

    def is_served(pair):
        try:
            front.open(pair.client_context).close()
            return True
        except ssl.SSLCertVerificationError:
            return False

    def seconds_to(pair):
        began = time.monotonic()
        for path in pair.certificate, pair.key:
            shutil.copy(path, live / "new")
            os.rename(live / "new", live / path.name)
        os.kill(front.limpid.pid, signal.SIGHUP)
        sock.eventually(lambda: is_served(pair), "the new one")
        return time.monotonic() - began

    sock.eventually(lambda: is_served(pairs[0]), "the first one")
    assert any(seconds_to(pairs[i % 2]) < 0.7 for i in range(1, 7))


# --- mode: https ------------------------------------------------------------------------------
def https(folder):
    return f"""
listeners:
  - {{ name: https, mode: https, address: ["{PROXY[4]}:{PORT}"], tls: front }}
tls:
  front: {{ certificate: "{folder}/certificate.pem", key: "{folder}/key.pem", alpn: http/1.1 }}
rules:
  - {{ name: no, match: {{ port: 7001 }}, action: reject }}
  - {{ name: all, action: accept }}
{configs.RECORD}
"""


def curl(lab, folder, *options):
    with lab.client.enter():
        return subprocess.run(
            ["curl", "-sS", "--proxy", f"https://name.test:{PORT}",
             "--resolve", f"name.test:{PORT}:{PROXY[4]}",
             "--proxy-cacert", str(folder / "certificate.pem"), *options],
            capture_output=True, text=True, check=False, timeout=20)


def test_curl_through_a_https_proxy(lab, serve, tls_pair):
    folder = tls_pair.key.parent
    serve(https(folder))
    listener = lab.listen(4, SERVER[4], PLAIN_PORT)

    def origin():
        with lab.accept(listener) as s:
            Reader(s).head()
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            return s.recv(1)

    serving = sock.Background(origin)
    done = curl(lab, folder, "--proxytunnel", f"http://{SERVER[4]}:{PLAIN_PORT}/")
    assert done.stdout == "hello", done.stderr
    assert serving.result() == b""


def test_tls_inside_tls(lab, serve, tls_pair):
    """An https origin through an https proxy."""
    folder = tls_pair.key.parent
    serve(https(folder))
    listener = lab.listen(4, SERVER[4], PLAIN_PORT)

    def origin():
        with tls_pair.server_context.wrap_socket(lab.accept(listener), server_side=True) as s:
            Reader(s).head()
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000)
            return s.recv(1)

    serving = sock.Background(origin)
    done = curl(lab, folder, "-k", f"https://{SERVER[4]}:{PLAIN_PORT}/")
    assert len(done.stdout) == 300_000, done.stderr
    assert serving.result() == b""


def test_refusal_inside_tls(lab, serve, tls_pair):
    folder = tls_pair.key.parent
    serve(https(folder))
    done = curl(lab, folder, "--proxytunnel", f"http://{SERVER[4]}:7001/")
    assert "403" in done.stderr


def test_http_to_the_https_proxy(lab, serve, tls_pair):
    serve(https(tls_pair.key.parent))
    with lab.client.enter():
        done = subprocess.run(["curl", "-sS", "--proxy", f"http://{PROXY[4]}:{PORT}", "-p",
                               f"http://{SERVER[4]}/"],
                              capture_output=True, text=True, check=False, timeout=20)
    assert "400" in done.stderr
