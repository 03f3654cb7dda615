# SPDX-License-Identifier: Apache-2.0
"""A test that hangs ends at its limit (pytest --timeout), and first says who waited for what."""
import os
import signal
import subprocess
import sys

import pytest


def pytest_sessionstart():
    # A shell has its background ignore these (nohup and & in scripts): what is started here would.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A TERM ends the run as ^C does: with all finalizers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.hookimpl(hookwrapper=True, optionalhook=True)
def pytest_timeout_set_timer():
    yield
    ends_the_test = signal.getsignal(signal.SIGALRM)

    def tell(number, frame):
        print(descendants(os.getpid()), file=sys.stderr)
        ends_the_test(number, frame)

    signal.signal(signal.SIGALRM, tell)


def descendants(ancestor):
    """One line for each thread of each process that @ancestor has started: where it waits."""
    done = subprocess.run(["ps", "-eLww", "-o", "pid=,ppid=,tid=,stat=,wchan:24=,etimes=,args="],
                          capture_output=True, text=True, check=False, timeout=20)
    lines = [(int(line.split()[0]), int(line.split()[1]), line)
             for line in done.stdout.splitlines()]
    family, before = {ancestor}, 0
    while len(family) > before:
        before = len(family)
        family |= {pid for pid, parent, _ in lines if parent in family}
    return "\n".join(["PID PPID THREAD STATE WAITS-IN SECONDS COMMAND",
                      *(line for pid, _, line in lines if pid in family)])
