# SPDX-License-Identifier: Apache-2.0
"""The order and the size of what limpid sees, disturbed: the other side of chaos.c."""
import os
import pathlib

from .limpid import binary


def library():
    """Beside the program; None where it was not built (an installed limpid)."""
    path = pathlib.Path(binary()).resolve().parent / "tests" / "chaos.so"
    return path if path.exists() else None


def environment(seed):
    """For whoever starts limpid; other programs are not disturbed by it."""
    options = os.environ.get("ASAN_OPTIONS", "detect_leaks=1") + ":verify_asan_link_order=0"
    return {**os.environ, "LD_PRELOAD": str(library()), "CHAOS_SEED": str(seed),
            "CHAOS_PROGRAM": str(pathlib.Path(binary()).resolve()), "ASAN_OPTIONS": options}
