/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LIMPID_FILTER_H
#define LIMPID_FILTER_H

/*
 * Interceptors: see what flows carry, and change it.
 *
 * limpid shows the bytes of each direction in order, in blocks as they happened to arrive: where
 * one block ends and the next begins means nothing.  A block is shown where it was read; what an
 * interceptor passes is not copied.  While an interceptor looks at a direction, that direction is
 * copied through user space; once it leaves (limpid_leave()), bulk goes through the kernel alone.
 *
 * An interceptor that fails ends its flow and no other.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limpid/flow.h"

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

struct limpid_output;

/*
 * Clients of an HTTP proxy (modes http, https, mixed) that send requests in absolute form have no
 * connection to one server.  Of these each request and its answer are shown as if they were a flow
 * of their own: open(), the request as limpid sends it to that server, the answer as it came,
 * close().  What limpid_flow_server() and limpid_flow_host() say is about that request.  The end
 * in direction LIMPID_UP is that of the request, in LIMPID_DOWN that of the answer: if it comes
 * with the last of its bytes, what is written for it goes nowhere.  What goes on as the answer is
 * read by limpid: if it is no answer, the client gets status 502, or a reset.  Where there are
 * interceptors, each such request has a connection of its own, and asks the server to close it
 * (Connection: close); so what goes on instead of a request cannot be taken for another's.  After
 * status 101 (WebSocket) what follows is shown as the rest of the same flow.  CONNECT is answered
 * by limpid, and the tunnel is a flow like any other; pages that limpid answers are not shown.
 */

/* What is to become of the bytes that were shown. */
enum limpid_verdict {
	LIMPID_PASS,	/* they go on */
	LIMPID_REPLACE, /* what was written to the output goes on instead */
	LIMPID_HOLD,	/* keep them and show them again, with more behind; at the end: pass */
	LIMPID_DROP,	/* they are gone */
	LIMPID_END,	/* the flow ends: both sides are reset */
};

/* What an interceptor may hold in one direction of one flow, and what it may write for one block:
 * more ends the flow. */
#define LIMPID_HOLD_MAX_BYTES ((size_t)256 << 10)
#define LIMPID_OUTPUT_MAX_BYTES ((size_t)1 << 20)

/* Returned by open(): no interest in this flow. */
#define LIMPID_DECLINE 1

/**
 * struct limpid_interceptor - one kind of interceptor
 * @size:	sizeof(struct limpid_interceptor)
 * @name:	what it is called
 * @open:	the server is there and nothing has been relayed.  @conf is what was given to
 *		limpid_add_interceptor(); *@ret_state goes to @data and @close.  Return: 0 to be
 *		shown the flow, LIMPID_DECLINE, or a negative errno, which ends the flow.  NULL:
 *		takes every flow and has no state
 * @data:	@len bytes in @direction.  @end: that side has ended its half in order, nothing
 *		follows; said once for each direction, with what is held or was said by another
 *		interceptor at its end, mostly with @len 0.  It is not said when the connection
 *		breaks.  @out is for LIMPID_REPLACE, at the end, too
 * @close:	once for each @open that returned 0, when the interceptor has left or the flow has
 *		ended (then limpid_flow_why() says why).  NULL: nothing to release
 *
 * Called in the thread that carries the flow: those of several flows at once, those of one flow
 * one after the other.  They must not wait: all flows of the thread would wait with them.
 */
struct limpid_interceptor {
	size_t size;
	const char *name;
	int (*open)(struct limpid_flow *flow, void *conf, void **ret_state);
	enum limpid_verdict (*data)(struct limpid_flow *flow, void *state,
				    enum limpid_direction direction, const uint8_t *bytes,
				    size_t len, bool end, struct limpid_output *out);
	void (*close)(struct limpid_flow *flow, void *state);
};

/**
 * limpid_output_write() - add bytes to what goes on instead; in data() only
 *
 * Return: 0, -EMSGSIZE or -ENOMEM.  After a failure the flow ends, whatever data() returns: a
 * part of a replacement never goes on.
 */
int limpid_output_write(struct limpid_output *out, const void *bytes, size_t len);

/**
 * limpid_leave() - the interceptor that calls this has seen enough of the flow; in data() only
 *
 * What it returns for this block still counts, except that it can hold no longer.  What it holds
 * in the other direction goes on.
 */
void limpid_leave(struct limpid_flow *flow);

/* The same for one direction; the other is still shown. */
void limpid_leave_direction(struct limpid_flow *flow, enum limpid_direction direction);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif
