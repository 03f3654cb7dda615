/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a loop promises to its owners: edges once, tasks one a turn, nobody called after he has
 * been forgotten, timers within their bounds, and sleep when there is nothing to do.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "loop/loop.h"

#define N_SPIES 40

/* A watched end of a socketpair, and what the loop said about it. */
struct spy {
	struct watch watch;
	struct rig *rig;
	int fd, peer;
	unsigned int n_ready;
	uint32_t ready;
	void (*then)(struct spy *s);
};

struct rig {
	struct loop loop;
	unsigned int n_rounds, n_wakes, stop_after;
	struct spy spies[N_SPIES];
	struct timer timer;
	unsigned int n_timers;
	uint64_t timer_us;
};

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void on_round(struct loop *l)
{
	struct rig *r = container_of(l, struct rig, loop);

	if (++r->n_rounds >= r->stop_after)
		loop_stop(l);
}

static void on_wake(struct loop *l)
{
	container_of(l, struct rig, loop)->n_wakes++;
}

static void spy_on_ready(struct watch *w, uint32_t ready)
{
	struct spy *s = container_of(w, struct spy, watch);

	s->n_ready++;
	s->ready |= ready;
	if (s->then)
		s->then(s);
}

static void on_timer(struct timer *t)
{
	struct rig *r = container_of(t, struct rig, timer);

	r->n_timers++;
	r->timer_us = now_us();
	loop_stop(&r->loop);
}

static void rig_init(struct rig *r, unsigned int n_spies)
{
	*r = (struct rig){ .stop_after = 1000000 };
	assert_int_equal(loop_init(&r->loop), 0);
	r->loop.on_round = on_round;
	r->loop.on_wake = on_wake;
	timer_init(&r->timer, on_timer);
	for (unsigned int i = 0; i < n_spies; i++) {
		struct spy *s = &r->spies[i];
		int fds[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
					    fds),
				 0);
		*s = (struct spy){ .watch.on_ready = spy_on_ready, .rig = r };
		s->fd = fds[0];
		s->peer = fds[1];
	}
}

static void rig_done(struct rig *r)
{
	for (unsigned int i = 0; i < N_SPIES && r->spies[i].rig; i++) {
		if (r->spies[i].fd >= 0)
			close(r->spies[i].fd);
		close(r->spies[i].peer);
	}
	loop_done(&r->loop);
}

/* Run for @ms.  Return: rounds in that time, but the last. */
static unsigned int rig_run(struct rig *r, unsigned int ms)
{
	unsigned int before = r->n_rounds;

	atomic_store(&r->loop.stop, false);
	timer_set(&r->loop.timers, &r->timer, ms);
	assert_int_equal(loop_run(&r->loop), 0);
	return r->n_rounds - before - 1;
}

static void test_edges_come_once(void **state)
{
	struct rig r;
	struct spy *s = &r.spies[0];

	(void)state;
	rig_init(&r, 1);
	assert_int_equal(write(s->peer, "x", 1), 1);
	assert_int_equal(loop_watch(&r.loop, &s->watch, s->fd), 0);
	assert_int_equal(loop_watch(&r.loop, &s->watch, s->fd), -EEXIST);
	assert_true(rig_run(&r, 50) <= 2);
	assert_int_equal(s->n_ready, 1); /* for what was ready already, and then no more */
	assert_int_equal(s->ready & (READY_IN | READY_OUT), READY_IN | READY_OUT);
	assert_int_equal(write(s->peer, "y", 1), 1);
	rig_run(&r, 30);
	assert_int_equal(s->n_ready, 2);
	s->ready = 0;
	shutdown(s->peer, SHUT_WR);
	rig_run(&r, 30);
	assert_true(s->ready & READY_RDHUP);
	rig_done(&r);
}

static void read_one(struct spy *s)
{
	char c;

	assert_int_equal(read(s->fd, &c, 1), 1);
}

static void test_level_comes_until_read(void **state)
{
	struct rig r;
	struct spy *s = &r.spies[0];

	(void)state;
	rig_init(&r, 1);
	s->then = read_one;
	assert_int_equal(write(s->peer, "12345", 5), 5);
	assert_int_equal(loop_watch_level(&r.loop, &s->watch, s->fd, true), 0);
	rig_run(&r, 30);
	assert_int_equal(s->n_ready, 5);
	assert_int_equal(loop_unwatch(&r.loop, &s->watch, s->fd), 0);
	assert_int_equal(write(s->peer, "x", 1), 1);
	rig_run(&r, 30);
	assert_int_equal(s->n_ready, 5);
	assert_int_equal(loop_unwatch(&r.loop, &s->watch, s->fd), -ENOENT);
	rig_done(&r);
}

