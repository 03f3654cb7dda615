# SPDX-License-Identifier: Apache-2.0
"""The rules of honest connect in the lab."""
from .topology import CLIENT

NUMBER = 50080


class Queue:
    """The rules that send SYNs of the tproxy way to limpid, before its tproxy rules."""

    def __init__(self, lab):
        self.proxy = lab.proxy
        self.rules = []

    def add(self, bypass=False):
        for program, family in (("iptables", 4), ("ip6tables", 6)):
            rule = ["PREROUTING", "-i", "p0", "-s", CLIENT["tproxy"][family], "-p", "tcp", "--syn",
                    "-j", "NFQUEUE", "--queue-num", str(NUMBER)]
            rule += ["--queue-bypass"] if bypass else []
            self.proxy.run(program, "-t", "raw", "-A", *rule)
            self.rules.append((program, rule))

    def remove(self):
        for program, rule in self.rules:
            self.proxy.run(program, "-t", "raw", "-D", *rule)
        self.rules.clear()

    def state(self):
        """(packets waiting, dropped for want of room, dropped by the socket)."""
        with self.proxy.enter(), open("/proc/thread-self/net/netfilter/nfnetlink_queue",
                                      encoding="ascii") as f:
            for line in f:
                fields = [int(n) for n in line.split()]
                if fields[0] == NUMBER:
                    return fields[2], fields[5], fields[6]
        return None
