# SPDX-License-Identifier: Apache-2.0
"""Files of users: changed by several at once, and while limpid runs."""
import os
import subprocess

import pytest

from lab import socks as s5
from lab.limpid import binary
from lab.socks import Socks
from lab.topology import CLIENT, SERVER


def users(verb, path, *name, text=b""):
    return subprocess.run([binary(), "users", verb, "--file", path, *name], input=text,
                          capture_output=True, check=False)


@pytest.fixture(name="office")
def office_file(tmp_path):
    path = tmp_path / "office"
    for name in ("ann", "bob"):
        assert users("add", path, name, text=b"secret\n").returncode == 0
    return path


@pytest.fixture(name="socks")
def socks_with_users(lab, keeper, office):
    s = Socks(lab, keeper)
    s.start(socks="users: office,", more=f"users: {{ office: {{ file: {office} }} }}")
    yield s
    s.close()


def test_several_at_once(tmp_path):
    path = tmp_path / "office"
    names = {f"user{n}" for n in range(30)}
    adding = [subprocess.Popen([binary(), "users", "add", "--file", path, name],
                               stdin=subprocess.PIPE) for name in names]
    for process in adding:
        process.stdin.write(b"secret\n")
    for process in adding:
        process.communicate()
        assert process.returncode == 0
    assert set(users("list", path).stdout.decode().split()) == names
    assert os.listdir(tmp_path) == ["office"]


@pytest.mark.parametrize("password", [b"", b"nul\0x", b"x" * 256, b"x" * 1000])
def test_password_that_cannot_be(office, password):
    before = office.read_bytes()
    done = users("add", office, "ann", text=password + b"\n")
    assert done.returncode == 1 and b"password" in done.stderr and b"argument" not in done.stderr
    assert office.read_bytes() == before


def test_place_that_cannot_be(tmp_path):
    for path, reason in ((tmp_path, b"Is a directory"),
                         (tmp_path / "none" / "office", b"No such file or directory")):
        done = users("add", path, "ann", text=b"secret\n")
        assert done.returncode == 1
        assert done.stderr == b"limpid users: %s: %s\n" % (os.fsencode(path), reason)


def login(socks, user, password):
    client, status = socks.login(user, password)
    client.close()
    return status


@pytest.mark.parametrize("change", ["remove", "add"])
def test_what_was_right_is_so_no_longer(socks, office, change):
    """Also when nobody else logs in, who would have to be looked up."""
    assert login(socks, b"ann", b"secret") == 0
    assert login(socks, b"ann", b"secret") == 0
    assert users(change, office, "ann", text=b"other\n").returncode == 0
    assert login(socks, b"ann", b"secret") == 1
    assert login(socks, b"ann", b"other") == (0 if change == "add" else 1)


def test_file_that_breaks_and_is_mended(socks, office):
    good = office.read_bytes()
    assert login(socks, b"ann", b"secret") == 0
    office.write_bytes(b"# none of this\nann secret\n")
    for _ in range(3):
        assert login(socks, b"ann", b"secret") == 0
        assert login(socks, b"bob", b"wrong") == 1
    said = [line for line in socks.limpid.stderr().splitlines() if "users 'office'" in line]
    assert len(said) == 1 and "line 2 is not that of a user; the list stays as it was" in said[0]
    os.truncate(office, 0)
    assert login(socks, b"ann", b"secret") == 1
    office.write_bytes(good)
    assert login(socks, b"ann", b"secret") == 0
    office.unlink()
    assert login(socks, b"ann", b"secret") == 0


def test_records_of_datagrams_name_the_user(socks):
    tcp, status = socks.login(b"ann", b"secret")
    assert status == 0
    tcp.sendall(s5.request5("0.0.0.0", 0, s5.ASSOCIATE))
    relay = s5.read_reply5(tcp).address
    server = socks.lab.udp(socks.lab.server, 4, SERVER[4], 7000)
    client = socks.lab.udp(socks.lab.client, 4, CLIENT["routed"][4])
    client.sendto(b"\0\0\0" + s5.address(SERVER[4], 7000) + b"question", relay)
    assert server.recv(100) == b"question"
    tcp.close()
    record = socks.limpid.records.wait(lambda r: r["proto"] == "UDP")
    assert record["limpid"]["user"] == "ann" and "target_name" not in record["limpid"]
