# SPDX-License-Identifier: Apache-2.0
"""What is measured, and how one run of it is taken."""
import json
import os
import re
import resource
import signal
import socket
import statistics
import subprocess
import time

from bed import ADDRESS, CLIENTS, PARTIES
from subjects import HERE, SUBJECTS, fill

ECHO, DOWN, UP, BOTH, HELLO = 7000, 7100, 7200, 7300, 7400
HTTP, UDP, TRAIN, SINK = 7500, 7600, 7700, 7710
ORIGINS = (["echo:7000-7015", "hello:7400-7415"], ["down:7100-7100", "up:7200-7200", "both:7300-7300"],
           ["http:7500-7500", "udp:7600-7607", "train:7700-7707", "sink:7710-7717"])
IDLE_FLOWS = 5000
UDP_SESSIONS = 4000   # fewer than limpid may hold with 20,000 descriptors
UDP_IN_TURN = 100000
SHARE = 0.15          # of one processor, for a proxy that is to have too much to do
PATIENCE_S = 5        # after which an overload's client gives up
NOISE = 0.12          # share of all processors that strangers may use during a run


class Scenario:
    def __init__(self, about, unit, app, port, conns=1, more=(), kind="load", beside=0,
                 instead=None, only=None, who=None, via=None):
        """@instead: which subject stands for another here; @only: the others are left out;
        @who: these, whichever are asked for; @via: how clients address the proxy, if they do:
        one way for all, or for each subject."""
        self.via = via
        self.about, self.unit, self.app, self.port, self.conns = about, unit, app, port, conns
        self.more, self.kind, self.beside = list(more), kind, beside
        self.instead, self.only, self.who = instead or {}, only, who

    def way(self, name):
        return self.via.get(name) if isinstance(self.via, dict) else self.via

    def subjects(self, names, asked):
        """Of @names, or of @who; @asked: the names are somebody's choice."""
        if self.who:
            return [n for n in self.who if not asked or n in names or n not in SUBJECTS]
        return [n for n in names if self.only is None or n in self.only]


WAYS = {"limpid": "limpid-ways"}


def bulk(word, app, port, conns):
    return Scenario(f"bulk {word}, {conns} stream{'s' if conns > 1 else ''}", "GB", app, port,
                    conns)


