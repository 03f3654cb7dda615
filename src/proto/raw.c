/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Any event pumps both lanes; the sticky bits make that cheap.  What the
 * TCP contract asks for:
 *
 * - FIN in becomes FIN out in that lane, after all that came before it; the other lane goes on
 *   under a timer of its own.  Once both have ended, closing the sockets sends what is left.
 * - RST in becomes RST out, but only after everything the dead end had sent has been delivered:
 *   it is read to its end (the kernel keeps what arrived before an RST), written, and then the
 *   other end is reset when it has acknowledged all of it, or nothing more for RESET_DRAIN_MS.
 *
 * The idle timer is lazy: moving bytes only notes the time, and the timer, when due, looks at it.
 */
#include <errno.h>

#include "core/flow.h"
#include "core/worker.h"
#include "proto/raw.h"
#include "sys/sock.h"

/* Per lane and turn; a lane that has more to do runs again after everybody else. */
#define BUDGET_BYTES ((size_t)1 << 20)
/* How long the living end may take to acknowledge some of what the dead one had sent. */
#define RESET_DRAIN_MS 2000
#define RESET_POLL_MS 5

static enum why why_dead(const struct flow *f, const struct end *dead, int error)
{
	bool lost = error == -ETIMEDOUT || error == -EHOSTUNREACH || error == -ENETUNREACH;

	if (error == -EPROTO)
		return dead == &f->client ? WHY_CLIENT_TLS : WHY_SERVER_TLS;
	if (dead == &f->client)
		return lost ? WHY_CLIENT_LOST : WHY_CLIENT_RESET;
	return lost ? WHY_SERVER_LOST : WHY_SERVER_RESET;
}

/* What the lane has brought and its end has not acknowledged. */
static uint64_t unsaid_bytes(const struct lane *l)
{
	int unsent = sock_unsent_bytes(l->to->fd);

	return l->rest.len + (l->pipe ? l->pipe->len_bytes : 0) +
	       (unsent > 0 ? (uint64_t)unsent : 0);
}

/* As long as that moves, the end is alive, though nothing is read or written here. */
static bool is_unsaid(struct flow *f, uint64_t left)
{
	if (left != f->unsaid_bytes)
		f->active_ms = loop_now_ms(&f->worker->loop);
	f->unsaid_bytes = left;
	return left > 0;
}

/* One end is dead: bring what it had sent to the other, then reset that. */
static void last_words(struct flow *f)
{
	struct lane *l = f->dead == &f->client ? &f->up : &f->down;
	int error = 0;

	switch (lane_pump(l, &f->worker->tools, BUDGET_BYTES, &error)) {
	case LANE_BUSY:
		flow_defer(f);
		return;
	case LANE_WAITS:
		break; /* for the other end, or there is nothing more to read */
	case LANE_ENDED:
	case LANE_READ_FAILED:
		break;
	case LANE_WRITE_FAILED: /* both are dead */
	case LANE_ENDED_BY_FILTER:
	case LANE_HELD_TOO_MUCH:
	case LANE_NO_MEMORY:
		flow_close(f, f->why);
		return;
	}
	if (is_unsaid(f, unsaid_bytes(l)))
		flow_set_timer(f, RESET_POLL_MS);
	else
		flow_close(f, f->why);
}

static void end_died(struct flow *f, struct end *dead, int error)
{
	dead->failed = dead->hup = dead->readable = true;
	f->dead = dead;
	f->why = why_dead(f, dead, error);
	f->active_ms = loop_now_ms(&f->worker->loop);
	f->up.paused = !f->learned; /* what nobody has looked at does not go on */
	f->down.paused = false;
	last_words(f);
}

/* True: the flow goes on with both ends alive. */
static bool lane_went(struct flow *f, struct lane *l, enum lane_result r, int error)
{
	switch (r) {
	case LANE_WAITS:
		return true;
	case LANE_ENDED:
		return true;
	case LANE_BUSY:
		flow_defer(f);
		return true;
	case LANE_READ_FAILED:
		end_died(f, l->from, error);
		return false;
	case LANE_WRITE_FAILED:
		end_died(f, l->to, error);
		return false;
	case LANE_ENDED_BY_FILTER:
		flow_close(f, WHY_FILTER);
		return false;
	case LANE_HELD_TOO_MUCH:
		flow_close(f, WHY_HELD);
		return false;
	case LANE_NO_MEMORY:
		flow_close(f, WHY_INTERNAL);
		return false;
	}
	return false;
}

