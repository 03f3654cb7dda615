/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/units.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
