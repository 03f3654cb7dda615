/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of what /proc/sys says.  Each was seen to break something, or not to, on Linux 6.18. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/doctor/checks.h"

#define V4 "/proc/sys/net/ipv4/"
#define V6 "/proc/sys/net/ipv6/"

/* Is the interface up? */
static bool is_up(const json_t *link)
{
	const json_t *flags = json_object_get(link, "flags");

	for (size_t i = 0; i < json_array_size(flags); i++) {
		const char *flag = json_string_value(json_array_get(flags, i));

		if (flag && !strcmp(flag, "UP"))
			return true;
	}
	return false;
}

static const char *name_of(const json_t *link)
{
	const char *name = json_string_value(json_object_get(link, "ifname"));

	return name ? name : "";
}

void check_loopback(struct examination *e)
{
	for (size_t i = 0; i < json_array_size(e->host->links); i++) {
		const json_t *link = json_array_get(e->host->links, i);

		if (strcmp(name_of(link), "lo"))
			continue;
		if (is_up(link))
			note(e, FINDING_OK, "lo", "", "up");
		else
			note(e, FINDING_FAIL, "lo", "ip link set lo up",
			     "down: what is diverted to this host goes through it");
	}
}

void check_ipv6(struct examination *e)
{
	bool off = false;

	if (!(e->families & FAMILY_V6))
		return;
	if (!host_has(e->host, "/proc/sys/net/ipv6")) {
		note(e, FINDING_FAIL, "", "take the IPv6 addresses out of the listeners",
		     "this kernel has no IPv6, but listeners have IPv6 addresses");
		return;
	}
	for (const char *const *i = (const char *const[]){ "all", "lo", NULL }; *i; i++) {
		char cure[128];

		if (host_number(e->host, 0, V6 "conf/%s/disable_ipv6", *i) != 1)
			continue;
		snprintf(cure, sizeof(cure), "sysctl -w net.ipv6.conf.%s.disable_ipv6=0", *i);
		note(e, FINDING_FAIL, *i, cure,
		     "IPv6 is disabled, but listeners have IPv6 addresses");
		off = true;
	}
	if (!off)
		note(e, FINDING_OK, "", "", "enabled");
}

