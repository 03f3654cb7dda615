/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_HTTP_ORIGIN_H
#define PROTO_HTTP_ORIGIN_H

#include "base/list.h"
#include "base/map.h"
#include "core/flow.h"

struct own_end;

/**
 * struct origin - a connection to a server, lent to one flow at a time
 * @node:	of those that wait, by target
 * @link:	likewise, the one that waits for longest first
 * @flow:	who has it; NULL: it waits
 * @made:	as realm->own_ends knows it
 * @name:	it was dialled by this name; NULL: by address
 * @client:	with a source that is not our own: whose it is
 * @owner:	id of the flow whose client has logged in by it, so it is for nobody else; 0: none
 * @since_ms:	when it began to wait
 * @reused:	it has waited before, so the server may just be closing it
 */
struct origin {
	struct map_node node;
	struct list link;
	struct end end;
	struct worker *worker;
	struct flow *flow;
	struct own_end *made;
	struct addr target;
	char *name;
	struct plan plan;
	enum source_got source_got;
	struct addr client;
	uint64_t owner;
	uint64_t since_ms;
	bool reused;
};

/**
 * origin_take() - one that waits, for @f's target and by its plan
 * @young:	only one that has not waited for long, and that is not at its end now
 *
 * One that @f owns goes first, however long it has waited.  Policy is asked about its address.
 * NULL: there is none; dial.
 */
struct origin *origin_take(struct flow *f, const struct plan *plan, bool young);

/* @f's server, just dialled, becomes an origin.  NULL: no memory; the server is closed. */
struct origin *origin_adopt(struct flow *f);

/* Nobody needs @o now; it waits for the next, unless it is dead or there are too many. */
void origin_give(struct origin *o);

/* @o becomes @f's server again.  Return: 0 or -errno; @o is gone. */
int origin_return(struct origin *o, struct flow *f);

void origin_close(struct origin *o, bool orderly);

/* @f ends: close those that wait for nobody else. */
void origins_disown(struct flow *f);

/* Close all of @w that wait, and forget the pool. */
void origins_leave(struct worker *w);

#endif
