/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/hostname.h"

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
		cmocka_unit_test(test_hostname),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
