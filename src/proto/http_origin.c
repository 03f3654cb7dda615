/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  A connection to a server outlives the request it was dialled for.  It is
 * watched all the time, by a watch of its own: while it waits, anything to be read means that the
 * server closes it, or says something that nobody asked for, and it is closed.  (An event alone
 * does not: it may be about bytes that were read in the same round, on an event of the client.)
 * What is left is the race between that event and the next request; whoever uses a connection
 * that has waited must be ready to send the request again.  Who cannot takes none that has waited
 * for long, and it is looked at once more: the event may be one of the same round.
 *
 * Each thread has its own.  A connection serves whoever asks for the same target with the same
 * plan; one with a client's source address serves that client alone, and one by which a client has
 * logged in (NTLM and Negotiate are about connections, not requests) that client's connection.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/own_ends.h"
#include "core/via.h"
#include "core/worker.h"
#include "proto/http_origin.h"

/* Short enough that servers, which wait for seconds, rarely close it first. */
#define YOUNG_MS 1000

/**
 * struct origins - those of one thread that wait; worker->proto_state
 * @timer:	for the one that has waited for longest
 * @n_owned:	how many of the @n have an owner
 */
struct origins {
	struct map map;
	struct list waiting;
	struct timer timer;
	struct worker *worker;
	unsigned int n, n_owned;
};

static bool is_silent(struct origin *o)
{
	uint8_t byte;

	return !o->end.hup && !o->end.failed && stream_read(o->end.top, &byte, 1) == -EAGAIN;
}

static void origin_on_ready(struct watch *w, uint32_t ready)
{
	struct origin *o = container_of(w, struct origin, end.watch);

	end_note(&o->end, ready);
	if (o->flow)
		flow_run(o->flow);
	else if ((ready & ~(uint32_t)READY_OUT) && !is_silent(o))
		origin_close(o, true);
}

static uint64_t hash_of(const struct origins *p, const char *name, const struct addr *target)
{
	return name ? map_hash_text(&p->map, name, target->port)
		    : map_hash_addr(&p->map, target, 0);
}

static void on_timer(struct timer *t)
{
	struct origins *p = container_of(t, struct origins, timer);
	uint32_t limit_ms = p->worker->realm->snapshot->timeouts.keep_alive_ms;
	uint64_t now_ms = loop_now_ms(&p->worker->loop);

	while (!list_empty(&p->waiting)) {
		struct origin *o = list_entry(p->waiting.next, struct origin, link);

		if (now_ms < o->since_ms + limit_ms) {
			timer_set(&p->worker->loop.timers, t, o->since_ms + limit_ms - now_ms);
			return;
		}
		origin_close(o, true);
	}
}

static struct origins *origins_of(struct worker *w)
{
	struct origins *p = w->proto_state;

	if (p)
		return p;
	p = NEW0(struct origins);
	if (!p)
		return NULL;
	map_init(&p->map, (uint64_t)(uintptr_t)p ^ loop_now_ms(&w->loop) * 0x9e3779b97f4a7c15);
	list_init(&p->waiting);
	timer_init(&p->timer, on_timer);
	p->worker = w;
	w->proto_state = p;
	return p;
}

static void stop_waiting(struct origins *p, struct origin *o)
{
	map_del(&p->map, &o->node);
	list_del(&o->link);
	p->n--;
	p->n_owned -= o->owner != 0;
}

/* May @f have it?  Sets the flow's target to its address. */
static bool fits(const struct origin *o, struct flow *f, const struct plan *plan)
{
	const struct facts *facts = &f->facts;
	struct decision d = { 0 };

	if (!!o->name != !!facts->target_name || o->target.port != facts->target.port)
		return false;
	if (o->plan.source != SOURCE_OWN && !addr_ip_eq(&o->client, &facts->client))
		return false;
	if ((o->plan.proxy_header || via_names_client(o->plan.via)) &&
	    !addr_eq(&o->client, &facts->client))
		return false; /* its server has been told of another client */
	if (!o->name)
		return addr_eq(&o->target, &facts->target) && plan_eq(&o->plan, plan);
	if (strcmp(o->name, facts->target_name) ||
	    flow_ask_target(f, &o->target, &d) != TARGET_ACCEPTED || !plan_eq(&o->plan, &d.plan))
		return false;
	f->decision = d;
	return true;
}

