/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A tunnel that ends on this host sends datagrams as any program does.  Where those of this host
 * are intercepted they would reach its other end from a port of limpid's, and without the mark by
 * which policy rules keep them out of the tunnel itself.  So the configuration is asked about each
 * place that the tunnel sends to: the rules need not be there yet.
 *
 * Datagrams of the kernel have no user and no cgroup.  By which interface and from which address
 * they go is not looked up: an entry of `intercept` that asks for it may hold, and one of `exempt`
 * may not.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/netset.h"
#include "engine/doctor/checks.h"

#define ENDS_MAX 16

/* Where a tunnel sends to; .family 0: anywhere. */
struct ends {
	struct addr list[ENDS_MAX];
	size_t n;
};

static void ends_add(struct ends *ends, const struct addr *a)
{
	for (size_t i = 0; i < ends->n; i++)
		if (addr_eq(&ends->list[i], a))
			return;
	if (ends->n < ENDS_MAX && !addr_is_loopback(a))
		ends->list[ends->n++] = *a;
}

static bool has_port(const struct firewall_match *m, uint16_t port)
{
	for (size_t i = 0; i < m->n_ports; i++)
		if (m->ports[i].first <= port && port <= m->ports[i].last)
			return true;
	return !m->n_ports;
}

static bool asks_for(const struct firewall_match *m, const struct addr *to)
{
	return m->traffic & 1u << FIREWALL_LOCAL && m->networks & 1u << NETWORK_UDP &&
	       !m->n_users && !m->n_cgroups && has_port(m, to->port);
}

/* By another interface than the tunnel itself, to which what it carries is sent? */
static bool leaves_by_another(const struct firewall_match *m, const char *tunnel)
{
	for (size_t i = 0; i < m->n_interfaces; i++)
		if (strcmp(m->interfaces[i], tunnel))
			return true;
	return !m->n_interfaces;
}

static bool has_family(const struct listener_config *l, uint8_t family)
{
	for (size_t i = 0; i < l->n_addresses; i++)
		if (l->addresses[i].family == family)
			return true;
	return !family;
}

static bool is_taken(const struct config *c, const struct addr *to, const char *tunnel)
{
	for (size_t i = 0; i < c->firewall.n_exempt; i++) {
		const struct firewall_match *m = &c->firewall.exempt[i];

		if (asks_for(m, to) && !m->n_interfaces && !m->source &&
		    (!m->destination || (to->family && netset_contains(m->destination, to))))
			return false;
	}
	for (size_t i = 0; i < c->firewall.n_intercept; i++) {
		const struct firewall_match *m = &c->firewall.intercept[i];

		if (asks_for(m, to) && leaves_by_another(m, tunnel) &&
		    has_family(&c->listeners[m->listener], to->family) &&
		    (!m->destination || !to->family || netset_contains(m->destination, to)))
			return true;
	}
	return false;
}

/* "IF <tab> key <tab> 192.0.2.1:51820" for each peer; "(none)" has not been heard of yet. */
static void ends_of_wireguard(const struct host *h, const char *name, struct ends *ret)
{
	size_t len = strlen(name);

	for (const char *p = h->wireguard; p && *p; p += strcspn(p, "\n"), p += *p == '\n') {
		char line[256], *where;
		struct addr a;

		snprintf(line, sizeof(line), "%.*s", (int)strcspn(p, "\n"), p);
		where = strrchr(line, '\t');
		if (where && !strncmp(line, name, len) && line[len] == '\t' &&
		    addr_parse(where + 1, &a) == 0)
			ends_add(ret, &a);
	}
}

/* VXLAN, Geneve: one port, and one other end or any number of them. */
static void ends_of_overlay(const json_t *data, struct ends *ret)
{
	static const char *const keys[] = { "remote", "remote6" };
	struct addr a = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(keys) && !a.family; i++) {
		const char *text = json_string_value(json_object_get(data, keys[i]));

		if (text && addr_parse_ip(text, &a) < 0)
			a = (struct addr){ 0 };
	}
	a.port = (uint16_t)json_integer_value(json_object_get(data, "port"));
	if (a.port)
		ends_add(ret, &a);
}

/* Each once: "[192.0.2.1, 2001:db8::1]", "[51820]". */
static void print_list(const struct ends *ends, bool ports, FILE *to)
{
	char text[ADDR_TEXT_MAX];
	const char *between = "[";

	for (size_t i = 0; i < ends->n; i++) {
		const struct addr *a = &ends->list[i];
		bool again = false;

		for (size_t k = 0; k < i && !again; k++)
			again = ports ? ends->list[k].port == a->port
				      : addr_ip_eq(&ends->list[k], a);
		if (again)
			continue;
		if (ports)
			fprintf(to, "%s%u", between, a->port);
		else
			fprintf(to, "%s\"%s\"", between, addr_format_ip(a, text));
		between = ", ";
	}
	fputs("]", to);
}

static void note_taken(struct examination *e, const char *name, const struct ends *taken)
{
	char cure[CURE_MAX] = "", text[ADDR_TEXT_MAX] = "";
	FILE *f = fmemopen(cure, sizeof(cure), "w");

	if (!f)
		return;
	fputs("add { traffic: local, network: udp, ", f);
	if (taken->list[0].family) {
		fputs("destination: ", f);
		print_list(taken, false, f);
		fputs(", ", f);
	}
	fputs("port: ", f);
	print_list(taken, true, f);
	fprintf(f, " } to firewall.exempt in %s", e->path);
	fclose(f);
	if (taken->list[0].family)
		addr_format(&taken->list[0], text);
	else
		snprintf(text, sizeof(text), "port %u", taken->list[0].port);
	note(e, FINDING_WARN, name, cure,
	     "a tunnel whose own datagrams, to %s%s, are intercepted: they get another source "
	     "port, and lose their mark",
	     text, taken->n > 1 ? " and others" : "");
}

static void examine_tunnel(struct examination *e, const json_t *link)
{
	const char *name = json_string_value(json_object_get(link, "ifname"));
	const json_t *info = json_object_get(link, "linkinfo");
	const char *kind = json_string_value(json_object_get(info, "info_kind"));
	struct ends ends = { 0 }, taken = { 0 };

	if (!name || !kind)
		return;
	if (!strcmp(kind, "vxlan") || !strcmp(kind, "geneve"))
		ends_of_overlay(json_object_get(info, "info_data"), &ends);
	else /* also one that a process carries */
		ends_of_wireguard(e->host, name, &ends);
	for (size_t i = 0; i < ends.n; i++)
		if (is_taken(e->config, &ends.list[i], name))
			ends_add(&taken, &ends.list[i]);
	if (taken.n)
		note_taken(e, name, &taken);
	else if (ends.n)
		note(e, FINDING_OK, name, "", "a tunnel whose own datagrams are left alone");
	else if (!strcmp(kind, "wireguard") && !e->host->wireguard &&
		 is_taken(e->config, &(struct addr){ 0 }, name))
		note(e, FINDING_WARN, name, "apt-get install wireguard-tools",
		     "a tunnel: whether its own datagrams are intercepted cannot be seen without "
		     "wg");
}

void check_tunnels(struct examination *e)
{
	for (size_t i = 0; i < json_array_size(e->host->links); i++)
		examine_tunnel(e, json_array_get(e->host->links, i));
}
