/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  race.c says what to do, resolve.c answers, source.c connects; this ties
 * them to a flow.  Each address is put to policy as the target before it is tried, so that a rule
 * about destinations is as true for names as it is for addresses.  Those that policy refuses are
 * skipped; those about which it needs to hear the client are asked about again whenever the flow
 * runs.
 *
 * The sockets of attempts have watches of their own.  The one that connects first becomes the
 * server's end and gets the flow's watch; the others are closed.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/flow.h"
#include "core/listener.h"
#include "core/worker.h"
#include "dial/eyeballs.h"
#include "dial/race.h"
#include "dial/resolve.h"
#include "dial/source.h"
#include "sys/route.h"
#include "sys/sock.h"

/**
 * struct attempt - one connection being made
 * @fd:		-1: none
 * @ready:	what the loop has reported
 * @made:	how limpid finds its own connections when they come back
 */
struct attempt {
	struct watch watch;
	struct flow *flow;
	int fd;
	uint32_t ready;
	struct addr target;
	struct plan plan;
	struct own_end *made;
	enum source_got source_got;
};

/**
 * struct eyeballs - f->dialer_state
 * @refused:	what policy said of an address that it refuses (reject goes before deny); not
 *		.final: it refused none
 * @error:	why attempts have failed; 0: none has
 * @lookup_error: why there is no address of a family, the worse of both
 * @plan:	how to connect to each address; NULL: the name is the target's, and policy says
 * @by_proxy:	policy says: through a proxy
 */
struct eyeballs {
	struct flow *flow;
	struct race race;
	struct lookup lookup_v6, lookup_v4;
	struct timer timer;
	struct attempt attempts[RACE_ATTEMPTS];
	struct decision refused;
	int error, lookup_error;
	const char *name;
	uint16_t port;
	const struct plan *plan;
	bool by_proxy;
};

static struct loop *loop_of(const struct eyeballs *e)
{
	return &e->flow->worker->loop;
}

static uint64_t now_ms(const struct eyeballs *e)
{
	return loop_now_ms(loop_of(e));
}

/* Errors that say less than any other would. */
static bool is_mild(int error)
{
	return error == -ENETUNREACH || error == -EADDRNOTAVAIL || error == -EINVAL ||
	       error == -ELOOP;
}

static void note_error(struct eyeballs *e, int error)
{
	if (!e->error || is_mild(e->error))
		e->error = error;
}

/* ---- answers ---- */

/* Can the source address that @plan asks for be had towards @a? */
static bool is_wanted(const struct flow *f, const struct plan *plan, const struct addr *a)
{
	return plan->source == SOURCE_OWN || a->family == f->facts.client.family;
}

static void take_answer(struct eyeballs *e, const struct answer *answer)
{
	struct flow *f = e->flow;
	struct destination list[ADDRESSES_MAX];

	for (unsigned int i = 0; i < answer->n; i++) {
		struct destination *d = &list[i];

		*d = (struct destination){ .addr = answer->addrs[i] };
		d->addr.port = e->port;
		d->wanted = is_wanted(f, &f->plan, &d->addr);
		(void)route_source(&d->addr, f->snapshot->mark, &d->source);
	}
	if (answer->n)
		f->resolving = false;
	else if (!e->lookup_error || e->lookup_error == -ENODATA || e->lookup_error == -ENOENT)
		e->lookup_error = answer->error;
	race_answered(&e->race, list, answer->n, now_ms(e));
}

static void on_answer_v6(struct lookup *l, const struct answer *answer)
{
	struct eyeballs *e = container_of(l, struct eyeballs, lookup_v6);

	take_answer(e, answer);
	flow_run(e->flow);
}

static void on_answer_v4(struct lookup *l, const struct answer *answer)
{
	struct eyeballs *e = container_of(l, struct eyeballs, lookup_v4);

	take_answer(e, answer);
	flow_run(e->flow);
}

static void ask(struct eyeballs *e, uint8_t family, struct lookup *l)
{
	struct flow *f = e->flow;
	struct answer answer;

	if (resolve_ask(f->worker, e->name, family, l, &answer))
		take_answer(e, &answer);
}

/* ---- attempts ---- */

static void attempt_on_ready(struct watch *w, uint32_t ready)
{
	struct attempt *a = container_of(w, struct attempt, watch);

	a->ready |= ready;
	flow_run(a->flow);
}

