/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  Each worker watches every listening socket, level-triggered and
 * exclusive: the kernel wakes one of those that sleep, and what one does not accept in its
 * turn another may.  The kernel tends to wake the same one, though, and flows never move: a
 * worker that already has clearly more flows than another hands a new client over to it.
 *
 * When descriptors or limits.flows run out the worker stops watching for a while instead of
 * spinning on a socket that stays readable; connections wait in the backlog.
 *
 * Flows are freed at the end of the round in which they closed, so that nobody up the stack
 * holds a pointer to freed memory.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/flow.h"
#include "core/users.h"
#include "core/worker.h"
#include "sys/log.h"
#include "sys/nfqueue.h"
#include "sys/udp.h"
#include "sys/sock.h"

/* Connections accepted before other events get a turn. */
#define ACCEPT_BUDGET 16
#define ACCEPT_PAUSE_MS 100
#define DRAIN_LOOK_MS 250
/* This many flows more than another, and a quarter of one's own, are clearly more. */
#define IMBALANCE 2
#define BUFFER_BYTES ((size_t)256 << 10)

static void listen_stop(struct worker *w)
{
	if (!w->accepting)
		return;
	w->accepting = false;
	for (unsigned int i = 0; i < w->realm->n_listeners; i++)
		loop_unwatch(&w->loop, &w->listeners[i].watch, w->realm->listeners[i].fd);
	for (unsigned int i = 0; i < w->realm->n_knock_queues; i++)
		loop_unwatch(&w->loop, &w->knocks[i].watch, w->knocks[i].queue->fd);
}

void worker_pause(struct worker *w)
{
	w->stats.accept_pauses++;
	listen_stop(w);
	for (unsigned int i = 0; i < w->realm->n_listeners; i++)
		backlog_excuse(&w->realm->listeners[i].backlog, loop_now_ms(&w->loop));
	timer_set(&w->loop.timers, &w->accept_timer, ACCEPT_PAUSE_MS);
}

static void listen_start(struct worker *w)
{
	int r = 0;

	if (w->accepting || w->draining)
		return;
	w->accepting = true;
	for (unsigned int i = 0; i < w->realm->n_listeners && !r; i++)
		r = loop_watch_level(&w->loop, &w->listeners[i].watch, w->realm->listeners[i].fd,
				     true);
	for (unsigned int i = 0; i < w->realm->n_knock_queues && !r; i++)
		r = loop_watch_level(&w->loop, &w->knocks[i].watch, w->knocks[i].queue->fd, true);
	if (r < 0) /* the kernel has no memory for it now */
		worker_pause(w);
}

static void accept_resume(struct timer *t)
{
	listen_start(container_of(t, struct worker, accept_timer));
}

void worker_forget_flow(struct worker *w)
{
	atomic_fetch_sub(&w->n_flows, 1);
	atomic_fetch_sub(&w->realm->n_flows, 1);
}

struct worker *worker_pick(struct worker *w)
{
	struct realm *realm = w->realm;
	unsigned int mine = atomic_load_explicit(&w->n_flows, memory_order_relaxed);
	struct worker *best = w;
	unsigned int least = mine - (mine < IMBALANCE ? mine : IMBALANCE + mine / 4);

	for (unsigned int i = 0; i < realm->n_workers; i++) {
		unsigned int n =
			atomic_load_explicit(&realm->workers[i].n_flows, memory_order_relaxed);

		if (n < least && !atomic_load(&realm->workers[i].drain_asked)) {
			best = &realm->workers[i];
			least = n;
		}
	}
	return best;
}

static void client_start(struct worker *w, const struct listener *l, int fd,
			 const struct addr *client)
{
	struct worker *to = worker_pick(w);
	int r;

	atomic_fetch_add(&w->realm->n_flows, 1);
	atomic_fetch_add(&to->n_flows, 1);
	if (to != w) {
		r = handover_put(&to->inbox, l, fd, client);
		if (r > 0)
			loop_wake(&to->loop);
		if (r >= 0)
			return;
		atomic_fetch_sub(&to->n_flows, 1);
		atomic_fetch_add(&w->n_flows, 1);
	}
	flow_start(w, l, fd, client);
}

