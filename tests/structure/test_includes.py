# SPDX-License-Identifier: Apache-2.0
"""Dependencies point one way, and what only some folders may use is used only there."""

import re
import subprocess

import pytest

from tree import ROOT, files, name

# A folder may include itself and what stands on an earlier line, nothing on its own line.
ORDER = [
    ["base"],
    ["codec", "sys"],
    ["loop"],
    ["core"],
    ["learn", "stream", "dial", "proto", "filter", "cert", "record", "ctl"],
    ["engine"],
    ["cmd"],
]
RANK = {folder: rank for rank, line in enumerate(ORDER) for folder in line}

# Header of the system -> where it may be included.
RESERVED = [
    (r"openssl/", ("src/stream/tls", "src/cert/", "src/base/crypto.c")),
    (r"linux/", ("src/sys/", "src/loop/")),
    (r"sys/socket\.h", ("src/sys/", "src/loop/")),
    (r"sys/epoll\.h", ("src/sys/", "src/loop/")),
    (r"netinet/", ("src/sys/", "src/loop/")),
]

SOURCES = files(".c", ".h", ".def", folders=("src", "include"))
HEADERS = files(".h", folders=("src", "include"))


def includes(path):
    """(line number, "<" or '"', what) of each #include."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
        if found:
            yield number, found[1], found[2]


def test_every_folder_has_its_place():
    folders = {path.parent.relative_to(ROOT / "src").parts[0] for path in SOURCES
               if (ROOT / "src") in path.parents}
    assert not folders - set(RANK)


def test_includes_point_one_way():
    wrong = []
    for path in SOURCES:
        if ROOT / "src" not in path.parents:
            continue
        own = path.relative_to(ROOT / "src").parts[0]
        for number, quote, what in includes(path):
            folder = what.split("/")[0]
            if quote == '"' and folder in RANK and folder != own and RANK[folder] >= RANK[own]:
                wrong.append(f"{name(path)}:{number}: {own} includes {what}")
    assert not wrong, "\n".join(wrong)


def test_installed_headers_stand_alone():
    wrong = [f"{name(path)}:{number}: {what}" for path in files(".h", folders=("include",))
             for number, quote, what in includes(path)
             if quote == '"' and not what.startswith("limpid/")]
    assert not wrong, "\n".join(wrong)


def test_includes_are_full_paths_in_the_tree():
    wrong = []
    for path in SOURCES:
        for number, quote, what in includes(path):
            there = (ROOT / "src" / what).is_file() or (ROOT / "include" / what).is_file()
            if (quote == '"') != there or quote == '"' and "/" not in what:
                wrong.append(f"{name(path)}:{number}: {what}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("pattern, places", RESERVED, ids=[p for p, _ in RESERVED])
def test_reserved_headers(pattern, places):
    wrong = [f"{name(path)}:{number}: <{what}> belongs under {', '.join(places)}"
             for path in SOURCES for number, quote, what in includes(path)
             if re.match(pattern, what) and not name(path).startswith(places)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("header", HEADERS, ids=name)
def test_header_compiles_alone(header, compiler):
    command = [compiler, "-fsyntax-only", "-x", "c", "-std=gnu17", "-D_GNU_SOURCE", "-Wall",
               "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-unused-function",
               f"-I{ROOT}/src", f"-I{ROOT}/include", str(header)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_header_guards():
    wrong = []
    for header in HEADERS:
        base = ROOT / ("src" if ROOT / "src" in header.parents else "include")
        guard = re.sub(r"[^A-Z0-9]", "_", str(header.relative_to(base)).upper())
        if f"#ifndef {guard}\n#define {guard}\n" not in header.read_text():
            wrong.append(f"{name(header)}: no guard {guard}")
    assert not wrong, "\n".join(wrong)
