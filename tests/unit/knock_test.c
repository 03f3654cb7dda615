/* SPDX-License-Identifier: Apache-2.0 */
/* The table of clients that knock: what each party of it may find and take. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/knock.h"

static struct knock model_of(uint16_t client_port, uint16_t server_port, uint32_t packet)
{
	struct knock k = { .packet = packet };

	k.syn.from = (struct addr){ .family = 4, .port = client_port, .ip = { 10, 0, 0, 1 } };
	k.syn.to = (struct addr){ .family = 4, .port = server_port, .ip = { 10, 0, 0, 2 } };
	k.syn.seq = packet * 1000;
	return k;
}

/* A flow as far as the table looks at it. */
#define SOME_FLOW ((struct flow *)1)

static struct knock *note_new(struct knock_table *t, const struct knock *model)
{
	struct knock *k = NULL;
	uint32_t older = 0;

	assert_int_equal(knock_note(t, model, &k, &older), KNOCK_NEW);
	assert_non_null(k);
	return k;
}

static void test_accepted_after_release(void **state)
{
	struct knock model = model_of(1000, 80, 7), *k;
	struct knock_table t;
	uint32_t packet = 0;

	(void)state;
	knock_table_init(&t, 1);
	k = note_new(&t, &model);
	assert_null(knock_claim(&t, &model.syn.from, &model.syn.to)); /* not begun yet */
	knock_begin(&t, k, SOME_FLOW);
	assert_true(knock_release(&t, k, &packet));
	assert_int_equal(packet, 7);
	assert_int_equal(atomic_load(&t.n_released), 1);
	assert_ptr_equal(knock_claim(&t, &model.syn.from, &model.syn.to), k);
	assert_int_equal(atomic_load(&t.n_released), 0);
	assert_null(knock_claim(&t, &model.syn.from, &model.syn.to));
	assert_false(knock_release(&t, k, &packet));
	assert_false(knock_forget(&t, k)); /* who has claimed it brings it back */
	free(k);
	assert_int_equal(t.map.n, 0);
	knock_table_done(&t);
}

static void test_the_newest_is_held(void **state)
{
	struct knock first = model_of(1000, 80, 7), again = model_of(1000, 80, 9), *k, *other;
	struct knock_table t;
	uint32_t packet = 0, older = 0;

	(void)state;
	knock_table_init(&t, 1);
	k = note_new(&t, &first);
	assert_int_equal(knock_note(&t, &again, &other, &older), KNOCK_AGAIN);
	assert_int_equal(older, 7);
	assert_int_equal(k->syn.seq, 9000);
	assert_true(knock_release(&t, k, &packet));
	assert_int_equal(packet, 9);
	assert_int_equal(knock_note(&t, &again, &other, &older), KNOCK_RELEASED);
	assert_true(knock_forget(&t, k));
	assert_int_equal(atomic_load(&t.n_released), 0);
	free(k);
	knock_table_done(&t);
}

/* A duplicate of its SYN is no new client; another SYN from its port is one. */
static void test_joined(void **state)
{
	struct knock model = model_of(1000, 80, 7), next = model_of(1000, 80, 9), *k, *other;
	struct knock_table t;
	uint32_t packet, older;

	(void)state;
	knock_table_init(&t, 1);
	k = note_new(&t, &model);
	knock_begin(&t, k, SOME_FLOW);
	assert_true(knock_release(&t, k, &packet));
	assert_ptr_equal(knock_claim(&t, &model.syn.from, &model.syn.to), k);
	k->arrived = true;
	model.packet = 8;
	assert_int_equal(knock_note(&t, &model, &other, &older), KNOCK_RELEASED);
	other = note_new(&t, &next);
	assert_ptr_not_equal(other, k);
	assert_int_equal(t.map.n, 1);
	assert_true(knock_forget(&t, k));
	assert_int_equal(t.map.n, 1);
	free(k);
	knock_table_done(&t);
}

static void test_others_are_not_mixed_up(void **state)
{
	struct knock a = model_of(1000, 80, 1), b = model_of(1000, 81, 2),
		     c = model_of(1001, 80, 3);
	struct knock *of_a, *of_b, *of_c;
	struct knock_table t;

	(void)state;
	knock_table_init(&t, 1);
	of_a = note_new(&t, &a);
	of_b = note_new(&t, &b);
	of_c = note_new(&t, &c);
	knock_begin(&t, of_b, SOME_FLOW);
	assert_ptr_equal(knock_claim(&t, &b.syn.from, &b.syn.to), of_b);
	assert_true(knock_forget(&t, of_a));
	assert_false(knock_forget(&t, of_b));
	free(of_a);
	free(of_b);
	assert_int_equal(t.map.n, 1);
	(void)of_c;
	knock_table_done(&t); /* frees the last */
}

/* One thread's flows end, another's accept: each knock has exactly one taker. */
#define ROUNDS 20000

struct race {
	struct knock_table t;
	struct knock *knocks[ROUNDS];
	unsigned int n_claimed;
};

static void *claimer(void *arg)
{
	struct race *r = arg;

	for (uint16_t i = 0; i < ROUNDS; i++) {
		struct knock m = model_of(i, 80, i);

		if (knock_claim(&r->t, &m.syn.from, &m.syn.to))
			r->n_claimed++;
	}
	return NULL;
}

static void test_one_taker(void **state)
{
	struct race *r = calloc(1, sizeof(*r));
	unsigned int n_forgotten = 0;
	pthread_t thread;
	uint32_t packet;

	(void)state;
	assert_non_null(r);
	knock_table_init(&r->t, 1);
	for (uint16_t i = 0; i < ROUNDS; i++) {
		struct knock m = model_of(i, 80, i);

		r->knocks[i] = note_new(&r->t, &m);
		knock_begin(&r->t, r->knocks[i], SOME_FLOW);
	}
	assert_int_equal(pthread_create(&thread, NULL, claimer, r), 0);
	for (unsigned int i = ROUNDS; i-- > 0;) {
		if (i % 2)
			(void)knock_release(&r->t, r->knocks[i], &packet);
		n_forgotten += knock_forget(&r->t, r->knocks[i]);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(r->n_claimed + n_forgotten, ROUNDS);
	assert_int_equal(r->t.map.n, 0);
	assert_int_equal(atomic_load(&r->t.n_released), 0);
	for (unsigned int i = 0; i < ROUNDS; i++)
		free(r->knocks[i]);
	knock_table_done(&r->t);
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted_after_release),
		cmocka_unit_test(test_the_newest_is_held),
		cmocka_unit_test(test_joined),
		cmocka_unit_test(test_others_are_not_mixed_up),
		cmocka_unit_test(test_one_taker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
