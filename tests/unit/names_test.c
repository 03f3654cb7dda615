/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/names.h"

#define FLAGS_ANSWER 0x81

static const struct addr ann = { .family = 4, .port = 1000, .ip = { 10, 0, 0, 1 } };
static const struct addr bob = { .family = 4, .port = 1000, .ip = { 10, 0, 0, 2 } };

static struct addr place(uint8_t last)
{
	return (struct addr){ .family = 4, .port = 443, .ip = { 192, 0, 2, last } };
}

/* @client is told that "<letter>.t" is 192.0.2.@last for @ttl_s. */
static void tell(struct names *n, const struct addr *client, char letter, uint8_t last,
		 uint8_t ttl_s, uint8_t flags, uint64_t now_ms)
{
	const uint8_t m[] = {
		0, 1,	flags, 0x80, 0, 1,   0, 1,    0,    0, 0, 0, 1, (uint8_t)letter,
		1, 't', 0,     0,    1, 0,   1, 0xc0, 0x0c, 0, 1, 0, 1, 0,
		0, 0,	ttl_s, 0,    4, 192, 0, 2,    last
	};

	names_learn(n, client, span_of(m, sizeof(m)), now_ms);
}

static void expect(struct names *n, const struct addr *client, uint8_t last, uint64_t now_ms,
		   const char *name)
{
	struct addr target = place(last);
	char *found = names_find(n, client, &target, now_ms);

	if (name)
		assert_string_equal(found, name);
	else
		assert_null(found);
	free(found);
}

static void test_last_name_of_each_client(void **state)
{
	struct names *n = names_new(10);

	expect(n, &ann, 1, 0, NULL);
	tell(n, &ann, 'a', 1, 200, FLAGS_ANSWER, 0);
	expect(n, &ann, 1, 0, "a.t");
	expect(n, &ann, 2, 0, NULL);
	expect(n, &bob, 1, 0, NULL); /* what another was told is nothing to him */
	tell(n, &ann, 'b', 1, 200, FLAGS_ANSWER, 0);
	expect(n, &ann, 1, 0, "b.t");
	tell(n, &ann, 'c', 1, 200, 0x01, 0); /* a query */
	expect(n, &ann, 1, 0, "b.t");
	names_free(n);
}

static void test_valid_for_a_while(void **state)
{
	struct names *n = names_new(10);

	tell(n, &ann, 'a', 1, 200, FLAGS_ANSWER, 1000);
	tell(n, &ann, 'b', 2, 0, FLAGS_ANSWER, 1000);
	expect(n, &ann, 1, 200999, "a.t");
	expect(n, &ann, 1, 201000, NULL);
	expect(n, &ann, 2, 60999, "b.t");
	expect(n, &ann, 2, 61000, NULL);
	names_free(n);
}

static void test_oldest_makes_room(void **state)
{
	struct names *n = names_new(2);

	tell(n, &ann, 'a', 1, 200, FLAGS_ANSWER, 0);
	tell(n, &ann, 'b', 2, 200, FLAGS_ANSWER, 0);
	tell(n, &ann, 'a', 1, 200, FLAGS_ANSWER, 0);
	tell(n, &ann, 'c', 3, 200, FLAGS_ANSWER, 0);
	expect(n, &ann, 1, 0, "a.t");
	expect(n, &ann, 2, 0, NULL);
	expect(n, &ann, 3, 0, "c.t");
	names_free(n);
	n = names_new(0);
	tell(n, &ann, 'a', 1, 200, FLAGS_ANSWER, 0);
	expect(n, &ann, 1, 0, NULL);
	names_free(n);
	names_free(NULL);
}

/* A server is asked for "<letter>.t". */
static void ask(struct names *n, struct questions *q, uint8_t id, char letter, uint8_t type)
{
	const uint8_t m[] = { 0, id,  1, 0, 0,	  1, 0, 0, 0, 0, 0, 0, 1, (uint8_t)letter,
			      1, 't', 0, 0, type, 0, 1 };

	names_asked(n, q, span_of(m, sizeof(m)));
}

