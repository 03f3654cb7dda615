# SPDX-License-Identifier: Apache-2.0
"""A scenario of docs/scenarios.md, read from the page and run.

Hosts are namespaces; commands run in one folder, where the configurations are.  A command ending in
& goes on until the end of the scenario.  What stands below a command is all that it says; a grep is
asked again until it finds that, because records are written when a flow has ended.
"""
import os
import pathlib
import re
import subprocess

from . import sock
from .limpid import REPO, binary, check_stderr, listening, wanted_sockets

PAGE = REPO / "docs/scenarios.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def titles():
    return re.findall(r"^## (.*)$", PAGE.read_text(encoding="utf-8"), re.M)


class Scenario:
    def __init__(self, title, folder):
        text = PAGE.read_text(encoding="utf-8")
        self.text = text.split(f"## {title}\n", 1)[1].split("\n## ")[0]
        self.folder = pathlib.Path(folder)
        self.drawing, self.commands, self.running = "", [], []
        for kind, body in BLOCK.findall(self.text):
            if kind == "yaml":
                name = body.split("\n", 1)[0].removeprefix("# ")
                (self.folder / name).write_text(body, encoding="utf-8")
            elif kind == "text":
                self.drawing = body
            else:
                assert kind == "console", kind
                self._read_commands(body)
        tools = self.folder / "bin"
        tools.mkdir()
        (tools / "limpid").symlink_to(pathlib.Path(binary()).resolve())
        (tools / "podman").symlink_to(pathlib.Path(__file__).with_name("podman.py"))
        self.env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}",
                    "LIMPID": str(tools / "limpid"), "no_proxy": "", "http_proxy": ""}

    def _read_commands(self, body):
        for line in body.splitlines():
            prompt = re.match(r"([a-z]+)[#$] (.*)$", line)
            if prompt:
                self.commands.append((*prompt.groups(), []))
            else:
                self.commands[-1][2].append(line)

    def run(self, hosts):
        for host, command, expected in self.commands:
            if command.endswith(" &"):
                self._begin(hosts[host], command.removesuffix(" &"))
                continue
            said = []

            def done(host=host, command=command, said=said):
                said[:] = self._once(hosts[host], command)
                return said

            if command.startswith("grep "):
                sock.eventually(lambda done=done, e=expected: done() == e, command)
            else:
                assert done() == expected, f"{host}: {command}\n{self.said()}"

    def _once(self, namespace, command):
        with namespace.enter():
            done = subprocess.run(["sh", "-c", command], cwd=self.folder, env=self.env, text=True,
                                  capture_output=True, check=False, timeout=sock.DEADLINE_S)
        quiet = command.startswith("grep ")
        assert quiet or done.returncode == 0, f"{command}: {done.stderr}{done.stdout}{self.said()}"
        return done.stdout.splitlines()

    def _begin(self, namespace, command):
        err_path = self.folder / f"stderr-{len(self.running)}"
        with open(err_path, "wb") as err, namespace.enter():
            # pylint: disable-next=consider-using-with
            process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c",
                                        f"exec {command}"], cwd=self.folder, env=self.env,
                                       stdin=subprocess.DEVNULL, stdout=err, stderr=err)
        self.running.append((process, err_path))
        config = (self.folder / re.search(r"(\w+\.yaml)", command)[1]).read_text(encoding="utf-8")

        def there():
            assert process.poll() is None, self.said()
            rules = "--firewall" not in command or "table inet limpid" in namespace.run(
                "nft", "list", "tables")
            return rules and wanted_sockets(config) <= listening(process.pid)

        sock.eventually(there, f"{command} serves")

    def said(self):
        return "\n".join(path.read_text(encoding="utf-8") for _, path in self.running)

    def end(self):
        """All that was begun ends when it is told to, and well."""
        for process, _ in self.running:
            process.terminate()
        for process, _ in self.running:
            try:
                process.wait(sock.DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        check_stderr(self.said())
        assert all(p.returncode == 0 for p, _ in self.running), self.said()
