# SPDX-License-Identifier: Apache-2.0
import itertools
import os

import pytest

from lab import configs
from lab.bare import Bare
from lab.certificate import TlsPair
from lab.ground import Ground, Host
from lab.limpid import Limpid, binary, check_stderr
from lab.names import Forward, Wide
from lab.queue import Queue
from lab.road import Road
from lab.topology import Lab, Way


def pytest_collection_modifyitems(items):
    reason = None
    if os.geteuid() != 0:
        reason = "network namespaces and transparent sockets of the lab need root"
    elif not os.access(binary(), os.X_OK):
        reason = f"no program to test at {binary()} (env LIMPID names it)"
    for item in items if reason else ():
        item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def lab_for_all():
    network = Lab()
    yield network
    network.close()


@pytest.fixture
def lab(lab_for_all):
    lab_for_all.restart()
    yield lab_for_all
    lab_for_all.close_sockets()


@pytest.fixture(scope="session")
def keeper(lab_for_all, tmp_path_factory):
    """One limpid at a time, kept from test to test as long as the configuration is the same."""
    kept = Keeper(lab_for_all, tmp_path_factory.mktemp("limpid"))
    yield kept
    kept.stop()


class Keeper:
    def __init__(self, network, workdir):
        self.lab = network
        self.workdir = workdir
        self.limpid = None
        self.number = itertools.count(1)

    def get(self, config, prefix=()):
        if self.limpid and self.limpid.alive() and self.limpid.config == config and not prefix:
            self.limpid.records.restart()
            return self.limpid
        self.stop()
        self.limpid = Limpid(self.lab.proxy, config, self.workdir / str(next(self.number)), prefix)
        return self.limpid

    def stop(self):
        if self.limpid:
            limpid, self.limpid = self.limpid, None
            limpid.stop()


@pytest.fixture
def serve(keeper, lab):
    """serve(config): a running limpid; checked alive and without sanitizer reports at the end."""
    used = []

    def start(config, prefix=()):
        limpid = keeper.get(config, prefix)
        used.append(limpid)
        return limpid

    yield start
    lab.close_sockets()
    for limpid in used:
        check_stderr(limpid.stderr())
        if keeper.limpid is limpid and not limpid.alive():
            keeper.limpid = None
            pytest.fail(f"limpid died with {limpid.process.returncode}:\n{limpid.stderr()[-4000:]}")


EVERY_WAY = [pytest.param((mode, family, offload), id=f"{mode}-v{family}-{offload}")
             for mode, family, offload in itertools.product(
                 ("tproxy", "redirect"), (4, 6), ("auto", "copy", "splice"))]


@pytest.fixture(params=EVERY_WAY)
def any_way(request, lab):
    """Each of {tproxy, redirect} x {v4, v6} x {auto, copy, splice}."""
    mode, family, offload = request.param
    return Way(lab, mode, family, offload)


@pytest.fixture
def limpid(any_way, serve):
    """limpid with one rule for each way."""
    return serve(configs.EVERY_WAY)


@pytest.fixture
def way(any_way, limpid):
    """Each way through a running limpid with default rules."""
    # pylint: disable=unused-argument
    return any_way


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def family(request):
    return request.param


@pytest.fixture(params=["tproxy", "redirect"])
def mode(request):
    return request.param


@pytest.fixture
def queue(lab):
    rules = Queue(lab)
    rules.add()
    yield rules
    rules.remove()


@pytest.fixture(scope="session")
def tls_pair(tmp_path_factory):
    """A server's and a client's context around a throw-away certificate."""
    return TlsPair(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def start(tmp_path):
    """start(bare, config, ...): a running limpid of its own; ended and checked at the end."""
    running = []

    def begin(bare, config, workdir=None, options=(), **more):
        # Who has changed its user cannot be traced, not even by its own sanitizer.
        if "--user" in options:
            more["prefix"] = ["env", "ASAN_OPTIONS=detect_leaks=0", *more.get("prefix", ())]
        limpid = Limpid(bare.proxy, config, workdir or tmp_path / "limpid", options=options,
                        **more)
        running.append(limpid)
        return limpid

    yield begin
    for limpid in running:
        check_stderr(limpid.stderr())
        if limpid.process.returncode is None:
            limpid.stop()


@pytest.fixture
def bare():
    row = Bare()
    yield row
    row.close()


@pytest.fixture(scope="module")
def wide(lab_for_all):
    network = Wide(lab_for_all)
    yield network
    network.close()


@pytest.fixture
def forward(wide, lab, keeper):
    """A listener that forwards to a name; all questions must carry our mark."""
    f = Forward(lab, keeper)
    yield f
    f.close()
    assert wide.unmarked() == 0


@pytest.fixture(scope="session")
def ground_for_all():
    """The network without rules."""
    network = Ground()
    yield network
    network.close()


@pytest.fixture
def ground(ground_for_all):
    ground_for_all.restart()
    yield ground_for_all
    ground_for_all.close_sockets()


@pytest.fixture
def host(ground, tmp_path):
    """The host in the middle of it; at the end nothing may be left."""
    middle = Host(ground, tmp_path)
    yield middle
    ground.close_sockets()
    left = middle.end()
    for limpid in middle.limpids:
        check_stderr(limpid.stderr())
    assert not left, f"(before, after): {left}"


@pytest.fixture
def road(host, family):
    """road(config): limpid serves it, the rules are up."""
    def make(text):
        limpid = host.serve(text)
        host.firewall("up", text)
        return Road(host, family, limpid)
    return make
