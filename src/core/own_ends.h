/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_OWN_ENDS_H
#define CORE_OWN_ENDS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/addr.h"
#include "base/map.h"

/* Which side of limpid a connection is on. */
enum own_side {
	OWN_CAME, /* accepted: from its client, to whom it wanted */
	OWN_MADE, /* dialled: from our address, to the server */
	OWN_KEPT, /* dialled: from the client's own address and port */
};

/**
 * struct own_end - one connection of limpid's, by the addresses that its packets set out with
 * @looped:	it is on both sides: limpid has accepted what it had dialled
 */
struct own_end {
	struct map_node node;
	struct addr from, to;
	enum own_side side;
	bool looped;
};

/**
 * struct own_ends - connections that might be one and the same; shared by all workers
 * @dialling:	held, shared, from before connect(2) until its connection is noted
 * @lock:	of @map
 * @told:	a person has been told of the first loop
 */
struct own_ends {
	pthread_rwlock_t dialling;
	pthread_mutex_t lock;
	struct map map;
	atomic_bool told;
};

void own_ends_init(struct own_ends *t);
void own_ends_done(struct own_ends *t); /* all ends have been taken out */

/* Around a dial and the own_ends_add() for it. */
void own_ends_dial_begin(struct own_ends *t);
void own_ends_dial_end(struct own_ends *t);

/**
 * own_ends_add() - note a connection, and look whether the other side has it too
 * @from:	who began it: peer of an accepted socket, own address of a dialled one
 * @to:		whom it wants
 * @ret:	to be given to own_ends_del() before the socket is closed; set unless it failed
 *
 * Of the two that are one, whoever adds second is told; the first finds out by own_ends_del().
 * OWN_CAME waits for dials that have begun: it is the second, where they are announced.
 * Return: 0, 1 if it is a loop, -ENOMEM.
 */
int own_ends_add(struct own_ends *t, enum own_side side, const struct addr *from,
		 const struct addr *to, struct own_end **ret);

/**
 * own_ends_made() - has limpid dialled @to from an address of its own, @from?
 *
 * For what a header says of a client: who sends it may have it from limpid itself.  What was
 * dialled from the address of a client does not count: that client may have more connections than
 * one.  Waits for dials that have begun.
 */
bool own_ends_made(struct own_ends *t, const struct addr *from, const struct addr *to);

/* Forget @e (NULL: nothing).  True: it was part of a loop. */
bool own_ends_del(struct own_ends *t, struct own_end *e);

#endif
