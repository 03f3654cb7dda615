# SPDX-License-Identifier: Apache-2.0
"""Bad configurations: said with file, line and column, status 1, and nothing half-started.

`check` and `serve` are the same code, so each case is put to both.
"""
import re
import subprocess

import pytest

from lab.limpid import binary, check_stderr
from lab.topology import PROXY

GOOD = """\
listeners:
  - { name: routed, mode: tproxy, address: ["127.0.0.1:50080"] }
sets:
  lan: [10.0.0.0/8]
rules:
  - { name: all, match: { source: $lan }, action: accept }
"""


def bad(old, new, word):
    """GOOD with one change; the error is where `word` stands."""
    assert old in GOOD
    return GOOD.replace(old, new), word


CASES = {
    "unknown key at the top": bad("rules:", "rulez:", "rulez"),
    "unknown key in a rule": bad("action: accept", "action: accept, colour: red", "colour"),
    "unknown key in match": bad("source: $lan", "sauce: $lan", "sauce"),
    "unknown mode": bad("tproxy", "tproxi", "tproxi"),
    "unknown action": bad("accept", "allow", "allow"),
    "undefined set": bad("$lan", "$wan", "$wan"),
    "bad network": bad("10.0.0.0/8", "10.0.0.0/33", "10.0.0.0/33"),
    "host bits or not a network": bad("10.0.0.0/8", "10.0.0", "10.0.0"),
    "bad port": bad("source: $lan", "source: $lan, port: 65536", "65536"),
    "port range backwards": bad("source: $lan", "source: $lan, port: 90-80", "90-80"),
    "bad address": bad('["127.0.0.1:50080"]', "[nowhere]", "nowhere"),
    "wrong type": bad("[10.0.0.0/8]", "{ a: b }", "{ a: b }"),
    "list where a mapping is due": bad("{ source: $lan }", "[ $lan ]", "[ $lan ]"),
    "duplicate rule name": (GOOD + "  - { name: all, match: { port: 1 }, action: deny }\n",
                            "all, match: { port"),
    "duplicate key": (GOOD + "sets:\n  x: [10.1.0.0/16]\n", "sets:\n  x"),
    "tag": bad("$lan", "!$lan", "!$lan"),
    "anchor": bad("[10.0.0.0/8]", "&a [10.0.0.0/8]", "&a"),
    "time without a unit": (GOOD + "timeouts: { idle: 17 }\n", "17"),
    "size without a unit": (GOOD + "limits: { look-ahead: 19 }\n", "19"),
    "time that is none": (GOOD + "timeouts: { idle: soon }\n", "soon"),
    "fixed without to": bad("mode: tproxy", "mode: fixed", None),
    "to without fixed": bad("mode: tproxy", "mode: tproxy, to: 10.0.0.1:80", "to:"),
    "source on a reject rule": bad("action: accept", "action: reject, source: keep", "source: keep"),
    "unreadable set file": bad("[10.0.0.0/8]", "{ file: /nowhere/at/all }", "/nowhere/at/all"),
    "no listeners": bad('  - { name: routed, mode: tproxy, address: ["127.0.0.1:50080"] }\n',
                        "  []\n", None),
    "not YAML": bad("rules:", "rules: ]", None),
    "not a mapping": ("- a\n- b\n", None),
    "empty": ("", None),
}


def run(verb, path, lab):
    with lab.proxy.enter():
        done = subprocess.run([binary(), verb, "--config", str(path)], capture_output=True,
                              text=True, timeout=20, check=False)
    check_stderr(done.stderr)
    return done


@pytest.mark.parametrize("verb", ["check", "serve"])
@pytest.mark.parametrize("case", CASES)
def test_bad_configuration(lab, keeper, tmp_path, case, verb):
    keeper.stop()
    text, word = CASES[case]
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    done = run(verb, path, lab)
    said = done.stderr + done.stdout
    assert done.returncode == 1, said
    places = re.findall(rf"^{re.escape(str(path))}:(\d+):(\d+): \S", said, re.M)
    assert places, f"no FILE:LINE:COL: in\n{said}"
    if word:
        at = text.index(word)
        line = text.count("\n", 0, at) + 1
        column = at - text.rfind("\n", 0, at)
        assert (str(line), str(column)) in places, f"wanted {line}:{column} in\n{said}"
        quoted = word.split(",")[0].split(":\n")[0].rstrip(":")
        assert word[0] in "{[" or quoted.split(":")[0].lstrip("&!$") in said


