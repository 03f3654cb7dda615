/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Learners look at the client's first bytes in order.  Looking does not
 * consume: the bytes are the first that the up lane is given.  Usually one read holds all that
 * is needed; it is then looked at in the thread's buffer and handed straight to the lane, and
 * nothing is kept.
 *
 * If learners need more, what has come so far is kept in f->look.  While policy cannot decide,
 * nothing of it goes on (a rule may still reject).  Once policy has decided, bytes go on as
 * they come and only a copy is kept for the learner: a flow is never slower to answer than its
 * decision requires.  A client that lets the sniff timer run out is decided upon with what is
 * known; if it says more later, policy is asked again and may only refuse (narrow).
 */
#include <errno.h>

#include "base/mem.h"
#include "core/flow.h"
#include "core/worker.h"

static size_t look_limit(const struct flow *f)
{
	return f->snapshot->limits.look_ahead_bytes;
}

static void look_release(struct flow *f)
{
	if (!f->look.cap)
		return;
	atomic_fetch_sub(&f->worker->realm->look_ahead_bytes, f->look.len);
	buf_done(&f->look);
	f->look_sent = 0;
}

/* Keep @s behind what is kept already: what there was room for, or what a proto had read. */
static int look_keep(struct flow *f, struct span s)
{
	struct realm *realm = f->worker->realm;
	int r;

	if (atomic_fetch_add(&realm->look_ahead_bytes, s.len) + s.len >
	    f->snapshot->limits.look_ahead_total_bytes) {
		atomic_fetch_sub(&realm->look_ahead_bytes, s.len);
		flow_close(f, WHY_LIMIT);
		return -ENOBUFS;
	}
	r = buf_append(&f->look, s, SIZE_MAX);
	if (r < 0) {
		atomic_fetch_sub(&realm->look_ahead_bytes, s.len);
		flow_close(f, WHY_INTERNAL);
	}
	return r;
}

void flow_consume(struct flow *f, size_t n)
{
	f->view = span_skip(f->view, n);
	if (!f->look.len)
		return;
	if (n > f->look.len)
		n = f->look.len;
	atomic_fetch_sub(&f->worker->realm->look_ahead_bytes, n);
	buf_consume(&f->look, n);
	f->view = buf_span(&f->look);
}

int flow_reply(struct flow *f, struct span bytes)
{
	int error = 0;

	switch (lane_offer(&f->down, bytes, &error)) {
	case LANE_WAITS:
	case LANE_BUSY:
	case LANE_ENDED:
		f->down.bytes -= bytes.len; /* it did not come from the server */
		return 0;
	case LANE_READ_FAILED:
	case LANE_WRITE_FAILED:
		return error;
	case LANE_ENDED_BY_FILTER:
	case LANE_HELD_TOO_MUCH:
	case LANE_NO_MEMORY:
		return -ENOMEM;
	}
	return -EINVAL;
}

static void learner_forget(struct flow *f)
{
	const struct learner_ops *ops = f->listener->learners[f->learner].ops;

	if (f->learner_state && ops->forget)
		ops->forget(f);
	f->learner_state = NULL;
}

/* @last: there will be no more bytes to look at. */
static void run_learners(struct flow *f, bool last)
{
	while (f->learner < f->listener->n_learners) {
		const struct learner *l = &f->listener->learners[f->learner];
		enum learn_result r = l->ops->learn(f, l, f->view, last);

		f->opening = r == LEARN_OPENING;
		switch (r) {
		case LEARN_MORE:
			if (!last)
				return;
			learner_forget(f);
			f->learner++;
			break;
		case LEARN_DONE:
			learner_forget(f);
			f->learner++;
			if (f->facts.bind) /* who waits to be connected to says nothing before */
				f->learner = (uint8_t)f->listener->n_learners;
			if (f->served)
				return;
			break;
		case LEARN_AGAIN:
			break;
		case LEARN_OPENING:
			return;
		case LEARN_FAILED:
			if (f->phase != PHASE_FAREWELL)
				flow_close(f, f->why);
			return;
		}
	}
	f->learned = true;
	f->facts.settled = true;
	f->up.paused = false;
}

