/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/mem.h"
#include "codec/json.h"

static void record_put(struct json *j)
{
	json_time(j, "timestamp", UINT64_C(1795218181123456));
	json_u64(j, "flow_id", UINT64_MAX);
	json_open(j, "flow");
	json_u64(j, "bytes", 0);
	json_open(j, "empty");
	json_close(j);
	json_bool(j, "ok", true);
	json_close(j);
	json_open(j, "tls");
	json_str(j, "sni", span_str("a.example"));
	json_list_open(j, "list");
	for (int i = 0; i < 2; i++) {
		json_item_open(j);
		json_u64(j, "i", i);
		json_close(j);
	}
	json_list_close(j);
	json_list_open(j, "none");
	json_list_close(j);
	json_close(j);
	json_bool(j, "last", false);
}

static const char record[] =
	"{\"timestamp\":\"2026-11-20T23:43:01.123456+0000\","
	"\"flow_id\":18446744073709551615,"
	"\"flow\":{\"bytes\":0,\"empty\":{},\"ok\":true},"
	"\"tls\":{\"sni\":\"a.example\",\"list\":[{\"i\":0},{\"i\":1}],\"none\":[]},\"last\":false}";

/* Too small by any number of bytes: said at the end, and nothing written behind the end. */
static void test_record(void **state)
{
	size_t len = sizeof(record) - 1;
	struct json j;

	for (size_t cap = 0; cap <= len + 1; cap++) {
		char *dst = malloc(cap + 1);

		dst[cap] = 'x';
		json_init(&j, dst, cap);
		record_put(&j);
		if (cap < len) {
			assert_int_equal(json_end(&j), -EMSGSIZE);
		} else {
			assert_int_equal(json_end(&j), len);
			assert_memory_equal(dst, record, len);
		}
		assert_int_equal(dst[cap], 'x');
		free(dst);
	}
}

static void test_strings(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "", "" },
		{ "plain / 'text'", "plain / 'text'" },
		{ "\"\\", "\\\"\\\\" },
		{ "a\n\r\tb", "a\\n\\r\\tb" },
		{ "\x01\x1f\x7f", "\\u0001\\u001f\\u007f" },
		{ "b\xc3\xbc\xe2\x82\xac\xf0\x9f\x99\x82",
		  "b\xc3\xbc\xe2\x82\xac\xf0\x9f\x99\x82" },
		{ "\xff", "\\u00ff" },
		{ "\xc3", "\\u00c3" },
		{ "\xc3x", "\\u00c3x" },
		{ "\xc0\xaf", "\\u00c0\\u00af" }, /* overlong */
		{ "\xe0\x80\xaf", "\\u00e0\\u0080\\u00af" },
		{ "\xf0\x80\x80\xaf", "\\u00f0\\u0080\\u0080\\u00af" },
		{ "\xed\xa0\x80", "\\u00ed\\u00a0\\u0080" },		/* surrogate */
		{ "\xf4\x90\x80\x80", "\\u00f4\\u0090\\u0080\\u0080" }, /* above U+10FFFF */
		{ "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" },
		{ "\xe2\x82", "\\u00e2\\u0082" },
		{ "\xf0\x9f\x99", "\\u00f0\\u009f\\u0099" },
		{ "\x80", "\\u0080" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char dst[128], expect[128];
		struct json j;
		ssize_t len;

		json_init(&j, dst, sizeof(dst));
		json_str(&j, "k", span_str(cases[i].in));
		len = json_end(&j);
		assert_true(len > 0);
		dst[len] = '\0';
		strcpy(stpcpy(stpcpy(expect, "{\"k\":\""), cases[i].out), "\"}");
		assert_string_equal(dst, expect);
	}
}

static void test_nul(void **state)
{
	char dst[64];
	struct json j;

	json_init(&j, dst, sizeof(dst));
	json_str(&j, "k", span_of("a\0b", 3));
	json_str(&j, "n", span_of(NULL, 0));
	assert_int_equal(json_end(&j), 23);
	assert_memory_equal(dst, "{\"k\":\"a\\u0000b\",\"n\":\"\"}", 23);
}

/* Each day of five centuries, against the C library. */
static void test_dates(void **state)
{
	for (uint64_t day = 0; day < 530 * 365; day++) {
		time_t s = (time_t)(day * 86400 + day % 86400);
		char dst[64], expect[64];
		struct json j;
		struct tm tm;

		json_init(&j, dst, sizeof(dst));
		json_time(&j, "t", (uint64_t)s * 1000000);
		assert_int_equal(json_end(&j), 39);
		gmtime_r(&s, &tm);
		strftime(expect, sizeof(expect), "{\"t\":\"%Y-%m-%dT%H:%M:%S.000000+0000\"}", &tm);
		assert_memory_equal(dst, expect, 39);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_dates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