/* A library's socket: what it waits for changes, and ends. */
static void test_foreign(void **state)
{
	struct rig r;
	struct spy *s = &r.spies[0];

	(void)state;
	rig_init(&r, 1);
	assert_int_equal(loop_watch_foreign(&r.loop, &s->watch, s->fd, true, false), 0);
	rig_run(&r, 30);
	assert_int_equal(s->n_ready, 0);
	assert_int_equal(loop_watch_foreign(&r.loop, &s->watch, s->fd, true, true), 0);
	rig_run(&r, 30);
	assert_true(s->n_ready > 1); /* by level */
	assert_int_equal(s->ready, READY_OUT);
	s->ready = 0;
	assert_int_equal(loop_watch_foreign(&r.loop, &s->watch, s->fd, true, false), 0);
	assert_int_equal(write(s->peer, "x", 1), 1);
	rig_run(&r, 30);
	assert_int_equal(s->ready, READY_IN);
	s->ready = 0;
	assert_int_equal(loop_watch_foreign(&r.loop, &s->watch, s->fd, false, false), 0);
	rig_run(&r, 30);
	assert_int_equal(s->ready, 0);
	rig_done(&r);
}

/* Whoever comes first ends all the others, in the middle of the round. */
static void kill_others(struct spy *s)
{
	for (unsigned int i = 0; i < N_SPIES; i++) {
		struct spy *other = &s->rig->spies[i];

		if (other == s)
			continue;
		close(other->fd);
		other->fd = -1;
		loop_forget(&s->rig->loop, &other->watch);
		other->watch.on_ready = NULL; /* freed, as it were: calling it is a crash */
	}
	s->then = NULL;
}

static void test_forgotten_in_the_round(void **state)
{
	unsigned int n = 0;
	struct rig r;

	(void)state;
	rig_init(&r, N_SPIES);
	for (unsigned int i = 0; i < N_SPIES; i++) {
		r.spies[i].then = kill_others;
		assert_int_equal(loop_watch(&r.loop, &r.spies[i].watch, r.spies[i].fd), 0);
	}
	rig_run(&r, 30);
	for (unsigned int i = 0; i < N_SPIES; i++)
		n += r.spies[i].n_ready;
	assert_int_equal(n, 1);
	rig_done(&r);
}

/* ---- tasks ---- */

struct job {
	struct task task;
	struct rig *rig;
	unsigned int n_left, n_done, last_round, n_seen;
	struct job *victim;
};

static void job_fn(struct task *t)
{
	struct job *j = container_of(t, struct job, task);

	assert_false(task_is_queued(t));
	assert_true(!j->n_done || j->rig->n_rounds > j->last_round);
	j->last_round = j->rig->n_rounds;
	j->n_done++;
	j->n_seen = j->rig->spies[0].n_ready;
	if (j->victim)
		task_cancel(&j->victim->task);
	if (j->n_left && --j->n_left)
		loop_defer(&j->rig->loop, t);
}

static void test_tasks_take_turns(void **state)
{
	struct rig r;
	struct job a = { .rig = &r, .n_left = 500 }, b = { .rig = &r, .n_left = 500 };

	(void)state;
	rig_init(&r, 0);
	task_init(&a.task, job_fn);
	task_init(&b.task, job_fn);
	loop_defer(&r.loop, &a.task);
	loop_defer(&r.loop, &a.task); /* queued already */
	loop_defer(&r.loop, &b.task);
	r.stop_after = 1000;
	assert_int_equal(loop_run(&r.loop), 0);
	assert_int_equal(a.n_done, 500);
	assert_int_equal(b.n_done, 500);
	assert_true(a.last_round + 1 == b.last_round); /* one each, by turns */
	rig_done(&r);
}

/* Events of others come between the tasks of one who is busy. */
static void answer_peer(struct spy *s)
{
	char c;

	while (read(s->fd, &c, 1) == 1)
		;
	assert_int_equal(write(s->peer, "x", 1), 1);
}

