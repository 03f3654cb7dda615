# SPDX-License-Identifier: Apache-2.0
"""Medians, ratios and tables from the rows of a bench."""
import statistics


def median(rows, key):
    values = [r[key] for r in rows if r.get(key) is not None]
    return statistics.median(values) if values else None


def show(value, digits=3, suffix=""):
    if value is None:
        return "-"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
    return text + suffix


def ratio(value, base):
    return "-" if value is None or not base else f"{value / base:.2f}"


def table(head, body):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in body])


def problems(rows):
    """What a reader must know before believing a row."""
    counts = [(sum(r.get(key, 0) for r in rows), word)
              for key, word in (("errors", "errors"), ("lost", "flows lost"), ("noisy", "noisy"))]
    notes = [f"{count} {word}" for count, word in counts if count]
    notes += sorted({r["failed"] for r in rows if "failed" in r})
    return ", ".join(notes)


def bulk_table(by, direct):
    body = []
    for name, rows in by.items():
        rate, all_s = median(rows, "rate"), median(rows, "all_us")
        proxy = median(rows, "proxy_us") if name != "direct" else None
        body.append([name, show(rate), ratio(rate, median(direct, "rate")),
                     show(proxy and proxy / 1e6), show(all_s and all_s / 1e6),
                     ratio(all_s, median(direct, "all_us")), str(len(rows)), problems(rows)])
    return table(["subject", "GB/s", "× direct", "proxy CPU s/GB", "all CPU s/GB", "× direct",
                  "runs", "notes"], body)


def trip_table(by, direct, scenario):
    body, unit = [], scenario.unit
    for name, rows in by.items():
        rate = median(rows, "rate")
        if scenario.beside:     # processor time there is mostly the bulk's
            more = [show(median(rows, "beside_gbps"))]
        else:
            more = [show(median(rows, "proxy_us") if name != "direct" else None),
                    show(median(rows, "all_us"))]
        body.append([name, show(rate), ratio(rate, median(direct, "rate")),
                     show(median(rows, "p50_us")), show(median(rows, "p99_us")), *more,
                     str(len(rows)), problems(rows)])
    more = ["bulk beside, GB/s"] if scenario.beside else [f"proxy CPU µs/{unit}",
                                                          f"all CPU µs/{unit}"]
    return table(["subject", f"{unit}/s", "× direct", "p50 µs", "p99 µs", *more, "runs", "notes"],
                 body)


def idle_table(by):
    body = []
    for name, rows in by.items():
        kept = median(rows, "kept_share")
        body.append([name, show(median(rows, "held")), show(median(rows, "bytes_per_flow")),
                     show(median(rows, "wakeups_per_s")), show(median(rows, "idle_cpu_us_per_s")),
                     show(median(rows, "base_kib")), show(median(rows, "held_kib")),
                     show(median(rows, "after_kib")),
                     "-" if kept is None else f"{100 * kept:.0f} %", str(len(rows)),
                     problems(rows)])
    return table(["subject", "flows held", "bytes/flow", "wake-ups/s", "CPU µs/s", "base KiB",
                  "held KiB", "after KiB", "of it kept", "runs", "notes"], body)


def overload_table(by):
    body = []
    for name, rows in by.items():
        body.append([name, *(show(median(rows, key)) for key in (
            "peak", "offered_rate", "rate", "goodput", "given_up", "p50_us", "p99_us",
            "peak_us", "proxy_us")), str(len(rows)), problems(rows)])
    return table(["subject", "peak conn/s", "offered/s", "served/s", "× peak", "given up/s",
                  "p50 µs", "p99 µs", "proxy CPU µs/conn at the peak", "and beyond", "runs", "notes"],
                 body)


def sessions_table(by):
    body = [[name, *(show(median(rows, key)) for key in (
        "held", "bytes_per_flow", "base_kib", "held_kib", "after_kib", "last_kib", "fds_left")),
        problems(rows)] for name, rows in by.items()]
    return table(["subject", "sessions held", "bytes/session", "base KiB", "held KiB", "after KiB",
                  "after many in turn KiB", "descriptors left", "notes"], body)


def start_table(by):
    body = [[name, show(median(rows, "ready_ms")), show(median(rows, "rss_kib")), problems(rows)]
            for name, rows in by.items()]
    return table(["subject", "ms until ready", "KiB resident at rest", "notes"], body)


def run_table(by):
    body = []
    for name, rows in by.items():
        for who in ("root", "nobody"):
            body.append([f"{name} as {who}", show(median(rows, f"true_ms_{who}")),
                         show(median(rows, f"run_ms_{who}")),
                         show(median(rows, f"added_ms_{who}")), problems(rows)])
    return table(["subject", "`true` ms", "`limpid run -q -- true` ms", "added ms", "notes"], body)


def calls_table(subject, calls):
    body = [[name, f"{n:.2f}"] for name, n in calls.items() if n >= 0.005]
    body.append(["**all**", f"{sum(calls.values()):.2f}"])
    return table([f"system call of {subject}", "for each connection"], body)


