# SPDX-License-Identifier: Apache-2.0
"""Configurations that more than one file of scenarios uses."""
from .topology import OFFLOAD_PORT, SERVER_2

LISTENERS = """
listeners:
  - { name: routed, mode: tproxy, address: ["127.0.0.1:50080", "[::1]:50080"] }
  - { name: local, mode: redirect, address: ["0.0.0.0:51080", "[::]:51080"] }
"""
RECORD = """
record: { flows: { file: "@FLOWS@" } }
"""


def _rule(listener, source, offload, port):
    return (f"  - {{ name: {listener}-{offload}, match: {{ listener: {listener}, port: {port} }}, "
            f"action: accept, source: {source}, offload: {offload} }}\n")


EVERY_WAY_RULES = "rules:\n" + "".join(
    _rule(listener, source, offload, port)
    for listener, source in (("routed", "keep"), ("local", "own"))
    for offload, port in OFFLOAD_PORT.items())

EVERY_WAY = LISTENERS + EVERY_WAY_RULES + """
timeouts: { connect: 500ms }
""" + RECORD

# The kernel's routes of type unreachable answer with ICMP once a second at most (five in a
# burst): here the SYN is sent again before limpid gives up.
PATIENT = LISTENERS + EVERY_WAY_RULES + """
timeouts: { connect: 10s }
""" + RECORD

SHORT_TIMERS = LISTENERS + EVERY_WAY_RULES + """
timeouts: { idle: 700ms, half-closed: 300ms }
""" + RECORD


def rules(text, timeouts="{ sniff: 400ms, connect: 2s, deny: 400ms }", more=""):
    """Both listeners with these rules."""
    return f"{LISTENERS}\nrules:\n{text}\ntimeouts: {timeouts}\n{more}\n{RECORD}"


def upstream(folder, mode="https", port=3128, more="", rules=""):
    """A limpid that others use as their upstream proxy."""
    return f"""
listeners:
  - {{ name: up, mode: {mode}, address: ["{SERVER_2[4]}:{port}"] {more} }}
tls:
  front: {{ certificate: "{folder}/certificate.pem", key: "{folder}/key.pem" }}
rules:
{rules}  - {{ name: all, action: accept }}
{RECORD}
"""
