/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/nameset.h"

static void test_patterns(void **state)
{
	static const struct {
		const char *pattern;
		bool itself, below, deep;
	} cases[] = {
		{ "example.net", true, false, false },	{ "Example.NET.", true, false, false },
		{ "*.example.net", false, true, true }, { "*.example.net.", false, true, true },
		{ ".example.net", true, true, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct nameset *s = nameset_new();

		assert_false(nameset_contains(s, "example.net"));
		assert_int_equal(nameset_add(s, cases[i].pattern), 0);
		assert_int_equal(nameset_count(s), 1);
		assert_int_equal(nameset_contains(s, "example.net"), cases[i].itself);
		assert_int_equal(nameset_contains(s, "a.example.net"), cases[i].below);
		assert_int_equal(nameset_contains(s, "a.b.example.net"), cases[i].deep);
		assert_false(nameset_contains(s, "evilexample.net"));
		assert_false(nameset_contains(s, "net"));
		assert_false(nameset_contains(s, "example.net.org"));
		assert_false(nameset_contains(s, ""));
		nameset_free(s);
	}
}

/* The same name in two forms is one entry that matches both ways. */
static void test_both_forms(void **state)
{
	struct nameset *s = nameset_new();

	assert_int_equal(nameset_add(s, "*.example.net"), 0);
	assert_int_equal(nameset_add(s, "EXAMPLE.net"), 0);
	assert_int_equal(nameset_add(s, "example.net"), 0);
	assert_int_equal(nameset_count(s), 1);
	assert_true(nameset_contains(s, "example.net"));
	assert_true(nameset_contains(s, "a.example.net"));
	nameset_free(s);
}

static void test_bad(void **state)
{
	static const char *const cases[] = {
		"",
		".",
		"..",
		"*",
		"*.",
		"a..b",
		"..a",
		"a b",
		"a/b",
		"*a.b",
		"a.*.b",
		"*.*.a",
		".*.a",
		"192.0.2.1",
		"192.0.2.1.",
		"::1",
		"b\xc3\xbc.example",
		"a:443",
		"!a",
		"a123456789012345678901234567890123456789012345678901234567890123.net",
	};
	struct nameset *s = nameset_new();
	char name[300];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(nameset_add(s, cases[i]), -EINVAL);
	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = i % 50 == 49 ? '.' : 'a';
	name[254] = '\0';
	assert_int_equal(nameset_add(s, name), -EINVAL);
	assert_int_equal(nameset_count(s), 0);
	name[253] = '\0';
	assert_int_equal(nameset_add(s, name), 0);
	assert_true(nameset_contains(s, name));
	memset(name, 'a', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_false(nameset_contains(s, name));
	nameset_free(s);
	nameset_free(NULL);
}

static void test_merge(void **state)
{
	struct nameset *a = nameset_new(), *b = nameset_new();

	assert_int_equal(nameset_merge(a, b), 0);
	assert_int_equal(nameset_add(a, "one.example"), 0);
	assert_int_equal(nameset_add(b, "*.one.example"), 0);
	assert_int_equal(nameset_add(b, "two.example"), 0);
	assert_int_equal(nameset_merge(a, b), 0);
	nameset_free(b);
	assert_int_equal(nameset_count(a), 2);
	assert_true(nameset_contains(a, "one.example"));
	assert_true(nameset_contains(a, "x.one.example"));
	assert_true(nameset_contains(a, "two.example"));
	nameset_free(a);
}

static double cpu_seconds(void)
{
	return (double)clock() / CLOCKS_PER_SEC;
}

/* A blocklist: loads in about a second, and asking it costs no more than asking a small one. */
static void test_million(void **state)
{
	struct nameset *s = nameset_new();
	double start = cpu_seconds();
	char name[64];

	for (int i = 0; i < 1000000; i++) {
		snprintf(name, sizeof(name), "*.host%d.domain%d.example", i, i % 1000);
		assert_int_equal(nameset_add(s, name), 0);
	}
	assert_int_equal(nameset_count(s), 1000000);
	assert_true(cpu_seconds() - start < 10); /* sanitizers included */
	start = cpu_seconds();
	for (int i = 0; i < 1000000; i++) {
		snprintf(name, sizeof(name), "a.host%d.domain%d.example", i, i % 1000 + i % 2);
		assert_int_equal(nameset_contains(s, name), i % 2 == 0);
	}
	assert_true(cpu_seconds() - start < 10);
	nameset_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patterns), cmocka_unit_test(test_both_forms),
		cmocka_unit_test(test_bad),	 cmocka_unit_test(test_merge),
		cmocka_unit_test(test_million),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
