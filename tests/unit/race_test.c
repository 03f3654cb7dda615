/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 8305 on a clock of our own: when which address is tried, and when nothing is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "dial/race.h"

#define START_MS 1000000

static struct destination destination(const char *text)
{
	struct destination d = { .wanted = true };

	assert_int_equal(addr_parse_ip(text, &d.addr), 0);
	d.source = d.addr; /* any of the family will do */
	d.source.ip[15] = d.source.ip[3] = 99;
	return d;
}

static void answer(struct race *r, uint64_t now_ms, const char *const *texts)
{
	struct destination list[100];
	unsigned int n = 0;

	for (; texts[n]; n++)
		list[n] = destination(texts[n]);
	race_answered(r, list, n, now_ms);
}

#define ANSWER(r, now_ms, ...) answer(r, now_ms, (const char *const[]){ __VA_ARGS__, NULL })
#define NO_ANSWER(r, now_ms) answer(r, now_ms, (const char *const[]){ NULL })

/* The attempt that is due at @now_ms is to @text, and begins. */
static struct destination expect_try(struct race *r, uint64_t now_ms, const char *text)
{
	struct destination d = { 0 };
	char got[ADDR_TEXT_MAX];
	uint64_t until_ms;

	assert_int_equal(race_step(r, now_ms, &d, &until_ms), RACE_TRY);
	assert_string_equal(addr_format_ip(&d.addr, got), text);
	race_begun(r, &d, now_ms);
	return d;
}

/* Nothing to do before @until_ms; UINT64_MAX: before something happens. */
static void expect_wait(struct race *r, uint64_t now_ms, uint64_t until_ms)
{
	struct destination d;
	uint64_t got_ms;

	assert_int_equal(race_step(r, now_ms, &d, &got_ms), RACE_WAIT);
	assert_true(got_ms == until_ms);
}

static void expect_lost(struct race *r, uint64_t now_ms)
{
	struct destination d;
	uint64_t until_ms;

	assert_int_equal(race_step(r, now_ms, &d, &until_ms), RACE_LOST);
}

static void test_v6_starts_at_once(void **state)
{
	uint64_t t = START_MS;
	struct race r;

	(void)state;
	race_init(&r, 0);
	expect_wait(&r, t, UINT64_MAX);
	ANSWER(&r, t, "2001:db8::1");
	expect_try(&r, t, "2001:db8::1");
	expect_wait(&r, t + 10, UINT64_MAX); /* for the other answer, or the attempt */
	ANSWER(&r, t + 20, "192.0.2.1");
	expect_wait(&r, t + 20, t + RACE_ATTEMPT_DELAY_MS);
	expect_wait(&r, t + 249, t + 250);
	expect_try(&r, t + 250, "192.0.2.1");
	expect_wait(&r, t + 999, UINT64_MAX);
	race_failed(&r, t + 1000);
	expect_wait(&r, t + 1000, UINT64_MAX);
	race_failed(&r, t + 1001);
	expect_lost(&r, t + 1001);
}

static void test_v4_waits_for_a_resolution_delay(void **state)
{
	uint64_t t = START_MS;
	struct race r;

	(void)state;
	race_init(&r, 0);
	ANSWER(&r, t, "192.0.2.1");
	expect_wait(&r, t, t + RACE_RESOLUTION_DELAY_MS);
	expect_try(&r, t + 50, "192.0.2.1");

	race_init(&r, 0); /* AAAA within it */
	ANSWER(&r, t, "192.0.2.1");
	ANSWER(&r, t + 20, "2001:db8::1");
	expect_try(&r, t + 20, "2001:db8::1");
	expect_try(&r, t + 270, "192.0.2.1");

	race_init(&r, 0); /* there is no AAAA */
	ANSWER(&r, t, "192.0.2.1");
	NO_ANSWER(&r, t + 5);
	expect_try(&r, t + 5, "192.0.2.1");

	race_init(&r, 0); /* nor was there */
	NO_ANSWER(&r, t);
	expect_wait(&r, t, UINT64_MAX);
	ANSWER(&r, t + 5, "192.0.2.1");
	expect_try(&r, t + 5, "192.0.2.1");
}

/* Behind any IPv4 address, or with no way to it: no reason to begin. */
static void test_v6_that_waits(void **state)
{
	uint64_t t = START_MS;
	struct destination d = destination("2001:db8::1");
	struct race r;

	(void)state;
	race_init(&r, 0);
	ANSWER(&r, t, "fd00::1");
	expect_wait(&r, t, t + 50);
	ANSWER(&r, t + 1, "192.0.2.1");
	expect_try(&r, t + 1, "192.0.2.1");

	d.source.family = 0;
	race_init(&r, 0);
	race_answered(&r, &d, 1, t);
	expect_wait(&r, t, t + 50);
	ANSWER(&r, t + 1, "192.0.2.1");
	expect_try(&r, t + 1, "192.0.2.1");
	expect_try(&r, t + 251, "2001:db8::1"); /* in the end it is tried */
}

