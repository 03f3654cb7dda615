/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of what a process of limpid would find: programs, privileges, limits, ports. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "engine/doctor/checks.h"
#include "sys/userns.h"

/* capability.h of the kernel; its numbers do not change. */
#define CAPABILITY_NET_ADMIN 12
#define CAPABILITY_NET_RAW 13
#define CAPABILITY_SYS_RESOURCE 24

#define PAGE_BYTES 4096L
#define PIPE_BYTES (1L << 20)
#define PIPES_WANTED 64L
#define RESERVED_MAX (256 << 10) /* every second of 65536 ports, in decimal */

static bool has_capability(const struct examination *e, int number)
{
	char text[64];

	host_field(e->host, "/proc/self/status", "CapEff:", text, sizeof(text));
	return strtoull(text, NULL, 16) >> number & 1;
}

void check_programs(struct examination *e)
{
	static const struct {
		const char *name, *cure;
	} programs[] = {
		{ "nft", "apt-get install nftables" },
		{ "ip", "apt-get install iproute2" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
		if (i ? e->host->has_ip : e->host->has_nft)
			note(e, FINDING_OK, programs[i].name, "", "found");
		else
			note(e, FINDING_FAIL, programs[i].name, programs[i].cure,
			     "no such program: limpid sets rules with it, and this check sees "
			     "less");
	}
	if (e->host->has_nft && e->host->nft_said && e->config)
		note(e, FINDING_WARN, "nft", "run limpid doctor as root",
		     "the firewall's rules cannot be read: %s", e->host->nft_said);
	if (e->chains->opaque && e->config)
		note(e, FINDING_WARN, "iptables-save", "apt-get install iptables",
		     "some rules were written by iptables and cannot be read without it");
}

void check_kernel(struct examination *e)
{
	if (e->host->nft_said)
		return;
	if (e->host->kernel_said)
		note(e, FINDING_FAIL, "",
		     "modprobe -a nft_tproxy nft_socket nf_tproxy_ipv4 nf_tproxy_ipv6",
		     "no rules with tproxy and socket: %s", e->host->kernel_said);
	else
		note(e, FINDING_OK, "", "", "takes rules with tproxy and socket");
}

void check_run(struct examination *e)
{
	const char *said = e->host->run_said, *cure;

	if (!e->host->run_asked)
		return;
	if (!said) {
		note(e, FINDING_OK, "", "", "limpid run works for this user");
		return;
	}
	cure = strstr(said, "cure: ");
	note(e, FINDING_FAIL, "", cure ? cure + strlen("cure: ") : "", "limpid run: %.*s",
	     (int)(cure ? cure - said - (cure > said + 1 ? 2 : 0) : (long)strlen(said)), said);
}

void check_user_namespaces(struct examination *e)
{
	bool forbidden = false;

	for (const struct userns_switch *s = userns_switches; s->path; s++) {
		long value = host_number(e->host, !s->forbids, "/proc/sys/%s", s->path);

		if (value != s->forbids)
			continue;
		note(e, FINDING_WARN, s->path, s->cure, "%ld: only root can use limpid run", value);
		forbidden = true;
	}
	if (!forbidden)
		note(e, FINDING_OK, "", "", "not forbidden to ordinary users");
}

void check_capabilities(struct examination *e)
{
	static const char cure[] = "setcap cap_net_raw,cap_net_admin+ep \"$(command -v limpid)\"";

	if (e->honest && !has_capability(e, CAPABILITY_NET_ADMIN)) {
		note(e, FINDING_FAIL, "", cure,
		     "no NET_ADMIN: connect: honest cannot read its queue");
		return;
	}
	if (has_capability(e, CAPABILITY_NET_ADMIN) || has_capability(e, CAPABILITY_NET_RAW)) {
		note(e, FINDING_OK, "", "", "NET_RAW or NET_ADMIN is there");
		return;
	}
	if (e->tproxy || e->keeps)
		note(e, FINDING_FAIL, "", cure,
		     "neither NET_RAW nor NET_ADMIN: no transparent sockets, no source addresses "
		     "but our own");
	else if (e->config->mark)
		note(e, FINDING_FAIL, "", cure,
		     "neither NET_RAW nor NET_ADMIN: own connections cannot be marked with "
		     "firewall.mark");
}

void check_descriptors(struct examination *e)
{
	long flows = e->config ? e->config->limits.flows : 0, hard, wanted;
	char text[64], cure[128], *end;

	host_field(e->host, "/proc/self/limits", "Max open files", text, sizeof(text));
	hard = strtol(text, &end, 10); /* soft; limpid raises it to the hard limit */
	if (end == text || !strncmp(text, "unlimited", 9))
		return;
	hard = strtol(end, NULL, 10);
	if (hard <= 0)
		return;
	/* Two for a flow; a sixteenth goes to pipes, and some to listeners and loops. */
	wanted = flows ? (2 * flows + 100) * 8 / 7 : 4096;
	snprintf(cure, sizeof(cure), "ulimit -n %ld, or in limpid's unit LimitNOFILE=%ld", wanted,
		 wanted);
	if (hard >= wanted)
		note(e, FINDING_OK, "", "", "%ld descriptors, enough for about %ld flows", hard,
		     (hard * 7 / 8 - 100) / 2);
	else if (flows)
		note(e, FINDING_WARN, "", cure,
		     "%ld descriptors allow for about %ld flows, limits.flows is %ld", hard,
		     hard > 230 ? (hard * 7 / 8 - 100) / 2 : 1, flows);
	else
		note(e, FINDING_WARN, "", cure, "%ld descriptors allow for about %ld flows", hard,
		     hard > 230 ? (hard * 7 / 8 - 100) / 2 : 1);
}

/* Without CAP_SYS_RESOURCE the kernel grants a user so many pages of pipes, then pipes shrink. */
void check_pipes(struct examination *e)
{
	long pages = host_number(e->host, 0, "/proc/sys/fs/pipe-user-pages-soft");
	long max = host_number(e->host, PIPE_BYTES, "/proc/sys/fs/pipe-max-size");
	long wanted = PIPES_WANTED * PIPE_BYTES / PAGE_BYTES;
	char cure[128];
	bool good = true;

	if (has_capability(e, CAPABILITY_SYS_RESOURCE)) {
		note(e, FINDING_OK, "", "", "no limit for this user");
		return;
	}
	if (pages && pages < wanted) {
		snprintf(cure, sizeof(cure), "sysctl -w fs.pipe-user-pages-soft=%ld", wanted);
		note(e, FINDING_WARN, "pipe-user-pages-soft", cure,
		     "%ld pages are pipes for %ld flows in bulk; others are copied, more slowly",
		     pages, pages * PAGE_BYTES / PIPE_BYTES / 2);
		good = false;
	}
	if (max < PIPE_BYTES / 4) {
		note(e, FINDING_WARN, "pipe-max-size", "sysctl -w fs.pipe-max-size=1048576",
		     "%ld bytes: too small to splice, bulk is copied", max);
		good = false;
	}
	if (good)
		note(e, FINDING_OK, "", "", "large enough");
}

static bool is_reserved(const char *list, unsigned int port)
{
	while (*list) {
		unsigned int first = 0, last;
		int n = sscanf(list, "%u-%u", &first, &last);

		if (n < 1)
			return false;
		if (port >= first && port <= (n == 2 ? last : first))
			return true;
		list += strcspn(list, ",");
		list += *list == ',';
	}
	return false;
}

/* Collects, separated by commas, in @dst. */
static void add_port(char *dst, size_t cap_bytes, unsigned int port)
{
	size_t len = strlen(dst);

	if (!is_reserved(dst, port))
		snprintf(dst + len, cap_bytes - len, "%s%u", len ? "," : "", port);
}

void check_ports(struct examination *e)
{
	static const char reserved_path[] = "/proc/sys/net/ipv4/ip_local_reserved_ports";
	_cleanup_free_ char *reserved = calloc(1, RESERVED_MAX), *open = calloc(1, 8000);
	unsigned int first = 0, last = 0;
	char range[64], cure[CURE_MAX];

	if (!reserved || !open)
		return;
	host_line(e->host, "/proc/sys/net/ipv4/ip_local_port_range", range, sizeof(range));
	if (sscanf(range, "%u %u", &first, &last) != 2)
		return;
	host_line(e->host, reserved_path, reserved, RESERVED_MAX);
	for (size_t i = 0; i < e->config->n_listeners; i++) {
		const struct listener_config *l = &e->config->listeners[i];

		for (size_t k = 0; k < l->n_addresses; k++) {
			unsigned int port = l->addresses[k].port;

			if (port >= first && port <= last && !is_reserved(reserved, port))
				add_port(open, 8000, port);
		}
	}
	if (!open[0]) {
		note(e, FINDING_OK, "", "", "no listening port is given away to connections");
		return;
	}
	if (snprintf(cure, sizeof(cure), "sysctl -w net.ipv4.ip_local_reserved_ports=%s%s%s",
		     reserved, reserved[0] ? "," : "", open) >= (int)sizeof(cure))
		cure[0] = '\0'; /* half of the list would be worse than none */
	note(e, FINDING_WARN, open, cure,
	     "within ip_local_port_range %u-%u: an outgoing connection may take the port, and "
	     "the next start fails",
	     first, last);
}
