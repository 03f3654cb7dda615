#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every test of limpid, layer by layer; `make check` calls this.

A layer is a build with what is run on it.  Nothing is skipped silently: a layer that cannot be
built or has nothing to run is a failure, and each skipped test is named with its reason.  The
last line is the sum of all layers, alone on its line: N passed, N failed, N skipped.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MESON = "/usr/bin/meson"
PYTHON = "/usr/bin/python3"

SANITIZER_ENV = {
    "ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=0:exitcode=66:second_deadlock_stack=1",
}

# Name of the build directory -> compiler and Meson options.
BUILDS = {
    "gcc": ("build", "gcc", []),
    "asan": ("build-asan", "gcc", ["-Db_sanitize=address,undefined"]),
    "tsan": ("build-tsan", "gcc", ["-Db_sanitize=thread"]),
    "clang": ("build-clang", "clang", []),
    "fuzz": ("build-fuzz", "clang", ["-Dfuzz=true"]),  # the targets bring their sanitizers
}

# What is run on each build, in this order: (part, seconds it may take).
PLAN = {
    "gcc": [("unit", 300), ("structure", 300), ("demo", 60), ("lab", 1300)],
    "asan": [("unit", 400), ("lab", 1300)],
    "tsan": [("unit", 400), ("lab", 600)],
    "clang": [("unit", 300)],
    "fuzz": [("fuzz", 900)],
}

# What hangs ends after that and says where: a test in Python, and a file of them.
TEST_SECONDS = 120
FILE_SECONDS = 400

ENDING = threading.Event()


class Tally:
    """What became of the tests so far."""

    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []
        self.times = []

    def fail(self, layer, name, why=""):
        self.failed.append(f"{layer}: {name}" + (f": {why}" if why else ""))

    def skip(self, layer, name, why):
        self.skipped.append(f"{layer}: {name}: {why}")


def heading(text):
    colour = sys.stdout.isatty()
    print(f"\n\033[1;36m== {text}\033[0m" if colour else f"\n== {text}", flush=True)


def run(command, seconds, env=None, output=None):
    """Run to the end or to the deadline.  Returns the exit status; 124: out of time."""
    child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=output,
                             stderr=subprocess.STDOUT if output else None, start_new_session=True)
    deadline = time.monotonic() + seconds
    try:
        while not ENDING.is_set() and (left := deadline - time.monotonic()) > 0:
            try:
                return child.wait(min(left, 0.5))
            except subprocess.TimeoutExpired:
                pass
        return 124
    finally:
        if child.poll() is None:
            stop(child)


@contextlib.contextmanager
def threads(count):
    """A pool; what interrupts us also ends what was started in it."""
    with ThreadPoolExecutor(count) as pool:
        try:
            yield pool
        except BaseException:
            ENDING.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def stop(child):
    """End what was started here, gently first: fixtures take their namespaces back."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except PermissionError:  # it runs under sudo
            subprocess.run(["sudo", "kill", f"-{number.value}", "--", f"-{child.pid}"],
                           check=False)
        except ProcessLookupError:
            child.wait()
            return
        try:
            child.wait(15)
            return
        except subprocess.TimeoutExpired:
            continue


def build(name):
    """Configure, where that has not been done, and compile.  Returns what went wrong, or ""."""
    folder, compiler, options = BUILDS[name]
    if not (ROOT / folder / "build.ninja").exists():
        env = {"CC": compiler}
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            if run([MESON, "setup", folder, *options], 120, env, output):
                output.seek(0)
                print(output.read())
                return "meson setup"
    targets = []
    if name == "fuzz":
        targets = [f"fuzz/{source.stem}" for source in (ROOT / "fuzz").glob("fuzz_*.c")]
    return "ninja" if run(["ninja", "-C", folder, "--quiet", *targets], 900) else ""


def run_unit(name, seconds, tally, layer):
    """The C tests.  Meson knows programs; the number of cases is read from cmocka's summary."""
    folder = ROOT / BUILDS[name][0]
    log = folder / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    status = run([MESON, "test", "-C", str(folder), "--no-rebuild", "--suite", "unit",
                  "--print-errorlogs"], seconds, SANITIZER_ENV)
    if not log.exists():
        tally.fail(layer, "meson test", "nothing has run")
        return
    for line in log.read_text().splitlines():
        count_program(json.loads(line), tally, layer)
    if status == 124:
        tally.fail(layer, "meson test", f"not done after {seconds} s")


def count_program(test, tally, layer):
    def cases(word):
        return re.findall(rf"^\[ +{word} +\] (\S+)$", test.get("stdout") or "", re.M)

    good = test["result"] == "OK"
    seen = cases("OK") + cases("SKIPPED")
    tally.passed += len(cases("OK")) or int(good and not seen)
    for case in cases("FAILED"):
        tally.fail(layer, f"{test['name']}: {case}")
    for case in cases("SKIPPED"):
        tally.skip(layer, f"{test['name']}: {case}", "skip() in the test")
    if test["result"] == "SKIP":
        tally.skip(layer, test["name"], "the program says so")
    elif not good and not cases("FAILED"):
        tally.fail(layer, test["name"], f"{test['result']}, exit status {test.get('returncode')}")