static struct origin *look_up(struct origins *p, struct flow *f, const struct plan *plan,
			      uint64_t since_ms, uint64_t owner)
{
	struct map_node *n = map_first(&p->map, hash_of(p, f->facts.target_name, &f->facts.target));

	for (; n; n = map_next(n)) {
		struct origin *o = map_entry(n, struct origin, node);

		if (o->owner == owner && o->since_ms + YOUNG_MS >= since_ms && fits(o, f, plan))
			return o;
	}
	return NULL;
}

struct origin *origin_take(struct flow *f, const struct plan *plan, bool young)
{
	struct origins *p = f->worker->proto_state;
	uint64_t since_ms = young ? loop_now_ms(&f->worker->loop) : 0;
	struct origin *o;

	if (!p || !p->n)
		return NULL;
	for (;;) {
		o = p->n_owned ? look_up(p, f, plan, 0, f->id) : NULL;
		if (!o)
			o = look_up(p, f, plan, since_ms, 0);
		if (!o)
			return NULL;
		if (!young || is_silent(o))
			break;
		origin_close(o, true);
	}
	stop_waiting(p, o);
	o->flow = f;
	o->reused = true;
	f->source_got = o->source_got;
	flow_set_target(f, &o->target, &o->plan);
	return o;
}

struct origin *origin_adopt(struct flow *f)
{
	struct loop *loop = &f->worker->loop;
	struct origin *o = NEW0(struct origin);

	if (o && f->facts.target_name)
		o->name = strdup(f->facts.target_name);
	if (!o || (f->facts.target_name && !o->name)) {
		free(o);
		end_close(&f->server, true);
		return NULL;
	}
	loop_unwatch(loop, &f->server.watch, f->server.fd);
	list_init(&o->link);
	o->worker = f->worker;
	o->flow = f;
	o->target = f->facts.target;
	o->plan = f->plan;
	o->source_got = f->source_got;
	o->client = f->facts.client;
	o->made = TAKE_PTR(f->made);
	o->end.flow = f;
	o->end.watch.on_ready = origin_on_ready;
	end_move(&o->end, &f->server);
	if (loop_watch(loop, &o->end.watch, o->end.fd) < 0) {
		origin_close(o, true);
		return NULL;
	}
	return o;
}

static void own_end_forget(struct origin *o)
{
	if (o->worker->realm->own_ends)
		own_ends_del(o->worker->realm->own_ends, TAKE_PTR(o->made));
}

void origin_close(struct origin *o, bool orderly)
{
	if (!o->flow && !list_empty(&o->link))
		stop_waiting(o->worker->proto_state, o);
	own_end_forget(o);
	end_close(&o->end, orderly);
	loop_forget(&o->worker->loop, &o->end.watch);
	free(o->name);
	free(o);
}

void origin_give(struct origin *o)
{
	struct worker *w = o->worker;
	struct origins *p = origins_of(w);
	unsigned int max = w->realm->snapshot->limits.origins;

	o->flow = NULL;
	if (!p || !max || o->end.hup || o->end.failed || w->draining ||
	    map_add(&p->map, &o->node, hash_of(p, o->name, &o->target)) < 0) {
		origin_close(o, true);
		return;
	}
	o->since_ms = loop_now_ms(&w->loop);
	list_add_tail(&p->waiting, &o->link);
	p->n_owned += o->owner != 0;
	if (!p->n++)
		timer_set(&w->loop.timers, &p->timer, w->realm->snapshot->timeouts.keep_alive_ms);
	if (p->n > max)
		origin_close(list_entry(p->waiting.next, struct origin, link), true);
}

void origins_disown(struct flow *f)
{
	struct origins *p = f->worker->proto_state;
	struct list *l, *next;

	if (!p || !p->n_owned)
		return;
	list_for_each(l, next, &p->waiting) {
		struct origin *o = list_entry(l, struct origin, link);

		if (o->owner == f->id)
			origin_close(o, true);
	}
}

int origin_return(struct origin *o, struct flow *f)
{
	struct loop *loop = &o->worker->loop;
	int r;

	loop_unwatch(loop, &o->end.watch, o->end.fd);
	end_move(&f->server, &o->end);
	f->made = TAKE_PTR(o->made);
	r = loop_watch(loop, &f->server.watch, f->server.fd);
	loop_forget(loop, &o->end.watch);
	free(o->name);
	free(o);
	return r;
}

void origins_leave(struct worker *w)
{
	struct origins *p = w->proto_state;

	while (!list_empty(&p->waiting))
		origin_close(list_entry(p->waiting.next, struct origin, link), true);
	timer_cancel(&w->loop.timers, &p->timer);
	map_done(&p->map);
	free(p);
	w->proto_state = NULL;
}