static void offer(struct flow *f, struct span s)
{
	int error = 0;

	if (!s.len)
		return;
	f->active_ms = loop_now_ms(&f->worker->loop);
	switch (lane_offer(&f->up, s, &error)) {
	case LANE_WAITS:
	case LANE_BUSY:
	case LANE_ENDED:
		break;
	case LANE_READ_FAILED:
	case LANE_WRITE_FAILED: /* the down lane will find out, after what the server had sent */
		f->server.failed = f->server.hup = f->server.readable = true;
		break;
	case LANE_ENDED_BY_FILTER:
		flow_close(f, WHY_FILTER);
		break;
	case LANE_HELD_TOO_MUCH:
		flow_close(f, WHY_HELD);
		break;
	case LANE_NO_MEMORY:
		flow_close(f, WHY_INTERNAL);
		break;
	}
}

static bool may_send(const struct flow *f)
{
	return f->phase == PHASE_RELAY && f->decision.final;
}

void flow_hand_on(struct flow *f)
{
	if (may_send(f)) {
		struct span s = span_skip(buf_span(&f->look), f->look_sent);

		f->look_sent = (uint32_t)f->look.len;
		offer(f, s);
		if (flow_is_closed(f))
			return;
		f->holding = false;
		if (f->learned)
			look_release(f);
	} else if (f->phase == PHASE_DENY) {
		look_release(f);
	} else if (f->phase == PHASE_RELAY && f->look.len && !f->holding) {
		f->holding = true;
		flow_set_timer(f, f->snapshot->timeouts.sniff_ms);
	}
}

/* @fresh, in the thread's buffer, has been looked at and nothing is kept from before. */
static void hand_on_fresh(struct flow *f, struct span fresh)
{
	if (may_send(f))
		offer(f, fresh);
	if (flow_is_closed(f))
		return;
	if (f->phase == PHASE_DENY || (f->learned && may_send(f)))
		return;
	if (!fresh.len || look_keep(f, fresh) < 0)
		return;
	if (may_send(f))
		f->look_sent = (uint32_t)f->look.len;
	else
		flow_hand_on(f);
}

/* Learners have looked at f->view, of which all is in f->look if @kept.  False: nothing more is
 * to be read now. */
static bool learn_went_on(struct flow *f, bool kept)
{
	if (f->served && !flow_is_closed(f)) {
		if (kept || !f->view.len || look_keep(f, f->view) == 0)
			flow_serve_begin(f);
		return false;
	}
	if (!flow_is_over(f))
		flow_decide(f);
	if (f->phase == PHASE_LEARN && !flow_is_greeting(f))
		flow_hear(f);
	if (flow_is_over(f))
		return false;
	if (kept)
		flow_hand_on(f);
	else
		hand_on_fresh(f, f->view);
	f->view = span_of(NULL, 0);
	return !flow_is_closed(f);
}

/* A learner's layer is being opened, and nothing that is for learners has come through it. */
static bool learn_opening(struct flow *f)
{
	f->view = span_of(NULL, 0);
	run_learners(f, false);
	if (f->opening || flow_is_over(f))
		return false;
	flow_decide(f);
	return !flow_is_over(f);
}