/* Return: false, it was a connection to limpid itself. */
static bool attempt_close(struct eyeballs *e, struct attempt *a)
{
	bool looped = flow_attempt_forget(e->flow, TAKE_PTR(a->made));

	loop_forget(loop_of(e), &a->watch);
	sock_close_reset(a->fd);
	a->fd = -1;
	return !looped;
}

static int attempt_begin(struct eyeballs *e, const struct destination *d, const struct plan *plan)
{
	struct attempt *a = e->attempts;
	int r;

	while (a->fd >= 0) /* the race knows how many there may be */
		a++;
	e->flow->plan = *plan;
	flow_attempt_begin(e->flow);
	a->fd = source_connect(e->flow, &d->addr, plan, &a->source_got);
	r = flow_attempt_end(e->flow, a->fd, &d->addr, &a->made);
	if (a->fd < 0) {
		r = a->fd;
		a->fd = -1;
		return r;
	}
	a->ready = 0;
	a->target = d->addr;
	a->plan = *plan;
	if (!r)
		r = loop_watch(loop_of(e), &a->watch, a->fd);
	if (r < 0)
		attempt_close(e, a);
	return r;
}

/* What policy says to @a. */
static enum target_answer ask_target(const struct eyeballs *e, const struct addr *a,
				     struct decision *ret)
{
	const struct realm *realm = e->flow->worker->realm;

	if (!e->plan)
		return flow_ask_target(e->flow, a, ret);
	*ret = (struct decision){ .plan = *e->plan };
	return listeners_include(realm->listeners, realm->n_listeners, a) ? TARGET_LOOP
									  : TARGET_ACCEPTED;
}

/* One more address, if policy lets the flow go there. */
static void try(struct eyeballs *e, struct destination *d)
{
	struct decision decision;
	int r = -ELOOP;

	switch (ask_target(e, &d->addr, &decision)) {
	case TARGET_OPEN:
		d->open = true;
		race_put_back(&e->race, d);
		flow_hear(e->flow);
		return;
	case TARGET_REFUSED:
		e->flow->worker->stats.addresses_refused++;
		if (!e->refused.final || e->refused.verdict == VERDICT_DENY)
			e->refused = decision;
		return;
	case TARGET_ACCEPTED:
		if (d->wanted && !is_wanted(e->flow, &decision.plan, &d->addr)) {
			d->wanted = false; /* not before the plan was known */
			race_put_back(&e->race, d);
			return;
		}
		if (decision.plan.via && !e->plan) {
			flow_set_target(e->flow, &d->addr, &decision.plan);
			e->by_proxy = true;
			return;
		}
		r = attempt_begin(e, d, &decision.plan);
		break;
	case TARGET_LOOP:
		break;
	}
	if (r < 0)
		note_error(e, r);
	else
		race_begun(&e->race, d, now_ms(e));
}

/* No address is left. */
static int lost(struct eyeballs *e)
{
	struct flow *f = e->flow;
	int error = e->lookup_error;

	if (e->error)
		return e->error;
	if (e->refused.final) {
		struct decision d = e->refused;

		flow_refuse_target(f, &d); /* frees @e */
		return -EAGAIN;
	}
	if (error == -ENOBUFS || error == -ENOMEM)
		return error;
	f->why = error == -ENOENT || error == -ENODATA ? WHY_NAME_UNKNOWN : WHY_NAME_FAILED;
	return -ECANCELED;
}

static int step(struct eyeballs *e)
{
	struct destination d;
	uint64_t until_ms;

	race_reconsider(&e->race);
	for (;;) {
		switch (race_step(&e->race, now_ms(e), &d, &until_ms)) {
		case RACE_TRY:
			try(e, &d);
			if (e->by_proxy)
				return -EREMCHG;
			break;
		case RACE_LOST:
			return lost(e);
		case RACE_WAIT:
			if (until_ms == UINT64_MAX)
				timer_cancel(&loop_of(e)->timers, &e->timer);
			else
				timer_set(&loop_of(e)->timers, &e->timer, until_ms - now_ms(e));
			return -EAGAIN;
		}
	}
}

static void on_timer(struct timer *t)
{
	flow_run(container_of(t, struct eyeballs, timer)->flow);
}

