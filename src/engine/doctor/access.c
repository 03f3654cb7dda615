/* SPDX-License-Identifier: Apache-2.0 */
/* Who could use limpid, apart from those it is meant for? */
#include <stdio.h>

#include "engine/doctor/checks.h"

static bool asks_listener(const struct condition *c, size_t listener)
{
	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listeners[i] == listener)
			return true;
	return !c->n_listeners;
}

static bool asks_who(const struct condition *c)
{
	return c->source || c->n_users;
}

/* Does a rule that refuses leave only those who were asked who they are? */
static bool leaves_the_known(const struct rule *r)
{
	const struct condition *m = &r->match;

	if (m->destination || m->domain || m->n_ports || m->n_source_ports || m->networks ||
	    m->protocols || m->mismatch != ASKED_NOTHING)
		return false;
	for (size_t i = 0; i < r->n_not; i++)
		if (!asks_who(&r->not [i]))
			return false;
	return true;
}

/* The first rule that accepts clients of a listener without asking who they are. */
static const struct rule *open_rule(const struct config *c, size_t listener)
{
	for (size_t i = 0; i < c->policy->n_rules; i++) {
		const struct rule *r = &c->policy->rules[i];

		if (!asks_listener(&r->match, listener) || asks_who(&r->match))
			continue;
		if (r->verdict == VERDICT_ACCEPT)
			return r;
		if (leaves_the_known(r))
			return NULL;
	}
	return NULL;
}

void check_open_proxy(struct examination *e)
{
	const struct config *c = e->config;

	for (size_t i = 0; i < c->n_listeners; i++) {
		const struct listener_config *l = &c->listeners[i];
		const struct rule *rule = open_rule(c, i);
		const struct addr *wide = NULL;
		char subject[ADDR_TEXT_MAX + 80], text[ADDR_TEXT_MAX], cure[512];

		if (!listener_mode_is_explicit(l->mode))
			continue;
		for (size_t k = 0; k < l->n_addresses && !wide; k++)
			if (addr_is_unspecified(&l->addresses[k]))
				wide = &l->addresses[k];
		if (!wide || !rule || l->users) {
			note(e, FINDING_OK, l->name, "", "not for everybody");
			continue;
		}
		snprintf(subject, sizeof(subject), "%.60s %s", l->name, addr_format(wide, text));
		snprintf(cure, sizeof(cure),
			 "in %s, `users` for the listener, or `match: { source: ... }` for the "
			 "rule, or an address of the clients' network to listen on",
			 e->path);
		note(e, FINDING_WARN, subject, cure,
		     "an open proxy: whoever reaches this port may use it (rule '%s')", rule->name);
	}
}