void check_forwarding(struct examination *e)
{
	static const struct {
		uint32_t family;
		const char *path, *cure, *name;
	} switches[] = {
		{ FAMILY_V4, V4 "ip_forward", "sysctl -w net.ipv4.ip_forward=1", "IPv4" },
		{ FAMILY_V6, V6 "conf/all/forwarding", "sysctl -w net.ipv6.conf.all.forwarding=1",
		  "IPv6" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(switches); i++) {
		if (!(e->families & switches[i].family))
			continue;
		if (host_number(e->host, 1, "%s", switches[i].path))
			note(e, FINDING_OK, switches[i].name, "", "forwarded");
		else
			note(e, FINDING_WARN, switches[i].name, switches[i].cure,
			     "not forwarded: of routed traffic, what is not intercepted is dropped");
	}
}

void check_rp_filter(struct examination *e)
{
	long all = host_number(e->host, 0, V4 "conf/all/rp_filter");

	for (size_t i = 0; i < json_array_size(e->host->links); i++) {
		const json_t *link = json_array_get(e->host->links, i);
		const char *name = name_of(link);
		char cure[128];
		long own;

		if (!(e->families & FAMILY_V4) || !is_up(link) || !strcmp(name, "lo"))
			continue;
		own = host_number(e->host, 0, V4 "conf/%s/rp_filter", name);
		/* The greater one counts: ip-sysctl, rp_filter. */
		if ((own > all ? own : all) != 1) {
			note(e, FINDING_OK, name, "", "%s", own || all ? "loose" : "off");
			continue;
		}
		snprintf(cure, sizeof(cure), "sysctl -w net.ipv4.conf.%s.rp_filter=2", name);
		note(e, FINDING_WARN, name, cure,
		     "strict: answers to kept source addresses are dropped if they come in here "
		     "and the way back to the server is another interface");
	}
}

/* With a local route for the mark the sender's address would be looked up there, and is refused
 * whatever rp_filter says (__fib_validate_source()); unless a rule takes that look-up past it. */
void check_src_valid_mark(struct examination *e)
{
	bool found = false;

	if (routes_past_divert(e, HOST_V4)) {
		note(e, FINDING_OK, "", "", "does no harm: a policy rule sees to that");
		return;
	}
	for (size_t i = 0; e->families & FAMILY_V4 && i <= json_array_size(e->host->links); i++) {
		const json_t *link = json_array_get(e->host->links, i);
		const char *name = link ? name_of(link) : "all";
		char cure[128];

		if ((link && !is_up(link)) ||
		    host_number(e->host, 0, V4 "conf/%s/src_valid_mark", name) != 1)
			continue;
		snprintf(cure, sizeof(cure), "sysctl -w net.ipv4.conf.%s.src_valid_mark=0", name);
		note(e, FINDING_FAIL, name, cure,
		     "on: packets marked for this host are dropped as martians (wg-quick sets it)");
		found = true;
	}
	if (!found)
		note(e, FINDING_OK, "", "", "off");
}

void check_bridge(struct examination *e)
{
	static const struct {
		uint32_t family;
		const char *name;
	} switches[] = {
		{ FAMILY_V4, "bridge-nf-call-iptables" },
		{ FAMILY_V6, "bridge-nf-call-ip6tables" },
	};

	for (size_t i = 0; i < json_array_size(e->host->links); i++) {
		const json_t *link = json_array_get(e->host->links, i);
		const char *kind = json_string_value(
			json_object_get(json_object_get(link, "linkinfo"), "info_kind"));

		if (!kind || strcmp(kind, "bridge") || !is_up(link))
			continue;
		for (size_t k = 0; k < ARRAY_SIZE(switches); k++) {
			char cure[128];

			if (!(e->families & switches[k].family))
				continue;
			snprintf(cure, sizeof(cure), "sysctl -w net.bridge.%s=0", switches[k].name);
			if (host_number(e->host, 0, "/proc/sys/net/bridge/%s", switches[k].name))
				note(e, FINDING_WARN, name_of(link), cure,
				     "%s is on: what comes in through this bridge is seen by tproxy "
				     "too early, and lost",
				     switches[k].name);
			else
				note(e, FINDING_OK, name_of(link), "", "%s is off",
				     switches[k].name);
		}
	}
}

void check_timestamps(struct examination *e)
{
	if (host_number(e->host, 1, V4 "tcp_timestamps"))
		note(e, FINDING_OK, "", "", "on");
	else
		note(e, FINDING_WARN, "", "sysctl -w net.ipv4.tcp_timestamps=1",
		     "off: a client that comes again from the same port keeps it only after "
		     "TIME_WAIT is over");
}

void check_early_demux(struct examination *e)
{
	bool forwards = host_number(e->host, 0, V4 "ip_forward") ||
			host_number(e->host, 0, V6 "conf/all/forwarding");

	if (forwards && host_number(e->host, 1, V4 "ip_early_demux") &&
	    host_number(e->host, 1, V4 "tcp_early_demux"))
		note(e, FINDING_WARN, "", "sysctl -w net.ipv4.tcp_early_demux=0",
		     "on: answers to a connection that is not intercepted any more are dropped "
		     "while a kept source of the same address and port is in TIME_WAIT");
	else
		note(e, FINDING_OK, "", "", forwards ? "off" : "of no effect without forwarding");
}

void check_conntrack(struct examination *e)
{
	static const char dir[] = "/proc/sys/net/netfilter/";
	long count = host_number(e->host, 0, "%snf_conntrack_count", dir);
	long max = host_number(e->host, 0, "%snf_conntrack_max", dir);
	char cure[128];

	snprintf(cure, sizeof(cure), "sysctl -w net.netfilter.nf_conntrack_max=%ld", 2 * max);
	if (max > 0 && count >= max - max / 10)
		note(e, count >= max ? FINDING_FAIL : FINDING_WARN, "", cure,
		     "%ld of %ld entries are used: when it is full new connections are dropped",
		     count, max);
	else if (max > 0)
		note(e, FINDING_OK, "", "", "%ld of %ld entries are used", count, max);
}
