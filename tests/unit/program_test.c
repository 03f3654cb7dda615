/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "sys/program.h"

static void finds_in_order(void **state)
{
	static const struct {
		const char *path;
		const char *name;
		int mode;
		const char *expected; /* NULL: nowhere */
	} cases[] = {
		{ "/dev:/etc", "null", F_OK, "/dev/null" },
		{ "/etc:/dev", "null", F_OK, "/dev/null" },
		{ ":/nowhere::/dev:", "null", F_OK, "/dev/null" },
		{ "/dev:/bin", "sh", X_OK, "/bin/sh" },
		{ "/etc", "passwd", F_OK, "/etc/passwd" },
		{ "/etc", "passwd", X_OK, NULL }, /* not even root may */
		{ "/etc", "no-such-file", F_OK, NULL },
		{ "", "sh", X_OK, NULL },
		{ NULL, "sh", X_OK, NULL },
	};
	char found[64];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int r = program_find(cases[i].path, cases[i].name, cases[i].mode, found,
				     sizeof(found));

		assert_int_equal(r, cases[i].expected ? 0 : -ENOENT);
		if (cases[i].expected)
			assert_string_equal(found, cases[i].expected);
	}
}

static void a_path_that_does_not_fit_does_not_count(void **state)
{
	char found[9];

	assert_int_equal(program_find("/dev", "null", F_OK, found, 9), -ENOENT);
	assert_int_equal(program_find("/dev:/", "etc", F_OK, found, 9), 0);
	assert_string_equal(found, "//etc");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_in_order),
		cmocka_unit_test(a_path_that_does_not_fit_does_not_count),
	};

	return cmocka_run_group_tests_name("program", tests, NULL, NULL);
}