static void test_events_come_between_tasks(void **state)
{
	struct rig r;
	struct job a = { .rig = &r, .n_left = 1000 };

	(void)state;
	rig_init(&r, 1);
	r.spies[0].then = answer_peer;
	assert_int_equal(loop_watch(&r.loop, &r.spies[0].watch, r.spies[0].fd), 0);
	task_init(&a.task, job_fn);
	loop_defer(&r.loop, &a.task);
	r.stop_after = 1000;
	assert_int_equal(loop_run(&r.loop), 0);
	assert_int_equal(a.n_done, 1000);
	assert_true(a.n_seen >= 990); /* an event each turn */
	rig_done(&r);
}

static void test_cancelled_task(void **state)
{
	struct rig r;
	struct job a = { .rig = &r, .n_left = 1 }, b = { .rig = &r, .n_left = 1 };

	(void)state;
	rig_init(&r, 0);
	task_init(&a.task, job_fn);
	task_init(&b.task, job_fn);
	task_cancel(&b.task); /* not queued: nothing */
	a.victim = &b;
	loop_defer(&r.loop, &a.task);
	loop_defer(&r.loop, &b.task);
	rig_run(&r, 20);
	assert_int_equal(a.n_done, 1);
	assert_int_equal(b.n_done, 0);
	assert_false(task_is_queued(&b.task));
	rig_done(&r);
}

/* ---- time and sleep ---- */

static void test_timer_on_the_real_clock(void **state)
{
	static const unsigned int delays[] = { 1, 5, 20, 62, 64, 100, 250 };

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(delays); i++) {
		uint64_t start_us, took_us;
		struct rig r;

		rig_init(&r, 0);
		start_us = now_us();
		rig_run(&r, delays[i]);
		took_us = r.timer_us - start_us;
		assert_int_equal(r.n_timers, 1);
		/* the loop's clock counts whole milliseconds, and may stand at the end of one */
		assert_true(took_us + 1000 >= delays[i] * 1000);
		assert_true(took_us <= delays[i] * 1000 * 35 / 31 + 100000);
		rig_done(&r);
	}
}

static void test_idle_sleeps(void **state)
{
	struct timer far[20];
	struct rig r;

	(void)state;
	rig_init(&r, N_SPIES);
	for (unsigned int i = 0; i < N_SPIES; i++)
		assert_int_equal(loop_watch(&r.loop, &r.spies[i].watch, r.spies[i].fd), 0);
	rig_run(&r, 20); /* the first edges */
	for (unsigned int i = 0; i < ARRAY_SIZE(far); i++) {
		timer_init(&far[i], on_timer);
		timer_set(&r.loop.timers, &far[i], 3000u << (i % 10));
		if (i % 2)
			timer_cancel(&r.loop.timers, &far[i]);
	}
	assert_true(rig_run(&r, 400) <= 1); /* that of the last stop, and then none */
	rig_done(&r);
}

static void *waker(void *arg)
{
	struct rig *r = arg;

	for (unsigned int i = 0; i < 50; i++) {
		loop_wake(&r->loop);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	loop_stop(&r->loop);
	return NULL;
}

static void test_wake_and_stop_from_another_thread(void **state)
{
	pthread_t thread;
	struct rig r;

	(void)state;
	rig_init(&r, 0);
	assert_int_equal(pthread_create(&thread, NULL, waker, &r), 0);
	assert_int_equal(loop_run(&r.loop), 0);
	pthread_join(thread, NULL);
	assert_true(r.n_wakes >= 10 && r.n_wakes <= 51);
	rig_done(&r);
}

/* Stopped before it runs, and without anything that would wake it. */
static void test_stop_first(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 0);
	loop_stop(&r.loop);
	assert_int_equal(loop_run(&r.loop), 0);
	assert_int_equal(r.n_rounds, 0);
	rig_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edges_come_once),
		cmocka_unit_test(test_level_comes_until_read),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_forgotten_in_the_round),
		cmocka_unit_test(test_tasks_take_turns),
		cmocka_unit_test(test_events_come_between_tasks),
		cmocka_unit_test(test_cancelled_task),
		cmocka_unit_test(test_timer_on_the_real_clock),
		cmocka_unit_test(test_idle_sleeps),
		cmocka_unit_test(test_wake_and_stop_from_another_thread),
		cmocka_unit_test(test_stop_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
