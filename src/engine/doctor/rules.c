/* SPDX-License-Identifier: Apache-2.0 */
/* Do the firewall's rules bring to each listener what it is for, and nothing else? */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "engine/doctor/checks.h"
#include "engine/doctor/cure.h"
#include "engine/firewall_rules.h"

static uint32_t family_of(const struct addr *a)
{
	return a->family == 6 ? FAMILY_V6 : FAMILY_V4;
}

bool rule_is_for(const struct fw_rule *r, const struct listener_config *l, const struct addr *a)
{
	bool fits = l->mode == LISTENER_TPROXY ? r->target == TARGET_TPROXY
		    : listener_mode_is_translated(l->mode)
			    ? r->target == TARGET_REDIRECT || r->target == TARGET_DNAT
			    : false;

	return fits && r->to.port == a->port && r->families & family_of(a);
}

bool rule_is_ours(const struct examination *e, const struct fw_rule *r)
{
	if (r->target == TARGET_NONE)
		return false;
	for (size_t i = 0; i < e->config->n_listeners; i++) {
		const struct listener_config *l = &e->config->listeners[i];

		for (size_t k = 0; k < l->n_addresses; k++)
			if (rule_is_for(r, l, &l->addresses[k]))
				return true;
	}
	return false;
}

/* Redirect goes to the address of the interface that a packet came in by, or to loopback for
 * those of this host; so does tproxy when no address is said. */
static bool arrives(const struct fw_rule *r, const struct addr *a)
{
	bool said = r->to.family && !addr_is_unspecified(&r->to);

	if (addr_is_unspecified(a))
		return true;
	if (said)
		return addr_ip_eq(&r->to, a);
	if (r->target == TARGET_REDIRECT && r->chain->hook == HOOK_OUTPUT)
		return addr_is_loopback(a);
	return !addr_is_loopback(a);
}

static const char *wildcard_of(const struct addr *a)
{
	return a->family == 6 ? "[::]" : "0.0.0.0";
}

/* The only rules for @a do not get there. */
static void note_unreached(struct examination *e, const char *subject, const struct fw_rule *r,
			   const struct addr *a)
{
	char cure[CURE_MAX], text[CHAIN_TEXT_MAX];

	if (r->target != TARGET_TPROXY || !cure_tproxy_address(e->host, r, a, cure, sizeof(cure)))
		snprintf(cure, sizeof(cure), "listen on %s:%u (listeners.address in %s)",
			 wildcard_of(a), a->port, e->path);
	note(e, FINDING_FAIL, subject, cure,
	     "a rule in %s sends connections to port %u of another address",
	     chain_text(r->chain, text), a->port);
}

static void examine_address(struct examination *e, size_t index, const struct addr *a,
			    enum network network)
{
	const struct listener_config *l = &e->config->listeners[index];
	const struct fw_rule *unreached = NULL, *found = NULL;
	char subject[ADDR_TEXT_MAX + 80], addr[ADDR_TEXT_MAX], cure[512], text[CHAIN_TEXT_MAX];

	for (size_t i = 0; i < e->chains->n; i++) {
		const struct fw_chain *c = e->chains->all[i];

		for (size_t k = 0; k < c->n_flat; k++) {
			if (!rule_is_for(&c->flat[k], l, a) ||
			    !(c->flat[k].l4 & (network == NETWORK_UDP ? L4_UDP : L4_TCP)))
				continue;
			if (arrives(&c->flat[k], a))
				found = &c->flat[k];
			else
				unreached = &c->flat[k];
		}
	}
	snprintf(subject, sizeof(subject), "%.60s %s%s", l->name,
		 network == NETWORK_UDP ? "udp " : "", addr_format(a, addr));
	snprintf(cure, sizeof(cure), "limpid firewall up --config %s", e->path);
	if (unreached)
		note_unreached(e, subject, unreached, a);
	else if (found)
		note(e, FINDING_OK, subject, "", "gets connections from %s",
		     chain_text(found->chain, text));
	else if (l->mode != LISTENER_DNS ||
		 firewall_rules_bring(e->config, index, ~0u)) /* else it may well be addressed */
		note(e, FINDING_WARN, subject, cure,
		     "no rule sends connections here (serve --firewall sets its own)");
}

