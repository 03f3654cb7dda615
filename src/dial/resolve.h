/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIAL_RESOLVE_H
#define DIAL_RESOLVE_H

#include <stdbool.h>

#include "core/lookup.h"
#include "dial/channel.h"

struct worker;

/**
 * resolve_ask() - addresses of @name
 * @family:	4 or 6
 *
 * An address as text, the hosts file and "localhost" need no question; nor does what another has
 * asked for a short while ago.  Return: true with @ret, or false: @l->done will be called.
 */
bool resolve_ask(struct worker *w, const char *name, uint8_t family, struct lookup *l,
		 struct answer *ret);

/* Release w->dialer_state. */
void resolve_leave(struct worker *w);

#endif
