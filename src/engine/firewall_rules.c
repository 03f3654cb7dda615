/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * One table.  What is seen of a packet is its mark, and of marks only the bits of the mask:
 *
 *	own	set by SO_MARK on each socket of ours: never intercepted
 *	divert	in prerouting: deliver it here (a policy rule and a local route do)
 *	divert + 1 …	in output, one for each listener: go out by lo and come in again, to
 *		that listener.  From where it comes in again it cannot be seen who sent it.
 *
 * From elsewhere: tproxy gives the first packet of a connection to a listener.  What follows,
 * and what servers answer to addresses that are kept, belongs to a socket that carries our
 * mark, and is delivered.  "socket mark" holds for full sockets only, so neither a SYN nor what
 * bypasses us ever meets a TIME_WAIT of ours.  Replies of connections that bypass us must not
 * be taken for something new: connection tracking knows the direction.
 *
 * From here: only a connection that begins is looked at; its mark is kept with the connection.
 * So a session that was there before, or that somebody opened to this host, is left alone.  But
 * what is exempt is asked of each datagram.
 *
 * A SYN for an honest listener is held before all that, and comes on when it is let go.  It is
 * decided upon twice, by the same words.  Where nf_tables cannot queue, a mark of its own brings
 * it to a rule of iptables, and is taken off again.
 *
 * REDIRECT is NAT: asked once for each connection, before others' NAT rules.  What an earlier
 * entry gives to a tproxy listener passes it, and the other way round.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/mem.h"
#include "engine/firewall_container.h"
#include "engine/firewall_match.h"
#include "engine/firewall_rules.h"

#define LATE_PRIORITY 250
#define HOLD_PRIORITY (-301) /* before iptables' table raw, and connection tracking */

static const char *const loopback_words[] = { [4] = "127.0.0.1", [6] = "::1" };

static const struct listener_config *listener_of(const struct config *c,
						 const struct firewall_match *m)
{
	return &c->listeners[m->listener];
}

/* The address that gets what comes in; REDIRECT from elsewhere cannot reach a loopback one. */
static const struct addr *target_of(const struct listener_config *l, uint8_t family, bool reachable)
{
	for (size_t i = 0; i < l->n_addresses; i++) {
		const struct addr *a = &l->addresses[i];

		if (a->family == family && !(reachable && addr_is_loopback(a)))
			return a;
	}
	return NULL;
}

int firewall_rules_check(const struct config *c, char *error, size_t cap)
{
	const struct firewall_config *f = &c->firewall;
	uint32_t own = c->mark & f->mask;

	if (!own) {
		snprintf(error, cap,
			 "firewall.mark %#x is nothing within firewall.mask %#x: connections of "
			 "limpid itself could not be told from others",
			 c->mark, f->mask);
		return -EINVAL;
	}
	/* How many: the last may be past 2^32, and 0, which everything has. */
	for (uint32_t i = 0; i < firewall_rules_held_mark(c, c->n_listeners) - f->divert_mark; i++)
		if ((f->divert_mark + i) & ~f->mask || f->divert_mark + i == own ||
		    !(f->divert_mark + i)) {
			snprintf(error, cap,
				 "the mark %#x is needed, which firewall.mask does not allow or "
				 "firewall.mark is: choose another firewall.divert-mark",
				 f->divert_mark + i);
			return -EINVAL;
		}
	for (size_t i = 0; i < f->n_intercept; i++) {
		const struct listener_config *l = listener_of(c, &f->intercept[i]);

		if (!listener_mode_is_translated(l->mode) ||
		    !(f->intercept[i].traffic & FIREWALL_FROM_ELSEWHERE))
			continue;
		for (uint8_t family = 4; family <= 6; family += 2)
			if (target_of(l, family, false) && !target_of(l, family, true)) {
				snprintf(error, cap,
					 "listener '%s' is on a loopback address, which routed "
					 "traffic cannot be redirected to: listen on %s or on an "
					 "address of this host%s",
					 l->name, family == 4 ? "0.0.0.0" : "[::]",
					 l->mode == LISTENER_DNS ? "" : ", or use mode tproxy");
				return -EINVAL;
			}
	}
	return firewall_container_check(c, error, cap);
}

/* --- what becomes of it ------------------------------------------------------------------ */

