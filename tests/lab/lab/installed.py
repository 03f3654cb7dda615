# SPDX-License-Identifier: Apache-2.0
"""The library as a developer has it: installed, found by pkg-config, linked from outside."""
import os
import pathlib
import re
import shutil
import subprocess

from .limpid import REPO, binary, check_stderr, listening
from .sock import eventually


def _run(*argv, **more):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False,
                          **more)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def _sanitizers():
    """What the library was built with, its users have to be built with."""
    built = pathlib.Path(binary()).read_bytes()
    if b"__asan_init" in built:
        return ["-fsanitize=address,undefined"]
    return ["-fsanitize=thread"] if b"__tsan_init" in built else []


class Installed:
    """`meson install` of the build under test into a folder; programs made with what is there."""

    def __init__(self, folder):
        self.folder = folder
        _run("meson", "install", "-C", pathlib.Path(binary()).resolve().parent, "--no-rebuild",
             "--quiet", "--destdir", folder / "shared")
        found = list((folder / "shared").rglob("limpid.pc"))
        assert len(found) == 1, found
        self.pc = found[0].relative_to(folder / "shared").parent
        # With no shared library beside it, -llimpid is the static one.
        shutil.copytree(folder / "shared", folder / "static", symlinks=True)
        for path in (folder / "static").rglob("liblimpid.so*"):
            path.unlink()

    def libdir(self, linkage="shared"):
        return self.folder / linkage / self.pc.parent

    def pkg_config(self, linkage, *words):
        env = {**os.environ, "PKG_CONFIG_PATH": str(self.folder / linkage / self.pc),
               "PKG_CONFIG_SYSROOT_DIR": str(self.folder / linkage)}
        static = ["--static"] if linkage == "static" else []
        out = _run("pkg-config", *static, *words, "limpid", env=env)
        return out.split()

    def build(self, source, linkage):
        """Compile one file outside of the tree; returns the program."""
        program = self.folder / f"{pathlib.Path(source).stem}-{linkage}"
        if not program.exists():
            copy = self.folder / pathlib.Path(source).name
            shutil.copy(REPO / source, copy)
            _run("cc", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", *_sanitizers(),
                 *self.pkg_config(linkage, "--cflags"), copy, "-o", program,
                 *self.pkg_config(linkage, "--libs"), cwd=self.folder)
        return program

    def environment(self):
        return {**os.environ, "LD_LIBRARY_PATH": str(self.libdir())}


class Program:
    """A process of such a program in a namespace; what it prints, as it comes."""

    def __init__(self, installed, namespace, argv, workdir, ports):
        self.out, self.err = workdir / "stdout", workdir / "stderr"
        with open(self.out, "wb") as out, open(self.err, "wb") as err, namespace.enter():
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *map(str, argv)], stdout=out, stderr=err,
                stdin=subprocess.DEVNULL, env=installed.environment())
        eventually(lambda: set(ports) <= listening(self.process.pid) or
                   self.process.poll() is not None, f"{argv} listens on {ports}")

    def lines(self):
        return self.out.read_text(encoding="utf-8").splitlines()

    def line(self, pattern):
        """The first line that matches, once it is there."""
        def found():
            return next((m for m in map(re.compile(pattern).fullmatch, self.lines()) if m), None)
        return eventually(found, f"a line {pattern!r}", lambda: f"lines: {self.lines()}")

    def wait(self, seconds=20):
        status = self.process.wait(seconds)
        check_stderr(self.err.read_text(encoding="utf-8", errors="replace"))
        return status

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
