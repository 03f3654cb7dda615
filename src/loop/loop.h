/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "loop/timer.h"

/* What happened to a watched descriptor; the bits are epoll's own (epoll_ctl(2)). */
enum {
	READY_IN = 0x001,
	READY_PRI = 0x002, /* TCP urgent data */
	READY_OUT = 0x004,
	READY_ERR = 0x008,
	READY_HUP = 0x010,
	READY_RDHUP = 0x2000,
};

/**
 * struct watch - interest in one descriptor, embedded in its owner
 * @on_ready:	called by the loop with READY_* bits
 *
 * Closing the descriptor ends the watch.  An owner freed while the loop may still hold an
 * event for it (which it may, within one round) must call loop_forget() first.
 */
struct watch {
	void (*on_ready)(struct watch *w, uint32_t ready);
};

/**
 * struct task - something to be done soon, embedded in its owner
 * @fn:		called once per loop_defer()
 *
 * Bulk work runs as tasks, one per turn of the loop, so that events of others come between.
 */
struct task {
	struct list link;
	void (*fn)(struct task *t);
};

#define LOOP_EVENTS 128

/**
 * struct loop - one thread's events: descriptors, timers, tasks
 *
 * Belongs to one thread; only loop_wake() and loop_stop() may be called from others.
 */
struct loop {
	int epoll_fd;
	int wake_fd;
	atomic_bool stop;
	struct timers timers;
	struct list tasks;
	struct watch wake_watch;
	void (*on_wake)(struct loop *l); /* may be NULL */
	void (*on_round)(struct loop *l); /* after each round, before sleeping; may be NULL */
	int n_events, cur_event;
	void *events; /* struct epoll_event[LOOP_EVENTS] */
};

/* Return: 0 or -errno. */
int loop_init(struct loop *l);
void loop_done(struct loop *l);

/**
 * loop_watch() - report what becomes ready on @fd, edge-triggered, both directions, for good
 *
 * Registered once; an edge comes for what is ready already.  Return: 0 or -errno.
 */
int loop_watch(struct loop *l, struct watch *w, int fd);

/* Report readability level-triggered (listeners, datagram and foreign sockets).  @exclusive: of
 * several loops that watch the same socket, wake one (EPOLLEXCLUSIVE).  Return: 0 or -errno. */
int loop_watch_level(struct loop *l, struct watch *w, int fd, bool exclusive);
int loop_unwatch(struct loop *l, struct watch *w, int fd);

/* For sockets of a library that says what it waits for: level-triggered.  Again: changes that;
 * neither: ends it.  Return: 0 or -errno. */
int loop_watch_foreign(struct loop *l, struct watch *w, int fd, bool readable, bool writable);

/* Drop events for @w that this round has fetched and not yet delivered. */
void loop_forget(struct loop *l, const struct watch *w);

static inline void task_init(struct task *t, void (*fn)(struct task *t))
{
	list_init(&t->link);
	t->fn = fn;
}

static inline bool task_is_queued(const struct task *t)
{
	return !list_empty(&t->link);
}

void loop_defer(struct loop *l, struct task *t); /* queued already: stays where it is */
void task_cancel(struct task *t);

static inline uint64_t loop_now_ms(const struct loop *l)
{
	return l->timers.now_ms;
}

/* Run until loop_stop().  Return: 0 or -errno of epoll_wait(2). */
int loop_run(struct loop *l);

/* From any thread: make loop_run() return; make it call on_wake. */
void loop_stop(struct loop *l);
void loop_wake(struct loop *l);

#endif
