# SPDX-License-Identifier: Apache-2.0
"""The files of the project, as the structure tests see them."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("src", "include", "tests", "fuzz", "bench", "scripts", "web")


def limpid():
    """The program under test."""
    return Path(os.environ.get("LIMPID", ROOT / "build" / "limpid"))


def is_script(path):
    with open(path, "rb") as f:
        return f.read(2) == b"#!"


def files(*suffixes, folders=FOLDERS):
    """All files of @folders that end in one of @suffixes; "#!" stands for scripts without one."""
    found = []
    for folder in folders:
        for path in (ROOT / folder).rglob("*"):
            if not path.is_file() or "__pycache__" in path.parts or "results" in path.parts:
                continue
            if path.suffix in suffixes or (
                    "#!" in suffixes and not path.suffix and is_script(path)):
                found.append(path)
    return sorted(found)


def name(path):
    """How a file is called in a message, and as a test's id."""
    return str(path.relative_to(ROOT))
