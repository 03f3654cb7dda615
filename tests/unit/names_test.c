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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_name_of_each_client),
		cmocka_unit_test(test_valid_for_a_while),
		cmocka_unit_test(test_oldest_makes_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
