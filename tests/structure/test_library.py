# SPDX-License-Identifier: Apache-2.0
"""What liblimpid shows of itself is what its headers and its manual say, and nothing else."""

import re
import subprocess

import pytest

from tree import ROOT, limpid

HEADERS = sorted((ROOT / "include" / "limpid").glob("*.h"))
BUILT = limpid().parent / "src"


def run(*command, **more):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          check=True, **more).stdout


def declared(*headers):
    """Functions of these headers, or of all."""
    text = "".join(re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
                   for header in headers or HEADERS)
    return {name for line in text.splitlines() if not line.startswith("typedef")
            for name in re.findall(r"^[a-z][\w *]*\b(limpid_\w+)\(", line)}


def test_there_are_functions():
    assert {"limpid_new", "limpid_flow_id", "limpid_output_write"} <= declared()


def test_shared_library_exports_the_headers():
    table = run("nm", "-D", "--defined-only", BUILT / "liblimpid.so.0")
    found = {line.split()[2] for line in table.splitlines()}
    names = {name for name in found if not name.startswith("LIMPID_")}
    assert names == {f"{name}@@LIMPID_0.1" for name in declared()}


def test_static_library_exports_the_headers():
    table = run("nm", "-g", "--defined-only", BUILT / "liblimpid.a")
    found = {line.split()[2] for line in table.splitlines() if len(line.split()) == 3}
    # what a sanitizer adds to every object is not ours
    assert {name for name in found if not name.startswith("__")} == declared()


def test_soname():
    assert "[liblimpid.so.0]" in run("readelf", "-d", BUILT / "liblimpid.so.0")


def test_manual_names_the_functions():
    page = (ROOT / "man" / "limpid.3").read_text()
    synopsis = page[page.index(".Sh SYNOPSIS"):page.index(".Sh DESCRIPTION")]
    assert set(re.findall(r"^\.F[no] (\w+)", synopsis, re.M)) == declared()
    mentioned = set(re.findall(r"\bFn (limpid_\w+)", page))
    assert mentioned <= declared()


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("header", HEADERS, ids=lambda path: path.name)
def test_header_compiles_alone_as_a_user_has_it(header, compiler):
    """Without _GNU_SOURCE, by the oldest C that has the types."""
    run(compiler, "-fsyntax-only", "-x", "c", "-std=c11", "-Wall", "-Wextra", "-Wpedantic",
        "-Werror", f"-I{ROOT}/include", header)


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: path.name)
def test_header_is_good_cplusplus(header, tmp_path):
    """Names are those of C: an object that uses them all asks for them unmangled."""
    names = sorted(declared(header))
    source = tmp_path / "use.cc"
    uses = "".join(f"void *use_{name} = (void *)&{name};\n" for name in names)
    source.write_text(f"#include <limpid/{header.name}>\n{uses}")
    run("clang", "-x", "c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-c", source,
        f"-I{ROOT}/include", "-o", tmp_path / "use.o")
    wanted = {line.split()[1] for line in run("nm", "-u", tmp_path / "use.o").splitlines()}
    assert wanted == set(names)
