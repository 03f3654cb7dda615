/* SPDX-License-Identifier: Apache-2.0 */
/* What an entry of `intercept` or `exempt` asks, in the words of nft. */
#include <stdio.h>

#include "engine/firewall_match.h"

const char *const firewall_family_words[7] = { [4] = "ip", [6] = "ip6" };

bool firewall_match_has(const struct firewall_match *m, uint8_t family)
{
	return firewall_nets_have(m->source, family) && firewall_nets_have(m->destination, family);
}

static void print_names(const struct firewall_writer *w, const char *what, char *const *list,
			size_t n)
{
	if (!n)
		return;
	fprintf(w->f, "%s { ", what);
	for (size_t i = 0; i < n; i++)
		fprintf(w->f, "%s\"%s\"", i ? ", " : "", list[i]);
	fputs(" } ", w->f);
}

void firewall_networks_print(const struct firewall_writer *w, uint32_t networks)
{
	static const char *const words[] = {
		[1u << NETWORK_TCP] = "tcp",
		[1u << NETWORK_UDP] = "udp",
		[1u << NETWORK_TCP | 1u << NETWORK_UDP] = "{ tcp, udp }",
	};

	fprintf(w->f, "meta l4proto %s ", words[networks]);
}

static void print_ports(const struct firewall_writer *w, const struct firewall_match *m)
{
	if (!m->n_ports)
		return;
	fputs("th dport { ", w->f);
	for (size_t i = 0; i < m->n_ports; i++) {
		fprintf(w->f, "%s%u", i ? ", " : "", m->ports[i].first);
		if (m->ports[i].last != m->ports[i].first)
			fprintf(w->f, "-%u", m->ports[i].last);
	}
	fputs(" } ", w->f);
}

static void print_users(const struct firewall_writer *w, const struct firewall_match *m)
{
	if (!m->n_users)
		return;
	fputs("meta skuid { ", w->f);
	for (size_t i = 0; i < m->n_users; i++)
		fprintf(w->f, "%s%u", i ? ", " : "", m->users[i]);
	fputs(" } ", w->f);
}

static void print_cgroup(const struct firewall_writer *w, const char *path)
{
	size_t level = 1;

	for (const char *p = path; *p; p++)
		level += *p == '/' && p[1];
	fprintf(w->f, "socket cgroupv2 level %zu \"%s%s\" ", level, w->host->cgroups, path);
}

/* Which kinds of @all, those that the hook sees, an entry is about. */
static void print_traffic(const struct firewall_writer *w, uint32_t traffic, uint32_t all)
{
	uint32_t own = 1u << FIREWALL_INBOUND | 1u << FIREWALL_LOOPBACK;

	traffic &= all;
	if (traffic == (all & own))
		fputs("fib daddr type local ", w->f);
	else if (traffic == (all & ~own))
		fputs("fib daddr type unicast ", w->f);
	else
		fputs("fib daddr type { unicast, local } ", w->f);
}

/* One rule's conditions; @family 0: either. */
void firewall_match_print(const struct firewall_writer *w, const struct firewall_match *m,
			  uint32_t all, uint8_t family, const char *cgroup)
{
	fputs("\t\t", w->f);
	print_names(w, all == FIREWALL_FROM_HERE ? "oifname" : "iifname", m->interfaces,
		    m->n_interfaces);
	if (family && !m->source && !m->destination)
		fprintf(w->f, "meta nfproto ipv%u ", family);
	if (m->source)
		fprintf(w->f, "%s saddr @nets%zu-v%u ", firewall_family_words[family],
			firewall_nets_index(&w->nets, m->source), family);
	if (m->destination)
		fprintf(w->f, "%s daddr @nets%zu-v%u ", firewall_family_words[family],
			firewall_nets_index(&w->nets, m->destination), family);
	firewall_networks_print(w, m->networks);
	print_ports(w, m);
	if (all == FIREWALL_FROM_HERE)
		print_users(w, m);
	if (cgroup)
		print_cgroup(w, cgroup);
	print_traffic(w, m->traffic, all);
}
