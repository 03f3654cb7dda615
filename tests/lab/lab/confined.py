#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""confined.py UNIT COMMAND...: run a command as a unit of systemd would, without systemd.

Taken from the unit: capabilities, system calls and address families; no new privileges ever.
The manager makes a seccomp program of the last two, and so is done here.  What it does with mounts
is not.  Capabilities and the user are set before, by the words of prefix().
"""
import ctypes
import os
import pwd
import re
import struct
import subprocess
import sys

UNISTD = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
AF = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
EPERM, EAFNOSUPPORT = 1, 97
AUDIT_ARCH_X86_64 = 0xC000003E
# Instructions of classic BPF and where struct seccomp_data has its fields.
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_AT, ARCH_AT, FIRST_ARGUMENT_AT = 0, 4, 16
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000


def values(unit, key):
    """The words of all lines of a key."""
    with open(unit, encoding="utf-8") as f:
        return re.findall(rf"^{key}=(.*)$", f.read(), re.M)


def members(group):
    """Names of the system calls of a group such as @system-service."""
    out = subprocess.run(["systemd-analyze", "syscall-filter", group], check=True, text=True,
                         capture_output=True).stdout
    names = set()
    for word in (line.strip() for line in out.splitlines()[1:]):
        if word.startswith("@"):
            names |= members(word)
        elif word and not word.startswith("#"):
            names.add(word)
    return names


def allowed_calls(unit):
    names = set()
    for line in values(unit, "SystemCallFilter"):
        for word in line.lstrip("~").split():
            some = members(word) if word.startswith("@") else {word}
            names = names - some if line.startswith("~") else names | some
    with open(UNISTD, encoding="ascii") as f:
        numbers = dict(re.findall(r"^#define __NR_(\w+) (\d+)$", f.read(), re.M))
    return {name: int(numbers[name]) for name in names if name in numbers}


def filter_program(unit):
    families = {AF[word] for line in values(unit, "RestrictAddressFamilies")
                for word in line.split()}
    calls = allowed_calls(unit)
    socket = calls.pop("socket")
    code = [(LOAD, 0, 0, ARCH_AT), (JUMP_EQUAL, 1, 0, AUDIT_ARCH_X86_64), (RETURN, 0, 0, KILL),
            (LOAD, 0, 0, NUMBER_AT), (JUMP_EQUAL, 0, 2 + 2 * len(families), socket),
            (LOAD, 0, 0, FIRST_ARGUMENT_AT)]
    for family in sorted(families):
        code += [(JUMP_EQUAL, 0, 1, family), (RETURN, 0, 0, ALLOW)]
    code += [(RETURN, 0, 0, ERRNO | EAFNOSUPPORT)]
    for number in sorted(calls.values()):
        code += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    code += [(RETURN, 0, 0, ERRNO | EPERM)]
    return code


def confine(unit):
    code = filter_program(unit)
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code),
                                                      ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 or \
            libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) < 0:
        sys.exit(f"confined: {os.strerror(ctypes.get_errno())}")


def capabilities(unit, key):
    """For setpriv: none but those of a line."""
    words = " ".join(values(unit, key)).split()
    return "-all" + "".join(f",+{word.removeprefix('CAP_').lower()}" for word in words)


def prefix(unit, user):
    """The words that, before a command, confine it."""
    ids = pwd.getpwnam(user)
    ambient = capabilities(unit, "AmbientCapabilities")
    return ("setpriv", "--pdeathsig", "KILL", f"--reuid={ids.pw_uid}", f"--regid={ids.pw_gid}",
            "--clear-groups", f"--inh-caps={ambient}", f"--ambient-caps={ambient}",
            f"--bounding-set={capabilities(unit, 'CapabilityBoundingSet')}", "--",
            "/usr/bin/python3", __file__, str(unit))


if __name__ == "__main__":
    confine(sys.argv[1])
    os.execvp(sys.argv[2], sys.argv[2:])