/* An end that had finished speaking can still be reset; no read will tell. */
static struct end *died_in_silence(struct flow *f)
{
	if (f->client.failed && f->up.read_end)
		return &f->client;
	if (f->server.failed && f->down.read_end)
		return &f->server;
	return NULL;
}

/* Note that @n bytes have moved. */
static void moved(struct flow *f, uint64_t n)
{
	atomic_ullong *sum = &f->worker->moved;

	f->active_ms = loop_now_ms(&f->worker->loop);
	atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static void finish_lane(struct flow *f, struct lane *l)
{
	if (l->finished)
		return;
	lane_finish(l);
	if (!f->holding)
		flow_set_timer(f, f->snapshot->timeouts.half_closed_ms);
}

/* Has the end been said?  Closing a socket says it; what a layer says may have to wait. */
static bool is_told(struct lane *l)
{
	struct stream *top = l->to->top;

	if (!top->ops->flush)
		return true;
	if (!l->finished)
		lane_finish(l);
	return stream_flush(top) != -EAGAIN;
}

static void raw_upgrade(struct flow *f)
{
	void (*apply)(struct flow *f) = f->upgrade;

	if (!lane_is_drained(&f->up) || !lane_is_drained(&f->down))
		return;
	f->upgrade = NULL;
	f->down.paused = false;
	f->up.paused = !f->learned;
	apply(f);
	if (!flow_is_closed(f))
		flow_defer(f);
}

static void raw_relay(struct flow *f)
{
	struct lane_tools *t = &f->worker->tools;
	uint64_t before = f->up.bytes + f->down.bytes;
	enum lane_result up, down;
	struct end *silent = NULL;
	int error = 0;

	if (!f->learned && !f->upgrade)
		flow_learn(f);
	if (flow_is_closed(f))
		return;
	if (!f->dead)
		silent = died_in_silence(f);
	if (silent)
		end_died(f, silent, sock_take_error(silent->fd));
	else if (f->dead)
		last_words(f);
	if (f->dead)
		return;
	up = lane_pump(&f->up, t, BUDGET_BYTES, &error);
	if (!lane_went(f, &f->up, up, error))
		return;
	if (!f->learned && !f->upgrade && lane_is_drained(&f->up) && end_can_read(&f->client))
		flow_defer(f); /* the lane had been full: learning can go on now */
	down = lane_pump(&f->down, t, BUDGET_BYTES, &error);
	if (!lane_went(f, &f->down, down, error))
		return;
	if (f->up.read_end)
		flow_end_over(f, &f->client);
	if (f->down.read_end)
		flow_end_over(f, &f->server);
	if (!f->announced && f->decision.final && (f->learned || f->down.bytes))
		flow_announce(f);
	if (f->up.bytes + f->down.bytes != before)
		moved(f, f->up.bytes + f->down.bytes - before);
	if (up == LANE_ENDED && down == LANE_ENDED && is_told(&f->up) && is_told(&f->down)) {
		flow_close(f, WHY_FINISHED);
		return;
	}
	if (up == LANE_ENDED)
		finish_lane(f, &f->up);
	if (down == LANE_ENDED)
		finish_lane(f, &f->down);
	if (f->upgrade)
		raw_upgrade(f);
}

/* The first time-out is for the observer: a flow in which nobody says anything that could be
 * named is announced all the same.  It finds how long to wait for the next. */
static void raw_open(struct flow *f)
{
	const struct timeouts *t = &f->snapshot->timeouts;

	flow_set_timer(f, t->sniff_ms < t->idle_ms ? t->sniff_ms : t->idle_ms);
}

static void raw_timeout(struct flow *f)
{
	bool half = f->up.finished || f->down.finished;
	uint32_t limit_ms = half ? f->snapshot->timeouts.half_closed_ms
				 : f->snapshot->timeouts.idle_ms;
	uint64_t quiet_ms;

	if (!f->dead)
		(void)is_unsaid(f, unsaid_bytes(&f->up) + unsaid_bytes(&f->down));
	quiet_ms = loop_now_ms(&f->worker->loop) - f->active_ms;
	if (f->dead) {
		if (quiet_ms >= RESET_DRAIN_MS)
			flow_close(f, f->why);
		else
			last_words(f);
		return;
	}
	if (f->decision.final)
		flow_announce(f);
	if (quiet_ms >= limit_ms)
		flow_close(f, half ? WHY_HALF_CLOSED : WHY_IDLE);
	else
		flow_set_timer(f, (uint32_t)(limit_ms - quiet_ms));
}

const struct proto_ops raw_proto_ops = {
	.name = "raw",
	.open = raw_open,
	.relay = raw_relay,
	.timeout = raw_timeout,
};