void check_rules(struct examination *e)
{
	if (e->host->nft_said || !e->host->has_nft)
		return;
	for (size_t i = 0; i < e->config->n_listeners; i++) {
		const struct listener_config *l = &e->config->listeners[i];

		if (!listener_mode_intercepts(l->mode) && l->mode != LISTENER_DNS)
			continue;
		for (size_t k = 0; k < l->n_addresses; k++) {
			if (l->networks & 1u << NETWORK_TCP)
				examine_address(e, i, &l->addresses[k], NETWORK_TCP);
			if (l->networks & 1u << NETWORK_UDP)
				examine_address(e, i, &l->addresses[k], NETWORK_UDP);
		}
	}
}

/* The rule that holds SYNs in the queue of @l has to come before the one with TPROXY. */
static const struct fw_rule *find_queue(const struct examination *e,
					const struct listener_config *l, uint32_t family)
{
	for (size_t i = 0; i < e->chains->n; i++) {
		const struct fw_chain *c = e->chains->all[i];

		for (size_t k = 0; c->hook == HOOK_PREROUTING && k < c->n_flat; k++)
			if (c->flat[k].target == TARGET_QUEUE && c->flat[k].to.port == l->queue &&
			    c->flat[k].families & family && c->flat[k].l4 & L4_TCP)
				return &c->flat[k];
	}
	return NULL;
}

static const struct fw_rule *find_rule(const struct examination *e, const struct listener_config *l,
				       const struct addr *a)
{
	for (size_t i = 0; i < e->chains->n; i++) {
		const struct fw_chain *c = e->chains->all[i];

		for (size_t k = 0; k < c->n_flat; k++)
			if (rule_is_for(&c->flat[k], l, a))
				return &c->flat[k];
	}
	return NULL;
}

static void examine_queue(struct examination *e, const struct listener_config *l,
			  const struct addr *a)
{
	char subject[ADDR_TEXT_MAX + 80], addr[ADDR_TEXT_MAX], cure[CURE_MAX];

	snprintf(subject, sizeof(subject), "%.60s %s", l->name, addr_format(a, addr));
	if (find_queue(e, l, family_of(a))) {
		note(e, FINDING_OK, subject, "", "a rule holds SYNs in queue %u", l->queue);
		return;
	}
	cure_hold(e->host, find_rule(e, l, a), a->family == 6 ? HOST_V6 : HOST_V4, l->queue, cure,
		  sizeof(cure));
	note(e, FINDING_WARN, subject, cure,
	     "no rule holds SYNs in queue %u: clients are connected before their server has "
	     "answered",
	     l->queue);
}

void check_queue(struct examination *e)
{
	if (!host_has(e->host, "/proc/net/netfilter/nfnetlink_queue"))
		note(e, FINDING_FAIL, "", "modprobe nfnetlink_queue",
		     "this kernel has no NFQUEUE, which connect: honest needs");
	for (size_t i = 0; !e->host->nft_said && i < e->config->n_listeners; i++) {
		const struct listener_config *l = &e->config->listeners[i];

		for (size_t k = 0; l->honest && k < l->n_addresses; k++)
			examine_queue(e, l, &l->addresses[k]);
	}
}

void check_route_localnet(struct examination *e)
{
	for (size_t i = 0; i < e->chains->n; i++) {
		const struct fw_chain *c = e->chains->all[i];

		for (size_t k = 0; k < c->n_flat; k++) {
			const struct fw_rule *r = &c->flat[k];
			const char *name = r->iif[0] ? r->iif : "all";
			char cure[128];

			if (r->target != TARGET_DNAT || c->hook != HOOK_PREROUTING ||
			    !addr_is_loopback(&r->to) || !rule_is_ours(e, r))
				continue;
			snprintf(cure, sizeof(cure), "sysctl -w net.ipv4.conf.%s.route_localnet=1",
				 name);
			if (r->to.family == 6)
				note(e, FINDING_FAIL, "::1", "redirect, and listen on [::]",
				     "packets from elsewhere cannot be sent to IPv6 loopback");
			else if (host_number(e->host, 0,
					     "/proc/sys/net/ipv4/conf/%s/route_localnet", name) ||
				 host_number(e->host, 0,
					     "/proc/sys/net/ipv4/conf/all/route_localnet"))
				note(e, FINDING_OK, name, "", "on");
			else
				note(e, FINDING_FAIL, name, cure,
				     "off: what is sent to 127.0.0.0/8 from elsewhere is dropped");
		}
	}
}

