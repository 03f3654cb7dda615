# SPDX-License-Identifier: Apache-2.0
"""Each allocation and each system call of a start fails once: limpid starts, or says why not."""
import os
import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab import fault
from lab.limpid import binary, check_stderr
from lab.netns import Namespace

pytestmark = pytest.mark.skipif(fault.library() is None,
                                reason="tests/fault.so is not beside the program")

# Something of everything, so that every loader has its turn.
CONFIG = """
listeners:
  - { name: both, mode: tproxy, network: [tcp, udp], address: ["127.0.0.1:50080", "[::1]:50080"] }
  - { name: local, mode: redirect, address: ["0.0.0.0:51080", "[::]:51080"] }
  - { mode: fixed, address: "127.0.0.1:50081", to: "10.0.0.1:80", sniff: [tls] }
sets:
  lan: [10.0.0.0/8, "fd00::/8"]
  names: { file: names.txt }
rules:
  - { name: a, match: { listener: both, port: [80, "443-450"] }, action: accept, source: keep }
  - { name: b, match: { source: $lan, domain: [x.test, .y.test] }, action: accept, source: own }
  - { name: c, match: { domain: $names, not: { port: 22 } }, action: deny }
record: { flows: { file: flows.json } }
limits: { threads: 2 }
"""
# A thread that cannot be made for want of memory is EAGAIN.
ABOUT_MEMORY = re.compile("memory|temporarily unavailable").search


class Starts:
    """Runs of one command, each with its own n-th call that fails; two at a time, each thread in
    a namespace of its own with nothing but its loopback."""

    def __init__(self, folder, argv, kinds):
        self.folder = folder
        self.argv = argv
        self.kinds = kinds
        self.out = None  # what a start without a fault says
        self.wrong = []
        self.namespaces = []
        self._own = threading.local()

    def run(self, n):
        """Returns how many calls there were."""
        if not hasattr(self._own, "fault"):
            self._own.fault = fault.Fault(self.folder / f"fault-{threading.get_ident()}")
            self._own.namespace = Namespace()
            self._own.namespace.ip("link set lo up")
            self.namespaces.append(self._own.namespace)
        f = self._own.fault
        f.set(self.kinds, n)
        env = {**os.environ, **f.environment(quit_at_once=True)}
        try:
            with self._own.namespace.enter():
                done = subprocess.run([binary(), *self.argv], env=env, capture_output=True,
                                      text=True, timeout=30, check=False, cwd=self.folder,
                                      stdin=subprocess.DEVNULL)
            self.judge(n, done.returncode, done.stdout, done.stderr)
        except subprocess.TimeoutExpired as e:
            self.wrong.append(f"call {n}: it hangs, and says {e.stderr}")
        except AssertionError as e:
            self.wrong.append(f"call {n}: {e}")
        return f.seen

    def close(self):
        for namespace in self.namespaces:
            namespace.close()

    def judge(self, n, status, out, err):
        check_stderr(err)
        lines = err.strip().splitlines()
        if n == 0:
            assert status == 0, err
            self.out = out
        elif status not in (0, 1):
            self.wrong.append(f"call {n}: ended with {status}: {err}")
        elif status == 1 and not lines:
            self.wrong.append(f"call {n}: status 1 without a word")
        elif status == 1 and self.kinds == ["alloc"] and not all(map(ABOUT_MEMORY, lines)):
            self.wrong.append(f"call {n}: says something else than the reason: {err}")
        elif status == 0 and out != self.out:
            self.wrong.append(f"call {n}: starts, but {out}")

    def each(self):
        total = self.run(0)
        assert not self.wrong, self.wrong
        assert total > 3
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self.run, range(1, total + 1)))
        assert not self.wrong, f"of {total} calls: " + "\n".join(self.wrong[:10])


@pytest.mark.parametrize("kinds", [["alloc"], fault.SYSTEM_CALLS], ids=["memory", "calls"])
@pytest.mark.parametrize("verb", ["check", "serve", "run"])
def test_start_with_each_call_failing(tmp_path, verb, kinds):
    """From the first call to the last of a start (and of the end that follows at once): limpid
    starts, or says why it cannot and exits 1.  It never crashes, hangs, or leaks."""
    (tmp_path / "limpid.yaml").write_text(CONFIG, encoding="ascii")
    (tmp_path / "names.txt").write_text("a.test\n.b.test\n# comment\n*.c.test\n", encoding="ascii")
    argv = {"run": ["run", "-q", "--record", "run.json", "--", "true"]}.get(
        verb, [verb, "--config", "limpid.yaml"])
    starts = Starts(tmp_path, argv, kinds)
    try:
        starts.each()
    finally:
        starts.close()
