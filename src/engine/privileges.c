/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/worker.h"
#include "engine/config.h"
#include "engine/privileges.h"
#include "sys/privileges.h"
#include "sys/sock.h"
#include "sys/socket_maker.h"

static bool has_listener(const struct config *c, enum listener_mode mode)
{
	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].mode == mode)
			return true;
	return false;
}

void privileges_fit(struct config *c)
{
	bool turned_round = has_listener(c, LISTENER_DNS);

	for (size_t i = 0; i < c->n_listeners; i++)
		turned_round |= listener_mode_intercepts(c->listeners[i].mode);
	if (c->mark && !turned_round && !sock_may_mark(c->mark))
		c->mark = 0;
}

static uint32_t needed_by(const struct config *c)
{
	uint32_t needed = 0;

	if (c->mark)
		needed |= 1u << PRIVILEGE_MARK;
	if (has_listener(c, LISTENER_TPROXY))
		needed |= 1u << PRIVILEGE_TRANSPARENT;
	for (size_t i = 0; i < c->n_listeners; i++) {
		if (c->listeners[i].honest)
			needed |= 1u << PRIVILEGE_QUEUE;
		if (c->listeners[i].networks & 1u << NETWORK_UDP) /* bulk comes from its port */
			needed |= 1u << PRIVILEGE_LOW_PORT;
	}
	for (size_t i = 0; i < c->policy->n_rules; i++) {
		const struct plan *p = &c->policy->rules[i].plan;

		if (p->source != SOURCE_OWN)
			needed |= 1u << PRIVILEGE_TRANSPARENT;
		if (p->source == SOURCE_KEEP)
			needed |= 1u << PRIVILEGE_LOW_PORT;
		/* to end a TIME_WAIT takes much; where a fall is allowed it is not worth it */
		if (p->source == SOURCE_KEEP && p->strict)
			needed |= 1u << PRIVILEGE_TIME_WAIT;
	}
	return needed;
}

int realm_become(struct realm *realm, const struct config *c, const char *user, char *error,
		 size_t error_cap_bytes)
{
	if (has_listener(c, LISTENER_REDIRECT) || has_listener(c, LISTENER_DNS)) {
		int r = socket_maker_new(&realm->maker);

		if (r < 0) {
			snprintf(error, error_cap_bytes, "no process can be started: %s",
				 strerror(-r));
			return r;
		}
	}
	return privileges_drop(user, needed_by(c), error, error_cap_bytes);
}
