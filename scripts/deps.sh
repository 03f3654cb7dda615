#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# deps.sh GROUP...: install what limpid needs on Debian 12, and only what is missing.
# Groups: build, test, demo, bench.  `deps.sh --list GROUP...` prints the names instead.
#
# Packages such as nginx start themselves when they are installed; on a user's machine that is
# not wanted.  While apt runs, a policy-rc.d says no to every start, unless the machine has one
# of its own.
set -euo pipefail

policy=/usr/sbin/policy-rc.d

build=(gcc libc6-dev make meson ninja-build pkgconf python3
	libssl-dev libfyaml-dev libcmocka-dev libcrypt-dev libmnl-dev libc-ares-dev libjansson-dev)
test=("${build[@]}" clang libclang-rt-14-dev python3-pytest python3-pytest-timeout mandoc git openssl
	nftables iptables iproute2 procps util-linux nginx-light curl wget ca-certificates
	busybox-static unbound bind9-dnsutils knot-dnsutils dnsperf tcpdump strace systemd zsh
	python3-requests python3-socks haproxy libnginx-mod-stream
	microsocks dante-server tinyproxy dnsdist pdns-recursor
	ngtcp2-client ngtcp2-server iperf3
	dante-client proxychains4 netcat-openbsd openssh-server tnftp python3-pyftpdlib
	chromium python3-websockets wireguard-tools wireguard-go)
demo=("${build[@]}" nftables iproute2 util-linux nginx-light curl git openssl)
bench=("${build[@]}" nftables iptables iproute2 procps util-linux strace
	nginx-light libnginx-mod-stream haproxy
	v2ray dante-server microsocks tinyproxy squid)

die() {
	printf 'deps: %s\n' "$*" >&2
	exit 1
}

packages() {
	local group
	for group in "$@"; do
		case $group in
		build) printf '%s\n' "${build[@]}" ;;
		test)
			printf '%s\n' "${test[@]}"
			# Node.js may come from elsewhere, and then its package would conflict.
			command -v node >/dev/null || printf 'nodejs\n'
			;;
		demo) printf '%s\n' "${demo[@]}" ;;
		bench) printf '%s\n' "${bench[@]}" ;;
		*) die "no such group: '$group'; accepted: build, test, demo, bench" ;;
		esac
	done | sort -u
}

missing() {
	local name
	for name in "$@"; do
		dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed ||
			printf '%s\n' "$name"
	done
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

# Runs in a shell of its own as root, so that its trap holds whatever ends it.
install_quietly() {
	as_root env DEBIAN_FRONTEND=noninteractive POLICY="$policy" bash -euc '
		if [ ! -e "$POLICY" ] && [ ! -L "$POLICY" ]; then
			trap "rm -f \"\$POLICY\"" EXIT
			trap "exit 130" INT
			trap "exit 143" TERM HUP
			printf "#!/bin/sh\nexit 101\n" >"$POLICY"
			chmod 755 "$POLICY"
		fi
		apt-get update -qq
		apt-get install -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends "$@"
	' install "$@"
}

main() {
	[ $# -gt 0 ] || die "usage: deps.sh [--list] GROUP...; groups: build, test, demo, bench"
	local list=no names lacking
	if [ "$1" = --list ]; then
		list=yes
		shift
	fi
	names=$(packages "$@")
	if [ $list = yes ]; then
		printf '%s\n' "$names"
		return
	fi
	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
		printf 'deps: this is no Debian; please see to these yourself: %s\n' \
			"$(tr '\n' ' ' <<<"$names")" >&2
		return
	fi
	mapfile -t names <<<"$names"
	mapfile -t lacking < <(missing "${names[@]}")
	[ ${#lacking[@]} -gt 0 ] || return 0

	printf 'deps: installing %s\n' "${lacking[*]}"
	if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
		die "neither root nor sudo: run as root: apt-get install ${lacking[*]}"
	fi
	install_quietly "${lacking[@]}"
}

main "$@"