/* And tells ann that it is 192.0.2.@last. */
static void answer(struct names *n, struct questions *q, uint8_t id, char letter, uint8_t last,
		   uint8_t opcode)
{
	const uint8_t m[] = { 0,
			      id,
			      0x81 | (uint8_t)(opcode << 3),
			      0x80,
			      0,
			      1,
			      0,
			      1,
			      0,
			      0,
			      0,
			      0,
			      1,
			      (uint8_t)letter,
			      1,
			      't',
			      0,
			      0,
			      1,
			      0,
			      1,
			      0xc0,
			      0x0c,
			      0,
			      1,
			      0,
			      1,
			      0,
			      0,
			      0,
			      60,
			      0,
			      4,
			      192,
			      0,
			      2,
			      last };

	names_answered(n, q, &ann, span_of(m, sizeof(m)), 0);
}

/* An answer that was not asked for, to another question, or the second one, is not believed. */
static void test_answers_to_questions_only(void **state)
{
	struct names *n = names_new(10);
	struct questions q = { 0 };

	answer(n, &q, 1, 'a', 1, 0);
	ask(n, &q, 1, 'A', 1);
	answer(n, &q, 2, 'a', 2, 0);
	answer(n, &q, 1, 'b', 3, 0);
	answer(n, &q, 1, 'a', 4, 5); /* of an update */
	answer(n, &q, 1, 'A', 5, 0);
	answer(n, &q, 1, 'a', 6, 0);
	ask(n, &q, 1, 'a', 28);
	answer(n, &q, 1, 'a', 7, 0); /* of another type */
	for (uint8_t last = 1; last <= 7; last++)
		expect(n, &ann, last, 0, last == 5 ? "a.t" : NULL);
	questions_done(&q);
	names_free(n);
}

/* Several of one id; one that is sent again is one. */
static void test_questions(void **state)
{
	struct names *n = names_new(10);
	struct questions q = { 0 };

	ask(n, &q, 1, 'a', 1);
	ask(n, &q, 1, 'b', 1);
	ask(n, &q, 1, 'a', 1);
	assert_int_equal(q.n, 2);
	answer(n, &q, 1, 'b', 2, 0);
	answer(n, &q, 1, 'a', 1, 0);
	expect(n, &ann, 1, 0, "a.t");
	expect(n, &ann, 2, 0, "b.t");
	assert_null(q.list);
	names_free(n);
}

static void test_oldest_question_makes_room(void **state)
{
	struct names *n = names_new(10);
	struct questions q = { 0 };

	for (unsigned int id = 0; id <= QUESTIONS_MAX; id++)
		ask(n, &q, (uint8_t)id, 'a', 1);
	assert_int_equal(q.n, QUESTIONS_MAX);
	answer(n, &q, 0, 'a', 1, 0);
	answer(n, &q, 1, 'a', 2, 0);
	answer(n, &q, QUESTIONS_MAX, 'a', 3, 0);
	expect(n, &ann, 1, 0, NULL);
	expect(n, &ann, 2, 0, "a.t");
	expect(n, &ann, 3, 0, "a.t");
	questions_done(&q);
	names_free(n);
	n = names_new(0); /* nothing is learnt: nothing is noted */
	ask(n, &q, 1, 'a', 1);
	assert_null(q.list);
	ask(NULL, &q, 1, 'a', 1);
	assert_null(q.list);
	names_free(n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_name_of_each_client),
		cmocka_unit_test(test_valid_for_a_while),
		cmocka_unit_test(test_oldest_makes_room),
		cmocka_unit_test(test_answers_to_questions_only),
		cmocka_unit_test(test_questions),
		cmocka_unit_test(test_oldest_question_makes_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