/* One read, and what follows from it.  False: nothing to read. */
static bool learn_once(struct flow *f)
{
	struct lane_tools *t = &f->worker->tools;
	size_t room = f->look.len < look_limit(f) ? look_limit(f) - f->look.len : 0;
	bool last = false, kept = f->look.len > 0;
	ssize_t n = 0;

	if (room > t->buffer_bytes)
		room = t->buffer_bytes;
	if (room) {
		n = stream_read(f->client.top, t->buffer, room);
		if (n <= 0 && f->opening)
			return learn_opening(f);
		if (n == -EAGAIN)
			return false;
		if (n < 0) {
			flow_close(f, n == -ETIMEDOUT ? WHY_CLIENT_LOST
				      : n == -EPROTO  ? WHY_CLIENT_TLS
						      : WHY_CLIENT_RESET);
			return false;
		}
		last = !n;
	} else {
		last = true;
	}
	f->view = span_of(t->buffer, (size_t)n);
	if (kept) {
		if (n && look_keep(f, f->view) < 0)
			return false;
		f->view = buf_span(&f->look);
	}
	f->look_full = f->view.len >= look_limit(f);
	run_learners(f, last);
	return learn_went_on(f, kept);
}

/* Is there a reason to read now what the client says first? */
static bool wants_bytes(const struct flow *f)
{
	if (f->learned || f->login || !end_can_read(&f->client))
		return false;
	switch (f->phase) {
	case PHASE_LEARN:
		return true;
	case PHASE_DIAL: /* what policy does not need can wait in the kernel */
		return !f->decision.final;
	case PHASE_RELAY:
		return lane_is_drained(&f->up);
	case PHASE_AWAIT:
	case PHASE_DENY:
	case PHASE_FAREWELL:
	case PHASE_CLOSED:
		return false;
	}
	return false;
}

bool flow_is_greeting(const struct flow *f)
{
	for (unsigned int i = f->learner; i < f->listener->n_learners; i++)
		if (f->listener->learners[i].ops->consumes)
			return true;
	return false;
}

void flow_learn_late(struct flow *f)
{
	const struct learner *l = &f->listener->learners[f->learner];

	if (f->learner >= f->listener->n_learners || !l->ops->consumes || !l->ops->asks_late)
		return;
	f->view = buf_span(&f->look);
	if (l->ops->learn(f, l, f->view, true) == LEARN_FAILED) {
		flow_close(f, f->why);
		return;
	}
	learner_forget(f);
	f->learner++;
	run_learners(f, false);
	(void)learn_went_on(f, f->look.len > 0);
}

void flow_learn_start(struct flow *f)
{
	run_learners(f, false);
	flow_arrive(f);
	if (!flow_is_closed(f) && flow_came_back(f))
		flow_close(f, WHY_LOOP);
	if (flow_is_closed(f))
		return;
	if (f->served) /* without a byte; policy is asked for each request */
		flow_serve_begin(f);
	else
		flow_decide(f);
}

void flow_learn(struct flow *f)
{
	if (f->login && f->client.failed) { /* it does not wait for the answer */
		flow_close(f, WHY_CLIENT_RESET);
		return;
	}
	while (wants_bytes(f) && learn_once(f))
		;
}

void flow_serve_end(struct flow *f, struct span rest)
{
	struct facts known = {
		.network = f->facts.network,
		.listener = f->facts.listener,
		.client = f->facts.client,
		.proxy = TAKE_PTR(f->facts.proxy),
	};
	int r = look_keep(f, rest);

	if (f->proto->forget && !flow_is_closed(f))
		f->proto->forget(f);
	facts_done(&f->facts);
	f->facts = known;
	if (r < 0)
		return;
	flow_forget_server(f);
	f->proto = f->worker->realm->parts.proto;
	f->decision = (struct decision){ 0 };
	f->phase = PHASE_LEARN;
	f->served = f->learned = f->announced = f->answered = false;
	f->up.paused = true;
	f->learner--;
	flow_set_timer(f, f->snapshot->timeouts.sniff_ms);
	flow_learn_again(f);
}

void flow_learn_again(struct flow *f)
{
	if (flow_is_over(f))
		return;
	if (f->served) {
		f->proto->relay(f);
		return;
	}
	f->view = buf_span(&f->look);
	run_learners(f, false);
	if (learn_went_on(f, f->look.len > 0))
		flow_learn(f);
}
