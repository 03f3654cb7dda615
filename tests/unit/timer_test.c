/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wheel against a model that knows only when each timer was set and for how long.  The
 * sleeper of these tests does what a loop does: it sleeps timers_next_ms() and runs what is due.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "loop/timer.h"

#define N_TIMERS 300
#define HOUR_MS 3600000ULL

struct probe {
	struct timer timer;
	struct timers *wheel;
	uint64_t set_ms, delay_ms, again_ms;
	unsigned int n_fired;
	bool armed;
};

static uint32_t next_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static void probe_set(struct probe *p, uint64_t delay_ms)
{
	p->set_ms = p->wheel->now_ms;
	p->delay_ms = delay_ms;
	p->armed = true;
	timer_set(p->wheel, &p->timer, delay_ms);
}

static void probe_fired(struct timer *t)
{
	struct probe *p = container_of(t, struct probe, timer);

	assert_true(p->armed);
	assert_false(timer_is_set(t));
	assert_true(p->wheel->now_ms >= p->set_ms + p->delay_ms);
	p->armed = false;
	p->n_fired++;
	if (p->again_ms)
		probe_set(p, p->again_ms);
}

static void probe_init(struct probe *p, struct timers *wheel)
{
	*p = (struct probe){ .wheel = wheel };
	timer_init(&p->timer, probe_fired);
}

static uint64_t latest_ms(const struct probe *p)
{
	uint64_t delay_ms = p->delay_ms ? p->delay_ms : 1;

	return p->set_ms + delay_ms + delay_ms * 4 / 31;
}

/* Sleep as a loop does, but wake up to @over_ms too late.  Return: false, nothing is set. */
static bool sleep_once(struct timers *w, uint64_t over_ms)
{
	int ms = timers_next_ms(w);

	if (ms < 0)
		return false;
	timers_advance(w, w->now_ms + (uint64_t)ms + over_ms);
	timers_run(w);
	return true;
}

static uint64_t random_delay(uint32_t *seed)
{
	return next_random(seed) & ((1u << next_random(seed) % 27) - 1);
}

static void test_one_delay_at_every_phase(void **state)
{
	static struct timers w;
	struct probe p;

	(void)state;
	for (uint64_t delay = 0; delay < 5000; delay += delay < 600 ? 1 : 37) {
		for (uint64_t phase = 0; phase < 64; phase += 7) {
			unsigned int n_wakes = 0;

			timers_init(&w, 1000000 + phase);
			probe_init(&p, &w);
			probe_set(&p, delay);
			while (!p.n_fired) {
				assert_true(sleep_once(&w, 0));
				n_wakes++;
			}
			assert_true(w.now_ms <= latest_ms(&p));
			assert_int_equal(n_wakes, 1); /* slept until then, for nothing else */
			assert_int_equal(timers_next_ms(&w), -1);
		}
	}
}

/* Each level's longest delays, where the wheel comes round to the granule of now. */
static void test_edges_of_levels(void **state)
{
	static struct timers w;
	struct probe p;

	(void)state;
	for (unsigned int shift = 0; shift < 21; shift += 3) {
		for (uint64_t slots = 56; slots <= 66; slots++) {
			for (uint32_t seed = 1; seed < 40; seed++) {
				uint32_t r = seed * 2654435761u;
				unsigned int n_wakes = 0;

				timers_init(&w, (1ULL << 40) + (next_random(&r) & 0x3fffff));
				probe_init(&p, &w);
				probe_set(&p, (slots << shift) - (next_random(&r) & 3));
				while (!p.n_fired && n_wakes < 100) {
					sleep_once(&w, 0);
					n_wakes++;
				}
				assert_int_equal(p.n_fired, 1);
				assert_true(w.now_ms <= latest_ms(&p));
				/* one sleep is bounded, so that a long delay takes several */
				assert_true(n_wakes <= 1 + 8 * p.delay_ms / 7000000);
			}
		}
	}
}

static void round_of_changes(struct timers *w, struct probe *p, uint32_t *seed)
{
	for (unsigned int k = 0; k < 20; k++) {
		struct probe *one = &p[next_random(seed) % N_TIMERS];

		if (next_random(seed) % 4) {
			one->again_ms = next_random(seed) % 8 ? 0 : 1 + random_delay(seed);
			probe_set(one, random_delay(seed));
		} else {
			timer_cancel(w, &one->timer);
			one->armed = false;
		}
	}
}

/* Woken at other times too, for events, as a loop is: between them nothing may come late. */
static void test_random_against_model(void **state)
{
	static struct timers w;
	static struct probe p[N_TIMERS];

	(void)state;
	for (uint32_t s = 1; s <= 8; s++) {
		uint32_t seed = s * 7919;

		timers_init(&w, next_random(&seed));
		for (unsigned int i = 0; i < N_TIMERS; i++)
			probe_init(&p[i], &w);
		for (unsigned int turn = 0; turn < 3000; turn++) {
			int sleep_ms = timers_next_ms(&w);
			uint64_t event_ms = random_delay(&seed);

			if (sleep_ms < 0 || event_ms < (uint64_t)sleep_ms)
				sleep_ms = (int)event_ms;
			timers_advance(&w, w.now_ms + (uint64_t)sleep_ms);
			if (turn % 3 == 0) /* events change timers before those due are run */
				round_of_changes(&w, p, &seed);
			timers_run(&w);
			for (unsigned int i = 0; i < N_TIMERS; i++) {
				assert_int_equal(p[i].armed, timer_is_set(&p[i].timer));
				assert_true(!p[i].armed || latest_ms(&p[i]) >= w.now_ms);
			}
		}
	}
}

