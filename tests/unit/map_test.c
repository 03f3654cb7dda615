/* SPDX-License-Identifier: Apache-2.0 */
/* Random additions and removals against a plain array, with many keys of one hash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/map.h"

#define ITEMS 5000

struct item {
	struct map_node node;
	uint64_t hash;
	bool in;
};

static bool is_found(const struct map *m, const struct item *it)
{
	for (struct map_node *n = map_first(m, it->hash); n; n = map_next(n)) {
		assert_int_equal(n->hash, it->hash);
		if (map_entry(n, struct item, node) == it)
			return true;
	}
	return false;
}

static void test_against_array(void **state)
{
	static struct item items[ITEMS];
	struct map m;
	size_t n_in = 0;
	unsigned int seed = 1;

	(void)state;
	map_init(&m, 1);
	for (unsigned int i = 0; i < ITEMS; i++)
		items[i].hash = (i % 10 ? i * 0x9e3779b97f4a7c15 : 7);
	for (unsigned int step = 0; step < 200000; step++) {
		struct item *it = &items[(unsigned int)rand_r(&seed) % ITEMS];
		bool add = (unsigned int)rand_r(&seed) % 100 < (step / 50000 % 2 ? 20 : 80);

		if (add && !it->in) {
			assert_int_equal(map_add(&m, &it->node, it->hash), 0);
			it->in = true;
			n_in++;
		} else if (!add && it->in) {
			map_del(&m, &it->node);
			it->in = false;
			n_in--;
		}
		assert_int_equal(m.n, n_in);
		assert_true(is_found(&m, it) == it->in);
	}
	for (unsigned int i = 0; i < ITEMS; i++)
		assert_true(is_found(&m, &items[i]) == items[i].in);
	assert_true(m.n_slots >= n_in && m.n_slots <= 16 * n_in);
	for (struct map_node *n; (n = map_any(&m));) {
		map_del(&m, n);
		n_in--;
	}
	assert_int_equal(n_in, 0);
	assert_null(m.slots);
	map_done(&m);
}

static struct addr addr_of(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

/* Every part of an address counts, and so does the seed. */
static void test_hash(void **state)
{
	static const char *const texts[] = { "10.0.0.1:1",	"10.0.0.1:2",	  "10.0.0.2:1",
					     "[::1]:1",		"[::1]:2",	  "[2001:db8::1]:1",
					     "[2001:db8::2]:1", "[2002:db8::1]:1" };
	struct map m, other;
	struct addr a, b;

	(void)state;
	map_init(&m, 1);
	map_init(&other, 2);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		a = addr_of(texts[i]);
		assert_true(map_hash_addr(&m, &a, 0) == map_hash_addr(&m, &a, 0));
		assert_true(map_hash_addr(&m, &a, 0) != map_hash_addr(&m, &a, 1));
		assert_true(map_hash_addr(&m, &a, 0) != map_hash_addr(&other, &a, 0));
		for (size_t k = 0; k < i; k++) {
			b = addr_of(texts[k]);
			assert_true(map_hash_addr(&m, &a, 0) != map_hash_addr(&m, &b, 0));
		}
	}
}

static void test_hash_of_text(void **state)
{
	static const char *const texts[] = { "",	  "a",		"b",	      "abcdefgh",
					     "abcdefghi", "abcdefgh\x01", "bcdefghi", "a.example",
					     "b.example", "a.example.net.example.net" };
	struct map m, other;

	(void)state;
	map_init(&m, 1);
	map_init(&other, 2);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		uint64_t h = map_hash_text(&m, texts[i], 4);

		assert_true(h == map_hash_text(&m, texts[i], 4));
		assert_true(h != map_hash_text(&m, texts[i], 6));
		assert_true(h != map_hash_text(&other, texts[i], 4));
		for (size_t k = 0; k < i; k++)
			assert_true(h != map_hash_text(&m, texts[k], 4));
	}
}

/* Ports counted up, as clients do, fill the slots evenly, whatever the seed. */
static void test_spread(void **state)
{
	struct addr a = addr_of("192.0.2.1:1");

	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		unsigned int slots[1024] = { 0 }, longest = 0;
		struct map m;

		map_init(&m, seed * 0x9e3779b97f4a7c15);
		for (a.port = 1; a.port <= 1024; a.port++) {
			unsigned int n = ++slots[map_hash_addr(&m, &a, 0) % 1024];

			longest = n > longest ? n : longest;
		}
		assert_in_range(longest, 1, 12);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_array),
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_hash_of_text),
		cmocka_unit_test(test_spread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