static void print_mark(const struct firewall_writer *w, const char *what, uint32_t mark)
{
	fprintf(w->f, "%s set %s & %#x | %#x ", what, what, ~w->c->firewall.mask, mark);
}

static void print_nat(const struct firewall_writer *w, const struct addr *a)
{
	char text[ADDR_TEXT_MAX];
	struct addr loopback;

	addr_parse_ip(loopback_words[a->family], &loopback);
	if (addr_is_unspecified(a) || addr_ip_eq(a, &loopback))
		fprintf(w->f, "redirect to :%u\n", a->port);
	else
		fprintf(w->f, "dnat %s to %s\n", firewall_family_words[a->family],
			addr_format(a, text));
}

/* What the chain of @all does with what @m has matched. */
static void print_verdict(const struct firewall_writer *w, const struct firewall_match *m,
			  uint32_t all, const struct addr *target)
{
	const struct listener_config *l = listener_of(w->c, m);

	switch (l->mode) {
	case LISTENER_TPROXY:
		if (w->holding && !l->honest) {
			fputs("accept\n", w->f);
			return;
		}
		if (all == FIREWALL_FROM_ELSEWHERE) {
			fprintf(w->f, "goto %s-%s\n", w->holding ? "hold" : "listener", l->name);
			return;
		}
		print_mark(w, "ct mark", firewall_rules_mark(w->c, m->listener));
		print_mark(w, "meta mark", firewall_rules_mark(w->c, m->listener));
		fputs("accept\n", w->f);
		return;
	case LISTENER_REDIRECT:
	case LISTENER_DNS:
		print_nat(w, target);
		return;
	case LISTENER_FIXED:
	case LISTENER_HTTP:
	case LISTENER_SOCKS:
	case LISTENER_HTTPS:
	case LISTENER_PROXY_PROTOCOL:
	case LISTENER_MIXED:
		break;
	}
}

/* @passed: the chain is not the one that brings it there, and leaves it to that one. */
static void print_intercept(const struct firewall_writer *w, const struct firewall_match *m,
			    uint32_t all, bool passed)
{
	const struct listener_config *l = listener_of(w->c, m);
	bool reachable = listener_mode_is_translated(l->mode) && all == FIREWALL_FROM_ELSEWHERE;

	for (uint8_t family = 4; family <= (w->host->v6 ? 6 : 4); family += 2) {
		const struct addr *target = target_of(l, family, reachable);

		if (!target || !firewall_match_has(m, family))
			continue;
		for (size_t i = 0; i < m->n_cgroups || !i; i++) {
			firewall_match_print(w, m, all, family,
					     m->n_cgroups ? m->cgroups[i] : NULL);
			if (l->mode != LISTENER_DNS && firewall_container_translates(w->c))
				fputs("th dport != 53 ", w->f); /* limpid's own look alike */
			if (passed)
				fputs("accept\n", w->f);
			else
				print_verdict(w, m, all, target);
		}
	}
}

static bool is_translated(const struct config *c, const struct firewall_match *m)
{
	return listener_mode_is_translated(listener_of(c, m)->mode);
}

/* Is something brought to a listener by NAT, or not by NAT? */
static bool intercepts(const struct config *c, bool by_nat, uint32_t all)
{
	for (size_t i = 0; i < c->firewall.n_intercept; i++)
		if (c->firewall.intercept[i].traffic & all &&
		    is_translated(c, &c->firewall.intercept[i]) == by_nat)
			return true;
	return false;
}

/* The first entry that matches decides, whichever chain it is for. */
static void print_intercepts(const struct firewall_writer *w, bool by_nat, uint32_t all)
{
	size_t n = w->c->firewall.n_intercept;
	const struct firewall_match *list = w->c->firewall.intercept;

	while (n && (!(list[n - 1].traffic & all) || is_translated(w->c, &list[n - 1]) != by_nat))
		n--; /* behind the chain's last own entry there is nothing to be left */
	for (size_t i = 0; i < n; i++)
		if (list[i].traffic & all)
			print_intercept(w, &list[i], all, is_translated(w->c, &list[i]) != by_nat);
}

/* --- chains ------------------------------------------------------------------------------ */

static const char *exempt_name(uint32_t all)
{
	return all == FIREWALL_FROM_HERE ? "exempt-here" : "exempt-elsewhere";
}