void worker_carry(struct worker *w, struct knock *k, int fd)
{
	k->carry.fd = fd;
	k->carry.knock = k;
	if (handover_push(&w->inbox, &k->carry))
		loop_wake(&w->loop);
}

/* A client of an honest listener is brought to the flow that waits for it.  False: none does. */
static bool client_join(struct worker *w, int fd, const struct addr *client)
{
	struct addr target;
	struct knock *k = NULL;

	if (!sock_local(fd, &target))
		k = knock_claim(w->realm->knocks, client, &target);
	if (!k)
		return false;
	if (k->worker == w)
		flow_knock_accepted(k, fd);
	else
		worker_carry(k->worker, k, fd);
	return true;
}

static void inbox_start(struct worker *w)
{
	struct handover *h, *next;

	for (h = handover_take(&w->inbox); h; h = next) {
		next = h->next;
		if (h->knock && h->fd < 0) {
			flow_start_knock(w, h->knock);
		} else if (h->knock) {
			flow_knock_accepted(h->knock, h->fd);
		} else {
			flow_start(w, h->listener, h->fd, &h->client);
			free(h);
		}
	}
}

/* Those whose flow has begun count already. */
static bool may_accept(const struct worker *w, const struct listener *l)
{
	const struct realm *realm = w->realm;

	return atomic_load(&realm->n_flows) < realm->snapshot->limits.flows ||
	       (l->honest && atomic_load(&realm->knocks->n_released));
}

static void listener_on_ready(struct watch *watch, uint32_t ready)
{
	struct worker_listener *wl = container_of(watch, struct worker_listener, watch);
	struct worker *w = wl->worker;
	struct realm *realm = w->realm;

	(void)ready;
	for (int i = 0; i < ACCEPT_BUDGET; i++) {
		struct addr client;
		int fd;

		if (!may_accept(w, wl->listener)) {
			worker_pause(w);
			return;
		}
		fd = sock_accept(wl->listener->fd, &client);
		if (fd == -ECONNABORTED || fd == -EPROTO)
			continue; /* the client was gone before it was accepted */
		if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM)
			worker_pause(w);
		if (fd < 0 && fd != -EAGAIN && realm->observer->listen_failed)
			realm->observer->listen_failed(realm, wl->listener, fd);
		if (fd < 0)
			return;
		w->stats.accepted++;
		backlog_look(&wl->listener->backlog, wl->listener->fd, fd, loop_now_ms(&w->loop));
		if (!wl->listener->honest || !client_join(w, fd, &client))
			client_start(w, wl->listener, fd, &client);
	}
}

/* Clients that are not there yet will not be accepted; those between requests need not wait. */
static void end_waiting(struct worker *w)
{
	struct list *i, *tmp;

	list_for_each(i, tmp, &w->flows) {
		struct flow *f = list_entry(i, struct flow, link);

		if (flow_awaits_client(f))
			flow_close(f, WHY_SHUTDOWN);
		else if (f->served)
			flow_defer(f);
	}
}

static bool has_sent(const struct end *e)
{
	int64_t ms = e->fd >= 0 ? sock_sent_ms(e->fd) : -ENOTCONN;

	return ms >= 0 && ms < 2 * DRAIN_LOOK_MS;
}

/* Who waits for the end sees bytes move that a slow reader takes out of the kernel. */
static void drain_look(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, drain_timer);
	bool moves = false;
	struct list *i, *tmp;

	list_for_each(i, tmp, &w->flows) {
		struct flow *f = list_entry(i, struct flow, link);

		moves = moves || has_sent(&f->client) || has_sent(&f->server);
	}
	if (moves)
		atomic_fetch_add(&w->moved, 1);
	timer_set(&w->loop.timers, t, DRAIN_LOOK_MS);
}

static void on_wake(struct loop *l)
{
	struct worker *w = container_of(l, struct worker, loop);

	inbox_start(w);
	login_deliver(w);
	if (!atomic_load(&w->drain_asked) || w->draining)
		return;
	listen_stop(w);
	w->draining = true;
	end_waiting(w);
	timer_cancel(&l->timers, &w->accept_timer);
	timer_set(&l->timers, &w->drain_timer, DRAIN_LOOK_MS);
	if (!atomic_load(&w->n_flows))
		loop_stop(l);
}

