/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DIAL_RESOLVE_H
#define DIAL_RESOLVE_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/list.h"
#include "dial/channel.h"

struct worker;

/**
 * struct answer - what is known of a name in one family
 * @error:	0; -ENOENT, there is no such name; -ENODATA, it has no address of the family;
 *		-ETIMEDOUT, nobody answered; -ENOBUFS, too many questions already; -EIO, it could
 *		not be resolved; -ENOMEM
 * @addrs, @n:	1..ADDRESSES_MAX without @error; ports are 0.  Valid until the next call or event
 */
struct answer {
	int error;
	const struct addr *addrs;
	unsigned int n;
};

/**
 * struct lookup - somebody who waits for an answer, embedded in its owner
 * @done:	called once, from the loop and never from within resolve_ask()
 */
struct lookup {
	struct list link;
	void (*done)(struct lookup *l, const struct answer *answer);
};

static inline void lookup_init(struct lookup *l,
			       void (*done)(struct lookup *l, const struct answer *answer))
{
	list_init(&l->link);
	l->done = done;
}

/**
 * resolve_ask() - addresses of @name
 * @family:	4 or 6
 *
 * An address as text, the hosts file and "localhost" need no question; nor does what another has
 * asked for a short while ago.  Return: true with @ret, or false: @l->done will be called.
 */
bool resolve_ask(struct worker *w, const char *name, uint8_t family, struct lookup *l,
		 struct answer *ret);

/* @l waits no longer.  The question goes on; its answer is kept for others. */
static inline void lookup_cancel(struct lookup *l)
{
	list_del(&l->link);
}

/* Release w->dialer_state. */
void resolve_leave(struct worker *w);

#endif
