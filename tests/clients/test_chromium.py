# SPDX-License-Identifier: Apache-2.0
"""Chromium through `mode: mixed`, as SOCKS, HTTP and HTTPS proxy: a page and what belongs to it."""
import re
import shutil
import subprocess

import pytest

from host import REMOTE
from lab.limpid import Limpid, check_stderr

PORT = 4128
CONFIG = """
listeners:
  - {{ name: any, mode: mixed, address: ["127.0.0.1:{port}"], tls: front }}
tls:
  front: {{ certificate: "{tls.certificate}", key: "{tls.key}" }}
rules:
  - {{ name: all, action: accept }}
resolver: {{ servers: [127.0.0.53] }}
record: {{ flows: {{ file: "@FLOWS@" }} }}
"""
PAGE = """<!doctype html>
<link rel=stylesheet href=style.css>
<img id=i src=image.svg><img id=j src=https://www.test/image.svg>
<script src=plain.js></script><script src=https://www.test/secure.js></script>
<script src=https://other.test/secure.js?b></script>
<script>
onload = () => put([i.naturalWidth, j.naturalWidth, getComputedStyle(i).opacity].join(" "));
</script>
"""
PLAIN = "function put(s) { document.body.append(`[[${s}]]`) }\nput('plain');\n"
IMAGE = '<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"><rect width="7"/></svg>'
WANTED = {"style.css", "image.svg", "plain.js"}


@pytest.fixture(scope="module")
def pages(web_root):
    folder = web_root / "page"
    folder.mkdir()
    for where, name, text in [
            (folder, "index.html", PAGE), (folder, "plain.js", PLAIN), (folder, "image.svg", IMAGE),
            (folder, "style.css", "#i { opacity: 0.5 }"), (web_root, "image.svg", IMAGE),
            (web_root, "secure.js", "put('secure');\n")]:
        (where / name).write_text(text, encoding="ascii")


@pytest.fixture(scope="module")
def limpid(host, tls, tmp_path_factory):
    running = Limpid(host.ns, CONFIG.format(port=PORT, tls=tls), tmp_path_factory.mktemp("any"))
    yield running
    check_stderr(running.stderr())
    running.stop()


def browse(host, folder, *options):
    """The page as it stands after its scripts have run."""
    with host.ns.enter():
        return subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", "--", "chromium", "--headless=new", "--no-sandbox",
             "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--incognito",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--ignore-certificate-errors", f"--user-data-dir={folder}", *options, "--dump-dom",
             "http://www.test/page/"],
            env=host.env("root") | {"HOME": str(folder)}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, timeout=60, check=False)


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
@pytest.mark.parametrize("scheme", ["socks5", "http", "https"])
def test_page(host, limpid, pages, tmp_path, scheme):
    # pylint: disable=unused-argument
    limpid.records.restart()
    done = browse(host, tmp_path, f"--proxy-server={scheme}://127.0.0.1:{PORT}")
    assert re.findall(r"\[\[(.*?)\]\]", done.stdout) == \
        ["plain", "secure", "secure", "7 7 0.5"], done.stdout + done.stderr
    names = ("www.test", "other.test")
    seen = limpid.records.wait(lambda r: r["event_type"] == "flow" and r["dest_port"] == 443 and
                               r["limpid"].get("target_name") in names, count=2)
    assert all(r["app_proto"] == "tls" and r["dest_ip"] in REMOTE.values() for r in seen)
    if scheme != "socks5":
        for name in WANTED:
            limpid.records.wait(lambda r, name=name: r["event_type"] == "http" and
                                r["http"]["url"].endswith("/" + name))
