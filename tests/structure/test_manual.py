# SPDX-License-Identifier: Apache-2.0
"""Man pages, and that they say the same as the program."""

import re
import subprocess

import pytest

from tree import ROOT, limpid, name

PAGES = sorted((ROOT / "man").glob("*.[1-8]"))
VERBS = [page.stem.removeprefix("limpid-") for page in PAGES if page.stem.startswith("limpid-")]


def call(*arguments):
    return subprocess.run([str(limpid()), *arguments], capture_output=True, text=True, timeout=20,
                          stdin=subprocess.DEVNULL)


def options_in_page(verb):
    """-x and --word of a verb's page: `.Fl q`, `.Fl -record Ar file`, `.It Fl -help`."""
    text = (ROOT / "man" / f"limpid-{verb}.1").read_text()
    synopsis = text[text.index(".Sh SYNOPSIS"):text.index(".Sh DESCRIPTION")]
    synopsis = synopsis.split(".Fl -help")[0]
    tagged = "\n".join(re.findall(r"^\.It Fl .*$", text, re.M))
    return {f"-{word}" for word in re.findall(r"\bFl (-?[a-z][a-z-]*)", synopsis + tagged)}


def options_in_help(text):
    return set(re.findall(r"(?<![\w-])(--[a-z][a-z-]*|-[a-zA-Z])(?![\w-])", text))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page_is_well_formed(page):
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", str(page)], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page_refers_to_own_pages_that_exist(page):
    for title, section in re.findall(r"^\.Xr (limpid\S*) (\d)", page.read_text(), re.M):
        assert (ROOT / "man" / f"{title}.{section}").exists(), f"{name(page)}: {title}({section})"


def test_every_verb_has_its_page():
    text = (ROOT / "man" / "limpid.1").read_text()
    assert sorted(re.findall(r"^\.It Cm (\S+)", text, re.M)) == VERBS


def test_help_lists_the_verbs():
    done = call("--help")
    assert done.returncode == 0
    assert not [verb for verb in VERBS if not re.search(rf"\b{verb}\b", done.stdout)]


def test_version():
    done = call("--version")
    version = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text())[1]
    assert done.returncode == 0 and version in done.stdout


def test_records_are_described():
    text = (ROOT / "man" / "limpid.1").read_text()
    text = text[text.index(".Sh RECORDS"):text.index(".Sh FILES")]
    sources = "".join(path.read_text() for path in sorted((ROOT / "src" / "record").glob("*.c")))
    keys = set(re.findall(r'\bjson_(?!init|end)\w+\(&?j, "(\w+)"', sources))
    assert {"event_type", "why", "answers"} < keys
    assert not keys - set(re.findall(r"\w+", text)) - {"ttl", "rdata"}  # of each answer
    table = re.findall(r'^WHY\([A-Z_]+, "([^"]+)", "([^"]+)"\)$',
                       (ROOT / "src" / "core" / "why.def").read_text(), re.M)
    assert len(table) > 30
    for word, sentence in table:
        assert word == "open" or f".It Li {word}\n{sentence}\n" in text


@pytest.mark.parametrize("verb", VERBS)
def test_help_and_page_name_the_same_options(verb):
    done = call(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert options_in_help(done.stdout) - {"--"} == options_in_page(verb)


@pytest.mark.parametrize("arguments", [[], ["no-such-verb"], ["--no-such-option"],
                                       *[[verb, "--no-such-option"] for verb in VERBS]],
                         ids=" ".join)
def test_wrong_usage_is_status_2(arguments):
    done = call(*arguments)
    assert done.returncode == 2
    assert done.stderr and not done.stdout
