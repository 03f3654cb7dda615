# SPDX-License-Identifier: Apache-2.0
"""Calls of limpid that fail on request: the other side of fault.c, which says how it works."""
import contextlib
import mmap
import os
import pathlib
import struct

from .limpid import binary

KINDS = ["alloc", "socket", "accept", "connect", "bind", "listen", "setsockopt", "getsockopt",
         "getsockname", "epoll_create", "epoll_ctl", "epoll_wait", "eventfd", "splice", "pipe",
         "fcntl", "recv", "send", "shutdown", "ioctl", "open", "read", "write", "mmap", "thread",
         "fork"]
SYSTEM_CALLS = [k for k in KINDS if k != "alloc"]
_FORM = struct.Struct("=QqQQ")


def library():
    """Beside the program; None where it was not built (an installed limpid)."""
    path = pathlib.Path(binary()).resolve().parent / "tests" / "fault.so"
    return path if path.exists() else None


class Fault:
    """What shall fail in the processes that are started with environment()."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.write_bytes(_FORM.pack(0, 0, 0, 0))
        with open(self.path, "r+b") as f:
            self._map = mmap.mmap(f.fileno(), _FORM.size)
        # libfyaml 0.7.12 forgets what it has in hand when an allocation of its own fails.
        self._suppressions = self.path.with_suffix(".suppressions")
        self._suppressions.write_text("leak:libfyaml.so\n", encoding="ascii")

    def environment(self, quit_at_once=False):
        options = os.environ.get("ASAN_OPTIONS", "detect_leaks=1") + ":verify_asan_link_order=0"
        env = {"LD_PRELOAD": str(library()), "FAULT_FILE": str(self.path), "ASAN_OPTIONS": options,
               "FAULT_PROGRAM": str(pathlib.Path(binary()).resolve()),
               "LSAN_OPTIONS": f"print_suppressions=0:suppressions={self._suppressions}"}
        return {**env, "FAULT_QUIT": "1"} if quit_at_once else env

    def prefix(self):
        """The same as words to put before a command."""
        return ["env", *(f"{key}={value}" for key, value in self.environment().items())]

    def set(self, kinds, n=0):
        """n > 0: the n-th call of these kinds fails; n < 0: every -n-th; 0: they are counted."""
        bits = sum(1 << KINDS.index(k) for k in kinds)
        self._map[:] = _FORM.pack(0, 0, 0, 0)
        self._map[:] = _FORM.pack(bits, n, 0, 0)

    def off(self):
        self._map[0:8] = bytes(8)

    @contextlib.contextmanager
    def failing(self, kinds, every):
        self.set(kinds, -every)
        try:
            yield self
        finally:
            self.off()

    @property
    def seen(self):
        return _FORM.unpack(self._map)[2]

    @property
    def failed(self):
        return _FORM.unpack(self._map)[3]