static void print_exempt_rule(const struct firewall_writer *w, const struct firewall_match *m,
			      uint32_t all, uint8_t family)
{
	if (family && !firewall_match_has(m, family))
		return;
	for (size_t i = 0; i < m->n_cgroups || !i; i++) {
		firewall_match_print(w, m, all, family, m->n_cgroups ? m->cgroups[i] : NULL);
		fputs("accept\n", w->f);
	}
}

static void print_exempt(const struct firewall_writer *w, uint32_t all)
{
	fprintf(w->f, "\tchain %s {\n", exempt_name(all));
	if (all == FIREWALL_FROM_ELSEWHERE)
		firewall_container_exempt(w);
	for (size_t i = 0; i < w->c->firewall.n_exempt; i++) {
		const struct firewall_match *m = &w->c->firewall.exempt[i];

		if (!(m->traffic & all))
			continue;
		if (!m->source && !m->destination) {
			print_exempt_rule(w, m, all, 0);
			continue;
		}
		print_exempt_rule(w, m, all, 4);
		if (w->host->v6)
			print_exempt_rule(w, m, all, 6);
	}
	fputs("\t}\n", w->f);
}

static void print_own(const struct firewall_writer *w)
{
	fprintf(w->f, "\t\tmeta mark & %#x == %#x accept\n", w->c->firewall.mask,
		w->c->mark & w->c->firewall.mask);
}

static void print_link_local(const struct firewall_writer *w)
{
	if (w->host->v6)
		fputs("\t\tip6 daddr fe80::/10 accept\n", w->f);
}

/* What comes by lo is on its way here already. */
static void print_divert(const struct firewall_writer *w)
{
	fputs("\tchain divert {\n\t\tiifname \"lo\" accept\n\t\t", w->f);
	print_mark(w, "meta mark", w->c->firewall.divert_mark);
	fputs("accept\n\t}\n", w->f);
}

/* A tproxy listener gets its connections; when it is not there, nobody does. */
static void print_listener(const struct firewall_writer *w, const struct listener_config *l)
{
	char text[ADDR_TEXT_MAX];

	fprintf(w->f, "\tchain listener-%s {\n", l->name);
	for (uint8_t family = 4; family <= (w->host->v6 ? 6 : 4); family += 2) {
		const struct addr *target = target_of(l, family, false);
		struct addr a;

		if (!target)
			continue;
		a = *target;
		a.scope_id = 0;
		if (addr_is_unspecified(&a))
			addr_parse_ip(loopback_words[family], &a);
		a.port = target->port;
		fprintf(w->f, "\t\tmeta nfproto ipv%u ", family);
		firewall_networks_print(w, l->networks);
		fprintf(w->f, "tproxy %s to %s goto divert\n", firewall_family_words[family],
			addr_format(&a, text));
	}
	fprintf(w->f, "%s\t}\n", w->c->firewall.when_down_pass ? "" : "\t\tdrop\n");
}

static uint32_t networks_of(const struct config *c)
{
	uint32_t networks = 0;

	for (size_t i = 0; i < c->n_listeners; i++)
		if (firewall_rules_bring(c, i, FIREWALL_FROM_ELSEWHERE | FIREWALL_FROM_HERE))
			networks |= c->listeners[i].networks;
	return networks;
}

/* What belongs to a socket of ours: answers to kept addresses, and what ICMP says about them. */
static void print_return(const struct firewall_writer *w)
{
	fprintf(w->f,
		"\t\tmeta l4proto { %s } socket transparent 1 socket mark %#x goto divert\n"
		"\t\tmeta l4proto tcp tcp flags & (syn | ack) != syn socket transparent 1 "
		"socket mark %#x goto divert\n",
		w->host->v6 ? "icmp, icmpv6" : "icmp", w->c->mark, w->c->mark);
	if (networks_of(w->c) & 1u << NETWORK_UDP)
		fprintf(w->f,
			"\t\tmeta l4proto udp socket transparent 1 socket wildcard 0 "
			"socket mark %#x goto divert\n",
			w->c->mark);
}

/* Where a SYN of one honest listener waits. */
static void print_hold_one(const struct firewall_writer *w, size_t listener)
{
	const struct listener_config *l = &w->c->listeners[listener];

	fprintf(w->f, "\tchain hold-%s {\n\t\t", l->name);
	if (w->host->queue) {
		fprintf(w->f, "queue num %u%s\n\t}\n", l->queue,
			w->c->firewall.when_down_pass ? " bypass" : "");
		return;
	}
	print_mark(w, "meta mark", firewall_rules_held_mark(w->c, listener));
	fputs("accept\n\t}\n", w->f);
}

