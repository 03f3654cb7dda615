# SPDX-License-Identifier: Apache-2.0
"""The front door: Makefile and scripts."""

import importlib.util
import re
import subprocess
import time

import pytest

from tree import ROOT, files, name

SHELL = [path for path in files(".sh", "#!", folders=("scripts", "bench"))
         if re.match(r"#!.*\bsh\b|#!.*\bbash\b", path.read_text())]


@pytest.mark.parametrize("script", SHELL, ids=name)
def test_shell_script_parses(script):
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_make_help_names_every_target():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()
    targets = set(phony) - {"all", "build", "help"}
    text = subprocess.run(["make", "-s", "-C", str(ROOT), "help"], capture_output=True, text=True,
                          check=True).stdout
    assert set(re.findall(r"^make (\w+) ", text, re.M)) == targets


@pytest.mark.parametrize("group", ["build", "test", "demo", "bench"])
def test_packages_of_a_group(group):
    done = subprocess.run([ROOT / "scripts" / "deps.sh", "--list", group], capture_output=True,
                          text=True, check=True)
    names = done.stdout.split()
    assert "gcc" in names and len(names) == len(set(names))


def test_unknown_group_is_refused():
    done = subprocess.run([ROOT / "scripts" / "deps.sh", "--list", "no-such-group"],
                          capture_output=True, text=True)
    assert done.returncode == 1 and "accepted:" in done.stderr


def test_no_file_is_left_out_of_the_build():
    """A test that is not built passes for ever."""
    lists = "".join((ROOT / folder / "meson.build").read_text() for folder in
                    ("src", "tests", "fuzz"))
    words = set(re.findall(r"'([^']+)'", re.sub(r"#.*", "", lists)))
    lacking = [name(path) for path in files(".c", folders=("src",))
               if str(path.relative_to(ROOT / "src")) not in words and path.stem not in words]
    lacking += [name(path) for path in files(".c", folders=("tests/unit",))
                if not {path.stem, path.stem.removesuffix("_test")} & words
                and path.stem != "corpus_test"]
    lacking += [name(path) for path in files(".c", folders=("fuzz",))
                if path.stem.removeprefix("fuzz_") not in words]
    assert not lacking, "\n".join(lacking)


def test_what_interrupts_check_ends_what_it_started():
    """Else ^C would wait for all that is left."""
    spec = importlib.util.spec_from_file_location("check", ROOT / "scripts" / "check.py")
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    with pytest.raises(KeyboardInterrupt), check.threads(1) as pool:
        running = pool.submit(check.run, ["sleep", "1000"], 900)
        waiting = pool.submit(check.run, ["sleep", "1000"], 900)
        while not running.running():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert running.result() == 124 and waiting.cancelled()
