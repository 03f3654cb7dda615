/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORE_LANE_H
#define CORE_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/span.h"
#include "core/policy.h"
#include "core/stream.h"
#include "sys/pipe.h"

/* What one thread lends to whichever lane is moving bytes. */
struct lane_tools {
	uint8_t *buffer;
	size_t buffer_bytes;
	struct pipe_pool pipes;
};

/**
 * struct lane - one direction of a flow
 * @filters:	who watches; a lane with none moves its bytes without a callback
 * @rest:	bytes read and not yet taken by @to
 * @pipe:	kernel memory it has borrowed while that holds bytes, or NULL
 * @bytes:	read from @from so far
 * @offload:	as policy said
 * @spliced:	moves by splice at present
 * @was_spliced: has moved something by splice
 * @paused:	drains, but reads nothing
 * @stirred:	a filter said, between two reads, that it leaves: see struct filter
 * @broken:	-errno of a write that failed: bytes are missing, and none may follow them
 * @read_end:	@from has ended
 * @finished:	and @to has been told
 */
struct lane {
	struct end *from, *to;
	struct list filters;
	struct buf rest;
	struct pipe *pipe;
	uint64_t bytes;
	enum offload offload;
	uint8_t n_bulk, n_small;
	int broken;
	bool spliced, was_spliced, paused, stirred, read_end, finished;
};

enum lane_result {
	LANE_WAITS,	   /* for a socket (or it is paused) */
	LANE_BUSY,	   /* the budget is spent: call again */
	LANE_ENDED,	   /* all has been read and written; the end may be told: lane_finish() */
	LANE_READ_FAILED,  /* @from is dead; all it had sent has been written */
	LANE_WRITE_FAILED, /* @to is dead */
	LANE_ENDED_BY_FILTER,
	LANE_HELD_TOO_MUCH,
	LANE_NO_MEMORY,
};

void lane_init(struct lane *l, struct end *from, struct end *to);
void lane_done(struct lane *l, struct lane_tools *t); /* drops what it holds, removes filters */

/**
 * lane_pump() - move what can move, up to about @budget_bytes
 *
 * Call it any time; it reads only what the sticky bits of the ends allow.
 * *@ret_error is set to -errno with LANE_READ_FAILED and LANE_WRITE_FAILED.
 */
enum lane_result lane_pump(struct lane *l, struct lane_tools *t, size_t budget_bytes,
			   int *ret_error);

/**
 * lane_offer() - put bytes that somebody else read from @l->from into the lane
 *
 * They pass the filters and go before all that lane_pump() reads.
 * Return: LANE_WAITS, or how it failed; after LANE_WRITE_FAILED lane_pump() says so again.
 */
enum lane_result lane_offer(struct lane *l, struct span in, int *ret_error);

/**
 * lane_show() - show bytes to the filters that do not go through the lane
 * @end:	nothing follows
 * @out:	what goes on is added to it
 *
 * For protos that read and write by themselves.  With nothing to show, those that have left give
 * what they hold.  Return: 0; -ECONNABORTED, -EMSGSIZE or -ENOMEM as filter_run().
 */
int lane_show(struct lane *l, struct span in, bool end, struct buf *out);
void lane_drop_filters(struct lane *l);

/* Tell @to that nothing follows (FIN).  Once LANE_ENDED. */
void lane_finish(struct lane *l);

/* Does it hold nothing that was read and not written? */
bool lane_is_drained(const struct lane *l);

#endif
