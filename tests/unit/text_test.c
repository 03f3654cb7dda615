/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hostname.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/units.h"

static void test_escape(void **state)
{
	static const struct {
		const char *in;
		size_t cap;
		const char *out;
	} cases[] = {
		{ "", 8, "" },
		{ "plain", 8, "plain" },
		{ "seven77", 8, "seven77" },
		{ "eight888", 8, "eigh..." },
		{ "a\n\r\t\\", 16, "a\\n\\r\\t\\\\" },
		{ "\x01\x7f\xff", 16, "\\x01\\x7f\\xff" },
		{ "\xff\xff", 8, "\\xff..." },
		{ "a\xff\xff", 8, "a..." },
		{ "ab\xff", 8, "ab\\xff" },
		{ "abcd\xff", 8, "abcd..." },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *dst = malloc(cases[i].cap);

		assert_string_equal(text_escape(span_str(cases[i].in), dst, cases[i].cap),
				    cases[i].out);
		free(dst);
	}
}

/* The same for every room: what is there is a beginning, cut between escapes. */
static void test_escape_cut(void **state)
{
	static const char in[] = "a\nb\x02\\c\xff\xfe!";
	char whole[64];

	text_escape(span_str(in), whole, sizeof(whole));
	for (size_t cap = 8; cap < sizeof(whole); cap++) {
		char *dst = malloc(cap);
		size_t len = strlen(text_escape(span_str(in), dst, cap));

		assert_true(len < cap);
		if (cap > strlen(whole)) {
			assert_string_equal(dst, whole);
		} else {
			assert_string_equal(dst + len - 3, "...");
			assert_memory_equal(dst, whole, len - 3);
		}
		free(dst);
	}
}

static void test_copies(void **state)
{
	char text[] = "AbZ[@`{\xc3\x84";
	char *copy;

	text_lower(text);
	assert_string_equal(text, "abz[@`{\xc3\x84");
	copy = text_dup_lower(span_of("HOST.x", 4));
	assert_string_equal(copy, "host");
	free(copy);
	copy = text_dup(span_of("HOST.x", 4));
	assert_string_equal(copy, "HOST");
	free(copy);
	copy = text_dup(span_of(NULL, 0));
	assert_string_equal(copy, "");
	free(copy);
}

static void test_time(void **state)
{
	static const struct {
		const char *text;
		int error;
		uint32_t ms;
	} cases[] = {
		{ "0", 0, 0 },
		{ "0s", 0, 0 },
		{ "250ms", 0, 250 },
		{ "30s", 0, 30000 },
		{ "5m", 0, 300000 },
		{ "2h", 0, 7200000 },
		{ "1d", 0, 86400000 },
		{ "49d", 0, 4233600000 },
		{ "50d", -ERANGE, 0 },
		{ "4294967295ms", 0, UINT32_MAX },
		{ "4294967296ms", -ERANGE, 0 },
		{ "99999999999999999999d", -ERANGE, 0 },
		{ "18446744073709551616s", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "s", -EINVAL, 0 },
		{ "30", -EINVAL, 0 },
		{ "00", -EINVAL, 0 },
		{ "30 s", -EINVAL, 0 },
		{ "30S", -EINVAL, 0 },
		{ "-1s", -EINVAL, 0 },
		{ "+1s", -EINVAL, 0 },
		{ "1.5s", -EINVAL, 0 },
		{ "1h30m", -EINVAL, 0 },
		{ "30sec", -EINVAL, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t ms = 7;

		assert_int_equal(units_parse_time(cases[i].text, &ms), cases[i].error);
		assert_int_equal(ms, cases[i].error ? 7 : cases[i].ms);
	}
}

static void test_size(void **state)
{
	static const struct {
		const char *text;
		int error;
		uint64_t bytes;
	} cases[] = {
		{ "0", 0, 0 },
		{ "512B", 0, 512 },
		{ "64KiB", 0, 65536 },
		{ "1MiB", 0, 1048576 },
		{ "2GiB", 0, UINT64_C(2147483648) },
		{ "18446744073709551615B", 0, UINT64_MAX },
		{ "18446744073709551616B", -ERANGE, 0 },
		{ "17179869184GiB", -ERANGE, 0 },
		{ "64", -EINVAL, 0 },
		{ "64KB", -EINVAL, 0 },
		{ "64kib", -EINVAL, 0 },
		{ "KiB", -EINVAL, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t bytes = 7;

		assert_int_equal(units_parse_size(cases[i].text, &bytes), cases[i].error);
		assert_int_equal(bytes, cases[i].error ? 7 : cases[i].bytes);
	}
}

static void test_hostname(void **state)
{
	char name[HOSTNAME_CAP];

	assert_int_equal(hostname_parse(span_str("A-b_1.Example."), name), 0);
	assert_string_equal(name, "a-b_1.example");
	assert_int_equal(hostname_parse(span_str("1.2.3.4.5"), name), 0);
	assert_int_equal(hostname_parse(span_str("1.2.3.4"), name), -EINVAL);
	assert_int_equal(hostname_parse(span_str("1.2.3.4."), name), -EINVAL);
	assert_int_equal(hostname_parse(span_str("a.."), name), -EINVAL);
	assert_int_equal(hostname_parse(span_of("a\0b", 3), name), -EINVAL);
	assert_true(hostname_is_ip(span_str("192.0.2.1")));
	assert_true(hostname_is_ip(span_str("2001:DB8::1")));
	assert_false(hostname_is_ip(span_str("fe80::1%lo")));
	assert_false(hostname_is_ip(span_str("dead.beef")));
	assert_false(hostname_is_ip(span_str("")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escape), cmocka_unit_test(test_escape_cut),
		cmocka_unit_test(test_copies), cmocka_unit_test(test_time),
		cmocka_unit_test(test_size),   cmocka_unit_test(test_hostname),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
