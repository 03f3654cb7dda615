/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_HANDOVER_H
#define CORE_HANDOVER_H

#include <stdatomic.h>

#include "base/addr.h"

struct listener;

/**
 * struct handover - a client that one worker accepted for another
 * @fd:		owned
 */
struct handover {
	struct handover *next;
	const struct listener *listener;
	int fd;
	struct addr client;
};

/* Clients on their way to one worker: any thread puts, that worker takes; no lock. */
struct handover_box {
	_Atomic(struct handover *) newest;
};

/* Return: 0, 1 if the box was empty (its owner must be woken), -ENOMEM (@fd is still yours). */
int handover_put(struct handover_box *b, const struct listener *l, int fd,
		 const struct addr *client);

/* All there is, oldest first; each to be freed by the caller.  NULL: nothing. */
struct handover *handover_take(struct handover_box *b);

#endif
