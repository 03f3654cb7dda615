/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

static void test_append(void **state)
{
	struct buf b = { 0 };

	assert_int_equal(buf_append(&b, span_of(NULL, 0), 0), 0);
	assert_null(b.data);
	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(buf_append(&b, span_of(&(uint8_t){ (uint8_t)i }, 1), 5000), 0);
	assert_int_equal(buf_append(&b, span_str("x"), 5000), -EMSGSIZE);
	assert_int_equal(b.len, 5000);
	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(b.data[i], i & 255);
	assert_int_equal(buf_append(&b, span_of(b.data, SIZE_MAX), SIZE_MAX), -EMSGSIZE);
	assert_int_equal(buf_append(&b, span_of(b.data, SIZE_MAX - 5000), SIZE_MAX), -ENOMEM);
	assert_int_equal(b.len, 5000);
	buf_done(&b);
	assert_null(b.data);
}

/* Appending what the buffer holds itself, also when it has to move. */
static void test_append_own(void **state)
{
	struct buf b = { 0 };

	assert_int_equal(buf_append(&b, span_str("abcd"), 1 << 20), 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(buf_append(&b, buf_span(&b), 1 << 20), 0);
	assert_int_equal(b.len, 4096);
	for (size_t i = 0; i < b.len; i++)
		assert_int_equal(b.data[i], 'a' + i % 4);
	buf_done(&b);
}

static void test_consume(void **state)
{
	struct buf b = { 0 };

	buf_consume(&b, 1);
	assert_int_equal(buf_append(&b, span_str("abcdef"), 100), 0);
	buf_consume(&b, 0);
	buf_consume(&b, 2);
	assert_true(span_eq_str(buf_span(&b), "cdef"));
	buf_consume(&b, 99);
	assert_int_equal(b.len, 0);
	assert_null(b.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_append_own),
		cmocka_unit_test(test_consume),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