static void test_families_take_turns(void **state)
{
	static const char *const order[] = { "2001:db8::1", "192.0.2.1",   "2001:db8::2",
					     "192.0.2.2",   "2001:db8::3", "2001:db8::4" };
	uint64_t t = START_MS;
	struct race r;

	(void)state;
	race_init(&r, 0);
	ANSWER(&r, t, "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4");
	ANSWER(&r, t, "192.0.2.1", "192.0.2.2");
	for (unsigned int i = 0; i < ARRAY_SIZE(order); i++)
		expect_try(&r, t + 250 * i, order[i]);
	expect_wait(&r, t + 9999, UINT64_MAX);
}

static void test_failure_makes_the_next_due(void **state)
{
	uint64_t t = START_MS;
	struct race r;

	(void)state;
	race_init(&r, 0);
	ANSWER(&r, t, "2001:db8::1", "2001:db8::2");
	ANSWER(&r, t, "192.0.2.1");
	expect_try(&r, t, "2001:db8::1");
	expect_wait(&r, t + 1, t + 250);
	race_failed(&r, t + 2);
	expect_try(&r, t + 2, "192.0.2.1");
	expect_wait(&r, t + 3, t + 252); /* from the last one on */
}

/* One that cannot even be begun costs no delay and takes no turn. */
static void test_not_begun(void **state)
{
	uint64_t t = START_MS, until_ms;
	struct destination d;
	struct race r;

	(void)state;
	race_init(&r, 0);
	ANSWER(&r, t, "2001:db8::1", "2001:db8::2");
	NO_ANSWER(&r, t);
	assert_int_equal(race_step(&r, t, &d, &until_ms), RACE_TRY);
	expect_try(&r, t, "2001:db8::2");
	race_failed(&r, t);
	expect_lost(&r, t);
}

static void test_open_addresses_wait(void **state)
{
	uint64_t t = START_MS, until_ms;
	struct destination d;
	struct race r;

	(void)state;
	race_init(&r, 0);
	ANSWER(&r, t, "2001:db8::1");
	ANSWER(&r, t, "192.0.2.1");
	assert_int_equal(race_step(&r, t, &d, &until_ms), RACE_TRY);
	d.open = true;
	race_put_back(&r, &d);
	expect_try(&r, t, "192.0.2.1");
	race_failed(&r, t);
	expect_wait(&r, t, UINT64_MAX); /* not lost */
	race_reconsider(&r);
	expect_try(&r, t, "2001:db8::1");
}

static void test_first_family(void **state)
{
	uint64_t t = START_MS;
	struct destination d[2] = { destination("2001:db8::1"), destination("2001:db8::2") };
	struct race r;

	(void)state;
	d[0].wanted = d[1].wanted = false;
	race_init(&r, 4);
	race_answered(&r, d, 2, t);
	expect_wait(&r, t, t + 50);
	ANSWER(&r, t + 10, "192.0.2.1", "192.0.2.2");
	expect_try(&r, t + 10, "192.0.2.1");
	expect_try(&r, t + 260, "192.0.2.2"); /* no turns with what is not wanted */
	expect_try(&r, t + 510, "2001:db8::1");

	race_init(&r, 4);
	ANSWER(&r, t, "192.0.2.1");
	expect_try(&r, t, "192.0.2.1"); /* need not wait */
}

static void test_attempts_are_bounded(void **state)
{
	static const char *const list[] = { "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4",
					    "192.0.2.5", "192.0.2.6", "192.0.2.7", "192.0.2.8",
					    "192.0.2.9", NULL };
	uint64_t t = START_MS;
	struct race r;

	(void)state;
	race_init(&r, 0);
	NO_ANSWER(&r, t);
	answer(&r, t, list);
	for (unsigned int i = 0; i < RACE_ATTEMPTS; i++, t += 250)
		expect_try(&r, t, list[i]);
	expect_wait(&r, t, UINT64_MAX);
	race_failed(&r, t);
	expect_try(&r, t, list[RACE_ATTEMPTS]);
}

/* More than there is room for: each family has its half. */
static void test_too_many(void **state)
{
	struct destination list[100];
	uint64_t t = START_MS;
	struct race r;
	unsigned int n = 0;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(list); i++) {
		list[i] = destination("192.0.2.1");
		list[i].addr.ip[3] = (uint8_t)i;
	}
	race_init(&r, 0);
	race_answered(&r, list, ARRAY_SIZE(list), t);
	ANSWER(&r, t, "2001:db8::1");
	expect_try(&r, t, "2001:db8::1");
	for (;; n++) {
		struct destination d;
		uint64_t until_ms;

		race_failed(&r, t);
		if (race_step(&r, t, &d, &until_ms) != RACE_TRY)
			break;
		race_begun(&r, &d, t);
	}
	assert_int_equal(n, RACE_DESTINATIONS / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v6_starts_at_once),
		cmocka_unit_test(test_v4_waits_for_a_resolution_delay),
		cmocka_unit_test(test_v6_that_waits),
		cmocka_unit_test(test_families_take_turns),
		cmocka_unit_test(test_failure_makes_the_next_due),
		cmocka_unit_test(test_not_begun),
		cmocka_unit_test(test_open_addresses_wait),
		cmocka_unit_test(test_first_family),
		cmocka_unit_test(test_attempts_are_bounded),
		cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
