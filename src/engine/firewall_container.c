/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A limpid in a container cannot ask where a connection was going: the host's connection tracking
 * is the host's.  So one on the host forwards, and a PROXY header tells the other who dialled whom.
 * What brings it there is a dialer of the rule's, and then nothing is to be set up; or the rule
 * dials the server itself, and NAT sends that to the container.
 *
 * To NAT all is alike that has limpid's mark.  Questions of its own to name servers must pass, so
 * port 53 is left to whom the client asked: with a header, servers would get what they do not
 * expect.
 */
#include <errno.h>
#include <stdio.h>

#include "core/via.h"
#include "engine/firewall_container.h"

#define SOURCE_PRIORITY 90 /* before srcnat (100) */

static bool is_dialled(const struct plan *p, const struct addr *container)
{
	return p->via && via_is_header(p->via) && !p->via->via &&
	       addr_eq(&p->via->address, container);
}

/* What the kernel takes for the client's own connection is not translated. */
static bool is_translated(const struct plan *p)
{
	return p->proxy_header && !p->via && p->source != SOURCE_KEEP;
}

int firewall_container_check(const struct config *c, char *error, size_t cap)
{
	for (size_t i = 0; c->firewall.container.family && i < c->policy->n_rules; i++) {
		const struct rule *r = &c->policy->rules[i];

		if (r->verdict != VERDICT_ACCEPT || is_translated(&r->plan) ||
		    is_dialled(&r->plan, &c->firewall.container))
			continue;
		if (r->plan.proxy_header && !r->plan.via) {
			snprintf(error, cap,
				 "rule '%s' says source: keep, and what has the client's address "
				 "and port cannot be sent to the container",
				 r->name);
			return -EINVAL;
		}
		snprintf(
			error, cap,
			"rule '%s' sends no PROXY header, by which the limpid in the container "
			"learns who dialled whom: it needs proxy-protocol: v2, or via: a dialer of "
			"type proxy-v2 at that address",
			r->name);
		return -EINVAL;
	}
	return 0;
}

bool firewall_container_translates(const struct config *c)
{
	for (size_t i = 0; c->firewall.container.family && i < c->policy->n_rules; i++)
		if (c->policy->rules[i].verdict == VERDICT_ACCEPT && !c->policy->rules[i].plan.via)
			return true;
	return false;
}

void firewall_container_exempt(const struct firewall_writer *w)
{
	const struct addr *a = &w->c->firewall.container;
	char text[ADDR_TEXT_MAX];

	if (a->family)
		fprintf(w->f, "\t\t%s saddr %s accept\n", firewall_family_words[a->family],
			addr_format_ip(a, text));
}

/* Name servers elsewhere than on port 53. */
static void print_resolver(const struct firewall_writer *w)
{
	char text[ADDR_TEXT_MAX];

	for (size_t i = 0; i < w->c->resolver.n_servers; i++) {
		const struct addr *a = &w->c->resolver.servers[i];

		if (a->port && a->port != 53)
			fprintf(w->f, "\t\t%s daddr %s th dport %u accept\n",
				firewall_family_words[a->family], addr_format_ip(a, text), a->port);
	}
}

void firewall_container_print(const struct firewall_writer *w)
{
	const struct config *c = w->c;
	const struct addr *a = &c->firewall.container;
	const char *family = firewall_family_words[a->family];
	uint32_t mask = c->firewall.mask, own = c->mark & mask;
	char text[ADDR_TEXT_MAX];

	if (!firewall_container_translates(c))
		return;
	fprintf(w->f,
		"\tchain nat-container {\n"
		"\t\ttype nat hook output priority %d; policy accept;\n"
		"\t\tmeta mark & %#x != %#x accept\n"
		"\t\tmeta l4proto != { tcp, udp } accept\n"
		"\t\tth dport 53 accept\n",
		FIREWALL_NAT_PRIORITY, mask, own);
	print_resolver(w);
	fprintf(w->f,
		"\t\tmeta nfproto ipv%u meta l4proto { tcp, udp } dnat %s to %s\n"
		"\t\tdrop\n"
		"\t}\n",
		a->family, family, addr_format(a, text));
	/* The address was chosen for the way to the server; the container trusts its gateway's. */
	fprintf(w->f,
		"\tchain nat-container-source {\n"
		"\t\ttype nat hook postrouting priority %d; policy accept;\n"
		"\t\tmeta mark & %#x == %#x %s daddr %s meta l4proto { tcp, udp } masquerade\n"
		"\t}\n",
		SOURCE_PRIORITY, mask, own, family, addr_format_ip(a, text));
}