static void print_hold(const struct firewall_writer *w)
{
	struct firewall_writer holding = *w;
	const struct config *c = w->c;

	holding.holding = true;
	for (size_t i = 0; i < c->n_listeners; i++)
		if (firewall_rules_hold(c, i))
			print_hold_one(w, i);
	fprintf(w->f,
		"\tchain hold {\n"
		"\t\ttype filter hook prerouting priority %d; policy accept;\n"
		"\t\tmeta l4proto != tcp accept\n"
		"\t\ttcp flags & (fin | syn | rst | ack) != syn accept\n",
		HOLD_PRIORITY);
	print_own(w);
	for (size_t i = 0; i < c->n_listeners; i++)
		if (firewall_rules_hold(c, i) && firewall_rules_bring(c, i, FIREWALL_FROM_HERE))
			fprintf(w->f, "\t\tiifname \"lo\" meta mark & %#x == %#x goto hold-%s\n",
				c->firewall.mask, firewall_rules_mark(c, i), c->listeners[i].name);
	fputs("\t\tiifname \"lo\" accept\n", w->f);
	print_link_local(w);
	fprintf(w->f, "\t\tjump %s\n", exempt_name(FIREWALL_FROM_ELSEWHERE));
	print_intercepts(&holding, false, FIREWALL_FROM_ELSEWHERE);
	fputs("\t}\n", w->f);
}

/* It has been held by its mark: as if it had not. */
static void print_held(const struct firewall_writer *w, size_t listener)
{
	const struct config *c = w->c;
	uint32_t held = firewall_rules_held_mark(c, listener);

	if (firewall_rules_bring(c, listener, FIREWALL_FROM_HERE)) {
		fprintf(w->f, "\t\tiifname \"lo\" meta mark & %#x == %#x ", c->firewall.mask, held);
		print_mark(w, "meta mark", firewall_rules_mark(c, listener));
		fputs("\n", w->f);
	}
	fprintf(w->f, "\t\tmeta mark & %#x == %#x ", c->firewall.mask, held);
	print_mark(w, "meta mark", 0);
	fputs("\n", w->f);
}

/*
 * What this host sends comes in again by lo.  Late: to a packet that has its socket already,
 * firewalld's IPv6_rpfilter does not grant that what comes by lo is plausible.
 */
static void print_comes_in_again(const struct firewall_writer *w)
{
	const struct config *c = w->c;

	fprintf(w->f,
		"\tchain prerouting-lo {\n"
		"\t\ttype filter hook prerouting priority %d; policy accept;\n",
		LATE_PRIORITY);
	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].mode == LISTENER_TPROXY &&
		    firewall_rules_bring(c, i, FIREWALL_FROM_HERE))
			fprintf(w->f,
				"\t\tiifname \"lo\" meta mark & %#x == %#x goto listener-%s\n",
				c->firewall.mask, firewall_rules_mark(c, i), c->listeners[i].name);
	fputs("\t}\n", w->f);
}

static void print_prerouting(const struct firewall_writer *w)
{
	const struct config *c = w->c;

	fprintf(w->f,
		"\tchain prerouting {\n"
		"\t\ttype filter hook prerouting priority %d; policy accept;\n",
		c->firewall.priority);
	print_own(w);
	for (size_t i = 0; i < c->n_listeners; i++)
		if (firewall_rules_hold(c, i) && !w->host->queue)
			print_held(w, i);
	fputs("\t\tiifname \"lo\" accept\n", w->f);
	print_return(w);
	fputs("\t\tct direction reply accept\n", w->f);
	print_link_local(w);
	fprintf(w->f, "\t\tjump %s\n", exempt_name(FIREWALL_FROM_ELSEWHERE));
	print_intercepts(w, false, FIREWALL_FROM_ELSEWHERE);
	fputs("\t}\n", w->f);
}

/* A tunnel's datagrams are one session for ever: what exempts them must not wait for its end. */
static bool exempts_datagrams(const struct config *c)
{
	for (size_t i = 0; i < c->firewall.n_exempt; i++)
		if (c->firewall.exempt[i].traffic & FIREWALL_FROM_HERE &&
		    c->firewall.exempt[i].networks & 1u << NETWORK_UDP)
			return true;
	return false;
}

