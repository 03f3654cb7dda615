# SPDX-License-Identifier: Apache-2.0
"""Programs whose datagrams pass through a tproxy listener: QUIC by ngtcp2, iperf3."""
import json
import shutil
import subprocess

import pytest

from lab import configs, sock
from lab.limpid import listening
from lab.topology import CLIENT, SERVER

QUIC, IPERF = 4433, 5201
CONFIG = f"""
listeners:
  - {{ name: routed, mode: tproxy, network: [tcp, udp],
      address: ["127.0.0.1:50080", "[::1]:50080"] }}
rules:
  - {{ name: keep, match: {{ port: [{QUIC}, {IPERF}] }}, action: accept, source: keep }}
  - {{ name: own, match: {{ port: [{QUIC + 1}, {IPERF + 1}] }}, action: accept }}
timeouts: {{ udp: 1s }}
{configs.RECORD}"""
FILE_BYTES = 5 << 20


def needs(*names):
    missing = [n for n in names if not shutil.which(n)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {' '.join(missing)}")


@pytest.fixture
def run(lab, serve, family):
    """Programs as clients, whose packets limpid takes, and as servers."""
    limpid = serve(CONFIG)
    route = f"default via {'10.77.1.1' if family == 4 else 'fd77:1::1'}"
    prefix = "-6 " if family == 6 else ""
    lab.client.ip(f"{prefix}route replace {route} src {CLIENT['tproxy'][family]}")
    programs = Programs(lab, limpid)
    yield programs
    programs.close()
    lab.client.ip(f"{prefix}route replace {route}")


class Programs:
    def __init__(self, lab, limpid):
        self.lab, self.limpid, self.servers = lab, limpid, []

    def serve(self, *argv, udp=0):
        """A server; it is ready once it has bound its port."""
        with self.lab.server.enter():
            # pylint: disable-next=consider-using-with
            p = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *map(str, argv)],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True)
        self.servers.append(p)
        sock.eventually(lambda: p.poll() is not None or (
            f":{udp} " in self.lab.server.run("ss", "-lunH") if udp else listening(p.pid)),
            f"{argv[0]} listens")
        assert p.poll() is None, p.stdout.read()

    def client(self, *argv):
        with self.lab.client.enter():
            done = subprocess.run(list(map(str, argv)), stdin=subprocess.DEVNULL, text=True,
                                  capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def records(self, port, count=1, **more):
        return self.limpid.records.wait(
            lambda r: r.get("proto") == "UDP" and r["dest_port"] == port, count=count, **more)

    def close(self):
        for p in self.servers:
            p.kill()
            p.wait()
            p.stdout.close()


@needs("gtlsclient", "gtlsserver")
@pytest.mark.parametrize("port, options", [(QUIC, ["--validate-addr"]), (QUIC + 1, [])],
                         ids=["keep", "own"])
def test_quic(run, tls_pair, tmp_path, family, port, options):
    """HTTP/3 there and back, one connection: whole, and seen as one session."""
    www, got = tmp_path / "www", tmp_path / "got"
    www.mkdir(), got.mkdir()
    data = sock.pattern(FILE_BYTES)
    (www / "file").write_bytes(data)
    run.serve("gtlsserver", "--quiet", *options, "--htdocs", www, SERVER[family], port,
              tls_pair.key, tls_pair.certificate, udp=port)
    run.client("gtlsclient", "--quiet", "--exit-on-all-streams-close", "--download", got,
               SERVER[family], port, f"https://name.test:{port}/file")
    assert (got / "file").read_bytes() == data
    record = run.records(port)
    assert record["src_ip"] == CLIENT["tproxy"][family]
    assert record["flow"]["bytes_toclient"] > FILE_BYTES > record["flow"]["bytes_toserver"] > 0


@needs("iperf3")
@pytest.mark.parametrize("port", [IPERF, IPERF + 1], ids=["keep", "own"])
def test_iperf3(run, family, port):
    """Its control connection, and datagrams in both directions: at a modest rate none is lost,
    doubled or out of order."""
    run.serve("iperf3", "--server", "--one-off", "--bind", SERVER[family], "--port", port)
    said = json.loads(run.client("iperf3", "--client", SERVER[family], "--port", port, "--udp",
                                 "--bidir", "--bitrate", "2M", "--time", "1", "--length", "1200",
                                 "--json"))["end"]
    for direction in "sum_received", "sum_received_bidir_reverse":
        assert said[direction]["packets"] > 100 and said[direction]["lost_packets"] == 0
    assert all(stream["udp"]["out_of_order"] == 0 for stream in said["streams"])
    run.limpid.records.wait(lambda r: r.get("proto") == "UDP" and r["dest_port"] == port and
                            r["flow"]["pkts_toserver"] > 100)  # the other stream comes down
