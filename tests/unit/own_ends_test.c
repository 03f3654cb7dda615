/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "core/own_ends.h"

static struct addr at(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static int make(void **state)
{
	struct own_ends *t = malloc(sizeof(*t));

	own_ends_init(t);
	*state = t;
	return 0;
}

static int unmake(void **state)
{
	struct own_ends *t = *state;

	assert_int_equal(t->map.n, 0);
	own_ends_done(t);
	free(t);
	return 0;
}

static int add(struct own_ends *t, enum own_side side, const char *from, const char *to,
	       struct own_end **ret)
{
	struct addr a = at(from), b = at(to);

	return own_ends_add(t, side, &a, &b, ret);
}

static void whoever_is_second_is_told_and_the_first_finds_out(void **state)
{
	static const enum own_side orders[][2] = { { OWN_CAME, OWN_MADE }, { OWN_MADE, OWN_CAME } };
	static const char *const ends[][2] = {
		{ "192.0.2.1:40000", "198.51.100.1:80" },
		{ "[2001:db8::1]:40000", "[2001:db8::2]:443" },
	};
	struct own_end *first, *second;

	for (size_t i = 0; i < ARRAY_SIZE(orders); i++)
		for (size_t k = 0; k < ARRAY_SIZE(ends); k++) {
			assert_int_equal(add(*state, orders[i][0], ends[k][0], ends[k][1], &first),
					 0);
			assert_int_equal(add(*state, orders[i][1], ends[k][0], ends[k][1], &second),
					 1);
			assert_true(own_ends_del(*state, second));
			assert_true(own_ends_del(*state, first));
		}
}

static void connections_that_share_an_end_are_no_loop(void **state)
{
	static const struct {
		enum own_side side;
		const char *from, *to;
	} others[] = {
		{ OWN_CAME, "192.0.2.1:40001", "198.51.100.1:80" },
		{ OWN_CAME, "192.0.2.2:40000", "198.51.100.1:80" },
		{ OWN_CAME, "192.0.2.1:40000", "198.51.100.1:81" },
		{ OWN_CAME, "192.0.2.1:40000", "198.51.100.2:80" },
		{ OWN_CAME, "198.51.100.1:80", "192.0.2.1:40000" },
		{ OWN_MADE, "192.0.2.1:40000", "198.51.100.1:80" }, /* another client's address */
	};
	struct own_end *made, *other;

	assert_int_equal(add(*state, OWN_MADE, "192.0.2.1:40000", "198.51.100.1:80", &made), 0);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		assert_int_equal(add(*state, others[i].side, others[i].from, others[i].to, &other),
				 0);
		assert_false(own_ends_del(*state, other));
	}
	assert_false(own_ends_del(*state, made));
}

/* A header may name what limpid has dialled from its own address, not a client's. */
static void what_was_made_can_be_looked_up(void **state)
{
	static const enum own_side sides[] = { OWN_MADE, OWN_KEPT, OWN_CAME };
	struct addr from = at("192.0.2.1:40000"), to = at("198.51.100.1:80");
	struct own_end *e;

	for (size_t i = 0; i < ARRAY_SIZE(sides); i++) {
		assert_int_equal(own_ends_add(*state, sides[i], &from, &to, &e), 0);
		assert_int_equal(own_ends_made(*state, &from, &to), sides[i] == OWN_MADE);
		assert_false(own_ends_made(*state, &to, &from));
		assert_false(own_ends_del(*state, e));
		assert_false(own_ends_made(*state, &from, &to));
	}
}

static void what_is_over_is_forgotten(void **state)
{
	struct own_end *made, *came;

	assert_int_equal(add(*state, OWN_MADE, "192.0.2.1:40000", "198.51.100.1:80", &made), 0);
	assert_false(own_ends_del(*state, made));
	assert_int_equal(add(*state, OWN_CAME, "192.0.2.1:40000", "198.51.100.1:80", &came), 0);
	assert_false(own_ends_del(*state, came));
	assert_false(own_ends_del(*state, NULL));
}

static void the_scope_is_not_in_packets(void **state)
{
	struct own_end *made, *came;

	assert_int_equal(add(*state, OWN_MADE, "[fe80::1%2]:40000", "[fe80::2%2]:80", &made), 0);
	assert_int_equal(add(*state, OWN_CAME, "[fe80::1%1]:40000", "[fe80::2]:80", &came), 1);
	assert_true(own_ends_del(*state, made));
	assert_true(own_ends_del(*state, came));
}

/* ---- threads ---- */

#define N_THREADS 4
#define N_ROUNDS 3000

/**
 * struct player - a worker that dials, and one that accepts what was dialled
 * @dialled:	round that has been begun: the other may accept it from now on
 */
struct player {
	struct own_ends *table;
	unsigned int index;
	atomic_uint dialled, accepted;
};

static void ends_of(const struct player *p, unsigned int round, struct addr *from, struct addr *to)
{
	*from = (struct addr){ .family = 4,
			       .port = (uint16_t)(1024 + round % 60000),
			       .ip = { 192, 0, 2, (uint8_t)p->index } };
	*to = (struct addr){ .family = 4, .port = 80, .ip = { 198, 51, 100, 1 } };
}

/* As a connect(2) that is announced: it can be accepted before its address is known. */
static void *dial(void *arg)
{
	struct player *p = arg;
	uintptr_t wrong = 0;

	for (unsigned int round = 1; round <= N_ROUNDS; round++) {
		struct own_end *e;
		struct addr from, to;

		ends_of(p, round, &from, &to);
		own_ends_dial_begin(p->table);
		atomic_store(&p->dialled, round);
		if (round % 2)
			sched_yield();
		wrong += own_ends_add(p->table, OWN_MADE, &from, &to, &e) != 0;
		own_ends_dial_end(p->table);
		while (atomic_load(&p->accepted) < round)
			sched_yield();
		wrong += !own_ends_del(p->table, e);
	}
	return (void *)wrong;
}

static void *take(void *arg)
{
	struct player *p = arg;
	uintptr_t wrong = 0;

	for (unsigned int round = 1; round <= N_ROUNDS; round++) {
		struct own_end *e;
		struct addr from, to;

		ends_of(p, round, &from, &to);
		while (atomic_load(&p->dialled) < round)
			sched_yield();
		wrong += own_ends_add(p->table, OWN_CAME, &from, &to, &e) != 1;
		wrong += !own_ends_del(p->table, e);
		atomic_store(&p->accepted, round);
	}
	return (void *)wrong;
}

static void an_announced_dial_is_never_missed(void **state)
{
	struct player players[N_THREADS] = { 0 };
	pthread_t threads[2 * N_THREADS];

	for (unsigned int i = 0; i < N_THREADS; i++) {
		players[i].table = *state;
		players[i].index = i;
		assert_int_equal(pthread_create(&threads[2 * i], NULL, dial, &players[i]), 0);
		assert_int_equal(pthread_create(&threads[2 * i + 1], NULL, take, &players[i]), 0);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		assert_int_equal((uintptr_t)wrong, 0);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make, unmake)
	const struct CMUnitTest tests[] = {
		TEST(whoever_is_second_is_told_and_the_first_finds_out),
		TEST(connections_that_share_an_end_are_no_loop),
		TEST(what_was_made_can_be_looked_up),
		TEST(what_is_over_is_forgotten),
		TEST(the_scope_is_not_in_packets),
		TEST(an_announced_dial_is_never_missed),
	};

	return cmocka_run_group_tests_name("own_ends", tests, NULL, NULL);
}