static void on_round(struct loop *l)
{
	struct worker *w = container_of(l, struct worker, loop);

	if (w->knock_batch) /* SYNs that have been let go */
		nfqueue_flush(w->knock_batch);
	while (!list_empty(&w->ended))
		flow_free(list_entry(w->ended.next, struct flow, link));
	if (w->realm->observer->round)
		w->realm->observer->round(w);
	if (w->draining && !atomic_load(&w->n_flows))
		loop_stop(l);
}

static int knocks_init(struct worker *w)
{
	unsigned int n = w->realm->n_knock_queues;

	if (!n)
		return 0;
	w->knock_batch = nfqueue_batch_new();
	w->knocks = calloc(n, sizeof(*w->knocks));
	if (!w->knock_batch || !w->knocks)
		return -ENOMEM;
	for (unsigned int i = 0; i < n; i++)
		w->knocks[i] = (struct worker_knocks){
			.watch.on_ready = knock_on_ready,
			.worker = w,
			.queue = &w->realm->knock_queues[i],
		};
	return 0;
}

int worker_init(struct worker *w, struct realm *realm, unsigned int index)
{
	int r;

	*w = (struct worker){ .realm = realm, .index = index };
	list_init(&w->flows);
	list_init(&w->ended);
	list_init(&w->logins);
	pool_init(&w->flow_pool, sizeof(struct flow));
	pipe_pool_init(&w->tools.pipes, realm->pipes_per_worker);
	timer_init(&w->accept_timer, accept_resume);
	timer_init(&w->drain_timer, drain_look);
	r = loop_init(&w->loop);
	if (r < 0)
		return r;
	w->loop.on_wake = on_wake;
	w->loop.on_round = on_round;
	w->tools.buffer_bytes = BUFFER_BYTES;
	w->tools.buffer = malloc(BUFFER_BYTES);
	w->listeners = calloc(realm->n_listeners, sizeof(*w->listeners));
	if (!w->tools.buffer || (realm->n_listeners && !w->listeners)) {
		worker_done(w);
		return -ENOMEM;
	}
	r = knocks_init(w);
	if (r < 0) {
		worker_done(w);
		return r;
	}
	for (unsigned int i = 0; i < realm->n_listeners; i++)
		w->listeners[i] = (struct worker_listener){
			.watch.on_ready = listener_on_ready,
			.worker = w,
			.listener = &realm->listeners[i],
		};
	return 0;
}

void worker_run(struct worker *w)
{
	struct list *i, *tmp;
	int r;

	listen_start(w);
	r = loop_run(&w->loop);
	if (r < 0)
		log_line(LOG_ERROR, "worker %u: epoll_wait: %m", w->index);
	listen_stop(w);
	inbox_start(w);
	if (w->realm->observer->ending)
		w->realm->observer->ending(w);
	list_for_each(i, tmp, &w->flows)
		flow_close(list_entry(i, struct flow, link), WHY_SHUTDOWN);
	on_round(&w->loop);
}

void worker_drain(struct worker *w)
{
	atomic_store(&w->drain_asked, true);
	loop_wake(&w->loop);
}

struct udp_batch *worker_udp_batch(struct worker *w)
{
	if (!w->udp_batch)
		w->udp_batch = udp_batch_new();
	return w->udp_batch;
}

void worker_done(struct worker *w)
{
	struct handover *h, *next;

	for (h = handover_take(&w->inbox); h; h = next) { /* came after the thread had ended */
		next = h->next;
		if (h->fd >= 0)
			sock_close_reset(h->fd);
		if (!h->knock)
			free(h);
		else if (h->fd >= 0) /* else it is in the table */
			flow_knock_drop(h->knock);
	}
	if (w->dialer_state)
		w->realm->parts.name_dialer->leave(w);
	if (w->proto_state)
		w->realm->parts.http->leave(w);
	pool_done(&w->flow_pool);
	pipe_pool_done(&w->tools.pipes);
	loop_done(&w->loop);
	free(w->tools.buffer);
	free(w->listeners);
	free(w->knocks);
	nfqueue_batch_free(w->knock_batch);
	udp_batch_free(w->udp_batch);
}