/* Does the rule take connections of this host, so that ours could come back to us? */
static bool takes_own(const struct examination *e, const struct fw_chain *c, size_t i)
{
	const struct fw_rule *r = &c->flat[i];

	if (c->hook == HOOK_PREROUTING)
		return r->target == TARGET_TPROXY && rule_is_ours(e, r) &&
		       (!r->iif[0] || !strcmp(r->iif, "lo"));
	if (c->hook != HOOK_OUTPUT)
		return false;
	if (r->target != TARGET_NONE)
		return rule_is_ours(e, r);
	return rule_marks_for_us(e, c, i);
}

static void examine_loop(struct examination *e, const struct fw_chain *c)
{
	bool from_here = c->hook == HOOK_OUTPUT, asked = false;
	enum guard worst = GUARD_MARK;
	char subject[CHAIN_TEXT_MAX], cure[CURE_MAX];

	for (size_t i = 0; i < c->n_flat; i++) {
		enum guard g;

		if (!takes_own(e, c, i))
			continue;
		asked = true;
		g = chain_guard(c, i, e->config->mark);
		worst = g < worst ? g : worst;
	}
	if (!asked)
		return;
	chain_text(c, subject);
	if (!e->config->mark)
		snprintf(cure, sizeof(cure), "set firewall.mark in %s, and exempt it", e->path);
	else
		cure_exempt(c, e->config->mark, cure, sizeof(cure));
	if (worst == GUARD_MARK)
		note(e, FINDING_OK, subject, "", "lets limpid's own connections pass");
	else if (!from_here)
		note(e, FINDING_WARN, subject, cure,
		     "limpid's own connections to addresses of this host are intercepted again: "
		     "their mark is not exempt");
	else if (worst == GUARD_OWNER)
		note(e, FINDING_WARN, subject, cure,
		     "only the user keeps limpid's own connections from being intercepted again: "
		     "its mark is not exempt");
	else
		note(e, FINDING_FAIL, subject, cure,
		     "limpid's own connections are intercepted again: their mark is not exempt");
}

void check_loop(struct examination *e)
{
	for (size_t i = 0; i < e->chains->n; i++)
		examine_loop(e, e->chains->all[i]);
}

/* The first of our tproxy rules for a family; NULL: none. */
static const struct fw_rule *find_tproxy(const struct examination *e, uint32_t family)
{
	for (size_t i = 0; i < e->chains->n; i++) {
		const struct fw_chain *c = e->chains->all[i];

		for (size_t k = 0; c->hook == HOOK_PREROUTING && k < c->n_flat; k++)
			if (c->flat[k].target == TARGET_TPROXY && c->flat[k].families & family &&
			    rule_is_ours(e, &c->flat[k]))
				return &c->flat[k];
	}
	return NULL;
}

static bool is_diverted(const struct examination *e, uint32_t family, uint32_t l4)
{
	for (size_t i = 0; i < e->chains->n; i++) {
		const struct fw_chain *c = e->chains->all[i];

		for (size_t k = 0; c->hook == HOOK_PREROUTING && k < c->n_flat; k++)
			if (c->flat[k].socket && c->flat[k].mark_set &&
			    c->flat[k].families & family && c->flat[k].l4 & l4)
				return true;
	}
	return false;
}

void check_return_path(struct examination *e)
{
	static const struct {
		uint32_t l4;
		enum finding_status status;
		const char *name, *text;
	} parts[] = {
		{ L4_TCP, FINDING_FAIL, "TCP",
		  "answers to kept source addresses are not diverted here, but forwarded" },
		{ L4_ICMP, FINDING_WARN, "ICMP",
		  "errors for kept source addresses are not diverted here: path MTU discovery "
		  "fails, and unreachable is not noticed" },
	};

	for (int f = 0; f < HOST_FAMILIES; f++) {
		const struct fw_rule *r = find_tproxy(e, 1u << f);

		for (size_t i = 0; r && i < ARRAY_SIZE(parts); i++) {
			char cure[CURE_MAX], subject[32];

			snprintf(subject, sizeof(subject), "%s %s", f ? "IPv6" : "IPv4",
				 parts[i].name);
			cure_divert(r, f, parts[i].l4, cure, sizeof(cure));
			if (is_diverted(e, 1u << f, parts[i].l4))
				note(e, FINDING_OK, subject, "", "diverted here");
			else
				note(e, parts[i].status, subject, cure, "%s", parts[i].text);
		}
	}
}

