# SPDX-License-Identifier: Apache-2.0
"""Network namespaces without names.

A namespace lives as long as this process holds its descriptor.  There is nothing under
/run/netns and nothing to clean up, however the process ends: when the last descriptor and the
last socket are gone the kernel takes interfaces, rules and routes away with it.

To look into one while a test is stopped: nsenter --net=<Namespace.path> bash
"""
import contextlib
import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result):
    if result < 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))


def _own():
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


class Namespace:
    def __init__(self):
        home = _own()
        try:
            _check(_libc.unshare(CLONE_NEWNET))
            self.fd = _own()
            _check(_libc.setns(home, CLONE_NEWNET))
        finally:
            os.close(home)
        with contextlib.suppress(FileNotFoundError):  # of one that is gone and had this number
            os.unlink(f"/run/limpid/firewall-{os.fstat(self.fd).st_ino}")

    @property
    def path(self):
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextlib.contextmanager
    def enter(self):
        """What this thread creates in the block, sockets and processes, is born inside."""
        home = _own()
        try:
            _check(_libc.setns(self.fd, CLONE_NEWNET))
            yield self
        finally:
            _check(_libc.setns(home, CLONE_NEWNET))
            os.close(home)

    def run(self, *argv, stdin=None):
        """Run a command inside; its failure is an error that shows what it said."""
        with self.enter():
            done = subprocess.run(argv, input=stdin, text=True, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr or done.stdout}\n{stdin or ''}")
        return done.stdout

    def ip(self, script):
        """Lines for ip(8); those that begin with -6 come last."""
        lines = script.splitlines()
        six = [line[3:] for line in lines if line.startswith("-6 ")]
        self.run("ip", "-batch", "-", stdin="\n".join(n for n in lines if not n.startswith("-6 ")))
        if six:
            self.run("ip", "-6", "-batch", "-", stdin="\n".join(six))

    def nft(self, script):
        self.run("nft", "-f", "-", stdin=script)

    def sysctl(self, **values):
        """sysctl(net__ipv4__ip_forward=1): two underscores stand for a dot."""
        with self.enter():
            for key, value in values.items():
                with open("/proc/sys/" + key.replace("__", "/"), "w", encoding="ascii") as f:
                    f.write(str(value))

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