/* A suspended machine: the clock jumps, and all that was due fires, once, in one run. */
static void test_clock_jumps(void **state)
{
	static struct timers w;
	static struct probe p[N_TIMERS];
	uint32_t seed = 99;

	(void)state;
	for (uint64_t jump = 1; jump < 400 * HOUR_MS; jump = jump * 3 + 1) {
		timers_init(&w, next_random(&seed));
		for (unsigned int i = 0; i < N_TIMERS; i++) {
			probe_init(&p[i], &w);
			probe_set(&p[i], random_delay(&seed));
		}
		timers_advance(&w, w.now_ms + jump);
		timers_run(&w);
		for (unsigned int i = 0; i < N_TIMERS; i++) {
			if (latest_ms(&p[i]) <= w.now_ms)
				assert_int_equal(p[i].n_fired, 1);
			else
				assert_true(p[i].n_fired == 1 || p[i].armed);
		}
		for (unsigned int k = 0; k < 100000 && sleep_once(&w, 0); k++)
			;
		for (unsigned int i = 0; i < N_TIMERS; i++)
			assert_int_equal(p[i].n_fired, 1);
	}
}

/* Longer than the wheel: days and weeks (an idle time-out has 32 bits of milliseconds). */
static void test_very_long_delays(void **state)
{
	static struct timers w;
	uint64_t delays[] = { 24 * HOUR_MS, 36 * HOUR_MS,      37 * HOUR_MS, 72 * HOUR_MS,
			      UINT32_MAX,   400 * 24 * HOUR_MS };
	struct probe p;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(delays); i++) {
		unsigned int n_wakes = 0;

		timers_init(&w, 12345);
		probe_init(&p, &w);
		probe_set(&p, delays[i]);
		while (!p.n_fired) {
			assert_true(sleep_once(&w, 0));
			n_wakes++;
		}
		assert_true(w.now_ms <= latest_ms(&p));
		assert_true(n_wakes <= 2 + delays[i] / 500000);
	}
}

static void test_cancel_and_move(void **state)
{
	static struct timers w;
	struct probe p, other;

	(void)state;
	timers_init(&w, 500);
	probe_init(&p, &w);
	probe_init(&other, &w);
	timer_cancel(&w, &p.timer); /* not set: nothing */
	assert_int_equal(timers_next_ms(&w), -1);
	probe_set(&p, 100);
	assert_true(timer_is_set(&p.timer));
	timer_cancel(&w, &p.timer);
	p.armed = false;
	assert_false(timer_is_set(&p.timer));
	assert_int_equal(timers_next_ms(&w), -1); /* nothing is set */
	probe_set(&p, 10);
	probe_set(&other, 10);
	timer_cancel(&w, &other.timer);
	other.armed = false;
	assert_true(timers_next_ms(&w) >= 10); /* its neighbour is still there */
	probe_set(&p, 5000);
	assert_true(timers_next_ms(&w) >= 5000); /* moved: the old time wakes nobody */
	sleep_once(&w, 0);
	assert_int_equal(p.n_fired, 1);
	assert_int_equal(other.n_fired, 0);
}

/* Callbacks that set themselves again, or cancel others due in the same run. */
struct pair {
	struct timer timer;
	struct timers *wheel;
	struct timer *victim;
	unsigned int n_fired;
};

static void pair_fired(struct timer *t)
{
	struct pair *p = container_of(t, struct pair, timer);

	p->n_fired++;
	timer_cancel(p->wheel, p->victim);
}

static void test_cancel_inside_callback(void **state)
{
	static struct timers w;
	struct pair a = { .wheel = &w }, b = { .wheel = &w };

	(void)state;
	timers_init(&w, 77);
	timer_init(&a.timer, pair_fired);
	timer_init(&b.timer, pair_fired);
	a.victim = &b.timer;
	b.victim = &a.timer;
	timer_set(&w, &a.timer, 20);
	timer_set(&w, &b.timer, 20);
	timers_advance(&w, 200);
	timers_run(&w);
	assert_int_equal(a.n_fired + b.n_fired, 1);
	assert_int_equal(timers_next_ms(&w), -1);
}

static void test_set_again_inside_callback(void **state)
{
	static struct timers w;
	struct probe p;

	(void)state;
	timers_init(&w, 0);
	probe_init(&p, &w);
	p.again_ms = 40;
	probe_set(&p, 40);
	for (unsigned int k = 0; k < 1000; k++)
		assert_true(sleep_once(&w, 0));
	assert_true(p.n_fired >= 990 && w.now_ms <= 1000 * 45);
	timers_advance(&w, w.now_ms + HOUR_MS); /* after a jump: once, not 90,000 times */
	p.n_fired = 0;
	timers_run(&w);
	assert_int_equal(p.n_fired, 1);
	timers_run(&w);
	assert_int_equal(p.n_fired, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_delay_at_every_phase),
		cmocka_unit_test(test_edges_of_levels),
		cmocka_unit_test(test_random_against_model),
		cmocka_unit_test(test_clock_jumps),
		cmocka_unit_test(test_very_long_delays),
		cmocka_unit_test(test_cancel_and_move),
		cmocka_unit_test(test_cancel_inside_callback),
		cmocka_unit_test(test_set_again_inside_callback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