/* A rule that may translate the source of what we dial; rules about marks are others'. */
static const struct fw_rule *find_snat(const struct fw_chain *c)
{
	for (size_t i = 0; i < c->n_flat; i++)
		if (c->flat[i].target == TARGET_SNAT && !c->flat[i].n_tests)
			return &c->flat[i];
	return NULL;
}

/*
 * With address and port of the client, what limpid dials is to connection tracking the client's own
 * connection, which ends here and for which no translation was ever chosen.
 */
void check_translation(struct examination *e)
{
	const struct rule *keeps = NULL;

	for (size_t i = 0; i < e->config->policy->n_rules && !keeps; i++)
		if (e->config->policy->rules[i].plan.source == SOURCE_KEEP)
			keeps = &e->config->policy->rules[i];
	for (size_t i = 0; keeps && i < e->chains->n; i++) {
		const struct fw_chain *c = e->chains->all[i];
		char subject[CHAIN_TEXT_MAX], cure[CURE_MAX];

		if (c->hook != HOOK_POSTROUTING || !find_snat(c))
			continue;
		snprintf(cure, sizeof(cure), "say source: keep-address in rule '%s' of %s",
			 keeps->name, e->path);
		note(e, FINDING_WARN, chain_text(c, subject), cure,
		     "a rule translates source addresses: not those of connections with source: "
		     "keep, which leave with the client's address and get no answer");
	}
}

void check_syn(struct examination *e)
{
	for (size_t i = 0; i < e->chains->n; i++) {
		const struct fw_chain *c = e->chains->all[i];

		/* Where the rule is written, once, whoever jumps there. */
		for (size_t k = 0; k < c->n_rules; k++) {
			const struct fw_rule *r = &c->rules[k];
			char subject[CHAIN_TEXT_MAX], cure[CURE_MAX];

			if (!r->socket || !(r->l4 & L4_TCP) ||
			    (c->hook != HOOK_PREROUTING && c->hook != HOOK_NONE))
				continue;
			chain_text(c, subject);
			cure_without_syn(e->host, r, cure, sizeof(cure));
			if (r->without_syn)
				note(e, FINDING_OK, subject, "",
				     "the socket rule leaves SYN alone");
			else
				note(e, FINDING_WARN, subject, cure,
				     "the socket rule takes SYN, too: a client that comes again "
				     "from the same port is delayed");
		}
	}
}

/* Is what rule @i should have taken stopped if nobody listens?  TPROXY of iptables drops by
 * itself, that of nft does not match. */
static bool blocks(const struct fw_chain *c, size_t i)
{
	const struct fw_rule *r = &c->flat[i];

	if (c->iptables || c->drops)
		return true;
	for (size_t k = i + 1; k < c->n_flat; k++)
		if (c->flat[k].end == END_DROP && c->flat[k].families & r->families &&
		    c->flat[k].l4 & r->l4)
			return true;
	return false;
}

void check_when_down(struct examination *e)
{
	for (size_t i = 0; i < e->chains->n; i++) {
		const struct fw_chain *c = e->chains->all[i];
		const struct fw_rule *open = NULL;
		char subject[CHAIN_TEXT_MAX], cure[CURE_MAX];
		size_t n = 0;

		for (size_t k = 0; c->hook == HOOK_PREROUTING && k < c->n_flat; k++) {
			if (c->flat[k].target != TARGET_TPROXY || !rule_is_ours(e, &c->flat[k]))
				continue;
			n++;
			if (!open && !blocks(c, k))
				open = &c->flat[k];
		}
		if (!n)
			continue;
		chain_text(c, subject);
		if (!open || e->config->firewall.when_down_pass) {
			note(e, FINDING_OK, subject, "",
			     open ? "pass: connections pass by unseen while limpid is down, as "
				    "configured"
				  : "block: nothing passes while limpid is down");
			continue;
		}
		cure_block(e->host, open, cure, sizeof(cure));
		note(e, FINDING_WARN, subject, cure,
		     "pass: connections pass by unseen while limpid is down");
	}
}
