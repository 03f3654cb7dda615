/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/text.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_escape_cut),
		cmocka_unit_test(test_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
