/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_LOOKUP_H
#define CORE_LOOKUP_H

#include "base/addr.h"
#include "base/list.h"

/* A question for the addresses of a name, as struct parts has it answered. */

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
 * @done:	called once, from the loop and never from within the question
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

/* @l waits no longer.  The question goes on; its answer is kept for others. */
static inline void lookup_cancel(struct lookup *l)
{
	list_del(&l->link);
}

#endif
