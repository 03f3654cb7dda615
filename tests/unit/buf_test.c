/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/mem.h"

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

/* RFC 3174 section 7.3, RFC 4648 section 10 */
static void test_crypto(void **state)
{
	static const struct {
		const char *in, *base64;
	} cases[] = {
		{ "", "" },
		{ "f", "Zg==" },
		{ "fo", "Zm8=" },
		{ "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" },
	};
	static const uint8_t abc[] = { 0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e,
				       0x25, 0x71, 0x78, 0x50, 0xc2, 0x6c, 0x9c, 0xd0, 0xd8, 0x9d };
	uint8_t digest[CRYPTO_SHA1_BYTES];

	assert_int_equal(crypto_sha1(span_str("abc"), digest), 0);
	assert_memory_equal(digest, abc, sizeof(abc));
	assert_int_equal(crypto_sha1(span_of(NULL, 0), digest), 0);
	assert_int_equal(digest[0], 0xda);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[16];

		crypto_base64(span_str(cases[i].in), text);
		assert_string_equal(text, cases[i].base64);
		assert_int_equal(strlen(text), CRYPTO_BASE64_LEN(strlen(cases[i].in)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_append_own),
		cmocka_unit_test(test_consume),
		cmocka_unit_test(test_crypto),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
