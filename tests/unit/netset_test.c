/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/netset.h"

static bool has(const struct netset *s, const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse_ip(text, &a), 0);
	return netset_contains(s, &a);
}

static struct netset *set_make(const char *const *texts, size_t n)
{
	struct netset *s = netset_new();

	assert_non_null(s);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(netset_add(s, texts[i]), 0);
	netset_seal(s);
	return s;
}

static void test_contains(void **state)
{
	static const char *const texts[] = { "192.0.2.7", "10.0.0.0/8", "fd00::/8",
					     "172.16.0.1-172.16.0.9", "2001:db8::1" };
	struct netset *s = set_make(texts, ARRAY_SIZE(texts));

	assert_int_equal(netset_count(s), 5);
	assert_true(has(s, "10.0.0.0"));
	assert_true(has(s, "10.255.255.255"));
	assert_false(has(s, "9.255.255.255"));
	assert_false(has(s, "11.0.0.0"));
	assert_true(has(s, "192.0.2.7"));
	assert_false(has(s, "192.0.2.6"));
	assert_false(has(s, "192.0.2.8"));
	assert_false(has(s, "172.16.0.0"));
	assert_true(has(s, "172.16.0.1"));
	assert_true(has(s, "172.16.0.9"));
	assert_false(has(s, "172.16.0.10"));
	assert_true(has(s, "fdff::1"));
	assert_false(has(s, "fe00::"));
	assert_true(has(s, "2001:db8::1"));
	assert_true(has(s, "::ffff:10.1.2.3"));
	assert_false(netset_contains(s, &(struct addr){ 0 }));
	netset_free(s);
}

static void test_families_apart(void **state)
{
	static const char *const all4[] = { "0.0.0.0/0" };
	static const char *const all6[] = { "::/0" };
	struct netset *s4 = set_make(all4, 1), *s6 = set_make(all6, 1);

	assert_true(has(s4, "255.255.255.255"));
	assert_false(has(s4, "::1"));
	assert_true(has(s6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
	assert_false(has(s6, "1.2.3.4"));
	netset_free(s4);
	netset_free(s6);
}

/* What overlaps or touches becomes one range. */
static void test_seal(void **state)
{
	static const char *const texts[] = { "10.0.1.0/24",
					     "10.0.0.0/24",
					     "10.0.0.128/25",
					     "10.0.3.0/24",
					     "255.255.255.255",
					     "0.0.0.0",
					     "ffff::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
					     "ffff:1::1" };
	struct netset *s = set_make(texts, ARRAY_SIZE(texts));

	assert_int_equal(netset_count(s), 5);
	assert_true(has(s, "10.0.1.255"));
	assert_false(has(s, "10.0.2.0"));
	assert_true(has(s, "255.255.255.255"));
	assert_true(has(s, "ffff:2::"));
	netset_free(s);
}

static void test_bad(void **state)
{
	static const struct {
		const char *text;
		int error;
	} cases[] = {
		{ "", -EINVAL },
		{ "x", -EINVAL },
		{ "/8", -EINVAL },
		{ "-", -EINVAL },
		{ "10.0.0.0/", -EINVAL },
		{ "10.0.0.0/33", -EINVAL },
		{ "10.0.0.0/08", -EINVAL },
		{ "10.0.0.0/-1", -EINVAL },
		{ "10.0.0.0/8/8", -EINVAL },
		{ "10.0.0.0/255.0.0.0", -EINVAL },
		{ "10.0.0.1/8", -ERANGE },
		{ "0.0.0.1/0", -ERANGE },
		{ "::1/127", -ERANGE },
		{ "::/129", -EINVAL },
		{ "10.0.0.9-10.0.0.1", -EINVAL },
		{ "10.0.0.1-", -EINVAL },
		{ "10.0.0.1-::1", -EINVAL },
		{ "10.0.0.1-10.0.0.2-10.0.0.3", -EINVAL },
		{ " 10.0.0.1", -EINVAL },
		{ "fe80::1%1", -EINVAL },
		{ "10.0.0", -EINVAL },
	};
	struct netset *s = netset_new();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(netset_add(s, cases[i].text), cases[i].error);
	netset_seal(s);
	assert_int_equal(netset_count(s), 0);
	assert_false(has(s, "10.0.0.1"));
	netset_free(s);
	netset_free(NULL);
}

static void test_merge(void **state)
{
	static const char *const one[] = { "10.0.0.0/8", "::1" };
	static const char *const two[] = { "11.0.0.0/8", "192.0.2.1" };
	struct netset *a = set_make(one, 2), *b = set_make(two, 2);

	assert_int_equal(netset_merge(a, b), 0);
	netset_free(b);
	netset_seal(a);
	assert_int_equal(netset_count(a), 3);
	assert_true(has(a, "11.1.1.1"));
	assert_true(has(a, "::1"));
	netset_free(a);
}

/* Random ranges in a small space against a plain table. */
static void test_random(void **state)
{
	bool expect[256];
	unsigned seed = 1;

	for (int round = 0; round < 200; round++) {
		struct netset *s = netset_new();

		memset(expect, 0, sizeof(expect));
		for (int i = 0; i < 8; i++) {
			int first = rand_r(&seed) % 256;
			int last = first + rand_r(&seed) % 20;
			char text[64];

			last = last < 256 ? last : 255;
			snprintf(text, sizeof(text), "10.0.0.%d-10.0.0.%d", first, last);
			assert_int_equal(netset_add(s, text), 0);
			memset(expect + first, true, (size_t)(last - first) + 1);
		}
		netset_seal(s);
		for (int i = 0; i < 256; i++) {
			struct addr a = { .family = 4, .ip = { 10, 0, 0, (uint8_t)i } };

			assert_int_equal(netset_contains(s, &a), expect[i]);
		}
		netset_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contains), cmocka_unit_test(test_families_apart),
		cmocka_unit_test(test_seal),	 cmocka_unit_test(test_bad),
		cmocka_unit_test(test_merge),	 cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