/* ---- from begin to end ---- */

struct eyeballs *eyeballs_new(struct flow *f, const char *name, uint16_t port,
			      const struct plan *plan)
{
	struct eyeballs *e = NEW0(struct eyeballs);

	if (!e)
		return NULL;
	e->flow = f;
	e->name = name;
	e->port = port;
	e->plan = plan;
	for (unsigned int i = 0; i < RACE_ATTEMPTS; i++)
		e->attempts[i] =
			(struct attempt){ .watch.on_ready = attempt_on_ready, .flow = f, .fd = -1 };
	race_init(&e->race, f->plan.source == SOURCE_OWN ? 0 : f->facts.client.family);
	lookup_init(&e->lookup_v6, on_answer_v6);
	lookup_init(&e->lookup_v4, on_answer_v4);
	timer_init(&e->timer, on_timer);
	return e;
}

int eyeballs_begin(struct eyeballs *e)
{
	int r;

	ask(e, 6, &e->lookup_v6);
	ask(e, 4, &e->lookup_v4);
	r = step(e);
	return r == -EAGAIN ? 0 : r;
}

void eyeballs_free(struct eyeballs *e)
{
	if (!e)
		return;
	lookup_cancel(&e->lookup_v6);
	lookup_cancel(&e->lookup_v4);
	timer_cancel(&loop_of(e)->timers, &e->timer);
	for (unsigned int i = 0; i < RACE_ATTEMPTS; i++)
		if (e->attempts[i].fd >= 0)
			attempt_close(e, &e->attempts[i]);
	free(e);
}

/* @a is connected: it becomes the server's end. */
static int win(struct eyeballs *e, struct attempt *a)
{
	struct flow *f = e->flow;
	int fd = a->fd, r;

	a->fd = -1;
	f->server.fd = fd;
	(void)flow_attempt_forget(f, f->made); /* of a served flow's last server */
	f->made = TAKE_PTR(a->made);
	loop_unwatch(loop_of(e), &a->watch, fd);
	r = loop_watch(loop_of(e), &f->server.watch, fd);
	if (r < 0)
		return r;
	sock_connected(fd, a->target.family);
	end_note(&f->server, a->ready);
	f->source_got = a->source_got;
	if (!e->plan)
		flow_set_target(f, &a->target, &a->plan);
	return 0;
}

/* Return: 0, connected; -EAGAIN, nothing yet; another -errno, failed. */
static int attempt_state(const struct attempt *a)
{
	int r;

	if (a->ready & READY_ERR) {
		r = sock_take_error(a->fd);
		/* it was there, and what it had sent before it reset is still to be read */
		if (r == -ECONNRESET || r == -EPIPE)
			return 0;
		return r < 0 ? r : -ECONNRESET;
	}
	return a->ready & READY_OUT ? 0 : -EAGAIN;
}

int eyeballs_step(struct eyeballs *e)
{
	for (unsigned int i = 0; i < RACE_ATTEMPTS; i++) {
		struct attempt *a = &e->attempts[i];
		int r = a->fd < 0 ? -EAGAIN : attempt_state(a);

		if (!r)
			return win(e, a);
		if (r == -EAGAIN)
			continue;
		note_error(e, attempt_close(e, a) ? r : -ELOOP);
		race_failed(&e->race, now_ms(e));
	}
	return step(e);
}

/* ---- the dialer of targets ---- */

static void eyeballs_forget(struct flow *f)
{
	struct eyeballs *e = f->dialer_state;

	f->dialer_state = NULL;
	eyeballs_free(e);
}

static int eyeballs_dial(struct flow *f)
{
	struct eyeballs *e = eyeballs_new(f, f->facts.target_name, f->facts.target.port, NULL);

	if (!e)
		return -ENOMEM;
	f->dialer_state = e;
	f->resolving = true;
	return eyeballs_begin(e); /* which may free it, when policy refuses every address */
}

static int eyeballs_dialled(struct flow *f)
{
	int r = eyeballs_step(f->dialer_state);

	if (!r)
		eyeballs_forget(f);
	return r;
}

const struct dialer_ops eyeballs_dialer_ops = {
	.name = "eyeballs",
	.dial = eyeballs_dial,
	.dialled = eyeballs_dialled,
	.forget = eyeballs_forget,
	.leave = resolve_leave,
};
