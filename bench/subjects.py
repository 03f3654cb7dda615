# SPDX-License-Identifier: Apache-2.0
"""Who is measured: what to start in the proxy's place, and the port that is intercepted."""
import os
import subprocess
import time

from bed import ADDRESS

HERE = os.path.dirname(os.path.abspath(__file__))


class Subject:
    """A proxy: files of peers/ with @words@ filled in, a command, a port, a line about it."""

    def __init__(self, name, about, command, port, config=None, words=None, env=None,
                 loopback=False, queue=None, ways=None, quiet=False):
        """@ways: in which a client can address it, and the ports for that; @quiet: what it
        says is not kept, for it cannot be told to say less."""
        self.ways, self.quiet = ways or {}, quiet
        self.name, self.about, self.command, self.port = name, about, command, port
        self.config, self.words, self.env = config, words or {}, env or {}
        self.loopback, self.queue = loopback, queue

    def start(self, bed, work, log, via=None):
        port = self.ways[via] if via else self.port
        words = {"proxy": ADDRESS[work.family]["proxy"],
                 "origin": ADDRESS[work.family]["proxied"], "dir": work.dir,
                 "service": os.path.basename(work.dir).replace("-", ""), "bin": work.bin, "limpid": work.limpid,
                 "examples": f"{os.path.dirname(work.limpid)}/examples", **self.words}
        if self.config:
            text = open(f"{HERE}/peers/{self.config}").read()
            words["config"] = f"{work.dir}/{self.name}-{self.config}"
            with open(words["config"], "w") as f:
                f.write(fill(text, words))
        process = bed.spawn("px", [fill(w, words) for w in self.command],
                            **dict.fromkeys(("stdout", "stderr"),
                                            subprocess.DEVNULL if self.quiet else log),
                            env={**os.environ, **{k: fill(v, words) for k, v in self.env.items()}})
        deadline = time.time() + 10
        while not bed.listening(port):
            if process.poll() is not None or time.time() > deadline:
                raise RuntimeError(f"{self.name} does not listen on port {port}; "
                                   f"see {log.name}")
            time.sleep(0.02)
        if not via:
            bed.intercept(self.port, self.loopback, self.queue)
        time.sleep(0.1)

    def stop(self, bed):
        bed.pass_by()
        bed.end("px")


class Direct:
    """The routed path, nobody in it."""
    name, about, ways = "direct", "the routed path without a proxy", {}

    def start(self, bed, work, log, via=None):
        pass

    def stop(self, bed):
        pass


def fill(text, words):
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def limpid(name, about, source="keep-address", offload="", connect="early", command=None,
           queue=None):
    return Subject(name, about, [*(command or ["@limpid@", "serve", "--config"]), "@config@"],
                   3140, "limpid.yaml", {"source": source, "offload": offload, "connect": connect},
                   loopback=True, queue=queue)


def ways(name, about, udp="2m"):
    return Subject(name, about, ["@limpid@", "serve", "--config", "@config@"], 3142,
                   "limpid-ways.yaml", {"udp": udp}, loopback=True,
                   ways={"socks5": 3143, "connect": 3144, "http": 3144})


SUBJECTS = {s.name: s for s in (
    Direct(),
    limpid("limpid", "limpid, source: keep-address"),
    limpid("limpid-keep", "limpid, source: keep (address and port)", source="keep"),
    limpid("limpid-copy", "limpid, offload: copy (never splice)", offload=", offload: copy"),
    limpid("limpid-count", "limpid's library and examples/count.c, which counts",
           command=["@examples@/count"]),
    limpid("limpid-count-copy", "the same, which passes every byte on as a copy of its own",
           command=["@examples@/count", "-copy"]),
    limpid("limpid-honest", "limpid, connect: honest", connect="honest", queue=3140),
    Subject("haproxy-splice", "HAProxy with splice and 1 MiB pipes, nbthread 2, source kept",
            ["haproxy", "-db", "-f", "@config@"], 3121, "haproxy-splice.cfg"),
    Subject("haproxy", "HAProxy as people run it, nbthread 2, source kept",
            ["haproxy", "-db", "-f", "@config@"], 3120, "haproxy.cfg"),
    Subject("nginx", "nginx stream as people run it, 2 workers, source kept",
            ["nginx", "-p", "@dir@", "-c", "@config@", "-e", "stderr"], 3122, "nginx.conf",
            env={"LD_PRELOAD": "@bin@/tpshim.so"}),
    Subject("limpid-sni", "limpid, one name allowed", ["@limpid@", "serve", "--config", "@config@"],
            3141, "limpid-sni.yaml", loopback=True),
    Subject("nginx-sni", "nginx stream, ssl_preread, one name allowed, 2 workers, source kept",
            ["nginx", "-p", "@dir@", "-c", "@config@", "-e", "stderr"], 3123, "nginx-sni.conf",
            env={"LD_PRELOAD": "@bin@/tpshim.so"}),
    Subject("haproxy-sni", "HAProxy, req.ssl_sni, one name allowed, nbthread 2, source kept",
            ["haproxy", "-db", "-f", "@config@"], 3124, "haproxy-sni.cfg"),
    ways("limpid-ways", "limpid: tproxy for TCP and UDP, socks, http; its own address"),
    ways("limpid-brief", "the same, with sessions of datagrams that end after 5 s", udp="5s"),
    Subject("v2ray", "V2Ray: dokodemo-door for TCP and UDP, socks, http; its own address",
            ["v2ray", "-config", "@config@"], 3150, "v2ray.json", {},
            {"GOMAXPROCS": "2", "V2RAY_LOCATION_ASSET": "/usr/share/v2ray"},
            ways={"socks5": 3151, "connect": 3152}),
    Subject("dante", "Dante, SOCKS without authentication", ["danted", "-f", "@config@"], 3153,
            "danted.conf", ways={"socks5": 3153}),
    Subject("microsocks", "microsocks, a thread for each connection",
            ["microsocks", "-i", "@proxy@", "-p", "3154"], 3154, ways={"socks5": 3154},
            quiet=True),
    Subject("tinyproxy", "tinyproxy, a thread for each connection",
            ["tinyproxy", "-d", "-c", "@config@"], 3155, "tinyproxy.conf",
            ways={"connect": 3155, "http": 3155}),
    Subject("squid", "Squid, one process, nothing cached",
            ["squid", "-N", "-n", "@service@", "-f", "@config@"], 3156, "squid.conf",
            ways={"connect": 3156, "http": 3156}),
    Subject("haproxy-http", "HAProxy, the origin as the URL says, nbthread 2",
            ["haproxy", "-db", "-f", "@config@"], 3157, "haproxy-http.cfg", ways={"http": 3157}),
    Subject("nginx-http", "nginx, kept connections to one origin, 2 workers",
            ["nginx", "-p", "@dir@", "-c", "@config@", "-e", "stderr"], 3158, "nginx-http.conf",
            ways={"http": 3158}),
    Subject("floor-copy", "floor.c: the least a copying relay does, 2 threads",
            ["@bin@/floor", "copy", "3130", "2"], 3130),
    Subject("floor-splice", "floor.c: as floor-copy, bulk by splice",
            ["@bin@/floor", "splice", "3131", "2"], 3131),
)}