SCENARIOS = {
    "down1": bulk("down", "down", DOWN, 1),
    "down8": bulk("down", "down", DOWN, 8),
    "up1": bulk("up", "up", UP, 1),
    "up8": bulk("up", "up", UP, 8),
    "both1": bulk("both ways", "both", BOTH, 1),
    "both8": bulk("both ways", "both", BOTH, 8),
    "conn64": Scenario("short connections, 64 at a time: connect, 64 bytes, echo, close", "conn",
                       "echo", ECHO, 64, ["--close", "--ports", "16"]),
    "ping": Scenario("64-byte ping-pong, alone", "trip", "echo", ECHO),
    "ping8": Scenario("64-byte ping-pong beside 8 bulk streams", "trip", "echo", ECHO, beside=8),
    "idle": Scenario(f"{IDLE_FLOWS} flows, 1 KiB exchanged on each, then silence", "flow", "echo",
                     ECHO, more=["--ports", "16", "--size", "1024"], kind="idle"),
    "sni": Scenario("short connections passed by the name in their ClientHello, 64 at a time",
                    "conn", "hello", HELLO, 64, ["--close", "--ports", "16"],
                    instead={"limpid": "limpid-sni", "nginx": "nginx-sni",
                             "haproxy": "haproxy-sni"},
                    only=("direct", "limpid", "nginx", "haproxy", "floor-copy")),
    "filter": Scenario("bulk down, 8 streams: the plain copy, an interceptor that counts, and one "
                       "that copies and counts", "GB", "down", DOWN, 8,
                       who=("direct", "limpid-copy", "limpid-count", "limpid-count-copy")),
    "honest": Scenario("short connections whose client learns it only once the server has "
                       "answered, 64 at a time", "conn", "echo", ECHO, 64,
                       ["--close", "--ports", "16"], who=("direct", "limpid", "limpid-honest")),
    "overload": Scenario(f"twice as many short connections as a proxy with {SHARE:g} processors "
                         "can serve", "conn", "echo", ECHO, 64, ["--close", "--ports", "16"],
                         kind="overload", only=("limpid", "haproxy", "nginx")),
    "udp": Scenario("64 bytes by UDP and back, 64 standing sessions", "trip", "udp", UDP, 64,
                    ["--ports", "8"], who=("direct", "limpid", "v2ray"), instead=WAYS),
    "udp-new": Scenario("64 bytes by UDP and back, a new session each, 64 at a time", "session",
                        "udp", UDP, 64, ["--ports", "8", "--close"],
                        who=("direct", "limpid", "v2ray"), instead=WAYS),
    "trains": Scenario("trains of 16 datagrams of 1200 bytes down, 8 sessions", "datagram",
                       "train", TRAIN, 8, ["--ports", "8"], who=("direct", "limpid", "v2ray"),
                       instead=WAYS),
    "trains-up": Scenario("the same up", "datagram", "sink", SINK, 8, ["--ports", "8"],
                          who=("direct", "limpid", "v2ray"), instead=WAYS),
    "udp-memory": Scenario(f"{UDP_SESSIONS} sessions of UDP, one datagram there and back on each; "
                           f"and {UDP_IN_TURN} in turn", "session", "udp", UDP, 64,
                           ["--ports", "8", "--close"], kind="udp-memory", who=("limpid",),
                           instead={"limpid": "limpid-brief"}),
    "socks": Scenario("SOCKS5 tunnels, 64 at a time: set up, 64 bytes, echo, close", "conn", "echo",
                      ECHO, 64, ["--close", "--ports", "16"], via="socks5", instead=WAYS,
                      who=("direct", "limpid", "dante", "microsocks", "v2ray")),
    "connect": Scenario("CONNECT tunnels, 64 at a time: set up, 64 bytes, echo, close", "conn",
                        "echo", ECHO, 64, ["--close", "--ports", "16"], via="connect",
                        instead=WAYS, who=("direct", "limpid", "squid", "tinyproxy", "v2ray")),
    "socks-udp": Scenario("64 bytes by UDP and back through SOCKS5, 64 standing associations",
                          "trip", "udp", UDP, 64, ["--ports", "8"], via="socks5", instead=WAYS,
                          who=("direct", "limpid", "dante", "v2ray")),
    "http": Scenario("GET through an HTTP proxy, small answers, 32 kept connections", "request",
                     "http", HTTP, 32, via="http",
                     instead={**WAYS, "haproxy": "haproxy-http", "nginx": "nginx-http"},
                     who=("direct", "limpid", "haproxy", "nginx", "squid")),
    "tunnel": Scenario("bulk down, 1 stream: transparent, and through tunnels", "GB", "down", DOWN,
                       via={"limpid-socks": "socks5", "limpid-connect": "connect",
                            "v2ray": "socks5", "squid": "connect"},
                       instead={**WAYS, "limpid-socks": "limpid-ways",
                                "limpid-connect": "limpid-ways"},
                       who=("direct", "limpid", "limpid-socks", "limpid-connect", "squid",
                            "v2ray")),
    "start": Scenario("`limpid serve` with the configuration it is installed with", "ms", None, 0,
                      kind="start", only=("limpid",)),
    "run": Scenario("`limpid run -- true` less `true`", "ms", None, 0, kind="run",
                    only=("limpid",)),
}


class Work:
    """Where things are: a scratch folder, our programs, limpid, the chosen family and times."""

    def __init__(self, folder, limpid, family, warm_s, time_s):
        self.dir, self.bin, self.limpid = folder, f"{folder}/bin", limpid
        self.family, self.warm_s, self.time_s = family, warm_s, time_s
        self.repeats = 0        # of noisy runs, for the whole bench


def start_origins(bed, work, log):
    for services in ORIGINS:
        p = bed.spawn("sv", [f"{work.bin}/load", "server", *services], stdout=subprocess.PIPE,
                      stderr=log)
        if p.stdout.readline() != "ready\n":
            raise RuntimeError("the origin does not start")
    deadline = time.time() + 10      # links and neighbours take a moment
    while True:
        probe = client(bed, work, "direct", "echo", ECHO, 1, ["--time", "0.2"], log)
        if result(probe, 30)["units"] > 0:
            return
        if time.time() > deadline:
            raise RuntimeError("the origin does not answer")


