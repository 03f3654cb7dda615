# SPDX-License-Identifier: Apache-2.0
"""Length, licence line, white space, and words that are not used here."""

import re
import subprocess
import tokenize

import pytest

from tree import ROOT, files, limpid, name

LINES_MAX = 600
COLUMNS_MAX = 100

# Object file -> what may change while limpid runs, and why.
MUTABLE = {
    "sys_log.c": "the log sink and its level",
}


def test_no_file_is_too_long():
    """Past this, a file holds a second concept that wants a name."""
    long = []
    for path in files(".c", ".h", ".py", ".sh", "#!"):
        lines = path.read_text().count("\n")
        if lines > LINES_MAX:
            long.append(f"{name(path)}: {lines} lines")
    assert not long, "\n".join(long)


def test_each_source_names_its_licence():
    sources = files(".c", ".h", ".def", ".py", ".sh", "#!")
    lacking = [name(path) for path in sources
               if "SPDX-License-Identifier: Apache-2.0" not in
               "\n".join(path.read_text().split("\n", 4)[:4])]
    assert not lacking, "\n".join(lacking)


def lines_of(*suffixes):
    for path in files(*suffixes):
        for number, line in enumerate(path.read_text().split("\n"), 1):
            yield f"{name(path)}:{number}", line


def test_white_space():
    wrong = [f"{where}: ends in white space" for where, line in
             lines_of(".c", ".h", ".def", ".py", ".sh", ".build", "#!") if line != line.rstrip()]
    wrong += [f"{where}: indented by spaces" for where, line in lines_of(".c", ".h")
              if re.match(r" {8}| +\t", line)]
    for path in files(".py"):  # text in quotes may be of another language
        with open(path, "rb") as f:
            wrong += [f"{name(path)}:{token.start[0]}: indented by a tab"
                      for token in tokenize.tokenize(f.readline)
                      if token.type == tokenize.INDENT and "\t" in token.string]
    for path in files(".c", ".h", ".def", ".py", ".sh", ".build", "#!"):
        text = path.read_text()
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            wrong.append(f"{name(path)}: must end in one new line")
    assert not wrong, "\n".join(wrong)


def test_width():
    """A string may stand out, so that it can be searched for."""
    wrong = [f"{where}: {len(line.expandtabs(8))} columns"
             for where, line in lines_of(".c", ".h", ".py", ".sh", "#!")
             if len(line.expandtabs(8)) > COLUMNS_MAX and '"' not in line]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("pattern, instead", [
    (r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok)\s*\(", "a call that knows the room"),
    (r"\balloca\s*\(", "the heap, or a bounded array"),
    (r"\btypedef\s+(struct|union|enum)\b", "struct x"),
    (r"__attribute__\(\(constructor", "a call from main"),
    (r"#\s*pragma\s+once", "a guard"),
])
def test_words_not_used(pattern, instead):
    wrong = [f"{name(path)}:{number}: instead: {instead}"
             for path in files(".c", ".h", folders=("src", "include"))
             for number, line in enumerate(path.read_text().split("\n"), 1)
             if re.search(pattern, line)]
    assert not wrong, "\n".join(wrong)


def test_no_mutable_globals():
    """What is in .data or .bss of the library; const tables are in .rodata or .data.rel.ro."""
    archive = limpid().parent / "src" / "liblimpid-objects.a"
    table = subprocess.run(["objdump", "-t", str(archive)], capture_output=True, text=True,
                           check=True).stdout
    wrong, member = [], ""
    for line in table.splitlines():
        found = re.match(r"(\S+\.o): ", line)
        if found:
            member = found[1].removesuffix(".o").split("/")[-1]
        # address, flags, section, TAB size, name
        symbol = re.match(r"\S+ .{7} (\.t?(?:data|bss)\S*)\t\S+ +(?:\.hidden )?(\S+)$", line)
        if symbol and not symbol[1].startswith(".data.rel.ro") and symbol[1] != symbol[2]:
            if member not in MUTABLE:
                wrong.append(f"{member}: {symbol[2]} in {symbol[1]}")
    assert not wrong, "\n".join(wrong)


def test_scripts_are_executable():
    wrong = [name(path) for path in files(".sh", "#!", folders=("scripts", "bench"))
             if not path.stat().st_mode & 0o100]
    assert not wrong and (ROOT / ".ci" / "run").stat().st_mode & 0o100
