/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Two things that only clients need who know of limpid.
 *
 * Answers.  A learner that reads a greeting (SOCKS, CONNECT) owes its client an answer: it says
 * so with flow_greeted().  When the dial is decided, either way, its answer() writes the reply.
 * After a refusal the reply must not be lost to a RST: the flow lives on in PHASE_FAREWELL until
 * the client has closed, too, or has had its time; what it still sends is read and dropped
 * (RFC 9112 section 9.6 says why).  Where policy must hear the client before it can decide, each
 * would wait for the other: the client is then told that it may speak, as a transparent listener
 * does by accepting, and what is refused later is reset.
 *
 * Serving.  Where one client connection is not one server connection (HTTP requests in absolute
 * form) the learner gives the flow to a proto, which reads the client itself, asks policy for
 * each request and dials with flow_serve_dial(); the dial's outcome is told to its dialled().
 */
#include <errno.h>

#include "core/flow.h"
#include "core/worker.h"

/* For a client that says nothing more; and for one that says more and more. */
#define FAREWELL_MS 2000
#define FAREWELL_MAX_MS 30000
/* Dropped before others get a turn. */
#define FAREWELL_TURN_BYTES ((size_t)1 << 20)

void flow_greeted(struct flow *f, const struct learner *l)
{
	f->greeter = l;
}

int flow_answer(struct flow *f, enum why outcome)
{
	if (!f->greeter || !f->greeter->ops->answer)
		return 0;
	if (f->answered)
		return outcome == WHY_OPEN ? 0 : -EALREADY;
	f->answered = true;
	return f->greeter->ops->answer(f, f->greeter, outcome);
}

int flow_waiting(struct flow *f, const struct addr *bound)
{
	const struct learner *l = f->greeter;

	return l && l->ops->waiting ? l->ops->waiting(f, l, bound) : 0;
}

void flow_hear(struct flow *f)
{
	if (f->greeter && !f->served)
		(void)flow_answer(f, WHY_OPEN); /* a dead client is noticed by its socket */
}

void flow_turn_away(struct flow *f, enum why why)
{
	if (f->greeter && flow_answer(f, why) == 0)
		flow_farewell(f, why);
	else
		flow_close(f, why);
}

void flow_farewell(struct flow *f, enum why why)
{
	if (flow_is_closed(f))
		return;
	f->why = why;
	f->phase = PHASE_FAREWELL;
	f->down.paused = true;
	f->view = span_of(NULL, 0);
	f->farewell_ms = loop_now_ms(&f->worker->loop);
	flow_set_timer(f, FAREWELL_MS);
	flow_defer(f); /* callers go on for a moment */
}

/* Return: false, the client has ended or broken off. */
static bool farewell_drop(struct flow *f)
{
	struct lane_tools *t = &f->worker->tools;
	uint64_t past_ms = loop_now_ms(&f->worker->loop) - f->farewell_ms;
	size_t dropped = 0;
	ssize_t n = -EAGAIN;

	while (end_can_read(&f->client) && dropped < FAREWELL_TURN_BYTES) {
		n = stream_read(f->client.top, t->buffer, t->buffer_bytes);
		if (n <= 0)
			break;
		dropped += (size_t)n;
	}
	if (dropped && past_ms < FAREWELL_MAX_MS - FAREWELL_MS)
		flow_set_timer(f, FAREWELL_MS);
	if (dropped >= FAREWELL_TURN_BYTES)
		flow_defer(f);
	return (n > 0 || n == -EAGAIN) && !f->client.failed;
}

void flow_run_farewell(struct flow *f)
{
	struct lane_tools *t = &f->worker->tools;
	enum why why = f->why;
	int error = 0;

	if (!f->down.finished) {
		if (lane_pump(&f->down, t, 0, &error) == LANE_WRITE_FAILED) {
			flow_close(f, why);
			return;
		}
		if (!lane_is_drained(&f->down))
			return;
		lane_finish(&f->down);
	}
	(void)stream_flush(f->client.top); /* the end of a layer, if it had to wait */
	if (!farewell_drop(f))
		flow_close(f, why);
}

int flow_intercept(struct flow *f)
{
	const struct realm *realm = f->worker->realm;
	int r = 0;

	for (unsigned int i = 0; i < realm->n_interceptors && r >= 0; i++)
		r = realm->interceptors[i].open(f, &realm->interceptors[i]);
	return r;
}

void flow_serve(struct flow *f, const struct proto_ops *proto)
{
	f->proto = proto;
	f->served = true;
}

void flow_serve_begin(struct flow *f)
{
	f->phase = PHASE_RELAY;
	f->learned = true;
	f->active_ms = loop_now_ms(&f->worker->loop);
	f->proto->open(f);
	if (!flow_is_closed(f))
		f->proto->relay(f);
}
