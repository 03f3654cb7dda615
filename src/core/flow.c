/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A flow is a few named steps (enum phase), taken by flow_run() whenever
 * anything happened to either end: learn -> decide -> dial -> open -> relay.  Learning and
 * dialling run beside each other as soon as policy allows it: a client that stays silent then
 * hears at once a server that speaks first.
 *
 * Everything that can end a flow ends in flow_close() with the one reason for it.  A closed
 * flow stays readable until the end of the loop's round, so callers check flow_is_closed()
 * after any call that may close and otherwise need no care.
 */
#include <errno.h>
#include <time.h>

#include "core/flow.h"
#include "core/listener.h"
#include "core/names.h"
#include "core/users.h"
#include "core/via.h"
#include "core/worker.h"
#include "sys/sock.h"

static void on_timer(struct timer *t);
static void dial_start(struct flow *f, const struct plan *plan);

static void end_on_ready(struct watch *w, uint32_t ready)
{
	struct end *e = container_of(w, struct end, watch);
	struct flow *f = e->flow;

	if (flow_is_closed(f)) /* by another event of the same round */
		return;
	end_note(e, ready);
	if (f->up.spliced || f->down.spliced) /* bulk: small traffic of others goes first */
		flow_defer(f);
	else
		flow_run(f);
}

static void on_task(struct task *t)
{
	flow_run(container_of(t, struct flow, task));
}

static uint64_t wall_clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

struct flow *flow_new(struct worker *w, const struct listener *l, const struct addr *client)
{
	struct realm *realm = w->realm;
	struct flow *f = pool_get(&w->flow_pool);

	if (!f) {
		w->stats.ended[WHY_INTERNAL]++;
		return NULL;
	}
	f->worker = w;
	f->listener = l;
	f->snapshot = realm->snapshot;
	f->dialer = realm->parts.dialer;
	f->proto = realm->parts.proto;
	f->id = atomic_fetch_add_explicit(&realm->next_flow_id, 1, memory_order_relaxed);
	f->start_us = wall_clock_us();
	f->facts.network = NETWORK_TCP;
	f->facts.listener = l->index;
	f->facts.inside = l->inside;
	f->facts.client = *client;
	end_init(&f->client, f, realm->parts.socket);
	end_init(&f->server, f, realm->parts.socket);
	f->client.watch.on_ready = f->server.watch.on_ready = end_on_ready;
	lane_init(&f->up, &f->client, &f->server);
	lane_init(&f->down, &f->server, &f->client);
	f->up.paused = true;
	timer_init(&f->timer, on_timer);
	task_init(&f->task, on_task);
	list_add_tail(&w->flows, &f->link);
	return f;
}

void flow_start(struct worker *w, const struct listener *l, int fd, const struct addr *client)
{
	struct flow *f = flow_new(w, l, client);

	if (!f) {
		sock_close_reset(fd);
		worker_forget_flow(w);
		return;
	}
	f->client.fd = fd;
	f->client.writable = true;
	if (loop_watch(&w->loop, &f->client.watch, fd) < 0) {
		flow_close(f, WHY_LIMIT);
		return;
	}
	flow_learn_start(f);
	if (f->phase == PHASE_LEARN)
		flow_set_timer(f, f->snapshot->timeouts.sniff_ms);
}

void flow_set_timer(struct flow *f, uint32_t delay_ms)
{
	timer_set(&f->worker->loop.timers, &f->timer, delay_ms);
}

void flow_defer(struct flow *f)
{
	if (!flow_is_closed(f))
		loop_defer(&f->worker->loop, &f->task);
}

void flow_recall_name(struct flow *f)
{
	struct facts *facts = &f->facts;

	if (!facts->host && !facts->target_name && !facts->learnt_name && facts->target.family)
		facts->learnt_name = names_find(f->worker->realm->names,
						names_client(&facts->client, facts->inside),
						&facts->target, loop_now_ms(&f->worker->loop));
}

void flow_announce(struct flow *f)
{
	if (f->announced)
		return;
	f->announced = true;
	/* for the record: policy may have needed nothing, and a host may come */
	flow_recall_name(f);
	f->worker->realm->observer->decided(f->worker, f);
}

void flow_arrive(struct flow *f)
{
	const struct observer *o = f->worker->realm->observer;

	if (f->arrived)
		return;
	f->arrived = true;
	if (o->accepted)
		o->accepted(f->worker, f);
}

void flow_end_over(struct flow *f, const struct end *end)
{
	const struct observer *o = f->worker->realm->observer;
	bool *over = end == &f->client ? &f->client_over : &f->server_over;

	if (*over)
		return;
	*over = true;
	if (o->end_over)
		o->end_over(f->worker, f, end);
}