def run_pytest(name, folders, seconds, tally, layer, marker=None):
    """One process for each file, as many at once as there are cores: a file that hangs or breaks
    its interpreter is known by name, and takes no other with it."""
    folders = [f"tests/{folder}" for folder in folders]
    for folder in folders:
        if not list((ROOT / folder).glob("**/test_*.py")):
            tally.fail(layer, folder, "no test_*.py is there")
    program = ROOT / BUILDS[name][0] / "limpid"
    if not program.exists():
        tally.fail(layer, str(program), "was not built")
        return
    env = {"LIMPID": str(program), "LIMPID_BUILD": name, "PYTHONDONTWRITEBYTECODE": "1",
           **SANITIZER_ENV}
    deadline = time.monotonic() + seconds
    pytest = [PYTHON, "-m", "pytest", "-q", *(["-m", marker] if marker else [])]
    expected = collect([*pytest, "--collect-only", *folders], env, tally, layer)

    def one(file):
        with tempfile.TemporaryDirectory(prefix="limpid-check-") as temporary, \
                tempfile.TemporaryFile("w+", errors="replace") as output:
            report = Path(temporary) / "report.xml"
            command = [*pytest, f"--timeout={TEST_SECONDS}", f"--junitxml={report}", file]
            command = command if "structure" in layer else as_root(command, env)
            command = without_randomisation(command) if name == "tsan" else command
            limit = max(0, min(FILE_SECONDS, deadline - time.monotonic()))
            start = time.monotonic()
            status = run(command, limit, env, output) if limit else 124
            took = time.monotonic() - start
            output.seek(0)
            cases = ElementTree.parse(report).getroot().findall(".//testcase") \
                if report.exists() and report.stat().st_size else []
            return file, status, took, output.read(), cases

    at_once = 1 if "structure" in layer else os.cpu_count()  # those share the build directory
    with threads(at_once or 1) as pool:
        largest_first = sorted(expected, key=expected.get, reverse=True)
        for file, status, took, text, cases in pool.map(one, largest_first):
            bad = count_cases(cases, tally, layer)
            lost = max(0, expected[file] - len(cases))  # an error after a failure is one more
            if lost or (status and not bad):
                tally.fail(layer, file, f"not done after {took:.0f} s" if status == 124 else
                           f"exit status {status}, {lost} tests without a result")
            print(f"{took:8.1f} s  {file}: {len(cases)} tests, {bad} failed", flush=True)
            if status or bad or lost:
                print(text, flush=True)


def collect(command, env, tally, layer):
    """How many tests there are in each file."""
    counts = {}
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        status = run(command, 120, env, output)
        output.seek(0)
        text = output.read()
    for line in text.splitlines():
        if "::" in line and not line.startswith(" "):
            file = line.split("::")[0]
            counts[file] = counts.get(file, 0) + 1
    said = re.search(r"^(\d+)(?:/\d+)? tests collected", text, re.M)
    if status or not said or int(said[1]) != sum(counts.values()):
        print(text[-6000:], flush=True)
        tally.fail(layer, "pytest --collect-only", f"exit status {status}")
    return counts


def as_root(command, env):
    """Namespaces of the lab need root."""
    if os.geteuid() == 0:
        return command
    if not shutil.which("sudo"):
        sys.exit("check: the lab tests need root, and there is no sudo")
    return ["sudo", "env", *[f"{key}={value}" for key, value in env.items()], *command]


def without_randomisation(command):
    """The thread sanitizer of gcc 12 cannot map its shadow when mmap is randomised by > 28 bits."""
    bits = Path("/proc/sys/vm/mmap_rnd_bits")
    if bits.exists() and int(bits.read_text()) > 28:
        return ["setarch", "-R", *command]
    return command


def count_cases(cases, tally, layer):
    """Returns how many have failed."""
    bad = 0
    for case in cases:
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        if case.find("skipped") is not None:
            tally.skip(layer, name, case.find("skipped").get("message", "no reason given"))
        elif case.find("failure") is not None or case.find("error") is not None:
            bad += 1
            tally.fail(layer, name)
        else:
            tally.passed += 1
    return bad


def run_demo(name, seconds, tally, layer):
    status = run(["scripts/demo.sh"], seconds, {"LIMPID": f"{BUILDS[name][0]}/limpid"})
    if status == 0:
        tally.passed += 1
    else:
        tally.fail(layer, "scripts/demo.sh", f"exit status {status}")