def client(bed, work, name, app, port, conns, more, log, **pipes):
    address = ADDRESS[work.family]
    to = address["direct" if name == "direct" else "proxied"]
    return bed.spawn("cl", [f"{work.bin}/load", "client", "--app", app, "--to", to, "--port",
                            str(port), "--from", address["client"], "--froms", str(CLIENTS),
                            "--conns", str(conns), *more],
                     stdout=subprocess.PIPE, stderr=log, **pipes)


def load(bed, work, scenario, name, log, way=()):
    """One window of load: rates, latencies, and the processor time of every party."""
    window = ["--warm", str(work.warm_s), "--time", str(work.time_s)]
    beside = None
    if scenario.beside:
        beside = client(bed, work, name, "down", DOWN, scenario.beside, window, log)
    main = client(bed, work, name, scenario.app, scenario.port, scenario.conns,
                  [*scenario.more, *way, *window, *bed.cpu_options()], log)
    if scenario.unit == "GB":
        time.sleep(work.warm_s / 2)
        for party in PARTIES:
            if foreign := bed.foreign_cc(party):
                raise RuntimeError(f"{name}: not {bed.cc}: {foreign[0].strip()}")
        if not way and "ways" not in name and bed.own_source():
            raise RuntimeError(f"{name} does not keep the source address")
    row = result(main, work.warm_s + work.time_s + 30)
    if beside:
        row["beside_gbps"] = result(beside, 30)["bytes"] / work.time_s / 1e9
    cl, px, sv = row["cpu_us"][:3]
    parties = cl + px + sv + sum(row["cpu_us"][3:])
    work_done = row["bytes"] / 1e9 if scenario.unit == "GB" else row["units"]
    row["rate"] = work_done / row["seconds"]
    row["strangers"] = (row["busy_us"] - parties) / 1e6 / row["seconds"] / os.cpu_count()
    if work_done:
        row["proxy_us"], row["all_us"] = px / work_done, parties / work_done
    if scenario.beside:     # the processor time there is the bulk's
        row.pop("proxy_us", None), row.pop("all_us", None)
    return row


def result(process, timeout_s):
    out, _ = process.communicate(timeout=timeout_s)
    if not out:
        raise RuntimeError("the client said nothing; see the log")
    return json.loads(out)


def pss_kib(pids, what="Pss"):
    total = 0
    for pid in pids:
        try:
            text = open(f"/proc/{pid}/smaps_rollup").read()
            total += int(re.search(rf"^{what}:\s+(\d+)", text, re.M)[1])
        except OSError:
            pass
    return total


def wakeups(pids):
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            text = open(f"/proc/{pid}/task/{task}/status").read()
            total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1])
    return total


def cpu_us(bed):
    return int(open(f"{bed.group}/px/cpu.stat").readline().split()[1])


def hold(bed, work, scenario, name, count, log):
    p = client(bed, work, name, scenario.app, scenario.port, 1,
               scenario.more + ["--hold", str(count)], log, stdin=subprocess.PIPE)
    said = p.stdout.readline()
    if not said:
        raise RuntimeError("the client said nothing; see the log")
    return p, json.loads(said)


def release(process):
    out, _ = process.communicate(timeout=30)
    return json.loads(out)


def idle(bed, work, scenario, name, log):
    """Memory of the proxy for each silent flow, what it does meanwhile, what stays afterwards.

    The base is taken after a first small round, so that code and tables that exist once are not
    counted for each flow.
    """
    warm, _ = hold(bed, work, scenario, name, 64, log)
    release(warm)
    time.sleep(0.5)
    pids = bed.pids("px")
    base = pss_kib(pids)
    process, row = hold(bed, work, scenario, name, IDLE_FLOWS, log)
    time.sleep(5)       # what was due for the handshakes is over
    held = pss_kib(pids)
    before = wakeups(pids), cpu_us(bed)
    time.sleep(5)
    row["wakeups_per_s"] = (wakeups(pids) - before[0]) / 5
    row["idle_cpu_us_per_s"] = (cpu_us(bed) - before[1]) / 5
    row.update(release(process))
    deadline = time.time() + 5
    while (after := pss_kib(pids)) > base and time.time() < deadline:
        time.sleep(0.25)
    flows = max(row["held"], 1)
    row.update(base_kib=base, held_kib=held, after_kib=after,
               bytes_per_flow=(held - base) * 1024 / flows,
               kept_share=(after - base) / (held - base) if held > base else 0.0)
    return row


