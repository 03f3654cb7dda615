# SPDX-License-Identifier: Apache-2.0
"""The program under test as a process: start, wait until it listens, read what it says, stop."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

REPO = pathlib.Path(__file__).resolve().parents[3]
SANITIZER = re.compile(r"ERROR: AddressSanitizer|runtime error:|LeakSanitizer|"
                       r"WARNING: ThreadSanitizer|ERROR: libFuzzer|DEADLYSIGNAL")


def binary():
    return os.environ.get("LIMPID") or str(REPO / "build" / "limpid")


def sanitized():
    """Is the program built with a sanitizer?  Memory figures mean less then."""
    with open(binary(), "rb") as f:
        program = f.read()
    return b"__asan_init" in program or b"__tsan_init" in program


def check_stderr(text):
    found = SANITIZER.search(text)
    assert not found, "a sanitizer spoke:\n" + text[max(0, found.start() - 200):][:6000]


def listening(pid):
    """Ports with a listening TCP socket in the namespace of a process."""
    ports = set()
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as f:
                rows = [line.split() for line in f.readlines()[1:]]
        except OSError:
            continue
        ports |= {(name, int(row[1].rsplit(":", 1)[1], 16)) for row in rows if row[3] == "0A"}
    return ports


def wanted_sockets(config):
    """What a configuration will listen on: {("tcp", 50080), ...}."""
    ports = set()
    for line in re.findall(r"address: *\[((?:[^]]|\]:\d)*)\]", config, re.S):
        for host, port in re.findall(r'"([^"]+):(\d+)"', line):
            ports.add(("tcp6" if host.startswith("[") else "tcp", int(port)))
    return ports


class Records:
    """The JSON lines of record.flows.file, as they come."""

    def __init__(self, path):
        self.path = path
        self.all = []
        self._offset = 0
        self._start = 0

    def restart(self):
        """Forget what came before: source ports come round again."""
        self.poll()
        self._start = len(self.all)

    def poll(self):
        if self.path.exists():
            with open(self.path, "rb") as f:
                f.seek(self._offset)
                data = f.read()
            whole = data[:data.rfind(b"\n") + 1]
            self._offset += len(whole)
            self.all += [json.loads(line) for line in whole.splitlines()]
        return self.all[self._start:]

    def wait(self, which, count=1, seconds=15):
        """The first record (or, with count, a list of records) for which which(record) holds.

        A record that lacks a key that which() asks for is another one: a client that leaves
        before it has named its target has no dest_port, for instance.
        """
        deadline = time.monotonic() + seconds
        while True:
            found = [r for r in self.poll() if holds(which, r)]
            if len(found) >= count:
                return found[0] if count == 1 else found
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(found)} of {count} records came; since the start of "
                                     f"the test: {json.dumps(self.poll(), indent=1)[-4000:]}")
            time.sleep(0.01)

    def of(self, client_name, **more):
        """The record of the flow whose client is (ip, port)."""
        return self.wait(lambda r: (r["src_ip"], r["src_port"]) == tuple(client_name[:2]), **more)


def holds(which, record):
    try:
        return which(record)
    except KeyError:
        return False


class Limpid:
    def __init__(self, namespace, config, workdir, prefix=(), options=(), program=None,
                 ready=True):
        """@ready: False returns when it listens, which is before all of it is there."""
        self.workdir = pathlib.Path(workdir)
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.config = config
        self.namespace = namespace
        self.path = self.workdir / "limpid.yaml"
        self.stderr_path = self.workdir / "stderr"
        flows = self.workdir / "flows.json"
        self.path.write_text(config.replace("@FLOWS@", str(flows)), encoding="utf-8")
        self.records = Records(flows)
        # The process goes with us even when we are killed.
        argv = ["setpriv", "--pdeathsig", "KILL", "--", *prefix,
                program or binary(), "serve", "--config", str(self.path), *options]
        with open(self.stderr_path, "wb") as err, namespace.enter():
            self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._manager.bind("")  # the kernel gives it an abstract name
            name = self._manager.getsockname()[1:].decode("ascii")
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                                            env={**os.environ, "NOTIFY_SOCKET": "@" + name})
        if ready and not any("NOTIFY_SOCKET" in word for word in prefix):
            self._wait(self._is_ready, "was ready")
        self._wait(lambda: wanted_sockets(config) <= listening(self.pid), "listened")

    def _is_ready(self):
        """It listens with one socket after the other, and then says that all are there."""
        self._manager.settimeout(0.05)
        try:
            return b"READY=1" in self._manager.recv(4096)
        except TimeoutError:
            return False

    def _wait(self, condition, what):
        deadline = time.monotonic() + 20
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"limpid exited with {self.process.returncode} before it "
                                     f"{what}:\n{self.stderr()}")
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"limpid never {what}:\n{self.stderr()}")
            time.sleep(0.005)

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def stderr(self):
        return self.stderr_path.read_text(encoding="utf-8", errors="replace")

    def rss_bytes(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def _is_stopped(self):
        """Each of its threads; a signal that was sent has not stopped them yet."""
        states = []
        for path in pathlib.Path(f"/proc/{self.pid}/task").glob("*/stat"):
            states.append(path.read_text(encoding="ascii").rsplit(") ", 1)[1][0])
        return set(states) == {"T"}

    @contextlib.contextmanager
    def stopped(self):
        """What comes meanwhile is one round of events for it, in the order in which it came."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            self._wait(self._is_stopped, "stopped")
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait_exit(self, seconds=30):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"limpid did not end:\n{self.stderr()[-4000:]}") from None

    def stop(self):
        """Orderly end; checks status and sanitizers."""
        if self.alive():
            self.terminate()
        status = self.wait_exit()
        check_stderr(self.stderr())
        assert status == 0, f"limpid ended with status {status}:\n{self.stderr()[-4000:]}"

    def kill(self):
        if self.alive():
            self.process.kill()
            self.process.wait()
