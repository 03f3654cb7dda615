/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_HANDOVER_H
#define CORE_HANDOVER_H

#include <stdatomic.h>

#include "base/addr.h"

struct knock;
struct listener;

/**
 * struct handover - a client that one worker accepted for another
 * @fd:		owned; -1: @knock is to become a flow
 * @knock:	the client had knocked (and this is a part of it); NULL: it had not, and this is to
 *		be freed
 */
struct handover {
	struct handover *next;
	const struct listener *listener;
	int fd;
	struct addr client;
	struct knock *knock;
};

/* Clients on their way to one worker: any thread puts, that worker takes; no lock. */
struct handover_box {
	_Atomic(struct handover *) newest;
};

/* Return: 0, 1 if the box was empty (its owner must be woken), -ENOMEM (@fd is still yours). */
int handover_put(struct handover_box *b, const struct listener *l, int fd,
		 const struct addr *client);

/* The same with @h filled in by the caller.  Return: 0 or 1. */
int handover_push(struct handover_box *b, struct handover *h);

/* All there is, oldest first.  NULL: nothing. */
struct handover *handover_take(struct handover_box *b);

#endif
