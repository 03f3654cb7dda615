/* SPDX-License-Identifier: Apache-2.0 */
/* Which mark means what: see firewall_rules.c. */
#include "engine/firewall_rules.h"

uint32_t firewall_rules_mark(const struct config *c, size_t listener)
{
	uint32_t mark = c->firewall.divert_mark;

	/* how manieth is it of those that this host's traffic is brought to? */
	for (size_t i = 0; i <= listener && i < c->n_listeners; i++)
		for (size_t k = 0; k < c->firewall.n_intercept; k++) {
			const struct firewall_match *m = &c->firewall.intercept[k];

			if (m->listener == i && m->traffic & FIREWALL_FROM_HERE &&
			    c->listeners[i].mode == LISTENER_TPROXY) {
				mark++;
				break;
			}
		}
	return mark;
}

uint32_t firewall_rules_marks(const struct config *c)
{
	return firewall_rules_mark(c, c->n_listeners) - c->firewall.divert_mark + 1;
}

bool firewall_rules_bring(const struct config *c, size_t listener, uint32_t all)
{
	for (size_t i = 0; i < c->firewall.n_intercept; i++)
		if (c->firewall.intercept[i].listener == listener &&
		    c->firewall.intercept[i].traffic & all)
			return true;
	return false;
}

bool firewall_rules_hold(const struct config *c, size_t listener)
{
	return c->listeners[listener].honest &&
	       firewall_rules_bring(c, listener, FIREWALL_FROM_ELSEWHERE | FIREWALL_FROM_HERE);
}

uint32_t firewall_rules_held_mark(const struct config *c, size_t listener)
{
	uint32_t mark = c->firewall.divert_mark + firewall_rules_marks(c);

	for (size_t i = 0; i < listener && i < c->n_listeners; i++)
		mark += firewall_rules_hold(c, i);
	return mark;
}