def descriptors(pids):
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


def udp_memory(bed, work, scenario, name, log):
    """What sessions cost while they last, and what many of them leave behind."""
    pids = bed.pids("px")

    def open_sessions(count):
        return result(client(bed, work, name, scenario.app, scenario.port, scenario.conns,
                             [*scenario.more, "--count", str(count)], log), 120)

    def rest_after():
        deadline = time.time() + 15     # their time, and a little
        while descriptors(pids) > fds and time.time() < deadline:
            time.sleep(0.25)
        time.sleep(0.5)
        return own_kib()

    def own_kib():      # what the process has written; Pss depends on who else uses the files
        return pss_kib(pids, "Anonymous")

    base, fds = own_kib(), descriptors(pids)
    row = open_sessions(UDP_SESSIONS)
    held, held_fds = own_kib(), descriptors(pids)
    after = rest_after()
    row["errors"] += open_sessions(UDP_IN_TURN)["errors"]
    last = rest_after()
    row.pop("error"), row.pop("cpu_us"), row.pop("busy_us")
    row.update(held=held_fds - fds, base_kib=base, held_kib=held, after_kib=after, last_kib=last,
               fds_left=descriptors(pids) - fds,
               bytes_per_flow=(held - base) * 1024 / max(held_fds - fds, 1),
               kept_share=(last - base) / (held - base) if held > base else 0.0)
    return row


def overload(bed, work, scenario, name, log):
    """Goodput at twice the rate that 64 clients in a closed loop get out of the same proxy.

    The proxy has a share of a processor, so that it is the proxy that is overloaded and not those
    who load it.  The second load is an open loop: a connection is begun when it is due, whatever
    became of the others, and its client gives up after PATIENCE_S.
    """
    warm = ["--warm", str(work.warm_s), "--time", str(max(work.time_s, 2))]
    peak = result(client(bed, work, name, scenario.app, scenario.port, scenario.conns,
                         scenario.more + warm + bed.cpu_options(), log), 60)
    peak["rate"] = peak["units"] / peak["seconds"]
    offered = 2 * peak["rate"]
    more = ["--rate", f"{offered:.0f}", "--patience", str(PATIENCE_S), "--warm",
            str(2 * PATIENCE_S), "--time", str(2 * PATIENCE_S)]
    most = min(int(offered * PATIENCE_S * 1.2), resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 99)
    row = result(client(bed, work, name, scenario.app, scenario.port, most, scenario.more + more +
                        bed.cpu_options(), log), 60)
    row["rate"], row["peak"] = row["units"] / row["seconds"], peak["rate"]
    row["offered_rate"] = row["offered"] / row["seconds"]
    row["goodput"] = row["rate"] / row["peak"]
    row["proxy_us"] = row["cpu_us"][1] / max(row["units"], 1)
    row["peak_us"] = peak["cpu_us"][1] / max(peak["units"], 1)
    row["given_up"] = row.pop("errors") / row["seconds"]
    row["strangers"] = (row["busy_us"] - sum(row["cpu_us"])) / 1e6 / row["seconds"] / os.cpu_count()
    return row


def start(bed, work, log, count=10):
    """Medians from exec to READY=1, and the memory that is resident a second later."""
    config = f"{work.dir}/limpid.yaml"
    with open(f"{HERE}/../packaging/limpid.yaml") as f, open(config, "w") as g:
        g.write(f.read().replace("/var/log/limpid", work.dir))
    took, rss = [], []
    for _ in range(count):
        path = f"{work.dir}/notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(path)
            manager.settimeout(10)
            began = time.monotonic()
            bed.spawn("px", [work.limpid, "serve", "--config", config], stdout=log, stderr=log,
                      env={**os.environ, "NOTIFY_SOCKET": path})
            manager.recv(4096)
            took.append((time.monotonic() - began) * 1000)
        time.sleep(1)
        text = open(f"/proc/{bed.pids('px')[0]}/status").read()
        rss.append(int(re.search(r"^VmRSS:\s+(\d+)", text, re.M)[1]))
        bed.end("px")
        os.unlink(path)
    return {"ready_ms": statistics.median(took), "rss_kib": statistics.median(rss)}