static void dial_stop(struct flow *f)
{
	if (f->dialer->forget)
		f->dialer->forget(f);
	end_close(&f->server, false);
}

static void serve_dialled(struct flow *f, enum why outcome)
{
	if (outcome != WHY_OPEN)
		dial_stop(f);
	f->phase = PHASE_RELAY;
	f->active_ms = loop_now_ms(&f->worker->loop);
	f->proto->dialled(f, outcome);
}

/* @narrowed: it had been accepted before. */
static void refuse(struct flow *f, bool narrowed)
{
	/* nothing but a name that may stand further on could have helped */
	bool full = f->look_full && !f->decision.rule && !f->facts.host &&
		    f->facts.protocol != PROTOCOL_OTHER;

	if (f->served) { /* every address of a request's name */
		serve_dialled(f, f->decision.verdict == VERDICT_REJECT ? WHY_REJECTED : WHY_DENIED);
		return;
	}
	flow_announce(f);
	if (narrowed) {
		flow_close(f, WHY_NARROWED);
	} else if (f->decision.verdict == VERDICT_REJECT) {
		flow_turn_away(f, WHY_REJECTED);
	} else if (f->greeter) { /* who knows of us is not left waiting */
		flow_turn_away(f, WHY_DENIED);
	} else {
		dial_stop(f);
		f->phase = PHASE_DENY;
		f->why = full ? WHY_LOOK_AHEAD : WHY_DENIED;
		flow_set_timer(f, f->snapshot->timeouts.deny_ms);
	}
}

/* What was decided for want of time is looked at again; it can only be refused. */
static void narrow(struct flow *f, const struct decision *d)
{
	if (d->verdict == VERDICT_ACCEPT)
		return;
	f->decision = *d;
	refuse(f, f->phase != PHASE_LEARN);
}

/* A name goes to a proxy unresolved; as long as rules may still ask for its address, it waits. */
static bool may_dial(const struct flow *f, const struct decision *d)
{
	if (d->dial_early)
		return !d->plan.via || !facts_lack_address(&f->facts);
	return d->final || d->needs_address;
}

void flow_decide(struct flow *f)
{
	bool accepted = f->phase == PHASE_RELAY ||
			(f->phase == PHASE_DIAL && (f->decision.final || f->decision.dial_early));
	struct decision d;

	if (flow_is_greeting(f) || (f->decision.final && !f->settled_by_time))
		return;
	if (f->facts.settled)
		flow_recall_name(f);
	policy_decide(f->snapshot->policy, &f->facts, &d);
	if (f->decision.final) {
		narrow(f, &d);
		return;
	}
	f->decision = d;
	if (d.final && d.verdict != VERDICT_ACCEPT)
		refuse(f, accepted);
	else if (may_dial(f, &d) && f->phase == PHASE_LEARN)
		dial_start(f, &d.plan);
	else if (f->phase == PHASE_DIAL && facts_lack_address(&f->facts))
		flow_defer(f); /* of addresses that had to wait, some may be dialled now */
}

void flow_refuse_target(struct flow *f, const struct decision *d)
{
	f->decision = *d;
	refuse(f, false);
}

static void dial_failed(struct flow *f, int error)
{
	enum why why = flow_why_not_dialled(f, error);

	f->dial_error = error;
	if (f->dialer->forget) /* who is told why lives on for a moment */
		f->dialer->forget(f);
	if (f->served)
		serve_dialled(f, why);
	else
		flow_turn_away(f, why);
}

/* The target's address is known now, and is to be reached through a proxy. */
static int dial_proxy(struct flow *f)
{
	int r;

	f->dialer->forget(f);
	f->resolving = false;
	f->dialer = f->worker->realm->parts.proxy_dialer;
	r = flow_dial(f);
	if (!r && end_is_open(&f->server))
		r = loop_watch(&f->worker->loop, &f->server.watch, f->server.fd);
	return r;
}

