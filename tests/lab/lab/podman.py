#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Stands for podman: a container with the host's network, as far as limpid can tell.

The program has the capabilities that are added and no others, sees the volumes where they are put,
cannot write to /proc/sys unless that is unmasked, and is told what the image's entry point is told.
"""
import os
import sys


def options(words):
    """{option: [values]}, and what follows the name of the image."""
    found = {}
    while words[0].startswith("--"):
        name = words.pop(0)
        found.setdefault(name, []).append("" if name == "--rm" else words.pop(0))
    return found, words[1:]


def main():
    assert sys.argv[1] == "run"
    found, command = options(sys.argv[2:])
    assert found["--network"] == ["host"] and found["--cap-drop"] == ["all"]
    may = "".join(f",+{name}" for name in found["--cap-add"][0].split(","))
    script = "mount -t tmpfs none /etc\nmount -t tmpfs none /var/log\n"
    for volume in found["--volume"]:
        outside, inside = volume.split(":")[:2]
        if os.path.isdir(outside):
            script += f"mkdir -p {inside}\n"
        else:
            script += f"mkdir -p {os.path.dirname(inside)}\ntouch {inside}\n"
        script += f"mount --bind {outside} {inside}\n"
    if "unmask=/proc/sys" not in found.get("--security-opt", []):
        script += "mount --bind /proc/sys /proc/sys\nmount -o remount,ro,bind /proc/sys\n"
    script += 'exec "$@"\n'
    os.execvp("unshare", ["unshare", "--mount", "sh", "-e", "-c", script, "sh", "setpriv",
                          f"--bounding-set=-all{may}", "--inh-caps=-all", "--no-new-privs", "--",
                          os.environ["LIMPID"], *command])


main()
