#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A web server and a git repository on loopback, and `limpid run` over programs that ask them,
# as an unprivileged user.  Needs no service of the machine and leaves nothing behind.
set -euo pipefail

cd "$(dirname "$0")/.."
limpid=${LIMPID:-build/limpid}
nginx=$(command -v nginx || echo /usr/sbin/nginx)
home=''
server=''

if [ -t 1 ]; then
	head=$'\033[1;36m' dim=$'\033[2m' off=$'\033[0m'
else
	head='' dim='' off=''
fi

heading() {
	printf '\n%s== %s%s\n' "$head" "$*" "$off"
}

clean_up() {
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	if [ -n "$home" ]; then
		rm -rf "$home"
	fi
}

free_ports() {
	python3 - <<'END'
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*[s.getsockname()[1] for s in sockets])
END
}

# Everything stands in one folder that an unprivileged user can read: the tree may not be.
make_home() {
	home=$(mktemp -d "${TMPDIR:-/tmp}/limpid-demo-XXXXXX")
	chmod 755 "$home"
	mkdir "$home/www" "$home/tmp" "$home/user"
	install -m 755 "$limpid" "$home/limpid"
	read -r http https < <(free_ports)
}

make_pages() {
	printf '<p>Hello from an ordinary web server.</p>\n' >"$home/www/index.html"
	head -c 3000000 /dev/zero >"$home/www/film.mp4"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
		-subj /CN=shop.example -addext subjectAltName=DNS:shop.example \
		-keyout "$home/key.pem" -out "$home/cert.pem" 2>/dev/null
}

make_repository() {
	local work=$home/work
	git init -q -b main "$work"
	printf 'So clear that one sees through it.\n' >"$work/README"
	git -C "$work" add README
	git -C "$work" -c user.name=demo -c user.email=demo@example.org commit -q -m 'First'
	git clone -q --bare "$work" "$home/www/hello.git"
	git -C "$home/www/hello.git" update-server-info
	chmod -R a+rX "$home/www"
}

start_server() {
	local user='' v6=''
	if [ "$(id -u)" = 0 ]; then
		user='user nobody nogroup;'
	fi
	if [ -e /proc/net/if_inet6 ] && grep -q ' lo$' /proc/net/if_inet6; then
		v6="listen [::1]:$http;"
	fi
	cat >"$home/nginx.conf" <<END
$user
worker_processes 1;
daemon off;
pid $home/nginx.pid;
error_log $home/error.log;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path $home/tmp;
	proxy_temp_path $home/tmp;
	fastcgi_temp_path $home/tmp;
	uwsgi_temp_path $home/tmp;
	scgi_temp_path $home/tmp;
	server {
		listen 127.0.0.1:$http;
		$v6
		listen 127.0.0.1:$https ssl;
		ssl_certificate $home/cert.pem;
		ssl_certificate_key $home/key.pem;
		root $home/www;
	}
}
END
	"$nginx" -p "$home" -c "$home/nginx.conf" -e "$home/error.log" &
	server=$!
	for _ in $(seq 100); do
		if (exec 3<>"/dev/tcp/127.0.0.1/$http") 2>/dev/null; then
			return
		fi
		sleep 0.05
	done
	cat "$home/error.log" >&2
	return 1
}

# The names of the demo exist in no DNS: curl and git are told where they are.
make_user() {
	cat >"$home/user/.curlrc" <<END
resolve = "shop.example:$http:127.0.0.1"
resolve = "shop.example:$https:127.0.0.1"
END
	cat >"$home/user/.gitconfig" <<END
[http]
	curloptResolve = code.example:$http:127.0.0.1
END
	cat >"$home/user/session.sh" <<END
PS4='$dim\$ $off'
set -ex
curl -s http://shop.example:$http/
curl -s -k -o film.mp4 https://shop.example:$https/film.mp4
git clone -q http://code.example:$http/hello.git
END
	if [ -n "${v6_too:-}" ]; then
		printf 'curl -s -g http://[::1]:%s/\n' "$http" >>"$home/user/session.sh"
	fi
	if [ "$(id -u)" = 0 ]; then
		chown -R nobody:nogroup "$home/user"
	fi
}

unprivileged() {
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid=nobody --regid=nogroup --clear-groups -- "$@"
	else
		"$@"
	fi
}

# What the host's firewall and routing look like; only root may ask the first.
host_state() {
	if [ "$(id -u)" = 0 ]; then
		PATH=$PATH:/usr/sbin:/sbin nft -s list ruleset
	fi
	PATH=$PATH:/usr/sbin:/sbin ip rule
}

show_records() {
	heading 'one of the records, for machines'
	python3 - "$1" <<'END'
import json
import sys

records = [json.loads(line) for line in open(sys.argv[1])]
tls = [r for r in records if "tls" in r]
if not records or not tls:
    sys.exit("demo: no TLS flow was recorded")
print(json.dumps(tls[0], indent=2))
END
	heading 'all of them, in short'
	python3 - "$1" <<'END'
import json
import sys

print(f"{'server':22} {'name':14} {'protocol':8} {'up':>6} {'down':>9}  why")
for r in map(json.loads, open(sys.argv[1])):
    name = r.get("tls", {}).get("sni") or r.get("http", {}).get("hostname") or "-"
    flow = r.get("flow", {})
    print(f"{r['dest_ip'] + ' ' + str(r['dest_port']):22} {name:14} {r.get('app_proto', '-'):8} "
          f"{flow.get('bytes_toserver', 0):6} {flow.get('bytes_toclient', 0):9}  "
          f"{r.get('limpid', {}).get('why', '-')}")
END
}

main() {
	local before after who
	[ -x "$limpid" ] || { echo "demo: $limpid is not there: run make first" >&2; exit 1; }
	trap clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	make_home
	make_pages
	make_repository
	start_server
	if grep -q "\[::1\]" "$home/nginx.conf"; then
		v6_too=yes
	fi
	make_user

	before=$(host_state)
	who=$(unprivileged id -un)
	heading "limpid run --record flows.json -- sh session.sh     (as $who)"
	cd "$home/user"
	unprivileged env -i HOME="$home/user" PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C.UTF-8 \
		"$home/limpid" run --record "$home/user/flows.json" -- sh session.sh
	show_records "$home/user/flows.json"
	after=$(host_state)

	heading 'the host'
	if [ "$before" != "$after" ]; then
		echo 'Rules of this host have changed meanwhile; limpid has no right to do that:'
		diff <(printf '%s\n' "$before") <(printf '%s\n' "$after") || true
		return
	fi
	echo 'No proxy was configured, no right was needed, and no rule of this host has changed.'
}

main