static void dial_start(struct flow *f, const struct plan *plan)
{
	const struct realm *realm = f->worker->realm;
	int r;

	flow_set_target(f, &f->facts.target, plan);
	if (f->facts.bind)
		f->dialer = realm->parts.accept_dialer;
	else if (plan->via && !(facts_lack_address(&f->facts) && via_is_header(plan->via)))
		f->dialer = realm->parts.proxy_dialer;
	else if (facts_lack_address(&f->facts)) /* headers name addresses */
		f->dialer = realm->parts.name_dialer;
	if (!f->dialer || (!f->facts.target.family && !f->facts.target_name)) {
		f->dialer = realm->parts.dialer;
		flow_turn_away(f, WHY_NO_TARGET);
		return;
	}
	f->phase = PHASE_DIAL;
	if (f->facts.target.family && !plan->via && !f->facts.bind &&
	    listeners_include(realm->listeners, realm->n_listeners, &f->facts.target)) {
		dial_failed(f, -ELOOP);
		return;
	}
	if (realm->observer->dialling)
		realm->observer->dialling(f->worker, f);
	f->holding = f->decision.needs_address && !f->served && !f->facts.bind;
	r = flow_dial(f);
	if (f->phase != PHASE_DIAL) /* policy refuses every address */
		return;
	if (!r && end_is_open(&f->server))
		r = loop_watch(&f->worker->loop, &f->server.watch, f->server.fd);
	if (r == -EREMCHG)
		r = dial_proxy(f);
	if (r < 0)
		dial_failed(f, r);
	else
		flow_set_timer(f, f->holding	  ? f->snapshot->timeouts.sniff_ms
				  : f->facts.bind ? f->snapshot->timeouts.bind_ms
						  : f->snapshot->timeouts.connect_ms);
}

void flow_forget_server(struct flow *f)
{
	const struct realm *realm = f->worker->realm;

	loop_forget(&f->worker->loop, &f->server.watch);
	end_init(&f->server, f, realm->parts.socket);
	f->server.watch.on_ready = end_on_ready;
	f->dialer = realm->parts.dialer;
}

void flow_serve_dial(struct flow *f, const struct plan *plan)
{
	flow_forget_server(f);
	dial_start(f, plan);
}

static void relay_open(struct flow *f)
{
	const struct observer *o = f->worker->realm->observer;

	f->holding = false;
	if (f->plan.proxy_header && !f->facts.bind && flow_introduce(f) < 0) {
		flow_close(f, WHY_INTERNAL);
		return;
	}
	if (f->served) {
		serve_dialled(f, WHY_OPEN);
		return;
	}
	f->phase = PHASE_RELAY;
	f->active_ms = loop_now_ms(&f->worker->loop);
	if (flow_answer(f, WHY_OPEN) < 0) {
		flow_close(f, WHY_CLIENT_RESET);
		return;
	}
	if (o->opened)
		o->opened(f->worker, f);
	flow_hear_names(f);
	if (flow_intercept(f) < 0) {
		flow_close(f, WHY_FILTER);
		return;
	}
	f->proto->open(f);
	if (!flow_is_closed(f))
		flow_hand_on(f);
	if (!flow_is_closed(f))
		f->proto->relay(f);
}

static void run_dial(struct flow *f)
{
	int r = f->dialer->dialled(f);

	if (f->phase != PHASE_DIAL) /* policy refuses every address */
		return;
	if (r == -EREMCHG) {
		r = dial_proxy(f);
		if (!r)
			return;
	}
	if (!r && !f->made && !f->plan.via && !f->facts.bind && flow_goes_round(f))
		r = -ELOOP;
	if (!r) {
		if (f->facts.target_name) /* now there is an address */
			flow_decide(f);
		if (f->phase == PHASE_DIAL && flow_awaits_client(f))
			flow_knock_let_go(f);
		else if (f->phase == PHASE_DIAL)
			relay_open(f);
		return;
	}
	if (r != -EAGAIN) {
		dial_failed(f, r);
		return;
	}
	if (f->client.failed || (f->facts.bind && f->client.hup))
		flow_close(f, WHY_CLIENT_GONE);
	else if (!f->served)
		flow_learn(f);
}

void flow_client_came(struct flow *f)
{
	if (end_is_open(&f->server)) {
		relay_open(f);
		return;
	}
	f->phase = PHASE_LEARN;
	flow_set_timer(f, f->snapshot->timeouts.sniff_ms);
}

void flow_run(struct flow *f)
{
	switch (f->phase) {
	case PHASE_LEARN:
		flow_learn(f);
		return;
	case PHASE_DIAL:
		run_dial(f);
		return;
	case PHASE_RELAY:
		f->proto->relay(f);
		return;
	case PHASE_AWAIT: /* what the server says waits in the kernel */
		return;
	case PHASE_DENY:
		if (f->client.hup)
			flow_close(f, f->why);
		return;
	case PHASE_FAREWELL:
		flow_run_farewell(f);
		return;
	case PHASE_CLOSED:
		return;
	}
}

