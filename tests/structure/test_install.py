# SPDX-License-Identifier: Apache-2.0
"""What `make install` puts on a host, and that it works there: program, pages, unit, completion."""

import json
import os
import re
import subprocess

import pytest

from test_manual import VERBS, options_in_help
from tree import ROOT, limpid

PACKAGING = ROOT / "packaging"
MANUAL_CONFIG = "usr/local/share/doc/limpid/examples/limpid.yaml"


def run(*command, **more):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=60, stdin=subprocess.DEVNULL, **more)


def install(image):
    done = run("make", "-s", "-C", ROOT, "install", f"BUILD={limpid().parent}",
               f"DESTDIR={image}")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A folder that `make install` has filled."""
    folder = tmp_path_factory.mktemp("image")
    install(folder)
    return folder


def test_make_install_puts_everything_in_its_place(image):
    wanted = ["usr/local/bin/limpid", "etc/limpid/limpid.yaml", MANUAL_CONFIG,
              "usr/local/lib/systemd/system/limpid.service",
              "usr/local/lib/systemd/system/limpid-firewall.service",
              "usr/local/lib/sysusers.d/limpid.conf",
              "etc/logrotate.d/limpid", "usr/local/share/bash-completion/completions/limpid",
              "usr/local/share/zsh/site-functions/_limpid"]
    wanted += [f"usr/local/share/man/man{page.suffix[1:]}/{page.name}"
               for page in (ROOT / "man").glob("*.[1-8]")]
    lacking = [file for file in wanted if not (image / file).is_file()]
    assert not lacking, "\n".join(lacking)


def test_make_install_builds_all_that_it_installs():
    """From a clean tree, too: there nothing is built that nobody has asked for."""
    build = limpid().parent
    installed = json.loads(run("/usr/bin/meson", "introspect", "--installed", build).stdout)
    compiled = {os.path.relpath(file, build) for file in installed
                if str(build) in file and not file.endswith((".service", ".timer", ".conf"))}
    built = run("ninja", "-C", build, "-t", "query", "product").stdout.split()
    lacking = {f for f in compiled if f not in built and "meson-private" not in f}
    assert compiled and not lacking, lacking


def test_installed_program_reads_the_installed_configuration(image):
    program = image / "usr/local/bin/limpid"
    assert run(program, "--version").stdout == run(limpid(), "--version").stdout
    done = run(program, "check", "--config", image / "etc/limpid/limpid.yaml")
    assert done.returncode == 0, done.stderr
    assert "ok, 8 listeners, 1 rule" in done.stdout


# In a mount namespace, where nothing that is written to is the host's.
ON_A_HOST = """
cp -a /etc "$1/etc"
mount --bind "$1/etc" /etc
mount -t tmpfs none /usr/local
mount -t tmpfs none /var/cache/ldconfig
make -s -C "$2" install BUILD="$3" >&2
cc "$1/program.c" -o "$1/program" $(pkg-config --cflags --libs limpid)
"$1/program"
make -s -C "$2" uninstall BUILD="$3" >&2
find /usr/local -not -type d
"""
PROGRAM = """
#include <limpid/limpid.h>
#include <stdio.h>
int main(void) { return puts(limpid_version()) < 0; }
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts folders of its own over the host's")
def test_programs_find_the_library_after_make_install(tmp_path):
    """With the names that the manual gives, without a variable; make uninstall leaves nothing."""
    (tmp_path / "program.c").write_text(PROGRAM)
    done = run("unshare", "--mount", "sh", "-ec", ON_A_HOST, "sh", tmp_path, ROOT,
               limpid().parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == [run(limpid(), "--version").stdout.split()[1], ""]


def test_configuration_of_the_administrator_is_kept(image):
    config = image / "etc/limpid/limpid.yaml"
    ours = config.read_text()
    config.write_text("# mine\n")
    try:
        install(image)
        assert config.read_text() == "# mine\n"
    finally:
        config.write_text(ours)


@pytest.mark.parametrize("name, command", [("limpid", "serve"),
                                           ("limpid-firewall", "firewall up")])
def test_unit_is_accepted_and_hardened(image, tmp_path, name, command):
    text = (image / f"usr/local/lib/systemd/system/{name}.service").read_text()
    assert f"ExecStart=/usr/local/bin/limpid {command}\n" in text
    unit = tmp_path / f"{name}.service"  # manual pages and program are not on this host
    unit.write_text(re.sub(r"Documentation=.*\n", "", text).replace("/usr/local/bin/limpid",
                                                                    str(limpid())))
    done = run("systemd-analyze", "verify", "--man=no", unit)
    assert done.returncode == 0 and not done.stderr, done.stderr
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=30", unit)
    assert done.returncode == 0, done.stdout


def test_firewall_comes_back_when_all_rules_are_loaded_anew():
    """/etc/nftables.conf flushes everybody's; what stands behind it in the unit is systemd's."""
    lines = (PACKAGING / "systemd/limpid-firewall.service.in").read_text().splitlines()
    said = dict(line.split("=", 1) for line in lines if "=" in line)
    assert "nftables.service" in said["After"].split()
    assert "nftables.service" in said["PartOf"].split()
    assert "nftables.service" in said["ReloadPropagatedFrom"].split()
    assert said["ExecReload"] == said["ExecStart"]


def test_sysusers_makes_the_user_of_the_unit(tmp_path):
    (tmp_path / "etc").mkdir()
    done = run("systemd-sysusers", f"--root={tmp_path}", PACKAGING / "sysusers.d/limpid.conf")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^limpid:", (tmp_path / "etc/passwd").read_text(), re.M)
    unit = (PACKAGING / "systemd/limpid.service.in").read_text()
    assert "User=limpid\nGroup=limpid\n" in unit


# Prints what bash would offer, one a line; the last argument is the word that is being typed.
BASH = """
PATH=$1:$PATH; shift
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_limpid
printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered_by_bash(*words, cwd=None):
    done = run("bash", "--norc", "-c", BASH, "bash", limpid().parent,
               PACKAGING / "completion/limpid.bash", "limpid", *words, cwd=cwd)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return set(done.stdout.split())


def called_by_zsh(function, *words):
    done = run("zsh", "-f", "-c", 'source "$1"; shift; "$@"', "zsh",
               PACKAGING / "completion/_limpid", function, limpid(), *words)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()


def help_of(verb):
    return run(limpid(), verb, "--help").stdout


def words_in_usage(verb):
    return set(re.findall(r"(?<=[ |])[a-z]+(?=\|)|(?<=\|)[a-z]+\b", help_of(verb).split("\n")[0]))


def test_bash_offers_every_verb():
    assert offered_by_bash("") - {"--help", "--version"} == set(VERBS)
    assert offered_by_bash("ser") == {"serve"}


@pytest.mark.parametrize("verb", VERBS)
def test_bash_offers_every_option(verb):
    assert offered_by_bash(verb, "") == (options_in_help(help_of(verb)) - {"--"}
                                         | words_in_usage(verb))
    assert offered_by_bash(verb, "--he") == {"--help"}


def test_bash_offers_files_and_commands(tmp_path):
    (tmp_path / "limpid.yaml").touch()
    assert offered_by_bash("serve", "--config", "lim", cwd=tmp_path) == {"limpid.yaml"}
    assert offered_by_bash("serve", "--config", "=", cwd=tmp_path) == {"limpid.yaml"}
    assert offered_by_bash("serve", "--config", "=", "lim", cwd=tmp_path) == {"limpid.yaml"}
    assert "mktemp" in offered_by_bash("run", "-q", "--", "mktem")
    assert offered_by_bash("run", "--", "true", "lim", cwd=tmp_path) == {"limpid.yaml"}


def test_zsh_offers_every_verb():
    offered = {line.split(":")[0] for line in called_by_zsh("_limpid_verbs")}
    assert offered - {"--help", "--version"} == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_zsh_offers_every_option(verb):
    lines = called_by_zsh("_limpid_options", verb)
    assert {line.split()[0].split(":")[0] for line in lines} == \
        options_in_help(help_of(verb)) - {"--"}
    assert set(called_by_zsh("_limpid_words", verb)) == words_in_usage(verb)


# A shell in a pseudo terminal, which is shown a line and the TAB key.
ZSH_TTY = r"""
zmodload zsh/zpty
zpty shell "PATH=$1:\$PATH zsh -f -i"
zpty -w shell "fpath=($2 \$fpath); autoload -U compinit; compinit -u -D; PS1=; cd $3; echo be''gun"
zpty -m -r shell line '*begun*'
zpty -w -n shell "$4"$'\t'
zpty -w shell $'\x01'"echo '"$'\x05'"'; echo e''nd"
zpty -r -m shell line '*end*'
print -r -- $line
zpty -d shell
"""


@pytest.mark.parametrize("typed, completed", [
    ("limpid ser", "limpid serve"), ("limpid serve --conf", "limpid serve --config"),
    ("limpid check --config lim", "limpid check --config limpid.yaml"),
    ("limpid check --config=lim", "limpid check --config=limpid.yaml"),
    ("limpid run -- cat lim", "limpid run -- cat limpid.yaml")])
def test_zsh_completes_what_is_typed(typed, completed, tmp_path):
    (tmp_path / "limpid.yaml").touch()
    done = run("zsh", "-f", "-c", ZSH_TTY, "zsh", limpid().parent, PACKAGING / "completion",
               tmp_path, typed, env={**os.environ, "TERM": "dumb"})
    assert re.search(rf"^{re.escape(completed)} *\r?$", done.stdout, re.M), done.stdout