def scenario_table(scenario, by):
    if scenario.kind == "idle":
        return idle_table({k: v for k, v in by.items() if k != "direct"})
    if scenario.kind in ("run", "start", "overload", "udp-memory"):
        return {"run": run_table, "start": start_table, "overload": overload_table,
                "udp-memory": sessions_table}[scenario.kind](by)
    if scenario.unit == "GB":
        return bulk_table(by, by.get("direct", []))
    return trip_table(by, by.get("direct", []), scenario)


# What limpid is held to: a scenario, a figure, how it must compare (at most, at least), a factor,
# and whose figure it is a factor of ("" = the number itself, "best" = the best peer's); "<= +" is
# at most so much more.
TARGETS = [(s, key, sign, factor, who) for s in ("down1", "down8", "up1", "up8", "both1", "both8")
           for key, sign, factor, who in (
               ("proxy_us", "<=", 1.1, "haproxy-splice"), ("rate", ">=", 0.97, "haproxy-splice"),
               ("all_us", "<=", 1.0, "direct"), ("rate", ">=", 2.5, "haproxy"),
               ("rate", ">=", 2.5, "nginx"))] + [
    ("conn64", "proxy_us", "<=", 0.95, "haproxy"), ("conn64", "proxy_us", "<=", 1.05, "floor-copy"),
    ("conn64", "rate", ">=", 0.97, "nginx"), ("ping", "p50_us", "<=", 1.0, "best"),
    ("ping8", "p99_us", "<=", 1.0, "best"), ("idle", "bytes_per_flow", "<=", 1024, ""),
    ("idle", "wakeups_per_s", "<=", 0, ""), ("idle", "kept_share", "<=", 0.2, ""),
    ("run", "added_ms_root", "<=", 25, ""),
    ("run", "added_ms_nobody", "<=", 25, ""),
    ("udp", "rate", ">=", 1.4, "v2ray"), ("udp", "proxy_us", "<=", 0.65, "v2ray"),
    ("udp-new", "rate", ">=", 10, "v2ray"), ("udp-new", "errors", "<=", 0, ""),
    ("trains", "rate", ">=", 1e6, ""), ("trains", "proxy_us", "<=", 1, ""),
    ("trains-up", "rate", ">=", 1e6, ""), ("trains-up", "proxy_us", "<=", 1, ""),
    ("udp-memory", "bytes_per_flow", "<=", 1024, ""), ("udp-memory", "kept_share", "<=", 0.2, ""),
    ("udp-memory", "fds_left", "<=", 0, ""),
    ("socks", "proxy_us", "<=", 0.8, "best"), ("socks", "rate", ">=", 1.0, "best"),
    ("connect", "proxy_us", "<=", 0.85, "best"), ("connect", "rate", ">=", 1.0, "best"),
    ("socks-udp", "rate", ">=", 1.2, "dante"), ("socks-udp", "proxy_us", "<=", 0.75, "dante"),
    ("http", "rate", ">=", 1.0, "best"), ("http", "proxy_us", "<=", 1.0, "best"),
    ("http", "rate", ">=", 3, "squid"), ("tunnel", "rate", ">=", 0.95, "limpid"),
    ("tunnel", "proxy_us", "<=", 1.1, "limpid")]
# Instead of limpid.
OURS = {"filter": ["limpid-count-copy"], "honest": ["limpid-honest"],
        "tunnel": ["limpid-socks", "limpid-connect"]}
WORDS = {"proxy_us": "proxy CPU", "all_us": "all CPU", "rate": "rate", "p50_us": "p50",
         "p99_us": "p99", "bytes_per_flow": "bytes/flow", "wakeups_per_s": "wake-ups/s",
         "kept_share": "share of memory kept afterwards", "errors": "errors, losses",
         "fds_left": "descriptors left",
         "goodput": "goodput, share of the peak", "ready_ms": "ms until ready",
         "rss_kib": "KiB resident at rest", "added_ms_root": "ms added, root", "added_ms_nobody": "ms added, nobody"}


def best(by, ours, key, sign):
    """The figure of the peer that is hardest to beat."""
    values = [median(rows, key) for name, rows in by.items()
              if name not in ("direct", ours) and not name.startswith(("limpid", "floor"))]
    return (max if sign == ">=" else min)((v for v in values if v is not None), default=None)


def target_row(name, by, ours, key, sign, factor, who):
    value = median(by.get(ours, []), key)
    base = best(by, ours, key, sign) if who == "best" else (
        median(by.get(who, []), key) if who else 1)
    if value is None or base is None:
        return None
    limit = base + factor if sign == "<= +" else factor * base
    good = value >= limit if sign == ">=" else value <= limit
    wanted = f"{sign} {factor:,g}" if sign != "<= +" else f"<= {who} + {factor:g}"
    if who and sign != "<= +":
        wanted += f" × {'the best peer' if who == 'best' else who}"
    measured = (f"{value - base:+.3g}" if sign == "<= +" else
                f"{value / base:.2f}" if who and base else show(value))
    return [f"{name}: {ours}" if ours != "limpid" else name, WORDS[key], wanted, measured,
            "met" if good else "**missed**"]


def targets_table(results):
    rows = [target_row(name, results.get(name, {}), ours, key, sign, factor, who)
            for name, key, sign, factor, who in TARGETS for ours in OURS.get(name, ["limpid"])]
    rows = [row for row in rows if row]
    return table(["scenario", "figure", "wanted", "measured", ""], rows) if rows else ""