def run_command(work, log, count=20):
    """Median time of `limpid run -q -- true` and of `true`, in turn, as root and as nobody."""
    row = {}
    for user in (None, "nobody"):
        took = {"true": [], "run": []}
        for _ in range(count):
            for key, command in (("true", ["true"]), ("run", [work.limpid, "run", "-q", "--",
                                                              "true"])):
                start = time.monotonic()
                subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=log,
                               stderr=log, user=user)
                took[key].append((time.monotonic() - start) * 1000)
        who = user or "root"
        row[f"true_ms_{who}"] = statistics.median(took["true"])
        row[f"run_ms_{who}"] = statistics.median(took["run"])
        row[f"added_ms_{who}"] = row[f"run_ms_{who}"] - row[f"true_ms_{who}"]
    return row


def rest():
    """Wait, at most two seconds, until others leave the machine mostly alone."""
    for _ in range(10):
        a = [int(v) for v in open("/proc/stat").readline().split()[1:9]]
        time.sleep(0.2)
        b = [int(v) for v in open("/proc/stat").readline().split()[1:9]]
        if (b[3] - a[3]) > 0.9 * (sum(b) - sum(a)):
            return


def way_options(work, subject, via):
    """How a client is told to address the proxy."""
    return ["--via", f"{via}:{ADDRESS[work.family]['proxy']}:{subject.ways[via]}"] if via else []


def measure(bed, work, scenario, subject, log, via=None):
    """One run: start, measure, stop; again, at most three times, when strangers were busy."""
    via = via if subject.ways else None
    for attempt in range(1, 5):
        rest()
        try:
            if scenario.kind == "overload":
                bed.limit(SHARE)
            subject.start(bed, work, log, via)
            if scenario.kind == "idle":
                row = idle(bed, work, scenario, subject.name, log)
            elif scenario.kind == "overload":
                row = overload(bed, work, scenario, subject.name, log)
            elif scenario.kind == "udp-memory":
                row = udp_memory(bed, work, scenario, subject.name, log)
            else:
                row = load(bed, work, scenario, subject.name, log,
                           way_options(work, subject, via))
        finally:
            bed.end("cl", 0)
            subject.stop(bed)
            if scenario.kind == "overload":
                bed.limit(None)
        row["noisy"] = row.get("strangers", 0) > NOISE
        if not row["noisy"] or not work.repeats:
            break
        work.repeats -= 1
    row["attempts"] = attempt
    return row


def system_calls(bed, work, scenario, subject, conns, log, via=None):
    """System calls of the proxy for each short connection, by name; strace joins when warm."""
    out = f"{work.dir}/strace-{subject.name}"
    try:
        subject.start(bed, work, log, via)
        more = [*scenario.more, *way_options(work, subject, via), "--count"]
        result(client(bed, work, subject.name, scenario.app, scenario.port, 64, more + ["500"],
                      log), 60)
        time.sleep(0.3)
        watch = [word for pid in bed.pids("px") for word in ("-p", str(pid))]
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", out, *watch], stderr=log,
                                  stdin=subprocess.DEVNULL)
        time.sleep(1)
        row = result(client(bed, work, subject.name, scenario.app, scenario.port, 64,
                            more + [str(conns)], log), 120)
        time.sleep(0.5)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
    finally:
        bed.end("cl", 0)
        subject.stop(bed)
    done = max(row["units"], 1)
    calls = {}
    for line in open(out):
        word = line.split()
        if len(word) >= 5 and word[0][0].isdigit() and word[-1] != "total":
            calls[word[-1]] = int(word[3]) / done
    return dict(sorted(calls.items(), key=lambda item: -item[1]))


__all__ = ["SCENARIOS", "Work", "fill", "measure", "run_command", "start", "start_origins", "system_calls"]
