# limpid: a thin front door over Meson, which builds in ./build.  `make help` lists it all.

BUILD  ?= build
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
# Layers of `make check`, all when empty; `make check LAYERS="gcc unit"` runs some.
LAYERS ?=
FUZZ_SECONDS ?= 60
BENCH ?=

MESON = /usr/bin/meson

.PHONY: all build demo check bench install uninstall clean asan tsan fuzz help

all: build

# Ninja re-configures by itself; only the first time is ours.
build:
	@scripts/deps.sh build
	@test -f $(BUILD)/build.ninja || $(MESON) setup $(BUILD)
	@ninja -C $(BUILD) limpid

demo: build
	@scripts/deps.sh demo
	@LIMPID=$(BUILD)/limpid scripts/demo.sh

check:
	@scripts/deps.sh test
	@scripts/check.py $(LAYERS)

bench: build
	@scripts/deps.sh bench
	@test -x bench/run || { echo "bench/run is not there" >&2; exit 1; }
	@bench/run $(BENCH)

install: build
	@$(MESON) configure $(BUILD) -Dprefix=$(PREFIX) -Dsysconfdir=$(SYSCONFDIR)
	@ninja -C $(BUILD) product
	@DESTDIR="$(DESTDIR)" $(MESON) install -C $(BUILD) --no-rebuild
	@test -n "$(DESTDIR)" || test "$$(id -u)" != 0 || /sbin/ldconfig # liblimpid.so is found

# What was installed last from this build directory; the configuration stays.
uninstall:
	@ninja -C $(BUILD) uninstall

asan tsan:
	@scripts/deps.sh build
	@scripts/check.py --build-only $@

fuzz:
	@scripts/deps.sh test
	@scripts/check.py --fuzz-seconds $(FUZZ_SECONDS) fuzz

clean:
	rm -rf $(BUILD) build-asan build-tsan build-clang build-fuzz

help:
	@echo 'make           build the program: $(BUILD)/limpid'
	@echo 'make demo      watch curl and git being intercepted, without privileges'
	@echo 'make check     every test, within 45 minutes on 2 cores (LAYERS="gcc unit": some)'
	@echo 'make bench     figures beside other proxies (BENCH="...": arguments of bench/run)'
	@echo 'make install   to PREFIX [$(PREFIX)] under DESTDIR'
	@echo 'make uninstall what was installed last; /etc/limpid stays'
	@echo 'make asan      build-asan/limpid, with address and undefined-behaviour sanitizers'
	@echo 'make tsan      build-tsan/limpid, with the thread sanitizer'
	@echo 'make fuzz      each fuzz target for FUZZ_SECONDS [$(FUZZ_SECONDS)]'
	@echo 'make clean     remove the build directories'
	@echo 'All but clean and help first install the Debian packages that are missing.'