def run_fuzz(seconds_each, tally, layer):
    """Each target for a while, from a copy of its corpus; as many at once as there are cores."""
    folder = ROOT / BUILDS["fuzz"][0] / "fuzz"
    targets = sorted(p for p in folder.glob("fuzz_*") if p.is_file() and os.access(p, os.X_OK))
    if not targets:
        tally.fail(layer, "fuzz", "no target was built")
        return
    with threads(os.cpu_count() or 1) as pool:
        for target, status, text in pool.map(lambda t: fuzz_one(t, seconds_each), targets):
            last = [line for line in text.splitlines() if line.startswith("Done ")]
            print(f"{target.name}: {last[0] if last else 'exit status ' + str(status)}", flush=True)
            if status == 0:
                tally.passed += 1
            else:
                print(text[-6000:], flush=True)
                tally.fail(layer, target.name, f"exit status {status}")


def fuzz_one(target, seconds_each):
    found = ROOT / "build-fuzz" / "found"
    found.mkdir(exist_ok=True)
    seeds = ROOT / "fuzz" / "corpus" / target.name.removeprefix("fuzz_")
    with tempfile.TemporaryDirectory(prefix="limpid-fuzz-") as corpus:
        if seeds.is_dir():
            shutil.copytree(seeds, corpus, dirs_exist_ok=True)
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            status = run([str(target), f"-max_total_time={seconds_each}", "-timeout=10",
                          "-rss_limit_mb=2048", "-print_final_stats=0",
                          f"-artifact_prefix={found}/", corpus],
                         seconds_each + 120, SANITIZER_ENV, output)
            output.seek(0)
            return target, status, output.read()


def run_layer(name, arguments, tally):
    start = time.monotonic()
    heading(f"{name}: build")
    wrong = build(name)
    tally.times.append((f"{name} build", time.monotonic() - start))
    if wrong:
        tally.fail(f"{name} build", wrong, "see above")
        return
    for part, seconds in [] if arguments.build_only else PLAN[name]:
        layer = f"{name} {part}" if part != "fuzz" else "fuzz"
        start = time.monotonic()
        heading(layer)
        seconds = int(min(seconds, arguments.deadline - start))
        if seconds <= 0:
            tally.fail(layer, "all of it", f"{arguments.minutes} minutes were over")
            continue
        if part == "unit":
            run_unit(name, seconds, tally, layer)
        elif part == "structure":
            run_pytest(name, ["structure"], seconds, tally, layer)
        elif part == "lab":
            marker = {"tsan": "tsan", "asan": "not plain"}.get(name)
            run_pytest(name, ["lab", "clients"], seconds, tally, layer, marker)
        elif part == "demo":
            run_demo(name, seconds, tally, layer)
        elif part == "fuzz":
            run_fuzz(arguments.fuzz_seconds, tally, layer)
        tally.times.append((layer, time.monotonic() - start))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layers", nargs="*", metavar="layer",
                        help=f"a build ({', '.join(BUILDS)}), or a part (unit, structure, demo, "
                        "lab); default: everything")
    parser.add_argument("--build-only", action="store_true", help="compile, run nothing")
    parser.add_argument("--fuzz-seconds", type=int, default=10, metavar="N",
                        help="for each target [10]")
    parser.add_argument("--minutes", type=int, default=40, metavar="N",
                        help="for everything; what has not begun by then has failed [40]")
    arguments = parser.parse_args()
    arguments.deadline = time.monotonic() + 60 * arguments.minutes
    select(arguments.layers, parser)

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    tally = Tally()
    for name in [name for name in BUILDS if name in PLAN]:
        run_layer(name, arguments, tally)
    return close(tally, arguments)


def select(words, parser):
    """Narrow PLAN to the builds and parts that were named."""
    parts = {"unit", "structure", "demo", "lab"}
    builds = set(words) & set(BUILDS)
    wanted = set(words) & parts
    strange = set(words) - builds - wanted
    if strange:
        parser.error(f"no such layer: {', '.join(sorted(strange))}; accepted: "
                     f"{', '.join([*BUILDS, *sorted(parts)])}")
    if not words:
        return
    for name in list(PLAN):
        if name not in (builds or {"gcc"}):
            del PLAN[name]
        elif wanted:
            PLAN[name] = [p for p in PLAN[name] if p[0] in wanted or p[0] == "fuzz"]


def close(tally, arguments):
    heading("time")
    for layer, seconds in tally.times:
        print(f"{seconds:8.1f} s  {layer}")
    print(f"{sum(seconds for _, seconds in tally.times):8.1f} s  in total")
    for title, lines in (("skipped", tally.skipped), ("failed", tally.failed)):
        if lines:
            heading(title)
            print("\n".join(lines))
    if not arguments.build_only:
        print(f"\n{tally.passed} passed, {len(tally.failed)} failed, {len(tally.skipped)} skipped",
              flush=True)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