static void print_output(const struct firewall_writer *w)
{
	const struct config *c = w->c;

	fprintf(w->f,
		"\tchain output {\n"
		"\t\ttype route hook output priority %d; policy accept;\n",
		c->firewall.priority);
	print_own(w);
	fputs("\t\tct direction reply accept\n", w->f);
	if (exempts_datagrams(c))
		fprintf(w->f, "\t\tmeta l4proto udp jump %s\n", exempt_name(FIREWALL_FROM_HERE));
	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].mode == LISTENER_TPROXY &&
		    firewall_rules_bring(c, i, FIREWALL_FROM_HERE)) {
			fprintf(w->f, "\t\tct mark & %#x == %#x ", c->firewall.mask,
				firewall_rules_mark(c, i));
			print_mark(w, "meta mark", firewall_rules_mark(c, i));
			fputs("accept\n", w->f);
		}
	fputs("\t\tmeta l4proto tcp tcp flags & (fin | syn | rst | ack) != syn accept\n"
	      "\t\tmeta l4proto udp ct state != new accept\n",
	      w->f);
	print_link_local(w);
	fprintf(w->f, "\t\tjump %s\n", exempt_name(FIREWALL_FROM_HERE));
	print_intercepts(w, false, FIREWALL_FROM_HERE);
	fputs("\t}\n", w->f);
}

static void print_nat_chain(const struct firewall_writer *w, const char *hook, uint32_t all)
{
	fprintf(w->f,
		"\tchain nat-%s {\n"
		"\t\ttype nat hook %s priority %d; policy accept;\n",
		hook, hook, FIREWALL_NAT_PRIORITY);
	print_own(w);
	print_link_local(w);
	fprintf(w->f, "\t\tjump %s\n", exempt_name(all));
	print_intercepts(w, true, all);
	fputs("\t}\n", w->f);
}

/* --- the table --------------------------------------------------------------------------- */

static bool keeps_sources(const struct config *c)
{
	for (size_t i = 0; i < c->policy->n_rules; i++)
		if (c->policy->rules[i].plan.source != SOURCE_OWN)
			return true;
	return false;
}

static void print_table(const struct firewall_writer *w)
{
	const struct config *c = w->c;
	const uint32_t both[] = { FIREWALL_FROM_ELSEWHERE, FIREWALL_FROM_HERE };

	/* Emptied and filled in one transaction: whatever was there, nobody sees neither. */
	fprintf(w->f, "add table inet %s\ndelete table inet %s\ntable inet %s {\n",
		c->firewall.table, c->firewall.table, c->firewall.table);
	firewall_nets_print(&w->nets, w->host->v6, w->f);
	for (size_t i = 0; i < ARRAY_SIZE(both); i++)
		print_exempt(w, both[i]);
	print_divert(w);
	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].mode == LISTENER_TPROXY &&
		    firewall_rules_bring(c, i, FIREWALL_FROM_ELSEWHERE | FIREWALL_FROM_HERE))
			print_listener(w, &c->listeners[i]);
	if (intercepts(c, false, FIREWALL_FROM_ELSEWHERE | FIREWALL_FROM_HERE) || keeps_sources(c))
		print_prerouting(w);
	if (firewall_rules_held_mark(c, c->n_listeners) > firewall_rules_held_mark(c, 0))
		print_hold(w);
	if (intercepts(c, false, FIREWALL_FROM_HERE)) {
		print_output(w);
		print_comes_in_again(w);
	}
	if (intercepts(c, true, FIREWALL_FROM_ELSEWHERE))
		print_nat_chain(w, "prerouting", FIREWALL_FROM_ELSEWHERE);
	if (intercepts(c, true, FIREWALL_FROM_HERE))
		print_nat_chain(w, "output", FIREWALL_FROM_HERE);
	firewall_container_print(w);
	fputs("}\n", w->f);
}

char *firewall_rules_print(const struct config *c, const struct firewall_host *host)
{
	struct firewall_writer w = { .c = c, .host = host };
	char *script = NULL;
	size_t len;

	if (firewall_nets_gather(&c->firewall, &w.nets) < 0)
		return NULL;
	w.f = open_memstream(&script, &len);
	if (w.f) {
		print_table(&w);
		if (fclose(w.f)) {
			free(script);
			script = NULL;
		}
	}
	free(w.nets.list);
	return script;
}