@pytest.mark.parametrize("verb", ["check", "serve"])
def test_accepted_words_are_named(lab, tmp_path, verb):
    path = tmp_path / "bad.yaml"
    path.write_text(GOOD.replace("action: accept", "action: allow"), encoding="utf-8")
    said = run(verb, path, lab).stderr
    assert all(word in said for word in ("'allow'", "accept", "deny", "reject"))


def test_all_errors_at_once(lab, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(GOOD.replace("tproxy", "tproxi").replace("accept", "allow"), encoding="utf-8")
    said = run("check", path, lab).stderr
    assert "tproxi" in said and "allow" in said


def test_check_of_a_good_one(lab, tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(GOOD, encoding="utf-8")
    done = run("check", path, lab)
    assert done.returncode == 0, done.stderr


def test_file_that_is_not_there(lab, tmp_path):
    for verb in ("check", "serve"):
        done = run(verb, tmp_path / "none.yaml", lab)
        assert done.returncode == 1
        assert "none.yaml" in done.stderr


@pytest.mark.parametrize("argv", [["serve", "--nonsense"], ["nonsense"], [], ["firewall"],
                                  ["check", "--config"], ["serve", "--config", "a", "b"]],
                         ids=" ".join)
def test_wrong_usage(argv):
    done = subprocess.run([binary(), *argv], capture_output=True, text=True, timeout=20,
                          check=False)
    assert done.returncode == 2
    assert done.stderr and not done.stdout


@pytest.mark.parametrize("argv", [["--help"], ["serve", "--help"], ["check", "--help"],
                                  ["run", "--help"]], ids=" ".join)
def test_help(argv):
    done = subprocess.run([binary(), *argv], capture_output=True, text=True, timeout=20,
                          check=False)
    assert done.returncode == 0
    assert "limpid" in done.stdout


def test_address_in_use(lab, keeper, tmp_path):
    """One of three is taken: said by name, and the other two are not left open."""
    keeper.stop()
    taken = lab.socket(lab.proxy, 4)
    taken.bind((PROXY[4], 50081))
    taken.listen(1)
    path = tmp_path / "limpid.yaml"
    path.write_text("""
listeners:
  - { name: a, mode: tproxy, address: ["127.0.0.1:50080"] }
  - { name: b, mode: redirect, address: ["10.77.1.1:50081"] }
  - { name: c, mode: redirect, address: ["127.0.0.1:50082"] }
rules: [ { name: all, action: accept } ]
""", encoding="utf-8")
    done = run("serve", path, lab)
    assert done.returncode == 1
    assert "10.77.1.1:50081" in done.stderr
    assert "in use" in done.stderr


def test_address_that_is_not_ours(lab, keeper, tmp_path):
    keeper.stop()
    path = tmp_path / "limpid.yaml"
    path.write_text(GOOD.replace("mode: tproxy", "mode: redirect")
                    .replace("127.0.0.1:50080", "192.0.2.77:50080"), encoding="utf-8")
    done = run("serve", path, lab)
    assert done.returncode == 1
    assert "192.0.2.77:50080" in done.stderr


def test_record_file_that_cannot_be_written(lab, keeper, tmp_path):
    keeper.stop()
    path = tmp_path / "limpid.yaml"
    path.write_text(GOOD + f'record: {{ flows: {{ file: "{tmp_path}/no/such/dir" }} }}\n',
                    encoding="utf-8")
    done = run("serve", path, lab)
    assert done.returncode == 1
    assert "no/such/dir" in done.stderr


@pytest.mark.parametrize("words", [["firewall", "plan"], ["doctor", "--json"], ["check"]],
                         ids=" ".join)
def test_output_that_does_not_arrive_is_no_success(lab, tmp_path, words):
    """Half a plan would be half a firewall."""
    path = tmp_path / "limpid.yaml"
    path.write_text(GOOD, encoding="ascii")
    with lab.proxy.enter(), open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([binary(), *words, "--config", path], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "cannot write to standard output: No space left" in done.stderr