/* Nobody waits any longer for what the client might say first. */
static void settle(struct flow *f)
{
	if (f->phase == PHASE_LEARN) {
		flow_learn_late(f);
		if (f->phase != PHASE_LEARN)
			return;
	}
	if (flow_is_greeting(f)) {
		flow_turn_away(f, f->opening ? WHY_CLIENT_TLS : WHY_NO_TARGET);
		return;
	}
	f->facts.settled = true;
	f->settled_by_time = true;
	flow_decide(f);
}

static void dial_timeout(struct flow *f)
{
	if (f->holding) { /* until now it waited for the client, too */
		f->holding = false;
		if (!f->facts.settled)
			settle(f);
		if (f->phase == PHASE_DIAL)
			flow_set_timer(f, f->snapshot->timeouts.connect_ms);
		return;
	}
	f->why = f->resolving	 ? WHY_NAME_FAILED
		 : f->facts.bind ? WHY_BIND_TIMEOUT
				 : WHY_CONNECT_TIMEOUT;
	dial_failed(f, f->why == WHY_CONNECT_TIMEOUT ? -ETIMEDOUT : -ECANCELED);
}

static void on_timer(struct timer *t)
{
	struct flow *f = container_of(t, struct flow, timer);

	switch (f->phase) {
	case PHASE_LEARN:
		if (f->login) { /* the client has said what it had to: it is we who are late */
			flow_set_timer(f, f->snapshot->timeouts.sniff_ms);
			return;
		}
		settle(f);
		if (!flow_is_closed(f))
			flow_hand_on(f);
		return;
	case PHASE_DIAL:
		dial_timeout(f);
		return;
	case PHASE_AWAIT:
		flow_close(f, WHY_CLIENT_GONE);
		return;
	case PHASE_RELAY:
		if (f->holding) {
			settle(f);
			if (!flow_is_closed(f))
				flow_hand_on(f);
			if (flow_is_closed(f))
				return;
		}
		f->proto->timeout(f);
		return;
	case PHASE_DENY:
	case PHASE_FAREWELL:
		flow_close(f, f->why);
		return;
	case PHASE_CLOSED:
		return;
	}
}

/* An end whose death ends the flow is over; of an orderly end the proto tells. */
static const struct end *end_of_why(const struct flow *f, enum why why)
{
	if (why == WHY_CLIENT_RESET || why == WHY_CLIENT_LOST || why == WHY_CLIENT_GONE)
		return &f->client;
	if (why == WHY_SERVER_RESET || why == WHY_SERVER_LOST)
		return &f->server;
	return NULL;
}

void flow_close(struct flow *f, enum why why)
{
	struct worker *w = f->worker;
	const struct end *over = end_of_why(f, why);
	bool orderly, stopped = why == WHY_SHUTDOWN;
	bool told = f->phase == PHASE_FAREWELL && f->down.finished;

	if (f->phase == PHASE_CLOSED)
		return;
	if (flow_was_loop(f))
		why = WHY_LOOP;
	orderly = why == WHY_FINISHED;
	f->why = why;
	f->phase = PHASE_CLOSED;
	timer_cancel(&w->loop.timers, &f->timer);
	task_cancel(&f->task);
	if (f->dialer->forget)
		f->dialer->forget(f);
	if (f->proto->forget)
		f->proto->forget(f);
	login_forget(f);
	w->stats.ended[why]++;
	w->stats.bytes_up += f->up.bytes;
	w->stats.bytes_down += f->down.bytes;
	flow_arrive(f);
	if (f->knock)
		flow_knock_closed(f);
	if (over)
		flow_end_over(f, over);
	lane_done(&f->up, &w->tools);
	lane_done(&f->down, &w->tools);
	w->realm->observer->closed(w, f);
	/* who has been given all there will be gets it from the kernel, even after our end */
	end_close(&f->client, orderly || told || (stopped && f->down.finished));
	end_close(&f->server, orderly || (stopped && f->up.finished));
	list_del(&f->link);
	list_add_tail(&w->ended, &f->link);
	worker_forget_flow(w);
}

void flow_free(struct flow *f)
{
	struct worker *w = f->worker;

	if (f->learner_state && f->learner < f->listener->n_learners &&
	    f->listener->learners[f->learner].ops->forget)
		f->listener->learners[f->learner].ops->forget(f);
	atomic_fetch_sub(&w->realm->look_ahead_bytes, f->look.len);
	buf_done(&f->look);
	facts_done(&f->facts);
	list_del(&f->link);
	pool_put(&w->flow_pool, f);
}

void flow_upgrade(struct flow *f, void (*apply)(struct flow *f))
{
	f->upgrade = apply;
	f->up.paused = f->down.paused = true;
	flow_defer(f);
}
