/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation.  One thread, one epoll set.  A turn: fetch a round of events, deliver
 * each, run the timers that are due, tell the owner (on_round), then run at most one deferred
 * task before looking at the descriptors again.  So a flow in bulk, which does its work as a
 * task with a budget, delays the small traffic of others by one budget and not by the sum of
 * all budgets; the extra epoll_wait(2) costs less than a hundredth of a task.
 *
 * A watch that dies while its round is being delivered is struck out of the rest of the round
 * by loop_forget(), so owners can be freed at any time.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "loop/loop.h"

static_assert((int)READY_IN == (int)EPOLLIN && (int)READY_PRI == (int)EPOLLPRI &&
		      (int)READY_OUT == (int)EPOLLOUT &&
		      (int)READY_ERR == (int)EPOLLERR && (int)READY_HUP == (int)EPOLLHUP &&
		      (int)READY_RDHUP == (int)EPOLLRDHUP,
	      "READY_* are epoll's bits");

static uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void wake_on_ready(struct watch *w, uint32_t ready)
{
	struct loop *l = container_of(w, struct loop, wake_watch);
	uint64_t n;

	(void)ready;
	if (read(l->wake_fd, &n, sizeof(n)) == sizeof(n) && l->on_wake)
		l->on_wake(l);
}

int loop_init(struct loop *l)
{
	int r;

	*l = (struct loop){ .epoll_fd = -1, .wake_fd = -1 };
	list_init(&l->tasks);
	timers_init(&l->timers, clock_ms());
	l->wake_watch.on_ready = wake_on_ready;
	l->events = calloc(LOOP_EVENTS, sizeof(struct epoll_event));
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!l->events)
		r = -ENOMEM;
	else if (l->epoll_fd < 0 || l->wake_fd < 0)
		r = -errno;
	else
		r = loop_watch_level(l, &l->wake_watch, l->wake_fd, false);
	if (r < 0)
		loop_done(l);
	return r;
}

void loop_done(struct loop *l)
{
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	free(l->events);
	l->events = NULL;
	l->wake_fd = l->epoll_fd = -1;
}

static int watch_add(struct loop *l, struct watch *w, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int loop_watch(struct loop *l, struct watch *w, int fd)
{
	return watch_add(l, w, fd, EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

int loop_watch_level(struct loop *l, struct watch *w, int fd, bool exclusive)
{
	return watch_add(l, w, fd, EPOLLIN | (exclusive ? (uint32_t)EPOLLEXCLUSIVE : 0));
}

int loop_unwatch(struct loop *l, struct watch *w, int fd)
{
	loop_forget(l, w);
	return epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, fd, NULL) < 0 ? -errno : 0;
}

int loop_watch_foreign(struct loop *l, struct watch *w, int fd, bool readable, bool writable)
{
	struct epoll_event ev = { .data.ptr = w };

	if (!readable && !writable)
		return loop_unwatch(l, w, fd);
	ev.events = (readable ? (uint32_t)EPOLLIN : 0) | (writable ? (uint32_t)EPOLLOUT : 0);
	if (!epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, fd, &ev))
		return 0;
	return errno == ENOENT ? watch_add(l, w, fd, ev.events) : -errno;
}

void loop_forget(struct loop *l, const struct watch *w)
{
	struct epoll_event *ev = l->events;

	for (int i = l->cur_event; i < l->n_events; i++)
		if (ev[i].data.ptr == w)
			ev[i].data.ptr = NULL;
}

void loop_defer(struct loop *l, struct task *t)
{
	if (!task_is_queued(t))
		list_add_tail(&l->tasks, &t->link);
}

void task_cancel(struct task *t)
{
	list_del(&t->link);
}

static void run_one_task(struct loop *l)
{
	struct task *t;

	if (list_empty(&l->tasks))
		return;
	t = list_entry(l->tasks.next, struct task, link);
	list_del(&t->link);
	t->fn(t);
}

int loop_run(struct loop *l)
{
	struct epoll_event *ev = l->events;

	while (!atomic_load_explicit(&l->stop, memory_order_relaxed)) {
		int wait_ms = list_empty(&l->tasks) ? timers_next_ms(&l->timers) : 0;

		l->n_events = epoll_wait(l->epoll_fd, ev, LOOP_EVENTS, wait_ms);
		if (l->n_events < 0) {
			l->n_events = 0;
			if (errno != EINTR)
				return -errno;
		}
		timers_advance(&l->timers, clock_ms());
		for (l->cur_event = 0; l->cur_event < l->n_events;) {
			struct epoll_event *e = &ev[l->cur_event++];
			struct watch *w = e->data.ptr;

			if (w)
				w->on_ready(w, e->events);
		}
		l->n_events = l->cur_event = 0;
		timers_run(&l->timers);
		run_one_task(l);
		if (l->on_round)
			l->on_round(l);
	}
	return 0;
}

void loop_wake(struct loop *l)
{
	uint64_t one = 1;
	ssize_t n = write(l->wake_fd, &one, sizeof(one));

	(void)n; /* full means that a wake-up is pending already */
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stop, true);
	loop_wake(l);
}
